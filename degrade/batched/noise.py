"""Gaussian and Poisson noise, the field of every image from its own stream: :mod:`degrade.noise` in torch.

Value (y, x, c) of an image is made of 16 bits of its stream at its own row-major position, so images of different sizes
on one canvas look theirs up by index. Both kinds share the words of one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from degrade.batched.canvas import Canvas
from degrade.batched.philox import words
from degrade.batched.rounding import saturate
from degrade.batched.upload import upload
from degrade.noise import normal_quantiles, poisson_counts
from degrade.operators.noise import GaussianDraw, PoissonDraw

_LEVELS = 65536
_DARK = 16


def noise(canvas: Canvas, draws: Sequence[GaussianDraw | PoissonDraw]) -> Canvas:
    """Add to every image the noise of its draw, and clip to 0..255."""
    device = canvas.pixels.device
    values = fields([draw.noise_key for draw in draws], [draw.gray for draw in draws], canvas)
    strength = [draw.sigma if isinstance(draw, GaussianDraw) else draw.scale for draw in draws]
    strengths = upload(strength, torch.float32, device)[:, None, None, None]
    result = torch.empty_like(canvas.pixels)
    for kind, add in ((GaussianDraw, add_gaussian), (PoissonDraw, add_poisson)):
        rows = [row for row, draw in enumerate(draws) if isinstance(draw, kind)]
        if len(rows) == len(draws):
            return canvas.with_pixels(add(canvas.pixels, strengths, _grays(draws, rows, device), values))
        if rows:
            index = upload(rows, torch.int64, device)
            parts = (tensor.index_select(0, index) for tensor in (canvas.pixels, strengths))
            part = add(*parts, _grays(draws, rows, device), values.index_select(0, index))
            result.index_copy_(0, index, part)
    return canvas.with_pixels(result)


def add_gaussian(pixels: Tensor, sigma: Tensor, gray: Tensor, values: Tensor) -> Tensor:
    """White noise of `sigma` [n, 1, 1, 1] code values from 16-bit `values` [n, 3, h, w]; `gray` is in them already."""
    return saturate(pixels + _normal(values) * sigma)


def add_poisson(pixels: Tensor, scale: Tensor, gray: Tensor, values: Tensor) -> Tensor:
    """`scale` [n, 1, 1, 1] times shot noise; where `gray` [n, 1, 1, 1] that of the rounded luma, in all channels."""
    codes = torch.round(saturate(pixels))
    codes = torch.where(gray, torch.round(_luma(codes)), codes)
    field = _poisson(codes, values) * np.float32(255.0 / 256.0).item() - codes
    return saturate(pixels + field * scale)


def fields(keys: Sequence[str], grays: Sequence[bool], canvas: Canvas) -> Tensor:
    """Uniform 16-bit values, int32 [n, 3, h, w]; the three channels are the same where gray."""
    count, _, rows, columns = canvas.pixels.shape
    device = canvas.pixels.device
    channels = [1 if gray else 3 for gray in grays]
    longest = max(height * width * depth for (height, width), depth in zip(canvas.sizes, channels, strict=True))
    bits = words(keys, -(-longest // 4), device).view(torch.int16)
    depths = upload(channels, torch.int64, device)[:, None, None, None]
    widths = upload([width for _, width in canvas.sizes], torch.int64, device)[:, None, None, None]
    y = torch.arange(rows, device=device)[:, None]
    x = torch.arange(columns, device=device)
    channel = torch.arange(3, device=device)[:, None, None].clamp_max(depths - 1)
    place = ((y * widths + x) * depths + channel).clamp_max(bits.shape[1] - 1)
    return (bits.gather(1, place.reshape(count, -1)).to(torch.int32) & (_LEVELS - 1)).reshape(canvas.pixels.shape)


def _grays(draws: Sequence[GaussianDraw | PoissonDraw], rows: Sequence[int], device: torch.device) -> Tensor:
    return upload([draws[row].gray for row in rows], torch.bool, device)[:, None, None, None]


def _normal(values: Tensor) -> Tensor:
    return _normal_table(values.device)[values]


def _luma(codes: Tensor) -> Tensor:
    """OpenCV's RGB to gray in float32."""
    red, green, blue = codes.split(1, dim=1)
    return red * 0.299 + green * 0.587 + blue * 0.114


def _poisson(codes: Tensor, values: Tensor) -> Tensor:
    """Counts of rate 256 / 255 times `codes`, as :mod:`degrade.noise` makes them, step by step in float32."""
    z = _normal(values)
    rate = codes * np.float32(256.0 / 255.0).item()
    spread = torch.sqrt((rate - np.float32(1.0 / 12.0).item()).clamp_min(0.0))
    counts = torch.round(spread * z + rate + (z * z - 1.0) * np.float32(1.0 / 6.0).item())
    dark = codes.clamp_max(_DARK - 1).to(torch.int64) * _LEVELS + values
    return torch.where(codes < _DARK, _dark_table(values.device)[dark], counts)


@lru_cache(maxsize=16)
def _normal_table(device: torch.device) -> Tensor:
    return torch.from_numpy(normal_quantiles().copy()).to(device)


@lru_cache(maxsize=16)
def _dark_table(device: torch.device) -> Tensor:
    return torch.from_numpy(poisson_counts().copy()).to(device)
