"""Batches by global sample index: decoded ahead of need, cropped and mirrored by pure functions of that index."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from stages.data.order import indices_at
from stages.diffusion.noise import Noise
from stages.training.config import TrainConfig
from stages.training.method import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


class StoredPairs(Protocol):
    """Stored training pairs, read by position. Safe to read from several threads."""

    def __len__(self) -> int: ...

    def read_pair(self, i: int) -> tuple[Pixels, Pixels]:
        """(lr [h, w, 3], hr [h*scale, w*scale, 3]) of pair `i`, uint8 RGB."""
        ...

    def key(self, i: int) -> str: ...


class CachedPairs:
    """Keeps decoded pairs in memory until `budget` bytes are full; the rest is decoded every time."""

    def __init__(self, pairs: StoredPairs, budget: int) -> None:
        self.pairs = pairs
        self.left = budget
        self.kept: dict[int, tuple[Pixels, Pixels]] = {}

    def __call__(self, i: int) -> tuple[Pixels, Pixels]:
        if i in self.kept:
            return self.kept[i]
        lr, hr = self.pairs.read_pair(i)
        if lr.nbytes + hr.nbytes <= self.left:
            self.left -= lr.nbytes + hr.nbytes
            self.kept[i] = lr, hr
        return lr, hr


@dataclass(frozen=True)
class _Due:
    """A batch on its way: which stored pairs its global samples are, and their pixels when decoded."""

    samples: tuple[int, ...]
    stored: tuple[int, ...]
    pixels: list[Future[tuple[Pixels, Pixels]]]


class PairLoader:
    """`batch(first)` is the batch of global samples first..first+batch_size-1; asked for in order, it is ready.

    Each epoch is a permutation of all pairs. Used as a context manager; leaving it stops the threads.
    """

    AHEAD = 3

    def __init__(self, pairs: StoredPairs, scale: int, config: TrainConfig) -> None:
        self.pairs, self.scale, self.noise = pairs, scale, Noise(config.seed)
        self.batch_size = config.training.batch_size
        self.patch, self.flip = config.data.patch, config.data.flip
        self.read = CachedPairs(pairs, config.cache_megabytes * 1_000_000)
        self.pool = ThreadPoolExecutor(config.loader_threads, thread_name_prefix="pairs")
        self.ready: deque[_Due] = deque()

    def __enter__(self) -> PairLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def batch(self, first: int) -> Batch:
        """The batch that starts at global sample `first`."""
        if not self.ready or self.ready[0].samples[0] != first:
            self.ready.clear()  # a seek
            self._submit(first)
        while len(self.ready) <= self.AHEAD:
            self._submit(self.ready[-1].samples[-1] + 1)
        due = self.ready.popleft()
        lr, hr = zip(*(future.result() for future in due.pixels), strict=True)
        return Batch(_stack(lr), _stack(hr), due.samples, tuple(self.pairs.key(i) for i in due.stored), self.noise)

    def _submit(self, first: int) -> None:
        samples = tuple(range(first, first + self.batch_size))
        stored = tuple(int(i) for i in indices_at(self.noise.seed, first, self.batch_size, len(self.pairs)))
        pixels = [self.pool.submit(self._sample, g, i) for g, i in zip(samples, stored, strict=True)]
        self.ready.append(_Due(samples, stored, pixels))

    def _sample(self, g: int, i: int) -> tuple[Pixels, Pixels]:
        lr, hr = self.read(i)
        if self.patch is not None:
            lr, hr = self._crop(g, lr, hr, self.patch)
        if self.flip and self.noise.integer("flip", g, 2):
            lr, hr = lr[:, ::-1], hr[:, ::-1]
        return lr, hr

    def _crop(self, g: int, lr: Pixels, hr: Pixels, side: int) -> tuple[Pixels, Pixels]:
        height, width = lr.shape[:2]
        top = self.noise.integer("top", g, height - side + 1)
        left = self.noise.integer("left", g, width - side + 1)
        s = self.scale
        return (
            lr[top : top + side, left : left + side],
            hr[top * s : (top + side) * s, left * s : (left + side) * s],
        )


def _stack(images: Sequence[Pixels]) -> torch.Tensor:
    """uint8 [H, W, 3] images of one size -> float32 [B, 3, H, W] in [0, 1]."""
    pixels = torch.from_numpy(np.stack(images))
    return pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 255
