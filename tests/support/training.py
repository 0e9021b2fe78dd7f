"""What a training loop needs around it, as small as can be: a one-layer method, a context, ranks that are threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from stages.diffusion.noise import Noise
from stages.training.config import OptimiserConfig, TrainConfig
from stages.training.method import Batch, Losses, Phase
from stages.training.ranks import Ranks
from tests.support.harness import FolderCheckpoints, FolderContext

T = TypeVar("T")


class Toy:
    """Learns to enlarge: one convolution on LR pixels against HR; `loss` may be replaced."""

    def __init__(self, optimiser: OptimiserConfig, loss: Callable[[Toy, Batch], Tensor] | None = None) -> None:
        self.network = nn.Conv2d(3, 48, 3, padding=1)
        nn.init.constant_(self.network.weight, 0.01)
        nn.init.zeros_(self.network.bias)
        self.networks: Mapping[str, nn.Module] = {"net": self.network}
        self.averaged: Mapping[str, float] = {"net": 0.5}
        self.phases: Sequence[Phase] = (Phase("net", ("net",), optimiser, self.losses),)
        self.loss = loss or Toy.error

    def up(self, lr: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.network(lr), 4)

    def error(self, batch: Batch) -> Tensor:
        noise = batch.noise.normal("toy", batch.samples, batch.lr.shape[1:])
        return (self.up(batch.lr + 0.1 * noise) - batch.hr).float().square().mean()

    def losses(self, batch: Batch) -> Losses:
        return {"loss": self.loss(self, batch)}

    def preview(self, lr: Tensor, name: str) -> Tensor:
        return self.up(lr[None])[0].clamp(0, 1)


def settings(**changed: Any) -> TrainConfig:
    """A config on an accelerator, where the batch may be split; the context's only device is the CPU all the same."""
    training = {"batch_size": 4, "learning_rate": 1e-2, **changed.pop("training", {})}
    return TrainConfig(**{"steps": 4, "device": "cuda", "data": {"patch": 4}, "training": training, **changed})


def context(folder: Path, config: TrainConfig) -> FolderContext:
    folder.mkdir(parents=True, exist_ok=True)
    return FolderContext(config, {}, {}, {}, {}, FolderCheckpoints(folder / "checkpoints"), folder)


def batch(values: Sequence[float]) -> Batch:
    """One sample a value: LR [n, 3, 1, 1] and HR [n, 3, 4, 4] filled with it."""
    lr = torch.tensor(values)[:, None, None, None].expand(-1, 3, 1, 1).contiguous()
    hr = lr.expand(-1, -1, 4, 4).contiguous()
    samples = tuple(range(len(values)))
    return Batch(lr, hr, samples, tuple(f"key-{i}" for i in samples), Noise(0))


@dataclass
class Meeting:
    """Where ranks that are threads of this process put what they have, and wait for each other."""

    size: int
    barrier: threading.Barrier = field(init=False)
    brought: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size, timeout=20)
        self.brought = [None] * self.size

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.brought[rank] = value
        self.barrier.wait()
        found = list(self.brought)
        self.barrier.wait()
        return found


@dataclass(frozen=True)
class ThreadRank:
    """One of several :class:`stages.training.ranks.Ranks` in one process."""

    meeting: Meeting
    rank: int

    @property
    def size(self) -> int:
        return self.meeting.size

    def no_sync(self) -> AbstractContextManager[None]:
        return nullcontext()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        every = self.meeting.exchange(self.rank, [p.grad for p in parameters])
        sums = [None if grads[0] is None else sum(grads) for grads in zip(*every, strict=True)]
        self.meeting.barrier.wait()
        for parameter, total in zip(parameters, sums, strict=True):
            parameter.grad = total

    def sum_values(self, values: Mapping[str, float]) -> dict[str, float]:
        every = self.meeting.exchange(self.rank, dict(values))
        return {name: sum(one[name] for one in every) for name in values}

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        for mine, first in zip(tensors, self.meeting.exchange(self.rank, list(tensors))[0], strict=True):
            mine.data.copy_(first)

    def gather_text(self, text: str) -> list[str]:
        return self.meeting.exchange(self.rank, text)

    def barrier(self) -> None:
        self.meeting.barrier.wait()


def on_ranks(size: int, work: Callable[[Ranks], T]) -> list[T]:
    """`work` on every rank at once; its results by rank. The first error of any rank is raised."""
    meeting, results, errors = Meeting(size), {}, []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadRank(meeting, rank))
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    real = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if errors:
        raise (real or errors)[0]
    return [results[rank] for rank in range(size)]
