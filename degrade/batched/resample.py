"""Resizing every image to its own size: two matrix products per batch, with matrices that follow OpenCV's rules.

A separable resampling is rows . image . columns^T. The matrices are built on the device from sizes and modes, so a
batch of any sizes, modes and directions takes two products and some 50 small launches; gathering tap by tap would take
three per tap and axis, up to a hundred. Dense products do more arithmetic than taps, which is what a GPU has to spare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.batched.canvas import Canvas, Size
from degrade.batched.upload import upload
from degrade.batched.weights import Rule, matrices
from degrade.imresize import axis_weights
from degrade.operators.decimate import DecimateDraw
from degrade.operators.imresize import ImresizeDraw
from degrade.operators.resize import ResizeDraw
from degrade.operators.shrink import ShrinkDraw

AnyResize = ResizeDraw | ShrinkDraw | ImresizeDraw | DecimateDraw


def resample(canvas: Canvas, draws: Sequence[AnyResize]) -> Canvas:
    """Resize every image to the height and width of its draw, in its mode."""
    pixels = canvas.pixels
    count, channels, rows, columns = pixels.shape
    sizes = tuple((draw.height, draw.width) for draw in draws)
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    across = _matrices(draws, canvas.sizes, 1, (width, columns), pixels.device)
    down = _matrices(draws, canvas.sizes, 0, (height, rows), pixels.device)
    wide = torch.bmm(pixels.reshape(count, channels * rows, columns), across.transpose(1, 2))
    result = torch.matmul(down[:, None], wide.reshape(count, channels, rows, width))
    clipped = [isinstance(draw, ShrinkDraw) for draw in draws]
    if any(clipped):
        flags = upload(clipped, torch.bool, pixels.device)[:, None, None, None]
        result = torch.where(flags, result.clamp(0.0, 255.0), result)
    return Canvas(result, sizes, canvas.samples)


def _rule(draw: AnyResize, source: Size) -> Rule | None:
    """OpenCV's rule for this resize, None where the weights are our own."""
    if isinstance(draw, ImresizeDraw | DecimateDraw) or draw.mode == "antialiased":
        return None
    grows = draw.height > source[0] or draw.width > source[1]
    return "stretch" if draw.mode == "area" and grows else draw.mode


def _matrices(
    draws: Sequence[AnyResize], sources: Sequence[Size], axis: int, shape: tuple[int, int], device: torch.device
) -> Tensor:
    """float32 [n, *shape]: the matrix of every image along one axis, in the top left of `shape` (outputs, inputs)."""
    rules = [_rule(draw, source) for draw, source in zip(draws, sources, strict=True)]
    result: Tensor | None = None
    for rule in dict.fromkeys(rules):
        rows = [row for row, other in enumerate(rules) if other == rule]
        chosen = [(draws[row], sources[row][axis]) for row in rows]
        built = _ours(chosen, axis, shape, device) if rule is None else _theirs(rule, chosen, axis, shape, device)
        if len(rows) == len(rules):
            return built
        result = built.new_empty((len(rules), *shape)) if result is None else result
        result.index_copy_(0, upload(rows, torch.int64, device), built)
    assert result is not None
    return result


Line = tuple[AnyResize, int]
"""A draw, and the length of its image along the axis."""


def _theirs(rule: Rule, lines: Sequence[Line], axis: int, shape: tuple[int, int], device: torch.device) -> Tensor:
    lengths = [(source, (draw.height, draw.width)[axis]) for draw, source in lines]
    source, target = upload(lengths, torch.float64, device).T[:, :, None]
    return matrices(rule, source, target, shape)


def _ours(lines: Sequence[Line], axis: int, shape: tuple[int, int], device: torch.device) -> Tensor:
    """MATLAB's bicubic and BSRGAN's decimation, from their taps, on the host."""
    result = np.zeros((len(lines), *shape), dtype=np.float32)
    for matrix, (draw, source) in zip(result, lines, strict=True):
        target = (draw.height, draw.width)[axis]
        index, weights = (
            _decimation(draw, source, target) if isinstance(draw, DecimateDraw) else _bicubic(source, target)
        )
        np.add.at(matrix, (np.arange(target)[:, None], index), weights)
    return upload(result, torch.float32, device)


def _bicubic(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    if source == target:
        return np.arange(target)[:, None], np.ones((target, 1), dtype=np.float32)
    index, weights = axis_weights(source, target)
    return index.astype(np.int64), weights


def _decimation(draw: DecimateDraw, source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Taps around every `stride`-th pixel, mirrored at the borders without repeating the edge."""
    taps = draw.taps().astype(np.float32)
    index = np.arange(target)[:, None] * draw.stride + np.arange(len(taps)) - len(taps) // 2
    period = max(2 * (source - 1), 1)
    index = index % period
    return np.minimum(index, period - index) * (source > 1), np.broadcast_to(taps, (target, len(taps)))
