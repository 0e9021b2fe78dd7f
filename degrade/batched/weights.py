"""Matrices of one-dimensional resampling by OpenCV's rules, of a batch of lengths, made on the device.

Rows are outputs, columns inputs, each with its weight. Where lengths differ, a matrix fills its top left part.
"""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor

from degrade.batched.fused import fusable

Rule = Literal["area", "cubic", "linear", "stretch"]
_CUBIC: Final = -0.75
_NEGLIGIBLE: Final = 1e-3
"""OpenCV leaves out the part of a pixel that an area covers by less than this."""


@fusable
def matrices(rule: Rule, source: Tensor, target: Tensor, shape: tuple[int, int]) -> Tensor:
    """float32 [n, *shape] for float64 lengths `source` and `target` [n, 1]; `shape` is (outputs, inputs).

    linear and cubic sample at half-pixel centres; area averages exact footprints; stretch is what OpenCV makes of area
    where a side grows: most pixels are repeated, and linear weights are left where an output pixel straddles two.
    """
    growth = target / source
    scale = 1.0 / growth  # OpenCV's own operations: where an output starts at a pixel's edge, the last bit decides
    place = torch.arange(shape[0], dtype=torch.float64, device=source.device)
    pixel = torch.arange(shape[1], dtype=torch.float32, device=source.device)
    if rule == "area":
        return _area(torch.minimum(place * scale, source), torch.minimum((place + 1) * scale, source), pixel)
    if rule == "cubic":
        return _cubic((place + 0.5) * scale - 0.5, source, pixel)
    if rule == "linear":
        return _tent((place + 0.5) * scale - 0.5, source, pixel)
    left = torch.floor(place * scale)
    part = ((place + 1) - (left + 1) * growth).to(torch.float32)
    return _tent(left + torch.where(part > 0, part - torch.floor(part), 0.0), source, pixel)


def _tent(position: Tensor, source: Tensor, pixel: Tensor) -> Tensor:
    """Linear interpolation at `position` [n, out], held at the edges."""
    held = torch.minimum(position.clamp_min(0.0), source - 1)
    return (1.0 - _distance(held, pixel).abs()).clamp_min(0.0)


def _area(start: Tensor, end: Tensor, pixel: Tensor) -> Tensor:
    """The share of the interval [start, end] that each pixel covers."""
    cover = _distance(end, pixel).clamp(0.0, 1.0) - _distance(start, pixel).clamp(0.0, 1.0)
    kept = torch.where(cover > _NEGLIGIBLE, cover, 0.0)
    return kept / (end - start).clamp_min(_NEGLIGIBLE).to(torch.float32)[:, :, None]


def _cubic(position: Tensor, source: Tensor, pixel: Tensor) -> Tensor:
    """Keys' kernel with a = -0.75 over four pixels; those beyond an edge count as the edge."""
    first = torch.floor(position)
    t = (position - first).to(torch.float32)
    a, u = _CUBIC, 1.0 - t
    before = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
    at = ((a + 2) * t - (a + 3)) * t * t + 1
    after = ((a + 2) * u - (a + 3)) * u * u + 1
    result = torch.zeros((), dtype=torch.float32, device=pixel.device)
    for tap, weight in enumerate((before, at, after, 1.0 - before - at - after)):
        place = torch.minimum((first + (tap - 1)).clamp_min(0.0), source - 1).to(torch.float32)
        result = result + torch.where(place[:, :, None] == pixel, weight[:, :, None], 0.0)
    return result


def _distance(position: Tensor, pixel: Tensor) -> Tensor:
    """float32 [n, out, in]: position - pixel, without losing the fraction of a large position."""
    whole = torch.floor(position)
    return (whole.to(torch.float32)[:, :, None] - pixel) + (position - whole).to(torch.float32)[:, :, None]
