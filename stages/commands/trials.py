"""Short rehearsals of a training stage: the stage's own `run`, with a context that keeps nothing and ends it early."""

from __future__ import annotations

import gc
import logging
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.stage import Artifact, Checkpoints, Entry, Read, SourceFile

if TYPE_CHECKING:
    from pipelines.lookup import Ready

WARM_UP: Final = 2
"""Steps before the clock starts: caches fill, kernels are chosen, optimisers make their state."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one size came to. `memory` is the accelerator's peak in bytes, 0 on the CPU."""

    size: int
    fits: bool
    samples_per_second: float = 0.0
    seconds_a_step: float = 0.0
    memory: int = 0


def search(attempt: Callable[[int], Trial], most: int) -> Iterator[Trial]:
    """Trials of 1, 2, 4, … samples up to `most`, then by bisection of what lies between fitting and not."""
    fits, size, too_large = 0, 1, most + 1
    while fits < most:
        trial = attempt(size)
        yield trial
        if not trial.fits:
            too_large = size
            break
        fits, size = size, min(2 * size, most)
    while too_large - fits > 1 and too_large <= most:
        middle = (fits + too_large) // 2
        trial = attempt(middle)
        yield trial
        fits, too_large = (middle, too_large) if trial.fits else (fits, middle)


def try_size(ready: Ready, size: int, steps: int) -> Trial:
    """Train `steps` steps, after a few others, with batches of `size` that go through the network at once."""
    import torch

    config = _rehearsal(ready.config, size, WARM_UP + steps + 1)
    cuda = config.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory(prefix="sharpline-tune-") as folder:
        ctx = RehearsalContext(config, ready, Path(folder), WARM_UP + steps, ("cuda:0" if cuda else "cpu",))
        try:
            ready.stage().run(ctx)
        except Enough:
            pass
        except torch.OutOfMemoryError:
            return Trial(size, fits=False)
        finally:
            memory = torch.cuda.max_memory_allocated() if cuda else 0
            gc.collect()
            if cuda:
                torch.cuda.empty_cache()
    seconds = (ctx.ended[-1] - ctx.ended[WARM_UP - 1]) / steps
    return Trial(size, True, size / seconds, seconds, memory)


def _rehearsal(config: Any, size: int, steps: int) -> Any:
    """`config` for batches of `size`, with nothing between steps."""
    fields = config.model_dump()
    fields["training"] |= {"batch_size": size}
    fields |= {"micro_batch": None, "steps": steps, "log_every": steps, "checkpoint_every": steps}
    fields |= {"checkpoint_minutes": 1e6, "picture_every": 0, "validate_every": 0, "keep_best": 0}
    return type(config).model_validate(fields)


class Enough(BaseException):
    """Ends a rehearsal; no stage handles it."""


class NoCheckpoints:
    """There are none, and none are made."""

    def save(self, step: int, folder: Path, *, keep_last: int = 2, keep: Collection[int] = ()) -> None:
        return

    def latest(self, at_most: int) -> tuple[int, Path] | None:
        return None


@dataclass
class RehearsalContext:
    """A `pipelines.stage.Context` for `steps` steps: they are timed, and then :class:`Enough` is raised."""

    config: Any
    ready: Ready
    scratch: Path
    steps: int
    devices: tuple[str, ...]
    ended: list[float] = field(default_factory=list)
    out: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Sequence[SourceFile]] = field(default_factory=dict)
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("sharpline.tune"))
    rank: int = 0
    world_size: int = 1
    rendezvous: str = ""
    stopping: bool = False

    def __post_init__(self) -> None:
        many = {slot for slot, declared in self.ready.stage.inputs.items() if declared.many}
        given = self.ready.inputs
        self.inputs: Mapping[str, Artifact] = {slot: one[0] for slot, one in given.items() if slot not in many and one}
        self.many: Mapping[str, Sequence[Artifact]] = {slot: given[slot] for slot in given if slot in many}
        self.seed = int(getattr(self.config, "seed", 0) or 0)
        self.threads = int(getattr(self.config, "threads", 1))

    def progress(self, done: float, total: float, unit: str = "") -> None:
        self.ended.append(time.perf_counter())
        if len(self.ended) >= self.steps:
            raise Enough

    def metrics(self, step: int, **values: float) -> None:
        return

    def image(self, name: str, png: bytes, *, step: int | None = None, caption: str = "") -> None:
        return

    def read(self, read: Read) -> bytes:
        raise NotImplementedError("a training stage has no partitions")

    def part_file(self, entry: Entry) -> Path:
        raise NotImplementedError("a training stage has no partitions")
