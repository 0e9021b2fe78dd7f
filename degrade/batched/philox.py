"""Philox-4x64-10 words on any device, equal to :func:`degrade.philox.words`.

The arithmetic is unsigned 64-bit; torch has signed 64-bit integers that wrap, which is the same for sums, products and
exclusive or. Shifts and the upper half of a product are done on 32-bit halves. On the CPU, NumPy's C is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

from degrade import philox
from degrade.batched.upload import upload

_ROUNDS: Final = 10
_MULTIPLIERS: Final = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL: Final = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_HALF: Final = 0xFFFFFFFF


def words(keys: Sequence[str], count: int, device: torch.device) -> Tensor:
    """Words 0..count-1 of the streams `keys` (32 hexadecimal digits each), int64 [n, count], bits as unsigned."""
    if device.type == "cpu":
        return torch.from_numpy(np.stack([philox.words(key, count) for key in keys]).view(np.int64))
    blocks = -(-count // 4)
    return blocks_of(upload([_halves(key) for key in keys], torch.int64, device), blocks)[:, :count]


def blocks_of(keys: Tensor, blocks: int) -> Tensor:
    """The first 4 * `blocks` words, int64 [n, 4 * blocks], for int64 `keys` [n, 2] (lower and upper 64 bits)."""
    zero = torch.zeros((), dtype=torch.int64, device=keys.device)
    c0: Tensor = torch.arange(blocks, dtype=torch.int64, device=keys.device)[None]
    c1 = c2 = c3 = zero
    k0, k1 = keys[:, :1], keys[:, 1:]
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(_MULTIPLIERS[0], c0)
        high1, low1 = _multiply(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + _signed(_WEYL[0]), k1 + _signed(_WEYL[1])
    return torch.stack([word.expand(keys.shape[0], blocks) for word in (c0, c1, c2, c3)], dim=2).flatten(1)


def _multiply(factor: int, value: Tensor) -> tuple[Tensor, Tensor]:
    """Upper and lower 64 bits of the 128-bit product of an unsigned constant and unsigned `value`."""
    factor_high, factor_low = factor >> 32, factor & _HALF
    high, low = (value >> 32) & _HALF, value & _HALF
    low_high, high_low = low * factor_high, high * factor_low
    carry = _upper(low * factor_low) + (low_high & _HALF) + (high_low & _HALF)
    return high * factor_high + _upper(low_high) + _upper(high_low) + (carry >> 32), value * _signed(factor)


def _upper(value: Tensor) -> Tensor:
    """Logical shift right by 32."""
    return (value >> 32) & _HALF


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit integer."""
    return value - (1 << 64) if value >> 63 else value


@lru_cache(maxsize=4096)
def _halves(key: str) -> tuple[int, int]:
    value = int(key, 16)
    return _signed(value & ((1 << 64) - 1)), _signed(value >> 64)
