"""Which steps of the process a training step looks at: uniform, or biased towards the end and annealed.

Near t = 0, z_t holds nearly all of z_h, and what the LR encoder says matters little to the loss; near t = T it is all
there is. Edge-SD-SR (arXiv 2412.06978) trains encoder and network together under "a dedicated schedule", of which its
abstract gives the name only. Ours is a reconstruction: t / T has the density (1 + b) x^b on [0, 1], whose exponent b
goes in a straight line from one value to another over a number of training steps. b = 0 is uniform, and the larger b,
the nearer t is to T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from stages.diffusion.noise import Noise

_WORDS: Final = 1 << 53
"""As many numbers as float64 has evenly in [0, 1)."""


def uniforms(noise: Noise, purpose: str, samples: Sequence[int | str]) -> Tensor:
    """Uniform numbers in [0, 1), float64 [len(samples)], as pure a function of the names as all noise is."""
    return noise.integers(purpose, samples, _WORDS).double() / _WORDS


@dataclass(frozen=True, slots=True)
class StepBias:
    """The exponent goes from `first` to `last` over `over` training steps and stays there; 0, 0 is uniform.

    Nothing is remembered: what a training step draws is a function of its number and of `uniforms`, so a resumed run
    draws what it would have drawn.
    """

    first: float = 0.0
    last: float = 0.0
    over: int = 1

    def exponent(self, step: int) -> float:
        """b at training step `step`, counted from 0."""
        along = min(step / self.over, 1.0)
        return self.first + along * (self.last - self.first)

    def draw(self, uniform: Tensor, step: int, timesteps: int) -> Tensor:
        """Steps int64 in 0..timesteps-1 of `uniform`, float64 in [0, 1): floor(T u^(1 / (1 + b)))."""
        place = uniform.double() ** (1 / (1 + self.exponent(step)))
        return (place * timesteps).long().clamp(max=timesteps - 1)

    def probabilities(self, step: int, timesteps: int) -> Tensor:
        """P(t) for t = 0..timesteps-1, float64: ((t + 1) / T)^(1 + b) - (t / T)^(1 + b)."""
        edges = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
        return (edges ** (1 + self.exponent(step))).diff()
