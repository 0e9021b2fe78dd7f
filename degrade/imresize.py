"""MATLAB-compatible bicubic ``imresize``: antialiased when it shrinks, edges mirrored, Keys' kernel with a = -0.5."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Weights = tuple[NDArray[np.intp], NDArray[np.float32]]


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel (Keys 1981, a = -0.5), support 4."""
    distance = np.abs(x)
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return np.where(distance <= 1.0, near, np.where(distance <= 2.0, far, 0.0))


@lru_cache(maxsize=64)
def axis_weights(source: int, target: int) -> Weights:
    """For one axis: input indices [target, taps] and their weights, each row summing to 1."""
    scale = target / source
    stretch = min(scale, 1.0)
    width = 4.0 / stretch
    centre = (np.arange(target) + 0.5) / scale - 0.5
    taps = math.ceil(width) + 2
    index = np.floor(centre - width / 2).astype(np.int64)[:, None] + np.arange(taps)
    weights = stretch * cubic(stretch * (centre[:, None] - index))
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.flatnonzero(np.any(weights != 0, axis=0))
    mirrored = index[:, used] % (2 * source)
    mirrored = np.where(mirrored < source, mirrored, 2 * source - 1 - mirrored)
    return mirrored.astype(np.intp), weights[:, used].astype(np.float32)


def imresize(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize float32 [h, w, c] to (height, width); values are not clipped or rounded.

    The axis that shrinks more goes first, as in MATLAB. A sum over taps, never a matrix product: its order, and so
    every bit, is the same on any number of threads.
    """
    first = 0 if size[0] / image.shape[0] <= size[1] / image.shape[1] else 1
    for axis in (first, 1 - first):
        image = _along(image, axis, size[axis])
    return image


def _along(image: NDArray[np.float32], axis: int, target: int) -> NDArray[np.float32]:
    if image.shape[axis] == target:
        return image
    index, weights = axis_weights(image.shape[axis], target)
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    result = np.take(image, index[:, 0], axis=axis) * weights[:, 0].reshape(shape)
    for tap in range(1, index.shape[1]):
        result += np.take(image, index[:, tap], axis=axis) * weights[:, tap].reshape(shape)
    return result
