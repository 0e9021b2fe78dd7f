"""Differences pixel by pixel: L1, mean square, and Charbonnier on a pyramid. Images [B, C, H, W] in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d


def l1(sr: Tensor, hr: Tensor) -> Tensor:
    """mean |sr - hr|."""
    return (sr - hr).abs().mean()


def mean_square(sr: Tensor, hr: Tensor) -> Tensor:
    """mean (sr - hr)^2."""
    return (sr - hr).square().mean()


def charbonnier(sr: Tensor, hr: Tensor, *, epsilon: float = 1e-3, scales: int = 1) -> Tensor:
    """mean sqrt((sr - hr)^2 + epsilon^2), averaged over `scales` levels, each a 2 x 2 mean of the level above.

    Charbonnier et al. (ICIP 1994); epsilon 1e-3 and the sum over a pyramid as in LapSRN (Lai et al.,
    arXiv 1710.01992). Coarser levels speak of brightness and colour, which single pixels drown.
    At sr = hr it is `epsilon` and not 0. Raises ValueError when the coarsest level would have no pixel.
    """
    least = min(sr.shape[-2:])
    if least < 2 ** (scales - 1):
        raise ValueError(f"charbonnier: scales={scales} needs images of at least {2 ** (scales - 1)} pixels a side, "
                         f"got {least}; use fewer scales or larger patches")  # fmt: skip
    difference, total = sr - hr, torch.zeros((), device=sr.device, dtype=sr.dtype)
    for level in range(scales):
        if level:  # the mean of differences is the difference of means
            difference = avg_pool2d(difference, 2)
        total = total + (difference.square() + epsilon**2).sqrt().mean()
    return total / scales
