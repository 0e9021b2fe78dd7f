"""PSNR and SSIM with every convention spelled out. NumPy, float64; images are uint8 RGB [H, W, 3].

Published numbers that do not reproduce often differ in one of these: the colour space (Y of the
limited-range BT.601 of MATLAB's rgb2ycbcr and basicsr; Y of full range, as pyiqa has by default, lower by
20 log10(255/219) = 1.32 dB; or RGB), the border that is cut off, and rounding to 8 bits before, not after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[np.uint8]"
Planes: TypeAlias = "NDArray[np.float64]"

PSNR_LIMIT: Final = 100.0
"""dB for equal images, where PSNR is infinite and JSON has no word for it."""

_LIMITED: Final = np.array([65.481, 128.553, 24.966]) / 255
_FULL: Final = np.array([0.299, 0.587, 0.114])


def y_limited(image: Pixels) -> Planes:
    """Luma of ITU-R BT.601 in 16..235, [H, W, 1], not rounded (as basicsr)."""
    luma: Planes = image.astype(np.float64) @ _LIMITED + 16
    return luma[..., None]


def y_full(image: Pixels) -> Planes:
    """Luma of ITU-R BT.601 in 0..255, [H, W, 1] (as pyiqa's YIQ)."""
    luma: Planes = image.astype(np.float64) @ _FULL
    return luma[..., None]


def rgb(image: Pixels) -> Planes:
    """The three channels as they are, [H, W, 3] in 0..255."""
    return image.astype(np.float64)


def crop(image: Pixels, border: int) -> Pixels:
    """Without `border` pixels on every side."""
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def psnr(a: Planes, b: Planes) -> float:
    """10 log10(255^2 / MSE) over all values, at most :data:`PSNR_LIMIT`."""
    error = float(np.mean((a - b) ** 2))
    return PSNR_LIMIT if error == 0 else min(PSNR_LIMIT, 10 * float(np.log10(255.0**2 / error)))


def ssim(a: Planes, b: Planes) -> float:
    """Structural similarity (Wang et al. 2004) as in its MATLAB reference, mean over positions and channels.

    Gaussian window 11x11 of sigma 1.5, positions where it fits entirely, K1 = 0.01, K2 = 0.03, L = 255.
    Raises ValueError for images smaller than the window.
    """
    if min(a.shape[:2]) < 11:
        raise ValueError(f"SSIM needs at least 11x11 pixels after cropping, got {a.shape[1]}x{a.shape[0]}")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = _window(a), _window(b)
    var_a = _window(a * a) - mean_a**2
    var_b = _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    denominator = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float(np.mean(numerator / denominator))


def _window(planes: Planes) -> Planes:
    """Gaussian means over all full 11x11 windows: [H, W, C] -> [H-10, W-10, C]."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    height, width = planes.shape[:2]
    rows = sum(weight * planes[i : height - 10 + i] for i, weight in enumerate(weights))
    result: Planes = sum(weight * rows[:, i : width - 10 + i] for i, weight in enumerate(weights))
    return result


Metric: TypeAlias = "tuple[Callable[[Pixels], Planes], Callable[[Planes, Planes], float]]"

METRICS: Final[dict[str, Metric]] = {
    "psnr_y": (y_limited, psnr),
    "ssim_y": (y_limited, ssim),
    "psnr_y_full": (y_full, psnr),
    "ssim_y_full": (y_full, ssim),
    "psnr_rgb": (rgb, psnr),
    "ssim_rgb": (rgb, ssim),
}


def measure(name: str, sr: Pixels, hr: Pixels, border: int) -> float:
    """Metric `name` of two uint8 RGB images of one size, `border` pixels cut off every side."""
    if sr.shape != hr.shape:
        raise ValueError(f"{name}: images of one size expected, got {sr.shape} and {hr.shape}")
    planes, compare = METRICS[name]
    return compare(planes(crop(sr, border)), planes(crop(hr, border)))
