"""Philox-4x64-10 words on any device, equal to :func:`degrade.philox.words`.

The arithmetic is unsigned 64-bit; torch has signed 64-bit integers that wrap, which is the same for sums, products and
exclusive or. The upper half of a product is made of 32-bit digits. On the CPU, NumPy's C is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

from degrade import philox
from degrade.batched.fused import fusable
from degrade.batched.upload import constant, upload

_ROUNDS: Final = 10
_MULTIPLIERS: Final = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL: Final = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_HALF: Final = 0xFFFFFFFF


def words(keys: Sequence[str], count: int, device: torch.device) -> Tensor:
    """Words 0..count-1 of the streams `keys` (32 hexadecimal digits each), int64 [n, count], bits as unsigned."""
    if device.type == "cpu":
        return torch.from_numpy(np.stack([philox.words(key, count) for key in keys]).view(np.int64))
    blocks = -(-count // 4)
    return blocks_of(upload([_halves(key) for key in keys], torch.int64, device), constants(device), blocks)[:, :count]


@fusable
def blocks_of(keys: Tensor, numbers: Tensor, blocks: int) -> Tensor:
    """The first 4 * `blocks` words, int64 [n, 4 * blocks], for int64 `keys` [n, 2] (lower and upper 64 bits).

    `numbers` are the :func:`constants`. The two halves of a round are one tensor [2, n, blocks]: 25 launches a round
    instead of 50.
    """
    factors, weyl = numbers[:3], numbers[3]
    key = keys.T[:, :, None]
    first = torch.arange(blocks, dtype=torch.int64, device=keys.device).expand(keys.shape[0], -1)
    even = torch.stack([first, torch.zeros_like(first)])
    odd = torch.zeros_like(even)
    for _ in range(_ROUNDS):
        high, low = _multiply(factors, even)
        even, odd = high.flip(0) ^ odd ^ key, low.flip(0)
        key = key + weyl
    return torch.stack([even[0], odd[0], even[1], odd[1]], dim=2).flatten(1)


def _multiply(factors: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Upper and lower 64 bits of the 128-bit product of unsigned integers, by 32-bit digits."""
    factor_high, factor_low, factor = factors
    high, low = _upper(value), value & _HALF
    first = high * factor_low + _upper(low * factor_low)
    second = low * factor_high + (first & _HALF)
    return high * factor_high + _upper(first) + _upper(second), value * factor


def _upper(value: Tensor) -> Tensor:
    """Logical shift right by 32."""
    return (value >> 32) & _HALF


@constant
def constants() -> Tensor:
    """[4, 2, 1, 1]: upper and lower digits and bits of the multipliers, and the steps of the keys."""
    rows = [[m >> 32 for m in _MULTIPLIERS], [m & _HALF for m in _MULTIPLIERS]]
    rows += [[_signed(m) for m in _MULTIPLIERS], [_signed(w) for w in _WEYL]]
    return torch.tensor(rows, dtype=torch.int64)[:, :, None, None]


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit integer."""
    return value - (1 << 64) if value >> 63 else value


@lru_cache(maxsize=4096)
def _halves(key: str) -> tuple[int, int]:
    value = int(key, 16)
    return _signed(value & ((1 << 64) - 1)), _signed(value >> 64)
