"""The random fields of noise: 16 bits for every value of every image, each image from its own stream.

Value (y, x, c) of an image is made of the bits of its stream at its own row-major position
(:func:`degrade.noise.bits`), so images of different sizes on one canvas look theirs up by index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from degrade.batched.canvas import Canvas
from degrade.batched.philox import words
from degrade.batched.upload import constant, upload
from degrade.noise import normal_quantiles, poisson_counts

LEVELS: Final = 65536


def fields(keys: Sequence[str], grays: Sequence[bool], canvas: Canvas) -> Tensor:
    """Uniform values below 65536, int32 [n, 3, h, w]; the three channels of an image are the same where gray."""
    device = canvas.pixels.device
    channels = [1 if gray else 3 for gray in grays]
    longest = max(height * width * depth for (height, width), depth in zip(canvas.sizes, channels, strict=True))
    bits = words(keys, -(-longest // 4), device).view(torch.int16)
    if canvas.filled and len(set(channels)) == 1:
        height, width = canvas.sizes[0]
        block = bits[:, :longest].reshape(-1, height, width, channels[0]).permute(0, 3, 1, 2)
        return _unsigned(block).expand(-1, 3, -1, -1)
    places = _places(channels, canvas).clamp_max(bits.shape[1] - 1)  # beyond an image's own size anything will do
    return _unsigned(bits.gather(1, places.flatten(1))).reshape(places.shape)


def _unsigned(bits: Tensor) -> Tensor:
    values: Tensor = bits.to(torch.int32) & (LEVELS - 1)
    return values


def _places(channels: Sequence[int], canvas: Canvas) -> Tensor:
    """int64 [n, 3, h, w]: which value of its stream each value of the canvas is."""
    device = canvas.pixels.device
    rows, columns = canvas.pixels.shape[2:]
    table = [[depth, width] for (_, width), depth in zip(canvas.sizes, channels, strict=True)]
    depths, widths = upload(table, torch.int64, device).T[:, :, None, None, None].unbind(0)
    y = torch.arange(rows, device=device)[:, None]
    x = torch.arange(columns, device=device)
    channel = torch.arange(3, device=device)[:, None, None]
    places: Tensor = (y * widths + x) * depths + torch.minimum(channel, depths - 1)
    return places


def normal(values: Tensor) -> Tensor:
    """float32 quantiles of the standard normal at `values`."""
    quantiles: Tensor = _normal_table(values.device)[values]
    return quantiles


def dark_counts(codes: Tensor, values: Tensor) -> Tensor:
    """float32 Poisson counts for int64 `codes` 0..15 (larger ones count as 15)."""
    top = poisson_counts().size // LEVELS - 1
    counts: Tensor = _dark_table(values.device)[codes.clamp_max(top) * LEVELS + values]
    return counts


@constant
def _normal_table() -> Tensor:
    return torch.from_numpy(normal_quantiles().copy())


@constant
def _dark_table() -> Tensor:
    return torch.from_numpy(poisson_counts().copy())
