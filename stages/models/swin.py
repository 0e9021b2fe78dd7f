"""A layer of shifted-window transformer blocks inside a convolutional network (arXiv 2103.14030; SwinIR's use of it).

Differences from Swin that ResShift's denoiser has: GroupNorm in place of LayerNorm, the MLP and the ways in
and out as 1x1 convolutions, and no residual around the whole layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from stages.models.unet import group_norm
from stages.models.windows import cut_windows, join_windows, relative_index, shift_penalty


class WindowAttention(nn.Module):
    """Multi-head attention inside windows of x [B, C, H, W], with a learnt bias for each offset between tokens."""

    def __init__(self, channels: int, heads: int, window: int, shift: int, legacy_shift_mask: bool) -> None:
        super().__init__()
        self.heads, self.window, self.shift, self.legacy = heads, window, shift, legacy_shift_mask
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (2, 3))
        attended = self._attend(cut_windows(x, self.window), channels, height, width)
        x = join_windows(self.out(attended), self.window, height, width)
        return torch.roll(x, (self.shift, self.shift), (2, 3)) if self.shift else x

    def _attend(self, tokens: Tensor, channels: int, height: int, width: int) -> Tensor:
        count, length = tokens.shape[:2]
        heads = self.heads
        qkv = self.qkv(tokens).reshape(count, length, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
        bias = self.bias[relative_index(self.window, tokens.device)].reshape(length, length, heads).permute(2, 0, 1)
        if self.shift:
            bias = bias + shift_penalty(height, width, self.window, self.shift, self.legacy, tokens.device)
            # all windows of an image as further heads: fused kernels know masks over heads, not over five axes
            heads *= bias.shape[0]
            qkv = qkv.reshape(3, -1, heads, length, channels // self.heads)
        mask = bias.reshape(1, heads, length, length).to(qkv.dtype)
        q, k, v = qkv.unbind(0)
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.reshape(count, self.heads, length, -1).transpose(1, 2).reshape(count, length, channels)


class SwinBlock(nn.Module):
    """Window attention and an MLP, each behind a norm and beside a skip."""

    recomputes = True  # see stages/training/prepare.py

    def __init__(self, channels: int, attention: WindowAttention, mlp_ratio: int, groups: int) -> None:
        super().__init__()
        self.norm_attention = group_norm(channels, groups)
        self.attention = attention
        self.norm_mlp = group_norm(channels, groups)
        self.widen = nn.Conv2d(channels, mlp_ratio * channels, 1)
        self.narrow = nn.Conv2d(mlp_ratio * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_attention(x))
        out: Tensor = x + self.narrow(gelu(self.widen(self.norm_mlp(x))))
        return out


class SwinLayer(nn.Module):
    """`depth` blocks of width `embedding` on x [B, channels, H, W]; every second one is shifted by half a window.

    H and W are multiples of `window`. With `shifted` false no block is: where the image that a network is made
    for is a single window, there is nothing to shift.
    """

    def __init__(
        self, channels: int, embedding: int, heads: int, window: int, depth: int, mlp_ratio: int, groups: int,
        shifted: bool, legacy_shift_mask: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.enter = nn.Conv2d(channels, embedding, 1)
        self.blocks = nn.ModuleList()
        for i in range(depth):
            shift = window // 2 if shifted and i % 2 else 0
            attention = WindowAttention(embedding, heads, window, shift, legacy_shift_mask)
            self.blocks.append(SwinBlock(embedding, attention, mlp_ratio, groups))
        self.leave = nn.Conv2d(embedding, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.leave(x)
        return out
