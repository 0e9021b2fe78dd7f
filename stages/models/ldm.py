"""Convolutional encoder and decoder of the latent diffusion autoencoders (Rombach et al., arXiv 2112.10752, app. G).

Both VQ-f4 and KL-f8 are made of them: residual blocks by level, halving by a strided convolution that pads at
the bottom and right only, doubling by nearest neighbour and a convolution, one attention at the lowest level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.models.attention import SpatialAttention
from stages.models.norm import GroupNorm
from stages.models.resample import Doubling, Halving
from stages.models.unet import channels_inside


def norm(channels: int, groups: int) -> GroupNorm:
    return GroupNorm(groups, channels, eps=1e-6)


class Block(nn.Module):
    """Two convolutions behind norms, beside a skip."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm_in = norm(inputs, groups)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm_out = norm(outputs, groups)
        self.conv_out = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(self.norm_in(x, activate=True))
        h = self.conv_out(self.norm_out(h, activate=True))
        skip = self.skip(x)
        out: Tensor = skip + h if torch.is_grad_enabled() else h.add_(skip)  # this h has no other reader
        return out


class Level(nn.Module):
    """Blocks at one resolution, then the way to the next one (absent at the last)."""

    def __init__(self, inputs: int, outputs: int, blocks: int, groups: int, resample: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(inputs if i == 0 else outputs, outputs, groups) for i in range(blocks))
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.resample(x)
        return out


def _middle(channels: int, groups: int) -> nn.Sequential:
    attention = SpatialAttention(channels, norm(channels, groups))
    return nn.Sequential(Block(channels, channels, groups), attention, Block(channels, channels, groups))


def blocks_by_level(blocks: int | Sequence[int], levels: int) -> list[int]:
    """Residual blocks of each level, finest first. Raises ValueError when a list has another length."""
    counts = [blocks] * levels if isinstance(blocks, int) else list(blocks)
    if len(counts) != levels:
        raise ValueError(f"blocks: expected one number, or {levels} for the levels of multipliers, got {counts}")
    return counts


class Encoder(nn.Module):
    """Image [B, 3, H, W] -> [B, outputs, H/f, W/f], f = 2^(levels - 1); H and W are multiples of f."""

    def __init__(
        self, outputs: int, width: int, multipliers: Sequence[int], blocks: int | Sequence[int], groups: int
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.levels = nn.ModuleList()
        now = width
        counts = blocks_by_level(blocks, len(multipliers))
        for level, (multiplier, count) in enumerate(zip(multipliers, counts, strict=True)):
            after = width * multiplier
            last = level == len(multipliers) - 1
            self.levels.append(Level(now, after, count, groups, nn.Identity() if last else Halving(after)))
            now = after
        self.middle = _middle(now, groups)
        self.norm = norm(now, groups)
        self.head = nn.Conv2d(now, outputs, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        h = self.stem(channels_inside(image))
        for level in self.levels:
            h = level(h)
        out: Tensor = self.head(self.norm(self.middle(h), activate=True))
        return out


class Decoder(nn.Module):
    """[B, inputs, h, w] -> image [B, 3, h*f, w*f]; one block more a level than the encoder.

    `levels` are finest first as in the encoder, and run from the last to the first.
    """

    def __init__(
        self, inputs: int, width: int, multipliers: Sequence[int], blocks: int | Sequence[int], groups: int
    ) -> None:
        super().__init__()
        widths = [width * multiplier for multiplier in multipliers]
        self.stem = nn.Conv2d(inputs, widths[-1], 3, padding=1)
        self.middle = _middle(widths[-1], groups)
        self.levels = nn.ModuleList()
        counts = blocks_by_level(blocks, len(widths))
        for level, (now, count) in enumerate(zip(widths, counts, strict=True)):
            before = widths[min(level + 1, len(widths) - 1)]
            resample = Doubling(now) if level else nn.Identity()
            self.levels.append(Level(before, now, count + 1, groups, resample))
        self.norm = norm(widths[0], groups)
        self.head = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        h = self.middle(self.stem(channels_inside(latent)))
        for level in reversed(self.levels):
            h = level(h)
        out: Tensor = self.head(self.norm(h, activate=True))
        return out
