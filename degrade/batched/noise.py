"""Gaussian, correlated and Poisson noise of a batch: :mod:`degrade.noise` and :mod:`degrade.covariance` in torch.

All kinds share the random words of one batch (:mod:`degrade.batched.fields`), which cost more than the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from degrade.batched.canvas import Canvas
from degrade.batched.fields import dark_counts, fields, normal
from degrade.batched.rounding import saturate
from degrade.batched.upload import constant, upload
from degrade.covariance import factor
from degrade.operators.correlated import CorrelatedDraw
from degrade.operators.noise import GaussianDraw, PoissonDraw

AnyNoise = GaussianDraw | PoissonDraw | CorrelatedDraw
_DARK: Final = 16


def noise(canvas: Canvas, draws: Sequence[AnyNoise]) -> Canvas:
    """Add to every image the noise of its draw, and clip to 0..255."""
    grays = [not isinstance(draw, CorrelatedDraw) and draw.gray for draw in draws]
    values = fields([draw.noise_key for draw in draws], grays, canvas)
    result = canvas.pixels
    for kind in dict.fromkeys(type(draw) for draw in draws):
        rows = [row for row, draw in enumerate(draws) if type(draw) is kind]
        chosen = [draws[row] for row in rows]
        if len(rows) == len(draws):
            return canvas.with_pixels(saturate(_ADDED[kind](result, values, chosen)))
        index = upload(rows, torch.int64, result.device)
        part = _ADDED[kind](canvas.pixels.index_select(0, index), values.index_select(0, index), chosen)
        result = result.index_copy(0, index, part)
    return canvas.with_pixels(saturate(result))


def _gaussian(pixels: Tensor, values: Tensor, draws: Sequence[GaussianDraw]) -> Tensor:
    return pixels + normal(values) * _each([draw.sigma for draw in draws], pixels.device)


def _correlated(pixels: Tensor, values: Tensor, draws: Sequence[CorrelatedDraw]) -> Tensor:
    mix = upload([factor(draw.covariance()) for draw in draws], torch.float32, pixels.device)
    return pixels + torch.einsum("nij,njhw->nihw", mix, normal(values))


def _poisson(pixels: Tensor, values: Tensor, draws: Sequence[PoissonDraw]) -> Tensor:
    """Where gray, the noise is that of the rounded luma, in all channels."""
    device = pixels.device
    codes = torch.round(saturate(pixels))
    gray = upload([draw.gray for draw in draws], torch.bool, device)[:, None, None, None]
    codes = torch.where(gray, torch.round(_luma(codes)), codes)
    field = _counts(codes, values) * _each([draw.scale * 255.0 / 256.0 for draw in draws], device)
    return pixels + (field - codes * _each([draw.scale for draw in draws], device))


_ADDED: Final[dict[type[AnyNoise], Callable[[Tensor, Tensor, Sequence[Any]], Tensor]]] = {
    GaussianDraw: _gaussian,
    CorrelatedDraw: _correlated,
    PoissonDraw: _poisson,
}


def _luma(codes: Tensor) -> Tensor:
    """OpenCV's RGB to gray in float32."""
    return codes[:, :1] * 0.299 + codes[:, 1:2] * 0.587 + codes[:, 2:] * 0.114


def _counts(codes: Tensor, values: Tensor) -> Tensor:
    """Counts of rate 256 / 255 times `codes`: the polynomial of :func:`degrade.noise.poisson`, dark ones by table."""
    z = normal(values)
    deviation, offset = _moments(codes.device)
    index = codes.to(torch.int64)
    counts = torch.round((z * float(np.float32(1.0 / 6.0)) + deviation[index]) * z + offset[index])
    return torch.where(codes < _DARK, dark_counts(index, values), counts)


@constant
def _moments() -> Tensor:
    """[2, 256]: by code value the standard deviation before rounding, and the rate less a sixth."""
    rate = torch.arange(256, dtype=torch.float64) * (256.0 / 255.0)
    deviation = torch.sqrt((rate - 1.0 / 12.0).clamp_min(0.0))
    return torch.stack([deviation, rate - 1.0 / 6.0]).to(torch.float32)


def _each(values: Sequence[float], device: torch.device) -> Tensor:
    return upload(values, torch.float32, device)[:, None, None, None]
