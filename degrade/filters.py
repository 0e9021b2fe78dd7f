"""Convolution and resizing of float32 [h, w, 3] images with OpenCV; borders reflect without repeating the edge."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
_DIRECT: Final = 11
"""Up to this size OpenCV correlates directly, above through a DFT, at the cost of about eight separable passes."""
_MAX_RANK: Final = 5
_RANK_TOLERANCE: Final = 2e-4
_MODES: Final = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


def separable(image: Image, taps: NDArray[np.float64]) -> Image:
    """Filter rows and columns with the same odd `taps`."""
    return _separable(image, taps, taps)


def dense(image: Image, kernel: NDArray[np.float64]) -> Image:
    """Filter with an odd square `kernel` that is symmetric about its centre (all of ours are).

    A large kernel of low rank is applied as a sum of separable ones: what is left out moves no pixel by more than
    255 * 2e-4 code values.
    """
    if kernel.shape[0] == 1:
        return image
    if kernel.shape[0] > _DIRECT:
        factors = _low_rank(kernel)
        if factors is not None:
            columns, rows = factors
            result = _separable(image, rows[0], columns[0])
            for column, row in zip(columns[1:], rows[1:], strict=True):
                cv2.add(result, _separable(image, row, column), dst=result)
            return result
    return _typed(cv2.filter2D(image, cv2.CV_32F, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101))


def _low_rank(kernel: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Factors ([rank, size], [rank, size]) whose outer products sum to `kernel`, or None when too many are needed."""
    left, values, right = np.linalg.svd(kernel)
    columns = (left[:, :_MAX_RANK] * values[:_MAX_RANK]).T
    rows = right[:_MAX_RANK]
    rest = kernel.copy()
    for rank in range(_MAX_RANK):
        rest -= np.outer(columns[rank], rows[rank])
        if np.abs(rest).sum() <= _RANK_TOLERANCE:
            return columns[: rank + 1], rows[: rank + 1]
    return None


def resize(image: Image, size: tuple[int, int], mode: str) -> Image:
    """Resize to (height, width) with mode area, linear or cubic, without antialiasing for the latter two.

    Linear and cubic sample at half-pixel centres with cubic coefficient -0.75, as ``F.interpolate`` does, except that
    the ratio of the sizes is used where torch uses the drawn factor. Area averages the exact footprint of a
    pixel, fractions included, where torch averages the whole pixels that the footprint touches.
    """
    if size == image.shape[:2]:
        return image
    return _typed(cv2.resize(image, (size[1], size[0]), interpolation=_MODES[mode]))


def _separable(image: Image, row: NDArray[np.float64], column: NDArray[np.float64]) -> Image:
    horizontal, vertical = row.astype(np.float32), column.astype(np.float32)
    return _typed(cv2.sepFilter2D(image, cv2.CV_32F, horizontal, vertical, borderType=cv2.BORDER_REFLECT_101))


def _typed(image: object) -> Image:
    """OpenCV's stubs do not carry the type that the arguments fix."""
    assert isinstance(image, np.ndarray)
    return image
