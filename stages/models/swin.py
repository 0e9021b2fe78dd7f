"""A layer of shifted-window transformer blocks inside a convolutional network (arXiv 2103.14030; SwinIR's use of it).

Differences from Swin that ResShift's denoiser has: GroupNorm in place of LayerNorm, the MLP and the ways in
and out as 1x1 convolutions, and no residual around the whole layer.

Inside a layer an image is its tokens [B, H * W, C], window by window. Norms and MLPs do not care for the order of
tokens, so windows are cut once for all blocks of one shift, and never joined between an attention and its MLP.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from stages.models.biased_attention import BiasedAttention
from stages.models.eager import by_hand
from stages.models.norm import GroupNorm
from stages.models.unet import group_norm, pointwise
from stages.models.windows import relative_index, reorder, shift_penalty


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learnt bias for each offset between tokens.

    Tokens [B, H * W, C] of an image of `size` (H, W) come window by window, cut after a roll by `shift`.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int, legacy_shift_mask: bool) -> None:
        super().__init__()
        self.heads, self.window, self.shift, self.legacy = heads, window, shift, legacy_shift_mask
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        length = self.window**2
        qkv = self.qkv(tokens.reshape(-1, length, tokens.shape[-1]))
        table = self.bias.index_select(0, relative_index(self.window, tokens.device))
        bias = table.T.reshape(self.heads, length, length)
        penalty = None
        if self.shift:
            penalty = shift_penalty(*size, self.window, self.shift, self.legacy, tokens.device)
        if torch.is_grad_enabled() and by_hand(qkv):  # no fused kernel has a gradient for the bias there
            attended = BiasedAttention.apply(qkv, bias.contiguous(), penalty)  # type: ignore[no-untyped-call]
        else:
            attended = _attend(qkv, bias[None] if penalty is None else bias + penalty)
        out: Tensor = self.out(attended).reshape(tokens.shape)
        return out


def _attend(qkv: Tensor, bias: Tensor) -> Tensor:
    """Attention of windows [B * W, N, 3C] under a bias [W or 1, heads, N, N] -> [B * W, N, C], by a fused kernel."""
    (count, length, channels), (windows, heads) = qkv.shape, bias.shape[:2]
    q, k, v = (
        # all windows of an image as further heads: fused kernels know masks over heads, not over five axes
        part.transpose(1, 2).reshape(-1, windows * heads, length, channels // (3 * heads))
        for part in qkv.reshape(count, length, 3, heads, -1).unbind(2)
    )
    mask = bias.reshape(1, windows * heads, length, length).to(qkv.dtype)
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.reshape(count, heads, length, -1).transpose(1, 2).reshape(count, length, -1)


class SwinBlock(nn.Module):
    """Window attention and an MLP on tokens [B, H * W, C] in that attention's order, both behind norms, with skips."""

    recomputes = True  # see stages/training/prepare.py

    def __init__(self, channels: int, attention: WindowAttention, mlp_ratio: int, groups: int) -> None:
        super().__init__()
        self.norm_attention = group_norm(channels, groups)
        self.attention = attention
        self.norm_mlp = group_norm(channels, groups)
        self.widen = nn.Conv2d(channels, mlp_ratio * channels, 1)
        self.narrow = nn.Conv2d(mlp_ratio * channels, channels, 1)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        tokens = tokens + self.attention(_normed(self.norm_attention, tokens, size), size)
        hidden = gelu(pointwise(self.widen, _normed(self.norm_mlp, tokens, size)))
        return tokens + pointwise(self.narrow, hidden)


def _normed(norm: GroupNorm, tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """The norm of [B, C, H, W] on tokens [B, H * W, C], in any order."""
    image = tokens.reshape(len(tokens), *size, -1).permute(0, 3, 1, 2)
    out: Tensor = norm(image).permute(0, 2, 3, 1).flatten(1, 2)
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
        self.window = window
        self.enter = nn.Conv2d(channels, embedding, 1)
        self.blocks = nn.ModuleList()
        for i in range(depth):
            shift = window // 2 if shifted and i % 2 else 0
            attention = WindowAttention(embedding, heads, window, shift, legacy_shift_mask)
            self.blocks.append(SwinBlock(embedding, attention, mlp_ratio, groups))
        self.leave = nn.Conv2d(embedding, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        tokens = pointwise(self.enter, x.permute(0, 2, 3, 1)).flatten(1, 2)
        order: int | None = None
        for block in self.blocks:
            shift: int = block.attention.shift  # type: ignore[union-attr, assignment]
            tokens = block(reorder(tokens, size, self.window, order, shift), size)
            order = shift
        tokens = pointwise(self.leave, reorder(tokens, size, self.window, order, None))
        out: Tensor = tokens.reshape(len(x), *size, -1).permute(0, 3, 1, 2)
        return out if x.is_contiguous(memory_format=torch.channels_last) else out.contiguous()
