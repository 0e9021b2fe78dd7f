"""Noise fields as our own transforms over Philox words.

Every value of a field is made of 16 bits of the stream (value i: bits 16 (i mod 4) up of word i // 4), taken in the
order of the array. They index a table of the 65,536 equally likely quantiles of the standard normal: within 2**-17 of
its distribution function everywhere, standard deviation 0.99999, no value beyond 4.33. An 8-bit image cannot tell, and
a look-up costs a tenth of a logarithm and a cosine, whose last bits would differ between CPUs.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp
from statistics import NormalDist
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from degrade.codecs import to_uint8
from degrade.memory import bands
from degrade.philox import words

Image = NDArray[np.float32]
_LEVELS: Final = 65536
_DARK: Final = 16
"""Poisson counts below this code value come from exact tables; above, from an expansion good to 5e-4 in probability."""


@lru_cache(maxsize=1)
def normal_quantiles() -> NDArray[np.float32]:
    """[65536]: quantiles of the standard normal at (i + 0.5) / 65536."""
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse((i + 0.5) / _LEVELS) for i in range(_LEVELS // 2, _LEVELS)], dtype=np.float32)
    table = np.concatenate([-upper[::-1], upper])
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1)
def poisson_counts() -> NDArray[np.float32]:
    """[16 * 65536]: for code values 0..15 the quantiles of Poisson(256 v / 255) at (i + 0.5) / 65536."""
    quantiles = (np.arange(_LEVELS) + 0.5) / _LEVELS
    table = np.empty((_DARK, _LEVELS), dtype=np.float32)
    for value in range(_DARK):
        rate = value * 256 / 255
        mass = exp(-rate)
        masses = [mass]
        for count in range(1, 96):
            mass *= rate / count
            masses.append(mass)
        table[value] = np.searchsorted(np.cumsum(masses), quantiles)
    table.setflags(write=False)
    return table.reshape(-1)


def bits(key: str, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """A field of uniform 16-bit values of `shape` from the stream `key`."""
    count = int(np.prod(shape))
    values: NDArray[np.uint16] = words(key, -(-count // 4)).astype("<u8", copy=False).view("<u2")
    return values[:count].reshape(shape)


def add_gaussian(image: Image, sigma: float, gray: bool, key: str) -> Image:
    """Add white Gaussian noise of `sigma` code values to [h, w, 3] in place, and clip to 0..255."""
    values = bits(key, image.shape[:2] if gray else image.shape)
    table = normal_quantiles() * np.float32(sigma)
    for band in bands(image):
        _add(image[band], _looked_up(values[band], table))
    return image


def add_poisson(image: Image, scale: float, gray: bool, key: str) -> Image:
    """Add `scale` times the shot noise of `image` [h, w, 3] in place, and clip to 0..255.

    The image is rounded to 8 bits, counted at 256 levels for white, and the deviation of the counts is added; gray
    noise counts the luma instead and adds the same to all channels (BasicSR's rule with its number of levels fixed).
    """
    values = bits(key, image.shape[:2] if gray else image.shape)
    signal = np.arange(256, dtype=np.float32) * np.float32(scale)
    for band in bands(image):
        codes = to_uint8(image[band])
        if gray:
            codes = to_uint8(np.asarray(cv2.cvtColor(codes.astype(np.float32), cv2.COLOR_RGB2GRAY)))
        field = poisson(codes, values[band])
        field *= np.float32(scale * 255.0 / 256.0)
        field -= _looked_up(codes, signal)
        _add(image[band], field)
    return image


def poisson(codes: NDArray[np.uint8], values: NDArray[np.uint16]) -> Image:
    """Counts of rate 256 / 255 times `codes`, float32 of the same shape (2 or 3 dimensions).

    Second-order Cornish-Fisher quantiles, exact tables in the dark. Rounding to whole counts adds a variance of 1/12,
    so that much is taken off before (Sheppard's correction).
    """
    deviation, offset = _moments()
    z = _looked_up(values, normal_quantiles())
    counts = z * np.float32(1.0 / 6.0)
    counts += _looked_up(codes, deviation)
    counts *= z
    counts += _looked_up(codes, offset)
    np.rint(counts, out=counts)
    dark = np.flatnonzero(codes < _DARK)
    if dark.size:
        index = np.take(codes, dark, mode="clip").astype(np.intp)
        index *= _LEVELS
        index += np.take(values, dark, mode="clip")
        counts.reshape(-1)[dark] = np.take(_dark_counts(), index, mode="clip")
    return counts


@lru_cache(maxsize=1)
def _dark_counts() -> NDArray[np.uint8]:
    """:func:`poisson_counts` in 1 MB instead of 4: look-ups all over a table cost what it overflows the cache."""
    return poisson_counts().astype(np.uint8)


@lru_cache(maxsize=1)
def _moments() -> tuple[Image, Image]:
    """[256] each: by code value the standard deviation before rounding, and the rate less a sixth."""
    rate = np.arange(256) * (256.0 / 255.0)
    return np.sqrt(np.maximum(rate - 1.0 / 12.0, 0.0)).astype(np.float32), (rate - 1.0 / 6.0).astype(np.float32)


def _looked_up(index: NDArray[np.uint8] | NDArray[np.uint16], table: Image) -> Image:
    """table[index], four times as fast."""
    return np.asarray(cv2.LUT(index, table), dtype=np.float32)


def _add(image: Image, field: Image) -> None:
    """Add a field [h, w, 3], or [h, w] to all channels, and clip to code values."""
    image += field if field.ndim == image.ndim else cv2.cvtColor(field, cv2.COLOR_GRAY2RGB)
    np.clip(image, 0.0, 255.0, out=image)
