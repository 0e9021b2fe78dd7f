"""Convolution and resizing of float32 [h, w, 3] images with OpenCV; borders reflect without repeating the edge."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from degrade.fourier import correlate
from degrade.kernels import Kernel, low_rank

Image = NDArray[np.float32]
_DIRECT: Final = 11
"""The largest side that OpenCV correlates tap by tap; above, it goes through small DFT blocks, slower than ours."""
_LONG: Final = 31
"""From this many taps two one-dimensional calls of filter2D are faster than sepFilter2D."""
_RANK_TOLERANCE: Final = 2e-4
_SMALL: Final = 3 * 160 * 160
"""Up to this many values a decomposition costs what a sum of separable filters could save."""
_MODES: Final = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}

# Costs per pixel, measured at 64 to 512 pixels a side, in units of one tap of a symmetric separable filter.
_PASS: Final = 2.5
_TAP: Final = 0.36
_DFT: Final = 80.0


def separable(image: Image, taps: NDArray[np.float64]) -> Image:
    """Filter rows and columns with the same odd `taps`."""
    weights = taps.astype(np.float32)
    if len(weights) < _LONG:
        return _typed(cv2.sepFilter2D(image, cv2.CV_32F, weights, weights, borderType=cv2.BORDER_REFLECT_101))
    along = cv2.filter2D(image, cv2.CV_32F, weights.reshape(1, -1), borderType=cv2.BORDER_REFLECT_101)
    return _typed(cv2.filter2D(along, cv2.CV_32F, weights.reshape(-1, 1), borderType=cv2.BORDER_REFLECT_101))


def dense(image: Image, kernel: Kernel) -> Image:
    """Correlate with an odd square `kernel`: tap by tap, as a sum of separable filters, or by DFT, whichever is least.

    A sum of separable filters (symmetric kernels of low rank) leaves out what moves no pixel by more than
    255 * 2e-4 code values.
    """
    size = kernel.shape[0]
    if size == 1:
        return image
    direct = _TAP * size * size if size <= _DIRECT else float("inf")
    rank = int(min(direct, _DFT) / (size + _PASS))
    worth_it = rank > 0 and image.size > _SMALL
    factors = low_rank(kernel, rank, _RANK_TOLERANCE) if worth_it else None
    if factors is not None:
        return _sum_of_separable(image, *factors)
    if size <= _DIRECT:
        return _typed(cv2.filter2D(image, cv2.CV_32F, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101))
    return correlate(image, kernel.astype(np.float32))


def _sum_of_separable(image: Image, columns: Kernel, rows: Kernel) -> Image:
    result, part = np.empty_like(image), np.empty_like(image)
    for index, (column, row) in enumerate(zip(columns.astype(np.float32), rows.astype(np.float32), strict=True)):
        target = part if index else result
        cv2.sepFilter2D(image, cv2.CV_32F, row, column, dst=target, borderType=cv2.BORDER_REFLECT_101)
        if index:
            cv2.add(result, part, dst=result)
    return result


def resize(image: Image, size: tuple[int, int], mode: str) -> Image:
    """Resize to (height, width) with mode area, linear or cubic, without antialiasing for the latter two.

    Linear and cubic sample at half-pixel centres with cubic coefficient -0.75, as ``F.interpolate`` does, except that
    the ratio of the sizes is used where torch uses the drawn factor. Area averages the exact footprint of a
    pixel, fractions included, where torch averages the whole pixels that the footprint touches.
    """
    if size == image.shape[:2]:
        return image
    return _typed(cv2.resize(image, (size[1], size[0]), interpolation=_MODES[mode]))


def _typed(image: object) -> Image:
    """OpenCV's stubs do not carry the type that the arguments fix."""
    assert isinstance(image, np.ndarray)
    return image
