"""Philox-4x64-10, and the draws of a recipe as our own transforms of its raw words.

The generator is counter-based (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011):
word ``i`` of a stream is a pure function of the stream's 128-bit key and ``i``. A stream's key is taken from
sha256 of (seed, image digest, crop index, stream name), so what one operator draws depends on nothing else: not on
other operators, the batch, the order, the worker, or NumPy's version.

Scalars use plain Python integers. :func:`words` returns the same words in bulk; it lets NumPy's bit generator, which
implements the same function in C, do the arithmetic (its raw stream is pinned by our tests, its distributions are
never used).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MASK: Final = (1 << 64) - 1
_MULTIPLIERS: Final = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL: Final = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS: Final = 10

Block = tuple[int, int, int, int]


def philox4x64(counter: Block, key: tuple[int, int]) -> Block:
    """One block: four 64-bit words for a 256-bit counter and a 128-bit key, least significant word first."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0 = _MULTIPLIERS[0] * c0
        p1 = _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & _MASK, (p0 >> 64) ^ c3 ^ k1, p0 & _MASK
        k0 = (k0 + _WEYL[0]) & _MASK
        k1 = (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def stream_key(seed: int, image: str, crop: int, name: str) -> str:
    """The key of a named stream of one pair, as 32 hexadecimal digits (128 bits of sha256)."""
    text = f"sharpline recipe stream 1\n{seed}\n{image}\n{crop}\n{name}\n"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _split(key: str) -> tuple[int, int]:
    value = int(key, 16)
    return value & _MASK, value >> 64


class Stream:
    """Scalar draws from one stream, in order. `key` is 32 hexadecimal digits (:func:`stream_key`)."""

    def __init__(self, key: str) -> None:
        self._key = _split(key)
        self._position = 0
        self._block: Block = (0, 0, 0, 0)

    def word(self) -> int:
        """The next raw word, in [0, 2**64)."""
        block, lane = divmod(self._position, 4)
        if lane == 0:
            self._block = philox4x64((block & _MASK, block >> 64, 0, 0), self._key)
        self._position += 1
        return self._block[lane]

    def unit(self) -> float:
        """Uniform in [0, 1): the upper 53 bits of a word, every value a multiple of 2**-53."""
        return (self.word() >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """Uniform in [low, high); `low` when both are equal."""
        return min(low + (high - low) * self.unit(), high)

    def integer(self, low: int, high: int) -> int:
        """Uniform among low..high, both included, without modulo bias (words beyond the last multiple are redrawn)."""
        count = high - low + 1
        if count < 1:
            raise ValueError(f"integer({low}, {high}): the range is empty")
        limit = (1 << 64) - (1 << 64) % count
        while (word := self.word()) >= limit:
            pass
        return low + word % count

    def bernoulli(self, p: float) -> bool:
        """True with probability `p`."""
        return self.unit() < p

    def choice(self, weights: Sequence[float]) -> int:
        """An index with probability proportional to its weight (inverse of the cumulative weights)."""
        point = self.unit() * sum(weights)
        last = 0
        for index, weight in enumerate(weights):
            if weight <= 0:
                continue
            last = index
            if point < weight:
                return index
            point -= weight
        return last

    def permutation(self, count: int) -> list[int]:
        """A uniform order of range(count) (Fisher-Yates, from the last place down)."""
        order = list(range(count))
        for place in range(count - 1, 0, -1):
            other = self.integer(0, place)
            order[place], order[other] = order[other], order[place]
        return order


def words(key: str, count: int) -> NDArray[np.uint64]:
    """Words 0..count-1 of a stream, uint64 [count]; equal to `count` calls of :meth:`Stream.word`."""
    import numpy as np

    # NumPy steps the counter before it makes a block, so it starts one before zero.
    start = np.full(4, _MASK, dtype=np.uint64)
    generator = np.random.Philox(counter=start, key=np.array(_split(key), dtype=np.uint64))
    return np.asarray(generator.random_raw(count), dtype=np.uint64)
