"""A small residual UNet: the shape of the papers' denoisers at a size that two CPU cores can train.

GroupNorm, SiLU and 3x3 convolutions; the time step enters every block by scale and shift (FiLM, as
`use_scale_shift_norm` of the ADM family); attention, if asked for, sits at the lowest resolution only.
The last convolution starts at zero, so an untrained network answers 0 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, scaled_dot_product_attention

from stages.models.norm import GroupNorm


def time_embedding(t: Tensor, size: int) -> Tensor:
    """Sine and cosine features [B, size] of integer steps `t` [B], periods from 2 pi to 10,000 x 2 pi."""
    half = size // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=t.device) / half)
    angles = t[:, None].float() * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def start_at_zero(layer: nn.Conv2d) -> nn.Conv2d:
    """The same layer with all weights zero: what it is part of starts as if it were not there."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def group_norm(channels: int, groups: int) -> GroupNorm:
    return GroupNorm(math.gcd(groups, channels), channels)


def pointwise(layer: nn.Conv2d, tokens: Tensor) -> Tensor:
    """A 1x1 convolution on tokens [..., channels]: a matrix product."""
    return linear(tokens, layer.weight.flatten(1), layer.bias)


def channels_inside(x: Tensor) -> Tensor:
    """x [B, C, H, W] as it is best laid out for its device: on CPUs with channels innermost.

    Convolutions take their layout from their input, and 1x1 convolutions become matrix products. On an accelerator
    the config says (`channels_last`).
    """
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


class Pointwise(nn.Conv2d):
    """A 1x1 convolution, which on an x with channels innermost is a matrix product."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous(memory_format=torch.channels_last):
            return pointwise(self, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return super().forward(x)


class ResBlock(nn.Module):
    """Two convolutions around a FiLM of the time embedding, beside a skip; the second convolution starts at zero."""

    recomputes = True  # see stages/training/prepare.py

    def __init__(self, inputs: int, outputs: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.norm_in = group_norm(inputs, groups)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.norm_out = group_norm(outputs, groups)
        self.conv_out = start_at_zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = Pointwise(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(self.norm_in(x, activate=True))
        scale, shift = self.film(embedding).chunk(2, dim=1)
        h = self.conv_out(self.norm_out(h, scale, shift, activate=True))
        out: Tensor = self.skip(x) + h
        return out


class Attention(nn.Module):
    """Global self-attention over all positions with a residual; cost grows with the square of H*W."""

    def __init__(self, channels: int, groups: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels, groups)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = start_at_zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        attended = scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.out(attended.transpose(-1, -2).reshape(batch, channels, height, width))
        return out


class UNet(nn.Module):
    """`forward(x, condition, t)`: x [B, channels, H, W] with its condition [B, conditions, H, W] and steps t int64 [B].

    The answer has the shape of x; H and W are multiples of `multiple`. `widths` are the channels of each level,
    finest first; every level after the first halves the resolution. Noisy latent and condition have a first
    convolution each, and are added: as one concatenation, initialised by one fan-in, three planes of LR pixels
    would begin drowned in 48 planes of noise. With `noise_channels`, planes [B, noise_channels, H, W] of noise
    follow x in its convolution.
    """

    condition_factor = 1
    """Side of the condition over the side of x."""

    def __init__(
        self, channels: int, conditions: int, widths: Sequence[int], blocks: int, attention: bool, groups: int,
        noise_channels: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.multiple = 2 ** (len(widths) - 1)
        self.features = widths[0]
        self.bottleneck_channels = widths[-1]
        size = 4 * widths[0]
        self.time = nn.Sequential(nn.Linear(self.features, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU())
        self.stem = nn.Conv2d(channels + noise_channels, widths[0], 3, padding=1)
        self.condition = nn.Conv2d(conditions, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.encoder = nn.ModuleList()
        before = widths[0]
        for level, width in enumerate(widths):
            self.down.append(nn.Conv2d(before, width, 3, stride=2, padding=1) if level else nn.Identity())
            self.encoder.append(nn.ModuleList(ResBlock(width, width, size, groups) for _ in range(blocks)))
            before = width
        self.attention = Attention(before, groups) if attention else nn.Identity()
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(nn.Conv2d(before, width, 3, padding=1))
            merged = [ResBlock(2 * width if i == 0 else width, width, size, groups) for i in range(blocks)]
            self.decoder.append(nn.ModuleList(merged))
            before = width
        self.norm = group_norm(before, groups)
        self.head = start_at_zero(nn.Conv2d(before, channels, 3, padding=1))

    def _encode(
        self, x: Tensor, condition: Tensor, t: Tensor, planes: Tensor | None
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        embedding = self.time(time_embedding(t, self.features).to(x.dtype))
        h = self.stem(x if planes is None else torch.cat([x, planes], dim=1)) + self.condition(condition)
        skips: list[Tensor] = []
        for down, blocks in zip(self.down, self.encoder, strict=True):
            h = down(h)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedding)
            skips.append(h)
        return self.attention(skips.pop()), skips, embedding

    def bottleneck(self, x: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        """Features of the lowest resolution [B, bottleneck_channels, H / multiple, W / multiple]."""
        return self._encode(x, condition, t, None)[0]

    def forward(self, x: Tensor, condition: Tensor, t: Tensor, planes: Tensor | None = None) -> Tensor:
        h, skips, embedding = self._encode(x, condition, t, planes)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            h = torch.cat([up(interpolate(h, scale_factor=2.0, mode="nearest")), skips.pop()], dim=1)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedding)
        out: Tensor = self.head(self.norm(h, activate=True))
        return out
