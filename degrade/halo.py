"""Over-sharpening, as cameras and screens do it: bright and dark halos along edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from degrade.albumentations_compat import pixel

Image = NDArray[np.float32]


def oversharpen(image: Image, amount: float, sigma: float, threshold: float, overshoot: float | None) -> Image:
    """Unsharp mask of float32 RGB [h, w, 3]; returns the same shape, in 0..255.

    image + amount * (image - Gaussian blur of `sigma` pixels), through a mask of where that difference exceeds
    `threshold` code values, softened by the same Gaussian (albumentations' ``unsharp_mask``). No result lies more than
    `overshoot` code values beyond the lightest and the darkest of the 3 x 3 pixels around it; None is no limit.
    """
    unit = np.clip(image, 0.0, 255.0)
    unit *= np.float32(1.0 / 255.0)
    sharp = np.asarray(pixel().unsharp_mask(unit, 0, sigma, amount, threshold), dtype=np.float32)
    sharp = sharp * np.float32(255.0)
    if overshoot is not None:
        around = np.ones((3, 3), dtype=np.uint8)
        beyond = np.float32(overshoot)
        sharp = np.clip(sharp, cv2.erode(image, around) - beyond, cv2.dilate(image, around) + beyond)
    return np.clip(sharp, 0.0, 255.0, out=sharp)
