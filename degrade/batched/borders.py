"""What a filter meets outside an image, for images of different sizes that share one padded canvas.

A canvas is [n, c, H, W]; image i fills its top left [heights[i], widths[i]], the rest means nothing. Borders are index
tables: [n, count] of positions inside each image, or [1, count] where all sizes are equal, which is cheaper to gather.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from degrade.batched.upload import upload

Extent = tuple[Tensor, Tensor]


def extent(sizes: Sequence[tuple[int, int]], device: torch.device) -> Extent:
    """Heights and widths as int64 [n], or [1] where all are equal."""
    one = sizes[:1] if len(set(sizes)) == 1 else sizes
    both = upload([list(size) for size in one], torch.int64, device)
    return both[:, 0], both[:, 1]


def replicate(start: int, count: int, limits: Tensor) -> Tensor:
    """Positions start..start + count - 1, held at the first and the last one of each image."""
    place = torch.arange(start, start + count, device=limits.device)
    return torch.minimum(place.clamp_min(0), limits[:, None] - 1)


def reflect(start: int, count: int, limits: Tensor) -> Tensor:
    """The same mirrored without repeating the edge (OpenCV's BORDER_REFLECT_101), as often as it takes."""
    place = torch.arange(start, start + count, device=limits.device)
    period = (2 * (limits[:, None] - 1)).clamp_min(1)
    folded = torch.remainder(place, period)
    return torch.minimum(folded, period - folded).clamp_min(0) * (limits[:, None] > 1)


def take(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[n, c, len(rows), len(columns)] of `pixels` [n, c, h, w]."""
    return _along(_along(pixels, 2, rows), 3, columns)


def _along(pixels: Tensor, axis: int, index: Tensor) -> Tensor:
    if index.shape[0] == 1:
        return pixels.index_select(axis, index[0])
    shape = list(pixels.shape)
    shape[axis] = index.shape[1]
    view = index[:, None, :, None] if axis == 2 else index[:, None, None, :]
    return pixels.gather(axis, view.expand(shape))
