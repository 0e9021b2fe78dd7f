"""Rounding of integers that are held in floating point, with a gradient where one is asked for."""

from __future__ import annotations

import torch
from torch import Tensor


def surrogate(smooth: Tensor, rounded: Tensor, straight_through: bool) -> Tensor:
    """`rounded` to the last bit, with the gradient of `smooth` when `straight_through` (Bengio et al., 2013)."""
    return rounded.detach() + (smooth - smooth.detach()) if straight_through else rounded


def floor(value: Tensor, straight_through: bool) -> Tensor:
    """Round down. `value` is a temporary: without a gradient it is overwritten."""
    return surrogate(value, torch.floor(value), True) if straight_through else value.floor_()


def half_to_even(value: Tensor, straight_through: bool = False) -> Tensor:
    """Round to integers as NumPy, OpenCV and IEEE 754 do."""
    return surrogate(value, torch.round(value), straight_through)


def saturate(value: Tensor) -> Tensor:
    """Clamp to code values, 0..255."""
    return value.clamp(0.0, 255.0)
