"""In which order samples are seen: a pure function of (seed, global sample index), and of nothing else.

A trainer counts the samples it has seen, over all ranks; the count *is* its position in the data, so resuming
is a seek and world size and micro-batch cannot matter. Each epoch is a permutation of ``range(count)`` that is
computed point by point (a Feistel network with cycle walking: Black & Rogaway, "Ciphers with Arbitrary Finite
Domains", 2002), so that nothing the size of the data set is ever held or shuffled. Integer arithmetic only:
the order is frozen, whatever NumPy's own generators do.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 12  # few enough to be cheap, many enough that tiny sets of two or three samples mix too


def index_at(seed: int, position: int, count: int) -> int:
    """Which of `count` samples is the `position`-th one ever seen (0-based, over all epochs)."""
    return int(indices_at(seed, position, 1, count)[0])


def indices_at(seed: int, first: int, size: int, count: int) -> NDArray[np.int64]:
    """The samples at global positions ``first .. first + size - 1``: shape (size,), values in [0, count).

    Raises ValueError for an empty data set or a negative position.
    """
    if count < 1 or first < 0 or size < 0:
        raise ValueError(f"expected count >= 1, first >= 0, size >= 0; got {count}, {first}, {size}")
    pieces = [np.empty(0, np.int64)]
    while size > 0:
        epoch, place = divmod(first, count)
        here = min(size, count - place)
        pieces.append(_permute(seed, epoch, count, np.arange(place, place + here, dtype=np.uint64)))
        first, size = first + here, size - here
    return np.concatenate(pieces)


def sample_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The whole permutation of one epoch: shape (count,), every value of ``range(count)`` once."""
    return indices_at(seed, epoch * count, count, count)


def _permute(seed: int, epoch: int, count: int, points: NDArray[np.uint64]) -> NDArray[np.int64]:
    half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    keys = _round_keys(seed, epoch)
    result = _feistel(points, half, keys)
    outside = np.flatnonzero(result >= count)
    while outside.size:  # the network permutes a power of four; walk its cycle until it comes back into range
        result[outside] = _feistel(result[outside], half, keys)
        outside = outside[result[outside] >= count]
    return result.astype(np.int64)


def _feistel(points: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = points >> half, points & mask
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & mask)
    return (left << half) | right


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014) on 64-bit words, wrapping."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=64)
def _round_keys(seed: int, epoch: int) -> NDArray[np.uint64]:
    words = hashlib.shake_256(f"sharpline sample order\n{seed}\n{epoch}".encode()).digest(8 * _ROUNDS)
    return np.frombuffer(words, "<u8").astype(np.uint64)
