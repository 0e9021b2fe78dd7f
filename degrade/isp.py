"""The noise of a camera, as its image signal processor leaves it in a photograph.

The photograph is taken back to linear light and to the sensor's white balance, sampled by a Bayer mosaic (RGGB), given
the noise of photons and read-out, and developed again: clipped at the sensor's white, white-balanced, demosaicked
bilinearly and encoded as sRGB. The steps and the noise model are those of Brooks et al. 2019 ("Unprocessing images for
learned raw denoising", arXiv 1811.11127), without its colour matrix and tone curve. Linear light is in 0..1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from degrade.noise import bits, normal_quantiles

Image = NDArray[np.float32]
Gains = tuple[float, float]

_FINE: Final = 16
"""Code values are looked up in steps of 1/16, linear light in steps of 1/65535: at most 1/32 of a code value off."""
_LEVELS: Final = 65535


@lru_cache(maxsize=1)
def linear_table() -> Image:
    """[255 * 16 + 1]: linear light of code value i / 16 (IEC 61966-2-1)."""
    value = np.arange(255 * _FINE + 1) / (255.0 * _FINE)
    table = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1)
def code_table() -> Image:
    """[65536]: code value, 0..255, of linear light i / 65535."""
    value = np.arange(_LEVELS + 1) / _LEVELS
    encoded = np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)
    table = (255.0 * encoded).astype(np.float32)
    table.setflags(write=False)
    return table


def camera(image: Image, shot: float, read: float, gains: Gains, mosaic: bool, key: str) -> Image:
    """Develop float32 RGB [h, w, 3] in 0..255 again from a noisy sensor; returns the same shape and range.

    `shot` is the variance a unit of linear light, `read` the standard deviation of the read-out, both at the sensor
    (:func:`sensor`). `gains` are the white-balance gains of red and blue over green: the sensor saw so much less of
    them. Without `mosaic` every pixel has its three colours, as after binning. `key` is the noise field's.
    """
    light = _look_up(linear_table(), image, _FINE)
    if not mosaic:
        scale = np.array([gains[0], 1.0, gains[1]], dtype=np.float32)
        light = sensor(light / scale, shot, read, key)
        light *= scale
        return _look_up(code_table(), light, _LEVELS)
    height, width = light.shape[:2]
    # a pattern takes two pixels either way; mirrored borders keep its phase from then on
    padded = np.pad(light, ((0, int(height == 1)), (0, int(width == 1)), (0, 0)), mode="edge")
    raw = sensor(_sampled(padded, gains), shot, read, key)
    raw[0::2, 0::2] *= np.float32(gains[0])
    raw[1::2, 1::2] *= np.float32(gains[1])
    return _look_up(code_table(), demosaic(raw)[:height, :width], _LEVELS)


def sensor(light: Image, shot: float, read: float, key: str) -> Image:
    """Linear light (any shape) with Gaussian noise of variance shot * light + read^2 (Brooks et al., section 3.1).

    Clipped above at the sensor's white, 1; below zero stays what it is, as above a black level.
    """
    field = np.empty(light.shape, dtype=np.float32)
    np.take(normal_quantiles(), bits(key, light.shape), out=field, mode="clip")
    spread: Image = np.sqrt(np.float32(shot) * light + np.float32(read**2))
    field *= spread
    field += light
    return np.minimum(field, np.float32(1.0), out=field)


def demosaic(raw: Image) -> Image:
    """RGB [h, w, 3] of an RGGB mosaic [h, w], h and w at least 2: the mean of the nearest two or four of a colour."""
    planes = np.zeros((3, *raw.shape), dtype=np.float32)
    planes[0, 0::2, 0::2] = raw[0::2, 0::2]
    planes[1, 0::2, 1::2] = raw[0::2, 1::2]
    planes[1, 1::2, 0::2] = raw[1::2, 0::2]
    planes[2, 1::2, 1::2] = raw[1::2, 1::2]
    taps = np.array([0.5, 1.0, 0.5], dtype=np.float32)
    cross = np.array([[0.0, 0.25, 0.0], [0.25, 1.0, 0.25], [0.0, 0.25, 0.0]], dtype=np.float32)
    border = cv2.BORDER_REFLECT_101
    red, blue = (cv2.sepFilter2D(planes[at], cv2.CV_32F, taps, taps, borderType=border) for at in (0, 2))
    green = cv2.filter2D(planes[1], cv2.CV_32F, cross, borderType=border)
    return np.asarray(cv2.merge([red, green, blue]), dtype=np.float32)


def _sampled(light: Image, gains: Gains) -> Image:
    """The RGGB mosaic [h, w] of linear light [h, w, 3] before white balance."""
    raw: Image = light[..., 1].copy()
    raw[0::2, 0::2] = light[0::2, 0::2, 0] / np.float32(gains[0])
    raw[1::2, 1::2] = light[1::2, 1::2, 2] / np.float32(gains[1])
    return raw


def _look_up(table: Image, values: Image, steps: int) -> Image:
    """table[round(values * steps)], at the table's ends beyond them."""
    index = np.clip(values * np.float32(steps), 0, len(table) - 1)
    out = np.empty(values.shape, dtype=np.float32)
    return np.take(table, np.rint(index, out=index).astype(np.uint16), out=out, mode="clip")
