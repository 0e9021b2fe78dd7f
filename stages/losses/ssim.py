"""Structural similarity as a loss: 1 - SSIM and 1 - MS-SSIM. Images [B, C, H, W] in [0, 1].

SSIM is that of Wang et al. (IEEE TIP 2004): an 11 x 11 Gaussian window with sigma 1.5, population covariance,
K1 = 0.01, K2 = 0.03, only windows that lie inside the image, each channel by itself. MS-SSIM is that of Wang,
Simoncelli and Bovik (Asilomar 2003): contrast and structure at every scale, luminance at the coarsest one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

WINDOW = 11
SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales, finest first (Wang et al. 2003)."""

_FLOOR = 1e-6
"""Under the fractional exponents: structure can be negative, and the slope of x^0.04 at 0 is infinite."""


def ssim_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """1 - mean SSIM, in [0, 2]; 0 at sr = hr. Raises ValueError for images under 11 pixels a side."""
    _refuse_small("ssim", sr, 1)
    luminance, structure = _maps(sr, hr)
    return 1 - (luminance * structure).mean()


def ms_ssim_loss(sr: Tensor, hr: Tensor, *, levels: int = 5) -> Tensor:
    """1 - mean over images and channels of prod_j structure_j^w_j * luminance_last^w_last; 0 at sr = hr.

    With fewer than five levels the first `levels` exponents are used, scaled to the sum of the five
    (our choice: small patches have no five scales). Raises ValueError when the coarsest level, after
    `levels - 1` halvings, is under 11 pixels a side.
    """
    if not 1 <= levels <= len(EXPONENTS):
        raise ValueError(f"ms_ssim: expected 1 to {len(EXPONENTS)} levels, got {levels}")
    _refuse_small("ms_ssim", sr, levels)
    scale = sum(EXPONENTS) / sum(EXPONENTS[:levels])
    exponents = [scale * exponent for exponent in EXPONENTS[:levels]]
    product = torch.ones(sr.shape[:2], device=sr.device, dtype=sr.dtype)
    for level, exponent in enumerate(exponents):
        if level:
            sr, hr = avg_pool2d(sr, 2), avg_pool2d(hr, 2)
        luminance, structure = _maps(sr, hr)
        seen = luminance * structure if level == levels - 1 else structure
        product = product * seen.mean((2, 3)).clamp_min(_FLOOR) ** exponent
    return 1 - product.mean()


def _maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, of every window: [B, C, H-10, W-10]."""
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x * mean_x
    variance_y = _blur(y * y) - mean_y * mean_y
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return luminance, structure


def _blur(x: Tensor) -> Tensor:
    channels = x.shape[1]
    places = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    window = torch.exp(-0.5 * (places / SIGMA) ** 2)
    window = (window / window.sum()).expand(channels, 1, -1)
    return conv2d(conv2d(x, window[..., None], groups=channels), window[:, :, None], groups=channels)


def _refuse_small(name: str, x: Tensor, levels: int) -> None:
    least = WINDOW * 2 ** (levels - 1)
    if min(x.shape[-2:]) < least:
        many = f" with {levels} levels" if levels > 1 else ""
        raise ValueError(f"{name}{many} needs images of at least {least} pixels a side, "
                         f"got {x.shape[-2]} x {x.shape[-1]}; use larger patches or fewer levels")  # fmt: skip
