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


def _normal(values: NDArray[np.uint16]) -> Image:
    out = np.empty(values.shape, dtype=np.float32)
    np.take(normal_quantiles(), values, out=out, mode="clip")
    return out


def add_gaussian(image: Image, sigma: float, gray: bool, key: str) -> Image:
    """Add white Gaussian noise of `sigma` code values to [h, w, 3] in place, and clip to 0..255."""
    field = _normal(bits(key, image.shape[:2] if gray else image.shape))
    field *= np.float32(sigma)
    image += field[..., None] if gray else field
    return np.clip(image, 0.0, 255.0, out=image)


def add_poisson(image: Image, scale: float, gray: bool, key: str) -> Image:
    """Add `scale` times the shot noise of `image` [h, w, 3] in place, and clip to 0..255.

    The image is rounded to 8 bits, counted at 256 levels for white, and the deviation of the counts is added; gray
    noise counts the luma instead and adds the same to all channels (BasicSR's rule with its number of levels fixed).
    """
    codes = np.rint(np.clip(image, 0.0, 255.0))
    if gray:
        codes = np.rint(np.asarray(cv2.cvtColor(codes, cv2.COLOR_RGB2GRAY), dtype=np.float32))
    field = _poisson(codes, bits(key, codes.shape))
    field *= np.float32(255.0 / 256.0)
    field -= codes
    field *= np.float32(scale)
    image += field[..., None] if gray else field
    return np.clip(image, 0.0, 255.0, out=image)


def _poisson(codes: Image, values: NDArray[np.uint16]) -> Image:
    """Counts of rate 256 / 255 times `codes`: second-order Cornish-Fisher quantiles, exact tables in the dark.

    Rounding to whole counts adds a variance of 1/12, so that much is taken off before (Sheppard's correction).
    """
    z = _normal(values)
    rate = codes * np.float32(256.0 / 255.0)
    counts: Image = np.maximum(rate - np.float32(1.0 / 12.0), np.float32(0.0))
    np.sqrt(counts, out=counts)
    counts *= z
    counts += rate
    z *= z
    z -= np.float32(1.0)
    z *= np.float32(1.0 / 6.0)
    counts += z
    np.rint(counts, out=counts)
    dark = np.flatnonzero(codes < _DARK)
    if dark.size:
        index = codes.reshape(-1)[dark].astype(np.int64) * _LEVELS + values.reshape(-1)[dark]
        counts.reshape(-1)[dark] = poisson_counts()[index]
    return counts
