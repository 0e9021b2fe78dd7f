"""The ResShift process: a Markov chain between a clean latent z0 and the encoded up-sampled LR image z_y.

Source: Yue, Wang, Loy, "ResShift" (arXiv 2307.12348), sections 3.1 (forward, reverse process) and 3.2 (noise
schedule). Index t here runs over 0..T-1 where the paper writes 1..T, and eta_{-1} here is its eta_0 = 0.

    e0 = z_y - z0                                   the residual that the chain shifts
    q(z_t | z_{t-1}, z_y) = N(z_{t-1} + alpha_t e0, kappa^2 alpha_t I),  alpha_t = eta_t - eta_{t-1}     (Eq. 1)
    q(z_t | z0, z_y)      = N(z0 + eta_t e0,        kappa^2 eta_t I)                                     (Eq. 2)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def sqrt_eta_schedule(timesteps: int, power: float, first: float, last: float) -> list[float]:
    """sqrt(eta_t) for t = 0..T-1 in float64: a geometric path from `first` to `last`, bent by `power` (section 3.2).

    sqrt(eta_t) = first * b^beta_t with b = (last/first)^(1/(T-1)) and beta_t = (t/(T-1))^power * (T-1).
    `last` is the end value of sqrt(eta), so 0.99 gives eta_T = 0.9801. One step has only the value `last`.
    """
    if timesteps == 1:
        return [last]
    growth = math.log(last / first) / (timesteps - 1)
    betas = [(t / (timesteps - 1)) ** power * (timesteps - 1) for t in range(timesteps)]
    return [first * math.exp(growth * beta) for beta in betas]


@dataclass(frozen=True)
class ResShift:
    """The chain with its tables. `sqrt_eta` are float64 values in (0, 1), increasing; `kappa` > 0.

    `labels[t]` is the time label that the network is given for step t: t itself, or after respacing the step
    of the process that the network was trained on. Latents are float [B, C, H, W] of variance about one.
    """

    sqrt_eta: tuple[float, ...]
    kappa: float
    labels: tuple[int, ...]

    @classmethod
    def create(
        cls, timesteps: int, kappa: float = 2.0, power: float = 0.3, min_noise: float = 0.04, end: float = 0.99
    ) -> ResShift:
        """The paper's schedule: `min_noise` bounds kappa * sqrt(eta_1) from above, and sqrt(eta_1) itself."""
        first = min(min_noise / kappa, min_noise)
        return cls(tuple(sqrt_eta_schedule(timesteps, power, first, end)), kappa, tuple(range(timesteps)))

    @property
    def timesteps(self) -> int:
        return len(self.sqrt_eta)

    def respaced(self, steps: int) -> ResShift:
        """The shorter chain over the steps ceil(T/S * k) - 1, k = 1..S, each with its own eta and label.

        The last step is always kept, so that sampling starts at the prior that the network was trained on;
        one step is then the network's answer at T. (The official code keeps floor(T/S * k) from k = 0, and so
        loses the prior's own step.)
        """
        if not 1 <= steps <= self.timesteps:
            raise ValueError(f"sampling steps: expected 1 to {self.timesteps} (the trained process), got {steps}")
        kept = [-(-self.timesteps * k // steps) - 1 for k in range(1, steps + 1)]
        return ResShift(tuple(self.sqrt_eta[t] for t in kept), self.kappa, tuple(self.labels[t] for t in kept))

    def _table(self, values: Sequence[float], t: Tensor, like: Tensor) -> Tensor:
        """values[t] computed in float64, rounded once to the latents' type, shaped [B, 1, 1, 1]."""
        table = torch.tensor(values, dtype=torch.float64)
        return table[t.cpu()].to(device=like.device, dtype=like.dtype).reshape(-1, 1, 1, 1)

    def q_sample(self, z0: Tensor, zy: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """z_t ~ q(z_t | z0, z_y) = z0 + eta_t (z_y - z0) + kappa sqrt(eta_t) noise (Eq. 2); `t` int64 [B]."""
        eta = self._table([s * s for s in self.sqrt_eta], t, z0)
        std = self._table([self.kappa * s for s in self.sqrt_eta], t, z0)
        return z0 + eta * (zy - z0) + std * noise

    def prior(self, zy: Tensor, noise: Tensor) -> Tensor:
        """z_T ~ N(z_y, kappa^2 eta_T I): where sampling starts (section 3.1)."""
        return zy + self.kappa * self.sqrt_eta[-1] * noise

    def input_scale(self, t: Tensor, like: Tensor) -> Tensor:
        """1 / sqrt(1 + kappa^2 eta_t): keeps the network's input at unit variance when the latents have it."""
        return self._table([1 / math.sqrt(1 + (self.kappa * s) ** 2) for s in self.sqrt_eta], t, like)

    def posterior_coefficients(self, t: int) -> tuple[float, float, float]:
        """(weight of z_t, weight of z0, variance) of q(z_{t-1} | z_t, z0, z_y), in float64 (section 3.1).

        mean = eta_{t-1}/eta_t z_t + alpha_t/eta_t z0,  variance = kappa^2 eta_{t-1}/eta_t alpha_t.
        At t = 0 it returns z0 itself without noise, because eta_{-1} = 0.
        """
        eta = self.sqrt_eta[t] ** 2
        before = self.sqrt_eta[t - 1] ** 2 if t > 0 else 0.0
        alpha = eta - before
        return before / eta, alpha / eta, self.kappa**2 * before / eta * alpha

    def loss_weights(self) -> list[float]:
        """What the variational bound weighs || f(z_t) - z0 ||^2 by, t = 0..T-1: (alpha_t/eta_t)^2 / (2 variance_t).

        The first step has no variance, so that of the second stands in for it. The paper's loss drops these
        weights, which improves its results (section 3.1). Raises ValueError for a chain of one step.
        """
        if self.timesteps == 1:
            raise ValueError("loss weights: expected a chain of at least 2 steps; one step has no posterior variance")
        table = [self.posterior_coefficients(t) for t in range(self.timesteps)]
        return [pull**2 / (2 * table[max(t, 1)][2]) for t, (_, pull, _) in enumerate(table)]

    def sample(
        self, zy: Tensor, predict_x0: Callable[[Tensor, Tensor], Tensor], noise: Callable[[int], Tensor]
    ) -> Tensor:
        """Ancestral sampling from the prior to z0, one call of `predict_x0(z_t, t)` a step, t int64 [B].

        `noise(k)` gives standard normal noise of z_y's shape: k = T for the prior, k = t for the step from t.
        """
        z = self.prior(zy, noise(self.timesteps))
        for t in reversed(range(self.timesteps)):
            x0 = predict_x0(z, torch.full((len(zy),), t, dtype=torch.int64))
            keep, pull, variance = self.posterior_coefficients(t)
            z = keep * z + pull * x0
            if t > 0:
                z = z + math.sqrt(variance) * noise(t)
        return z
