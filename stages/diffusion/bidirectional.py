"""A forward process that knows the LR image: diffusion from the HR latent to the LR latent, for one-step models.

Edge-SD-SR (Hadji et al., arXiv 2412.06978, CVPR 2025) calls "bidirectional conditioning" what conditions the forward
(noising) process on the LR input as well as the reverse (denoising) one. **What the paper fixes**, by its abstract:
that both directions are conditioned, that one step is taken, and (by its ablations' names) that there is a "variance
conditioning". **What is reconstruction**: every formula below. The body of the paper could not be read when this was
written, so the mean is a choice, each with a reason:

    mean            z_t                        + noise of std
    hr              a_t z_h                      k s_t            DDPM; only the reverse process is conditioned
    lr              a_t z_h + s_t z_l            k s_t            DDPM's noise, centred at the LR latent
    residual-shift  z_h + eta_t (z_l - z_h)      k sqrt(eta_t)    ResShift, arXiv 2307.12348, Eq. 2

z_h is the latent of HR, z_l that of LR; a_t^2 + s_t^2 = 1 are Stable Diffusion's scaled-linear schedule. `k` is our
reading of variance conditioning: how much noise is left around z_l at the end, where a one-step model begins. With
mean lr or residual-shift a small k, even zero, leaves a start that is all but the answer; and at k = 0 inference is a
function of the image alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from stages.diffusion.resshift import sqrt_eta_schedule

Mean: TypeAlias = Literal["hr", "lr", "residual-shift"]
Prediction: TypeAlias = Literal["x0", "v"]


def scaled_linear(timesteps: int, first: float, last: float, zero_terminal: bool) -> list[float]:
    """a_t = sqrt(alpha_bar_t), t = 0..T-1, in float64, of betas whose roots rise evenly (Stable Diffusion).

    `zero_terminal` shifts and stretches a_t so that a_0 stays and a_{T-1} is 0 (Lin et al., arXiv 2305.08891,
    algorithm 1): nothing of z_h is left where inference begins. It needs at least two steps; one is all noise.
    """
    roots = [math.sqrt(first)]
    if timesteps > 1:
        step = (math.sqrt(last) - math.sqrt(first)) / (timesteps - 1)
        roots = [math.sqrt(first) + t * step for t in range(timesteps)]
    product, signal = 1.0, []
    for root in roots:
        product *= 1 - root * root
        signal.append(math.sqrt(product))
    if not zero_terminal:
        return signal
    if timesteps == 1:
        return [0.0]
    start, end = signal[0], signal[-1]
    return [(a - end) * start / (start - end) for a in signal]


@dataclass(frozen=True)
class Bidirectional:
    """z_t = hr_part[t] z_h + lr_part[t] z_l + k noise_part[t] noise; latents float [B, C, H, W], noise N(0, I).

    The parts are float64. `inference_k` takes the place of `k` where an image is made. `prediction` says what the
    network answers: z_h itself, or v (Salimans & Ho, arXiv 2202.00512), which needs a process that is a rotation.
    """

    mean: Mean
    hr_part: tuple[float, ...]
    lr_part: tuple[float, ...]
    noise_part: tuple[float, ...]
    k: float
    inference_k: float
    prediction: Prediction

    @classmethod
    def create(
        cls, *, mean: Mean = "lr", timesteps: int = 1000, k: float | None = None, inference_k: float | None = None,
        prediction: Prediction = "x0", beta_first: float = 0.00085, beta_last: float = 0.012,
        zero_terminal: bool = True, power: float = 0.3, min_noise: float = 0.04, end: float = 0.99,
    ) -> Bidirectional:  # fmt: skip
        """Arguments as in `stages.models.edge.config.BidirectionalConfig`, which checks them."""
        k = default_k(mean) if k is None else k
        if mean == "residual-shift":
            if prediction == "v":
                raise ValueError("prediction: v is for mean hr and lr, whose steps are rotations; use x0")
            first = min_noise / max(k, 1.0)  # bounds k sqrt(eta_1), and sqrt(eta_1) itself
            roots = sqrt_eta_schedule(timesteps, power, first, end)
            hr_part, lr_part = [1 - r * r for r in roots], [r * r for r in roots]
            noise_part = roots
        else:
            hr_part = scaled_linear(timesteps, beta_first, beta_last, zero_terminal)
            noise_part = [math.sqrt(1 - a * a) for a in hr_part]
            lr_part = noise_part if mean == "lr" else [0.0] * timesteps
        return cls(
            mean, tuple(hr_part), tuple(lr_part), tuple(noise_part), k, k if inference_k is None else inference_k,
            prediction,
        )  # fmt: skip

    @property
    def timesteps(self) -> int:
        return len(self.hr_part)

    @property
    def last(self) -> int:
        """The step that every image begins at: the only one that a network meets once it is trained."""
        return self.timesteps - 1

    def q_sample(self, z_h: Tensor, z_l: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """z_t at steps `t` int64 [B]."""
        return self._between(z_h, z_l, t, noise, self.k)

    def start(self, z_l: Tensor, noise: Tensor | None) -> Tensor:
        """Where one-step inference begins: z_T with z_l in place of what is left of z_h, and `inference_k` noise.

        For residual-shift that is ResShift's own prior, z_l + k sqrt(eta_T) noise; for lr with a zero terminal
        z_l + k noise; for hr with one, k noise. Without `noise` the middle of that distribution.
        """
        t = torch.full((len(z_l),), self.last)
        if noise is None or self.inference_k == 0:
            return self._between(z_l, z_l, t, torch.zeros_like(z_l), 0.0)
        return self._between(z_l, z_l, t, noise, self.inference_k)

    def target(self, z_h: Tensor, z_l: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What the network is to answer for `q_sample` of the same arguments: z_h, or v = a_t e - s_t z_h.

        e is what z_h is turned into: k noise, around z_l where the mean is lr.
        """
        if self.prediction == "x0":
            return z_h
        towards = self.k * noise + (z_l if self.mean == "lr" else 0)
        return _table(self.hr_part, t, z_h) * towards - _table(self.noise_part, t, z_h) * z_h

    def x0(self, z_t: Tensor, t: Tensor, answer: Tensor) -> Tensor:
        """z_h of the network's answer: itself, or a_t z_t - s_t v."""
        if self.prediction == "x0":
            return answer
        return _table(self.hr_part, t, z_t) * z_t - _table(self.noise_part, t, z_t) * answer

    def input_scale(self, t: Tensor, like: Tensor) -> Tensor:
        """[B, 1, 1, 1]: what brings z_t to unit variance where the latents have it.

        hr and lr count z_h and z_l as if they were independent; residual-shift, as ResShift does, as if they were
        equal.
        """
        signal = [1.0] * self.timesteps
        if self.mean != "residual-shift":
            signal = [a * a + b * b for a, b in zip(self.hr_part, self.lr_part, strict=True)]
        noise = [(self.k * s) ** 2 for s in self.noise_part]
        # a zero terminal at k = 0 leaves nothing at all of mean hr, and nothing needs no scale
        scales = [1 / math.sqrt(x + y) if x + y else 1.0 for x, y in zip(signal, noise, strict=True)]
        return _table(scales, t, like)

    def respaced(self, steps: int) -> Bidirectional:
        """Itself: the process is sampled in one step. Raises ValueError for more."""
        if steps != 1:
            raise ValueError(f"steps: this model answers in one step, got {steps}; leave `steps` out")
        return self

    def sample(
        self, zy: Tensor, predict_x0: Callable[[Tensor, Tensor], Tensor], noise: Callable[[int], Tensor]
    ) -> Tensor:
        """z_h in one call of `predict_x0(z_T, t)`, t int64 [B]; `noise(T)` is drawn only where `inference_k` > 0."""
        drawn = noise(self.timesteps) if self.inference_k else None
        return predict_x0(self.start(zy, drawn), torch.full((len(zy),), self.last))

    def _between(self, z_h: Tensor, z_l: Tensor, t: Tensor, noise: Tensor, k: float) -> Tensor:
        mean = _table(self.hr_part, t, z_h) * z_h + _table(self.lr_part, t, z_h) * z_l
        return mean + _table([k * s for s in self.noise_part], t, z_h) * noise


def default_k(mean: Mean) -> float:
    """1 makes `hr` the DDPM process; means that end at the LR latent need no more than a little noise around it."""
    return 1.0 if mean == "hr" else 0.1


def _table(values: Sequence[float], t: Tensor, like: Tensor) -> Tensor:
    """values[t] in float64, rounded once to the latents' type, shaped [B, 1, 1, 1]."""
    table = torch.tensor(values, dtype=torch.float64)
    return table[t.cpu()].to(device=like.device, dtype=like.dtype).reshape(-1, 1, 1, 1)
