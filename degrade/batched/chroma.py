"""libjpeg's colour: fixed-point YCbCr, 2 x 2 averaging of chroma, and its smooth way back.

On integers held in float32: no sum in here reaches 2**24, so every one is exact (the largest is Cb of pure blue, one
less than that). It takes full float32 products (:mod:`degrade.batched.precision`).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from degrade.batched.borders import Extent, replicate, take
from degrade.batched.rounding import floor, saturate
from degrade.batched.upload import constant

NARROW: Final = 2


def _fixed(value: float) -> int:
    return int(value * 65536 + 0.5)


@constant
def _to_ycc() -> Tensor:
    """[3, 4]: Y, Cb, Cr of R, G, B and 1; the rounding bias is in the last column (ITU-R T.871)."""
    half, centre = 1 << 15, 128 << 16
    table = torch.tensor(
        [
            [_fixed(0.29900), _fixed(0.58700), _fixed(0.11400), half],
            [-_fixed(0.16874), -_fixed(0.33126), _fixed(0.50000), centre + half - 1],
            [_fixed(0.50000), -_fixed(0.41869), -_fixed(0.08131), centre + half - 1],
        ],
        dtype=torch.float32,
    )
    return table * 2.0**-16


def rgb_to_ycc(rgb: Tensor, straight_through: bool) -> Tensor:
    """[n, 3, h, w] of integers 0..255, float32, to the same of Y, Cb, Cr."""
    table = _to_ycc(rgb.device)
    mixed = torch.einsum("ij,njhw->nihw", table[:, :3], rgb) + table[:, 3, None, None]
    return floor(mixed, straight_through)


def ycc_to_rgb(luma: Tensor, chroma: Tensor, straight_through: bool) -> Tensor:
    """[n, 3, h, w] of integers 0..255 from `luma` [n, 1, h, w] and `chroma` [n, 2, h, w] (Cb, Cr)."""
    blue, red = (chroma - 128.0).unbind(1)
    terms = torch.stack(
        [
            red * (_fixed(1.40200) * 2.0**-16),
            blue * (-_fixed(0.34414) * 2.0**-16) + red * (-_fixed(0.71414) * 2.0**-16),
            blue * (_fixed(1.77200) * 2.0**-16),
        ],
        dim=1,
    )
    return saturate(luma + floor(terms + 0.5, straight_through))  # half up, once for both terms of green


def halve(planes: Tensor, straight_through: bool) -> Tensor:
    """Average 2 x 2 samples of even-sized planes; the bias alternates 1, 2, 1, 2 along a row and so adds nothing."""
    rows, columns = planes.shape[2] // 2, planes.shape[3] // 2
    total = planes.reshape(*planes.shape[:2], rows, 2, columns, 2).sum(dim=(3, 5))
    bias = 1.0 + torch.arange(columns, device=planes.device) % 2
    return floor((total + bias) * 0.25, straight_through)


def repeat(planes: Tensor) -> Tensor:
    """Twice the size by repeating samples: what libjpeg does in planes of `NARROW` columns or less."""
    return planes.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def double(planes: Tensor, size: Extent | None, straight_through: bool) -> Tensor:
    """Twice the size, by weights 9 3 3 1 of the four nearest samples (libjpeg's "fancy" up-sampling).

    `size` is (heights, widths) of the part of `planes` [n, c, h, w] that means something, None for all of them; beyond
    it the last sample counts.
    """
    _, _, rows, columns = planes.shape
    if size is None:
        around = functional.pad(planes, [1] * 4, mode="replicate")
    else:
        around = take(planes, replicate(-1, rows + 2, size[0]), replicate(-1, columns + 2, size[1]))
    here = 3.0 * around[:, :, 1:-1]
    vertical = torch.stack([here + around[:, :, :-2], here + around[:, :, 2:]], dim=3).flatten(2, 3)
    middle = 3.0 * vertical[..., 1:-1]
    left = middle + vertical[..., :-2] + 8.0
    right = middle + vertical[..., 2:] + 7.0
    return floor(torch.stack([left, right], dim=4).flatten(3, 4) * 0.0625, straight_through)
