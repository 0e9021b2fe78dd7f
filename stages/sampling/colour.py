"""Colours of an answer corrected by a reference that has the right ones: the enlarged LR image.

Generative models tint. Two classical corrections, both without parameters: low frequencies by the a-trous wavelet
transform (Holschneider et al. 1989; Shensa, IEEE Trans. Signal Processing 40(10), 1992), and the statistics of each
channel, as in adaptive instance normalisation (Huang & Belongie, arXiv 1703.06868, Eq. 8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from stages.sampling.config import ColourFix

LEVELS: Final = 5
"""Of the wavelet: everything coarser than about 2**5 HR pixels is the reference's."""


def _mirrored(image: Tensor, axis: int, margin: int) -> Tensor:
    """`image` with `margin` pixels more at both ends of `axis`, by mirroring with the edge repeated."""
    size = image.shape[axis]
    if margin > size:  # an image smaller than the kernel: to and fro
        index = torch.arange(-margin, size + margin, device=image.device) % (2 * size)
        return image.index_select(axis, torch.where(index < size, index, 2 * size - 1 - index))
    first, last = image.narrow(axis, 0, margin), image.narrow(axis, size - margin, margin)
    return torch.cat([first.flip(axis), image, last.flip(axis)], axis)


def low_frequencies(image: Tensor, levels: int = LEVELS) -> Tensor:
    """What is left of `image` [..., H, W] after `levels` a-trous steps of the kernel (1, 2, 1)/4 along both axes.

    Level j spreads the kernel to a distance of 2^j pixels. Mirrored borders keep every mean: a constant stays
    what it is, and the mean over all pixels does too.
    """
    for level in range(levels):
        for axis in (image.dim() - 2, image.dim() - 1):
            step, size = 1 << level, image.shape[axis]
            wide = _mirrored(image, axis, step)
            image = wide.narrow(axis, step, size) / 2
            for start in (0, 2 * step):
                image.add_(wide.narrow(axis, start, size), alpha=0.25)
    return image


def wavelet(image: Tensor, reference: Tensor) -> Tensor:
    """`image` [..., 3, H, W] with the low frequencies of `reference`: its detail is untouched."""
    return image + low_frequencies(reference - image)


def adain(image: Tensor, reference: Tensor) -> Tensor:
    """`image` [..., 3, H, W] with the mean and the standard deviation that each channel of `reference` has.

    A channel without any variation gets the reference's mean.
    """
    axes = (-2, -1)
    deviation = image.std(axes, correction=0, keepdim=True)
    gain = reference.std(axes, correction=0, keepdim=True) / deviation.clamp_min(1e-8)
    return (image - image.mean(axes, keepdim=True)) * gain + reference.mean(axes, keepdim=True)


FIXES: Final[dict[ColourFix, Callable[[Tensor, Tensor], Tensor]]] = {"wavelet": wavelet, "adain": adain}


def fix_colours(kind: ColourFix, image: Tensor, reference: Tensor) -> Tensor:
    """`image` with the colours of `reference`, both [..., 3, H, W]. Raises ValueError for an unknown `kind`."""
    if kind not in FIXES:
        raise ValueError(f"colour_fix: expected one of {', '.join(sorted(FIXES))}, got {kind!r}")
    return FIXES[kind](image, reference)
