"""Randomness as a pure function of names: (seed, purpose, sample), never of what was drawn before.

A resumed run, another world size or another micro-batch meets the same noise because nothing is consumed
from a stream. Numbers are drawn on the CPU for every device, so a GPU run sees the noise of a CPU run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Noise:
    """The random numbers of a run with `seed`. `sample` below is a global sample index or a sample's key."""

    seed: int

    def _words(self, purpose: str, sample: int | str) -> bytes:
        return hashlib.sha256(f"{self.seed}/{purpose}/{sample}".encode()).digest()

    def integer(self, purpose: str, sample: int | str, high: int) -> int:
        """A uniform integer in [0, high); for high < 2**14 the bias of the modulus is below 2**-50."""
        return int.from_bytes(self._words(purpose, sample)[:8], "little") % high

    def integers(self, purpose: str, samples: Sequence[int | str], high: int) -> Tensor:
        """:meth:`integer` for each sample, int64 [len(samples)]."""
        return torch.tensor([self.integer(purpose, s, high) for s in samples], dtype=torch.int64)

    def normal(self, purpose: str, samples: Sequence[int | str], shape: Sequence[int]) -> Tensor:
        """Standard normal noise, float32 [len(samples), *shape] on the CPU, one generator a sample."""
        out = torch.empty((len(samples), *shape))
        generator = torch.Generator()
        for row, sample in zip(out, samples, strict=True):
            generator.manual_seed(int.from_bytes(self._words(purpose, sample)[:8], "little") >> 1)
            torch.randn(tuple(shape), generator=generator, out=row)
        return out
