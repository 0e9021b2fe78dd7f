"""Resizing every image to its own size: two matrix products per batch, with matrices that reproduce OpenCV's rules.

A separable resampling is rows . image . columns^T. The matrices [out, in] are built on the device from sizes and modes,
so a batch of any sizes, modes and directions takes two products and some 40 small launches; gathering tap by tap would
take that many per tap. Dense products do more arithmetic than taps, which is what a GPU has to spare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from degrade.batched.canvas import Canvas, Size
from degrade.batched.upload import upload
from degrade.imresize import axis_weights
from degrade.operators.imresize import ImresizeDraw
from degrade.operators.resize import ResizeDraw

_CUBIC = -0.75
_NEGLIGIBLE = 1e-3
"""OpenCV leaves out the part of a pixel that an area covers by less than this."""
Mode = str


def resample(canvas: Canvas, draws: Sequence[ResizeDraw | ImresizeDraw]) -> Canvas:
    """Resize every image to the height and width of its draw, in its mode."""
    sizes = tuple((draw.height, draw.width) for draw in draws)
    modes = [_mode(draw, size) for draw, size in zip(draws, canvas.sizes, strict=True)]
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    if sizes == canvas.sizes and all(isinstance(draw, ResizeDraw) for draw in draws):
        return canvas
    pixels = canvas.pixels
    count, channels, rows, columns = pixels.shape
    across = matrices(modes, canvas.sizes, sizes, 1, (width, columns), pixels.device)
    down = matrices(modes, canvas.sizes, sizes, 0, (height, rows), pixels.device)
    wide = torch.bmm(pixels.reshape(count, channels * rows, columns), across.transpose(1, 2))
    result = torch.matmul(down[:, None], wide.reshape(count, channels, rows, width))
    return Canvas(result, sizes, canvas.samples)


def _mode(draw: ResizeDraw | ImresizeDraw, source: Size) -> Mode:
    """One of linear, cubic, area, stretch and matlab. OpenCV's area is "stretch" unless both sides shrink."""
    if isinstance(draw, ImresizeDraw):
        return "matlab"
    grows = draw.height > source[0] or draw.width > source[1]
    return "stretch" if draw.mode == "area" and grows else draw.mode


def matrices(
    modes: Sequence[Mode],
    sources: Sequence[Size],
    targets: Sequence[Size],
    axis: int,
    shape: tuple[int, int],
    device: torch.device,
) -> Tensor:
    """float32 [n, *shape]: the matrix of every image along one axis, padded to `shape` (outputs, inputs)."""
    result: Tensor | None = None
    for mode in sorted(set(modes)):
        rows = [row for row, other in enumerate(modes) if other == mode]
        lengths = [(sources[row][axis], targets[row][axis]) for row in rows]
        built = _matlab(lengths, shape, device) if mode == "matlab" else _opencv(mode, lengths, shape, device)
        if len(rows) == len(modes):
            return built
        result = built.new_empty((len(modes), *shape)) if result is None else result
        result.index_copy_(0, upload(rows, torch.int64, device), built)
    assert result is not None
    return result


def _opencv(mode: Mode, lengths: Sequence[tuple[int, int]], shape: tuple[int, int], device: torch.device) -> Tensor:
    source, target = upload(lengths, torch.float64, device).T[:, :, None]
    scale = source / target
    place = torch.arange(shape[0], dtype=torch.float64, device=device)
    pixel = torch.arange(shape[1], dtype=torch.float32, device=device)
    if mode == "area":
        return _area(torch.minimum(place * scale, source), torch.minimum((place + 1) * scale, source), pixel)
    if mode == "cubic":
        return _cubic((place + 0.5) * scale - 0.5, source, pixel)
    if mode == "linear":
        return _tent(((place + 0.5) * scale - 0.5), source, pixel)
    left = torch.floor(place * scale)
    part = (place + 1) - (left + 1) / scale
    return _tent(left + torch.where(part > 0, part - torch.floor(part), torch.zeros_like(part)), source, pixel)


def _tent(position: Tensor, source: Tensor, pixel: Tensor) -> Tensor:
    """Linear interpolation at `position` [n, out], held at the edges."""
    held = torch.minimum(position.clamp_min(0.0), source - 1)
    return (1.0 - _distance(held, pixel).abs()).clamp_min(0.0)


def _area(start: Tensor, end: Tensor, pixel: Tensor) -> Tensor:
    """The share of the interval [start, end] that each pixel covers."""
    cover = _distance(end, pixel).clamp(0.0, 1.0) - _distance(start, pixel).clamp(0.0, 1.0)
    kept = torch.where(cover > _NEGLIGIBLE, cover, torch.zeros_like(cover))
    return kept / (end - start).clamp_min(_NEGLIGIBLE).to(torch.float32)[:, :, None]


def _cubic(position: Tensor, source: Tensor, pixel: Tensor) -> Tensor:
    """Keys' kernel with a = -0.75 over four pixels; those beyond an edge count as the edge."""
    first = torch.floor(position)
    t = (position - first).to(torch.float32)
    a, u = _CUBIC, 1.0 - t
    before = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
    at = ((a + 2) * t - (a + 3)) * t * t + 1
    after = ((a + 2) * u - (a + 3)) * u * u + 1
    weights = (before, at, after, 1.0 - before - at - after)
    result = torch.zeros((*position.shape, len(pixel)), dtype=torch.float32, device=pixel.device)
    for tap, weight in enumerate(weights):
        place = torch.minimum((first + (tap - 1)).clamp_min(0.0), source - 1).to(torch.float32)
        result = torch.where(place[:, :, None] == pixel, result + weight[:, :, None], result)
    return result


def _distance(position: Tensor, pixel: Tensor) -> Tensor:
    """float32 [n, out, in]: position - pixel, without losing the fraction of a large position."""
    whole = torch.floor(position)
    return (whole.to(torch.float32)[:, :, None] - pixel) + (position - whole).to(torch.float32)[:, :, None]


def _matlab(lengths: Sequence[tuple[int, int]], shape: tuple[int, int], device: torch.device) -> Tensor:
    result = np.zeros((len(lengths), *shape), dtype=np.float32)
    for row, (source, target) in enumerate(lengths):
        if source == target:
            result[row, np.arange(target), np.arange(target)] = 1.0
            continue
        index, weights = axis_weights(source, target)
        np.add.at(result[row], (np.arange(target)[:, None], index), weights)
    return upload(result, torch.float32, device)
