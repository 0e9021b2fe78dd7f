"""Self-attention over all positions of a feature map, exact, in bounded memory.

Autoencoders attend at their lowest resolution with one head as wide as the features (512 channels). At a
2048-pixel image that is 512^2 = 262,144 positions, and fused kernels that never form the matrix do not take
heads that wide everywhere. Rows of the matrix are independent, so they are computed in groups: the result is
that of one product, the largest intermediate is a group of rows.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

MATRIX_LIMIT: Final = 2**27
"""Numbers of the attention matrix that may exist at once: 512 MiB in float32."""


def attend(q: Tensor, k: Tensor, v: Tensor, limit: int = MATRIX_LIMIT) -> Tensor:
    """softmax(q k^T / sqrt(C)) v for [B, N, C], at most `limit` numbers of the [B, N, N] matrix at a time."""
    batch, length, _ = q.shape
    rows = max(1, limit // (batch * length))
    keys, values = k[:, None], v[:, None]
    parts = [scaled_dot_product_attention(part[:, None], keys, values)[:, 0] for part in torch.split(q, rows, 1)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class SpatialAttention(nn.Module):
    """One-head attention over the positions of x [B, C, H, W], behind a norm and beside a skip."""

    def __init__(self, channels: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        attended = attend(q, k, v).transpose(1, 2).reshape(x.shape)
        out: Tensor = x + self.out(attended)
        return out
