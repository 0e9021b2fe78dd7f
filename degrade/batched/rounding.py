"""Rounding of integers that are held in floating point, with a gradient where one is asked for."""

from __future__ import annotations

import torch
from torch import Tensor


def surrogate(smooth: Tensor, rounded: Tensor, straight_through: bool) -> Tensor:
    """`rounded` to the last bit, with the gradient of `smooth` when `straight_through` (Bengio et al., 2013)."""
    return rounded.detach() + (smooth - smooth.detach()) if straight_through else rounded


def shift_right(value: Tensor, bits: int, straight_through: bool = False) -> Tensor:
    """(value + 2**(bits - 1)) >> bits of float64 integers: division by 2**bits, half rounded up."""
    smooth = value * 2.0**-bits
    return surrogate(smooth, torch.floor(smooth + 0.5), straight_through)


def half_to_even(value: Tensor, straight_through: bool = False) -> Tensor:
    """Round to integers as NumPy, OpenCV and IEEE 754 do."""
    return surrogate(value, torch.round(value), straight_through)


def saturate(value: Tensor) -> Tensor:
    """Clamp to code values, 0..255."""
    return value.clamp(0.0, 255.0)
