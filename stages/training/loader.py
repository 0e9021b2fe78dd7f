"""Batches by global sample index: read ahead of need, cropped and mirrored by pure functions of that index.

With a latent cache a batch carries the latents of its samples, or of their mirror images, and HR images are decoded
only for losses that look at them.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import cv2
import torch
from torch import Tensor

from stages.data.index import Pairs, Pixels
from stages.data.latents import LatentIndex
from stages.data.order import indices_at
from stages.data.tensors import to_batch
from stages.diffusion.noise import Noise
from stages.training.config import TrainConfig
from stages.training.method import Batch
from stages.training.ranks import SOLO, Ranks, share_of


@dataclass(frozen=True)
class _Sample:
    """A sample as it was read: `latents` [2, C, H, W] are (z0, z_y), [1, C, H, W] a model's answer."""

    lr: Pixels
    hr: Pixels | None
    latents: Tensor | None


@dataclass(frozen=True)
class _Due:
    """A batch on its way: where the global batch starts, this rank's samples of it, what their pairs are called, and
    what was read of them when it is there."""

    first: int
    samples: tuple[int, ...]
    keys: tuple[str, ...]
    read: list[Future[_Sample]]


class PairLoader:
    """`batch(first)` is the batch of global samples first..first+batch_size-1; asked for in order, it is ready.
    Of several ranks, each reads its own share of it and nothing else.

    Each epoch is a permutation of all pairs, and where pairs are made on line, of others than in the epoch before.
    Used as a context manager: inside it OpenCV has one thread, leaving it stops the loader's.
    """

    AHEAD = 3

    def __init__(
        self,
        pairs: Pairs,
        scale: int,
        config: TrainConfig,
        ranks: Ranks = SOLO,
        *,
        latents: LatentIndex | None = None,
        hr: bool = True,
    ) -> None:
        """`latents` are those of `pairs`; `hr` says whether batches hold HR images. Raises ValueError for a patch of
        what is cached whole, and for neither latents nor HR."""
        if latents is not None and config.data.patch is not None:
            raise ValueError("a latent cache holds whole samples; leave data.patch out")
        if latents is None and not hr:
            raise ValueError("a batch needs HR images or latents")
        self.latents = latents
        self.pairs, self.scale, self.noise = pairs, scale, Noise(config.seed)
        self.batch_size = config.training.batch_size
        self.share = share_of(self.batch_size, ranks)
        self.patch, self.flip = config.data.patch, config.data.flip
        budget = config.cache_megabytes * 1_000_000
        self.read_pair = pairs.reader(budget) if hr else None
        self.read_lr = None if hr else pairs.lr_reader(budget)
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
        read = [future.result() for future in due.read]
        hr = [sample.hr for sample in read if sample.hr is not None]
        latents = [sample.latents for sample in read if sample.latents is not None]
        return Batch(
            to_batch([sample.lr for sample in read]),
            to_batch(hr) if hr else None,
            due.samples,
            due.keys,
            self.noise,
            (torch.stack([pair[0] for pair in latents]), torch.stack([pair[-1] for pair in latents]))
            if latents
            else None,
        )

    def _submit(self, first: int) -> None:
        start, stop = self.share
        samples = tuple(range(first + start, first + stop))
        places = [int(i) for i in indices_at(self.noise.seed, first + start, stop - start, len(self.pairs))]
        epochs = [g // len(self.pairs) for g in samples]
        read = [self.pool.submit(self._sample, *due) for due in zip(samples, places, epochs, strict=True)]
        keys = tuple(self.pairs.key(i, epoch) for i, epoch in zip(places, epochs, strict=True))
        self.ready.append(_Due(first, samples, keys, read))

    def _sample(self, g: int, i: int, epoch: int) -> _Sample:
        mirrored = bool(self.flip and self.noise.integer("flip", g, 2))
        latents = None if self.latents is None else self.latents.read(i, mirrored)
        if self.read_lr is not None:
            return _Sample(_turned(self.read_lr(i, epoch), mirrored), None, latents)
        assert self.read_pair is not None
        lr, hr = self.read_pair(i, epoch)
        if self.patch is not None:
            lr, hr = self._crop(g, lr, hr, self.patch)
        return _Sample(_turned(lr, mirrored), _turned(hr, mirrored), latents)

    def _crop(self, g: int, lr: Pixels, hr: Pixels, side: int) -> tuple[Pixels, Pixels]:
        height, width = lr.shape[:2]
        top = self.noise.integer("top", g, height - side + 1)
        left = self.noise.integer("left", g, width - side + 1)
        s = self.scale
        return (
            lr[top : top + side, left : left + side],
            hr[top * s : (top + side) * s, left * s : (left + side) * s],
        )


def _turned(image: Pixels, mirrored: bool) -> Pixels:
    return image[:, ::-1] if mirrored else image
