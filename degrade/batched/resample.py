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
    # both axes in one set of launches
    both = _matrices(draws, canvas.sizes, (max(height, width), max(rows, columns)), pixels.device)
    down, across = both[:count, :height, :rows], both[count:, :width, :columns]
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


Line = tuple[AnyResize, int, int]
"""One axis of one image: the draw, and the lengths before and after."""


def _matrices(
    draws: Sequence[AnyResize], sources: Sequence[Size], shape: tuple[int, int], device: torch.device
) -> Tensor:
    """float32 [2 n, *shape]: rows of all images, then columns; each in the top left of `shape` (outputs, inputs)."""
    rules = [_rule(draw, source) for draw, source in zip(draws, sources, strict=True)] * 2
    lines = [(draw, source[0], draw.height) for draw, source in zip(draws, sources, strict=True)]
    lines += [(draw, source[1], draw.width) for draw, source in zip(draws, sources, strict=True)]
    result = torch.empty((len(lines), *shape), dtype=torch.float32, device=device)
    for rule in dict.fromkeys(rules):
        places = [place for place, other in enumerate(rules) if other == rule]
        chosen = [lines[place] for place in places]
        built = _ours(chosen, shape, device) if rule is None else _theirs(rule, chosen, shape, device)
        if len(places) == len(lines):
            return built
        result.index_copy_(0, upload(places, torch.int64, device), built)
    return result


def _theirs(rule: Rule, lines: Sequence[Line], shape: tuple[int, int], device: torch.device) -> Tensor:
    lengths = upload([line[1:] for line in lines], torch.float64, device)
    return matrices(rule, lengths[:, :1], lengths[:, 1:], shape)


def _ours(lines: Sequence[Line], shape: tuple[int, int], device: torch.device) -> Tensor:
    """MATLAB's bicubic and BSRGAN's decimation, from their taps, on the host."""
    result = np.zeros((len(lines), *shape), dtype=np.float32)
    for matrix, (draw, source, target) in zip(result, lines, strict=True):
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
