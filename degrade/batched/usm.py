"""Unsharp masking of a batch: :mod:`degrade.usm` in torch."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from degrade.batched.canvas import Canvas
from degrade.batched.convolve import filtered
from degrade.batched.rounding import saturate
from degrade.batched.upload import upload
from degrade.preset import Sharpen


def sharpen(canvas: Canvas, usm: Sharpen) -> Canvas:
    """Sharpen images of 0..255, whole code values; the result is not rounded. All with the same parameters."""
    taps = np.asarray(cv2.getGaussianKernel(2 * (usm.radius // 2) + 1, 0, cv2.CV_64F), dtype=np.float64)
    kernel = upload(taps @ taps.T, torch.float64, canvas.pixels.device)[None]
    start = canvas.pixels
    residual = start - filtered(start, canvas, kernel)
    mask = (residual.abs() > usm.threshold).to(torch.float32)
    sharp = saturate(start + usm.weight * residual)
    return canvas.with_pixels(start + filtered(mask, canvas, kernel) * (sharp - start))
