"""Unsharp masking of the HR image, as Real-ESRGAN sharpens its training targets."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def sharpen(image: NDArray[np.uint8], weight: float, radius: int, threshold: float) -> NDArray[np.float32]:
    """Sharpen uint8 RGB [h, w, 3]; float32 in 0..255, not rounded.

    The Gaussian has 2 * (radius // 2) + 1 taps and OpenCV's default sigma for that size (8.0 for radius 50). Where the
    residual exceeds `threshold` code values, image + weight * residual (clipped) is blended in through a mask that is
    softened by the same Gaussian (BasicSR's USMSharp, separable here).
    """
    taps = cv2.getGaussianKernel(2 * (radius // 2) + 1, 0, cv2.CV_32F)
    start = image.astype(np.float32)
    blurred = cv2.sepFilter2D(image, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    mask = np.greater(cv2.absdiff(start, blurred), np.float32(threshold)).view(np.uint8)
    gain = np.asarray(cv2.addWeighted(start, 1.0 + weight, blurred, -weight, 0.0, dst=blurred), dtype=np.float32)
    np.clip(gain, 0.0, 255.0, out=gain)
    gain -= start
    gain *= cv2.sepFilter2D(mask, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    gain += start
    return gain
