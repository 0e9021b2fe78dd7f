"""Unsharp masking of the HR image, as Real-ESRGAN sharpens its training targets."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from degrade.filters import Image
from degrade.memory import bands

Pixels = NDArray[np.uint8]


def sharpen(image: Pixels, weight: float, radius: int, threshold: float) -> Image:
    """Sharpen uint8 RGB [h, w, 3]; float32 in 0..255, not rounded.

    The Gaussian has 2 * (radius // 2) + 1 taps and OpenCV's default sigma for that size (8.0 for radius 50). Where the
    residual exceeds `threshold` code values, image + weight * residual (clipped) is blended in through a mask that is
    softened by the same Gaussian (BasicSR's USMSharp, separable here).
    """
    taps = np.asarray(cv2.getGaussianKernel(2 * (radius // 2) + 1, 0, cv2.CV_32F), dtype=np.float32)
    sharp = _blurred(image, taps)
    mask = np.empty(image.shape, dtype=np.bool_)
    for band in bands(image):
        np.greater(cv2.absdiff(image[band].astype(np.float32), sharp[band]), np.float32(threshold), out=mask[band])
    if not mask.any():
        return image.astype(np.float32)
    soft = _blurred(mask.view(np.uint8), taps)
    for band in bands(image):
        start, change = image[band].astype(np.float32), sharp[band]
        cv2.addWeighted(start, 1.0 + weight, change, -weight, 0.0, dst=change)
        np.clip(change, 0.0, 255.0, out=change)
        change -= start
        change *= soft[band]
        change += start
    return sharp


def _blurred(image: Pixels, taps: NDArray[np.float32]) -> Image:
    """From 8 bits straight to float32: it reads a quarter of the bytes."""
    blurred = cv2.sepFilter2D(image, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.float32)
