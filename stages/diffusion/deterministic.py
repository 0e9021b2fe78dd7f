"""The deterministic sampler of the ResShift process (SinSR: Wang et al., arXiv 2311.14760, section 4.1).

As DDIM does for diffusion, it keeps the marginals q(z_t | z0, z_y) and draws no noise but that of the prior, so that
z_T and z0 are a pair, by a map that another network can learn.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stages.diffusion.resshift import ResShift


def coefficients(process: ResShift, t: int) -> tuple[float, float, float]:
    """(k, m, j), in float64, of z_{t-1} = k z0 + m z_t + j z_y; they sum to one. At t = 0 it is z0 itself.

    m = sqrt(eta_{t-1} / eta_t),  j = eta_{t-1} - sqrt(eta_{t-1} eta_t),  k = 1 - m - j.
    """
    root, before = process.sqrt_eta[t], process.sqrt_eta[t - 1] if t > 0 else 0.0
    m = before / root
    j = before**2 - before * root
    return 1 - m - j, m, j


def sample(process: ResShift, z_T: Tensor, zy: Tensor, predict_x0: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """F(z_T, y): from z_T [B, C, H, W] of the prior to z0 in T calls of `predict_x0(z_t, t)`, t int64 [B]."""
    z = z_T
    for t in reversed(range(process.timesteps)):
        k, m, j = coefficients(process, t)
        z = k * predict_x0(z, torch.full((len(z),), t, dtype=torch.int64)) + m * z + j * zy
    return z


def inverse(process: ResShift) -> ResShift:
    """The one step by which a SinSR student is asked for z_T of a z0: label 0, input scaled as z_T is.

    At inference the student is only ever given the label of the last step, so the first is free to say this.
    """
    return ResShift((process.sqrt_eta[-1],), process.kappa, (process.labels[0],))
