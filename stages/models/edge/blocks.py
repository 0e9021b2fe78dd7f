"""What the edge UNet is made of: layers that phones run well, and nothing above four dimensions.

Facts about compilers and devices behind the choices: attention as scale, product, softmax, product, because the fused
operator leaves masking operations behind in some exporters; heads split within the channels, because a fifth dimension
is refused by mobile GPU delegates; norms as operators of four dimensions; the embedding of t as a bias, so that one
fixed t can be folded away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import hardswish, silu

from stages.models.unet import group_norm, start_at_zero, time_embedding

ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {"silu": silu, "hardswish": hardswish}


class TimeEmbedding(nn.Module):
    """Steps int64 [B] -> [B, size]: sines and cosines, two layers, and the activation that every block begins with."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.features = features
        self.first, self.second = nn.Linear(features, size), nn.Linear(size, size)

    def forward(self, t: Tensor) -> Tensor:
        waves = time_embedding(t, self.features).to(self.first.weight.dtype)
        return silu(self.second(silu(self.first(waves))))


class EdgeBlock(nn.Module):
    """Two convolutions behind norms, beside a skip; the second starts at zero. Stable Diffusion's, layer for layer.

    `forward(x [B, inputs, H, W], embedding [B, E] or None)`. `embedding` 0 makes the block of a folded network, in
    which the first convolution's bias holds what the embedding of the one t would add.
    """

    recomputes = True  # see stages/training/prepare.py

    def __init__(self, inputs: int, outputs: int, embedding: int, groups: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.norm1 = group_norm(inputs, groups)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(embedding, outputs) if embedding else None
        self.norm2 = group_norm(outputs, groups)
        self.conv2 = start_at_zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        h = self.conv1(self.activation(self.norm1(x)))
        if self.time is not None and embedding is not None:
            h = h + self.time(embedding)[:, :, None, None]
        h = self.conv2(self.activation(self.norm2(h)))
        out: Tensor = self.skip(x) + h
        return out


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of [B, C, H, W], in four dimensions; in float32, as squares overflow halves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float32 else x.float()  # no conversion of nothing in an exported graph
        centred = wide - wide.mean(dim=1, keepdim=True)
        normed = centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + 1e-5)
        out: Tensor = normed * self.weight[:, None, None] + self.bias[:, None, None]
        return out if x.dtype == torch.float32 else out.to(x.dtype)


class EdgeAttention(nn.Module):
    """Self-attention over all positions [B, C, H, W]; at most three dimensions. Cost grows with the square of H*W."""

    def __init__(self, channels: int, head_width: int) -> None:
        super().__init__()
        self.heads = channels // head_width
        self.scale = head_width**-0.5
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(3))
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        split = (batch * self.heads, channels // self.heads, height * width)
        q, k, v = (layer(x).reshape(split) for layer in (self.q, self.k, self.v))
        weights = torch.softmax(torch.bmm((q * self.scale).transpose(1, 2), k), dim=-1)
        attended = torch.bmm(v, weights.transpose(1, 2)).reshape(batch, channels, height, width)
        out: Tensor = self.out(attended)
        return out


class EdgeTransformer(nn.Module):
    """Stable Diffusion's transformer block without its cross-attention; every projection is a 1x1 convolution.

    Attention, then a gated layer four times as wide, each behind a norm and beside a skip; all of it between two
    projections and beside another skip. The last projection starts at zero. The gate has the network's activation
    where Stable Diffusion has GELU.
    """

    recomputes = True

    def __init__(self, channels: int, head_width: int, groups: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.norm = group_norm(channels, groups)
        self.enter = nn.Conv2d(channels, channels, 1)
        self.norm1 = ChannelNorm(channels)
        self.attention = EdgeAttention(channels, head_width)
        self.norm2 = ChannelNorm(channels)
        self.value, self.gate = (nn.Conv2d(channels, 4 * channels, 1) for _ in range(2))
        self.narrow = nn.Conv2d(4 * channels, channels, 1)
        self.leave = start_at_zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(self.norm(x))
        h = h + self.attention(self.norm1(h))
        wide = self.norm2(h)
        h = h + self.narrow(self.value(wide) * self.activation(self.gate(wide)))
        out: Tensor = x + self.leave(h)
        return out
