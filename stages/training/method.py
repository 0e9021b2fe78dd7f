"""What one paper adds to the shared loop: its networks, its optimisers with their cadence, and its losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor, nn

from stages.diffusion.noise import Noise
from stages.training.config import OptimiserConfig


@dataclass(frozen=True)
class Batch:
    """Training pairs: `lr` [B, 3, h, w] and `hr` [B, 3, h*scale, w*scale], float32 RGB in [0, 1].

    `samples` are their global sample indices, the only names that `noise` may be drawn by; `keys` their
    names in the data, for messages.
    """

    lr: Tensor
    hr: Tensor
    samples: tuple[int, ...]
    keys: tuple[str, ...]
    noise: Noise

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, start: int, stop: int) -> Batch:
        """The samples start..stop-1, as a micro-batch."""
        return replace(
            self,
            lr=self.lr[start:stop],
            hr=self.hr[start:stop],
            samples=self.samples[start:stop],
            keys=self.keys[start:stop],
        )

    def to(self, device: str) -> Batch:
        return replace(self, lr=self.lr.to(device), hr=self.hr.to(device))


Losses = Mapping[str, Tensor]
"""Scalars by name; "loss" is what is minimised (a mean over the batch's samples), the others are only recorded."""


@dataclass(frozen=True)
class Phase:
    """One optimiser and what drives it: `repeats` updates a step, each on a fresh batch, in the order of phases.

    `trains` names networks of the method. RSD, for example, has a phase `fake` with repeats=K and then a
    phase `student`.
    """

    name: str
    trains: tuple[str, ...]
    optimiser: OptimiserConfig
    losses: Callable[[Batch], Losses]
    repeats: int = 1


class Method(Protocol):
    """A training method as the loop sees it. Everything random in `losses` comes from the batch's noise."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Networks whose weights change, by name; they are part of a checkpoint."""
        ...

    @property
    def averaged(self) -> Mapping[str, float]:
        """Networks that keep an exponential moving average, with its decay."""
        ...

    @property
    def phases(self) -> Sequence[Phase]: ...

    def preview(self, lr: Tensor, name: str) -> Tensor:
        """A super-resolved picture for people: lr [3, h, w] in [0, 1] -> [3, h*scale, w*scale] in [0, 1]."""
        ...
