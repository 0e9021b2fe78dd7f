"""Convolutions that change the resolution by two."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate, pad


class Halving(nn.Conv2d):
    """A 3x3 convolution of stride 2 that pads one row and column of zeros at the bottom and right only."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad(x, (0, 1, 0, 1)))


class Doubling(nn.Conv2d):
    """Nearest-neighbour enlargement by two, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(interpolate(x, scale_factor=2.0, mode="nearest"))
