"""Batches by global sample index: read ahead of need, cropped and mirrored by pure functions of that index."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import cv2
import numpy as np
import torch

from stages.data.index import Pairs, Pixels
from stages.data.order import indices_at
from stages.diffusion.noise import Noise
from stages.training.config import TrainConfig
from stages.training.method import Batch
from stages.training.ranks import SOLO, Ranks, share_of


@dataclass(frozen=True)
class _Due:
    """A batch on its way: where the global batch starts, this rank's samples of it, what their pairs are called, and
    their pixels when they are there."""

    first: int
    samples: tuple[int, ...]
    keys: tuple[str, ...]
    pixels: list[Future[tuple[Pixels, Pixels]]]


class PairLoader:
    """`batch(first)` is the batch of global samples first..first+batch_size-1; asked for in order, it is ready.
    Of several ranks, each reads its own share of it and nothing else.

    Each epoch is a permutation of all pairs, and where pairs are made on line, of others than in the epoch before.
    Used as a context manager: inside it OpenCV has one thread, leaving it stops the loader's.
    """

    AHEAD = 3

    def __init__(self, pairs: Pairs, scale: int, config: TrainConfig, ranks: Ranks = SOLO) -> None:
        self.pairs, self.scale, self.noise = pairs, scale, Noise(config.seed)
        self.batch_size = config.training.batch_size
        self.share = share_of(self.batch_size, ranks)
        self.patch, self.flip = config.data.patch, config.data.flip
        self.read = pairs.reader(config.cache_megabytes * 1_000_000)
        self.pool = ThreadPoolExecutor(config.loader_threads, thread_name_prefix="pairs")
        self.ready: deque[_Due] = deque()

    def __enter__(self) -> PairLoader:
        # Its setting is global: set once here, so that threads which render side by side never put it back and forth.
        self.cv2_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(self.cv2_threads)

    def batch(self, first: int) -> Batch:
        """This rank's share of the batch that starts at global sample `first`."""
        if not self.ready or self.ready[0].first != first:
            self.ready.clear()  # a seek
            self._submit(first)
        while len(self.ready) <= self.AHEAD:
            self._submit(self.ready[-1].first + self.batch_size)
        due = self.ready.popleft()
        lr, hr = zip(*(future.result() for future in due.pixels), strict=True)
        return Batch(_stack(lr), _stack(hr), due.samples, due.keys, self.noise)

    def _submit(self, first: int) -> None:
        start, stop = self.share
        samples = tuple(range(first + start, first + stop))
        places = [int(i) for i in indices_at(self.noise.seed, first + start, stop - start, len(self.pairs))]
        epochs = [g // len(self.pairs) for g in samples]
        pixels = [self.pool.submit(self._sample, *due) for due in zip(samples, places, epochs, strict=True)]
        keys = tuple(self.pairs.key(i, epoch) for i, epoch in zip(places, epochs, strict=True))
        self.ready.append(_Due(first, samples, keys, pixels))

    def _sample(self, g: int, i: int, epoch: int) -> tuple[Pixels, Pixels]:
        lr, hr = self.read(i, epoch)
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
