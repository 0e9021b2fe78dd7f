"""A JPEG round trip without the entropy coding, equal to libjpeg-turbo's to the bit, batched, any quality per image.

All arithmetic is libjpeg's: 8-bit input, fixed-point colour, 4:2:0 with its alternating bias, the integer DCT, tables
of Annex K of ITU-T T.81 scaled by its rule, rounding division, range limits, smooth chroma up-sampling, and its ways to
continue an image beyond its edges. Integers are held in floating point (float64 for the DCT), where every step is
exact: matrix products and floors instead of some 400 integer operations, the same on every device, and differentiable
when asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from degrade.batched import dct
from degrade.batched.borders import Extent, extent, replicate, take
from degrade.batched.chroma import NARROW, double, halve, repeat, rgb_to_ycc, ycc_to_rgb
from degrade.batched.precision import full_float32
from degrade.batched.rounding import half_to_even, saturate, surrogate
from degrade.batched.upload import constant

_LUMA = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99"""


def jpeg(
    images: Tensor,
    quality: Tensor,
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
    straight_through: bool = False,
) -> Tensor:
    """One round trip of RGB `images` [n, 3, h, w] in 0..255 at `quality` [n], integers 1..100; neither is changed.

    The input is rounded to 8 bits first. The result is float32 [n, 3, h, w] of whole code values. `sizes` are
    (height, width) of images that fill only the top left of their [h, w]; what lies beyond them comes back as
    anything. With `straight_through` every rounding passes gradients as the identity would, and clamps as clamps do;
    without it the gradient is zero. No part waits for the device.
    """
    count, _, height, width = images.shape
    known = sizes or [(height, width)] * count
    size = extent(known, images.device)
    whole = sizes is None and height % 16 == width % 16 == 0
    with full_float32(images.device):
        codes = half_to_even(saturate(images.to(torch.float32)), straight_through)
        if not whole:
            codes = take(codes, replicate(0, _up(height), size[0]), replicate(0, _up(width), size[1]))
        ycc = rgb_to_ycc(codes, straight_through)
        tables = quantisation_tables(quality.to(images.device))
        luma = _code(ycc[:, :1], tables[:, :1], straight_through)
        half: Extent = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        small = halve(ycc[:, 1:], straight_through)
        if not whole:  # columns are continued before chroma is averaged, rows after
            small = take(
                small, replicate(0, small.shape[2], half[0]), torch.arange(small.shape[3], device=small.device)[None]
            )
        small = _code(small, tables[:, 1:], straight_through)
        chroma = double(small, None if whole else half, straight_through)
        if any(columns <= 2 * NARROW for _, columns in known):
            chroma = torch.where((half[1] <= NARROW)[:, None, None, None], repeat(small), chroma)
        return ycc_to_rgb(luma, chroma, straight_through)[:, :, :height, :width]


def quantisation_tables(quality: Tensor) -> Tensor:
    """[n, 2, 8, 8] float64 of luma and chroma for integer `quality` [n], transposed: column frequency first.

    floor((t s + 50) / 100) between 1 and 255, s = floor(5000 / q) below quality 50 and 200 - 2 q from there.
    """
    q = quality.to(torch.float64).clamp(1.0, 100.0)
    scale = torch.where(q < 50.0, torch.floor(5000.0 / q), 200.0 - 2.0 * q)
    base = _annex_k(quality.device)
    return torch.floor((base * scale[:, None, None, None] + 50.0) / 100.0).clamp(1.0, 255.0)


@constant
def _annex_k() -> Tensor:
    tables = [[int(entry) for entry in text.split()] for text in (_LUMA, _CHROMA)]
    return torch.tensor(tables, dtype=torch.float64).reshape(2, 8, 8).transpose(1, 2)


def _code(planes: Tensor, table: Tensor, straight_through: bool) -> Tensor:
    """DCT, quantise, and back, of planes [n, c, h, w] whose sides are multiples of 8."""
    count, channels, height, width = planes.shape
    grid = (count, channels, height // 8, 8, width // 8, 8)
    blocks = (planes - 128.0).reshape(grid).transpose(3, 4).to(torch.float64)
    step = table[:, :, None, None]
    scaled = dct.forward(blocks, straight_through) / (8.0 * step)
    whole = torch.copysign(torch.floor(scaled.abs() + 0.5), scaled)  # half away from zero
    coefficients = surrogate(scaled, whole, straight_through) * step
    samples = saturate(dct.inverse(coefficients, straight_through) + 128.0)
    return samples.to(torch.float32).transpose(3, 4).reshape(planes.shape)


def _up(side: int) -> int:
    """To whole blocks of chroma."""
    return -(-side // 16) * 16
