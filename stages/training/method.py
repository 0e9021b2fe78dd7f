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
    names in the data, for messages. `latents` are (z0, z_y) [B, C, H, W], float32 or half, where a cache holds them
    (a model's answer twice, where it holds those); methods ask for them through `stages.methods.latents.latents_of`.
    With a cache HR may be left out. `step` counts the steps before the one that the batch is for.
    """

    lr: Tensor
    hr_if_read: Tensor | None
    samples: tuple[int, ...]
    keys: tuple[str, ...]
    noise: Noise
    latents: tuple[Tensor, Tensor] | None = None
    step: int = 0

    @property
    def hr(self) -> Tensor:
        if self.hr_if_read is None:
            raise ValueError(
                "this batch carries latents and no HR images: a stage whose losses look at HR has to ask its loader "
                "for them (PairLoader, hr=True)"
            )
        return self.hr_if_read

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, start: int, stop: int) -> Batch:
        """The samples start..stop-1, as a micro-batch."""
        part = self._with(lambda tensor: tensor[start:stop])
        return replace(part, samples=self.samples[start:stop], keys=self.keys[start:stop])

    def to(self, device: str) -> Batch:
        return self._with(lambda tensor: tensor.to(device))

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        hr = None if self.hr_if_read is None else change(self.hr_if_read)
        latents = None if self.latents is None else (change(self.latents[0]), change(self.latents[1]))
        return replace(self, lr=change(self.lr), hr_if_read=hr, latents=latents)


Losses = Mapping[str, Tensor]
"""Scalars by name; "loss" is what is minimised (a mean over the batch's samples), the others are only recorded."""


@dataclass(frozen=True)
class Phase:
    """One optimiser and what drives it: `repeats` updates a step, each on a fresh batch, in the order of phases.

    `trains` names networks of the method. Steps before `start` are without the phase and read nothing for it. RSD,
    for example, has a phase `fake` with repeats=K and then a phase `student`.
    """

    name: str
    trains: tuple[str, ...]
    optimiser: OptimiserConfig
    losses: Callable[[Batch], Losses]
    repeats: int = 1
    start: int = 0


def updates_before(phases: Sequence[Phase], step: int) -> int:
    """Updates of all phases in the first `step` steps: where in the data the next one begins."""
    return sum(phase.repeats * max(0, step - phase.start) for phase in phases)


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
