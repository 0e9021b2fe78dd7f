"""Blur kernels of a batch, each sample its own, made on the device: the families of :mod:`degrade.kernels`.

Made on the host they would take 0.2 ms each, three per pair: 20 ms for a batch of 32. Defocus and motion, which no
bundled preset has, are made there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from degrade.batched.upload import upload
from degrade.operators.blur import BlurDraw
from degrade.operators.defocus import DefocusDraw
from degrade.operators.eigen_blur import EigenBlurDraw
from degrade.operators.motion import MotionDraw
from degrade.operators.sinc import SincDraw

Formula = BlurDraw | SincDraw | EigenBlurDraw
Spread = DefocusDraw | MotionDraw
_GAUSSIAN, _PLATEAU, _SINC = 0.0, 1.0, 2.0
_POINT: Final = 1e-3
"""The least sigma in pixels; its kernel is the identity."""


def kernels(draws: Sequence[Formula | Spread], device: torch.device) -> Tensor:
    """float64 [n, k, k], each with sum 1, in the middle of k taps, the largest size of all."""
    formulas = [(row, draw) for row, draw in enumerate(draws) if not isinstance(draw, Spread)]
    spreads = [(row, draw.kernel()) for row, draw in enumerate(draws) if isinstance(draw, Spread)]
    taps = max([draw.size for _, draw in formulas] + [kernel.shape[0] for _, kernel in spreads])
    if not spreads:
        return _formulas([draw for _, draw in formulas], taps, device)
    result = np.zeros((len(draws), taps, taps))
    for row, kernel in spreads:
        edge = (taps - kernel.shape[0]) // 2
        result[row, edge : taps - edge, edge : taps - edge] = kernel
    packed = upload(result, torch.float64, device)
    if not formulas:
        return packed
    rows = upload([row for row, _ in formulas], torch.int64, device)
    return packed.index_copy(0, rows, _formulas([draw for _, draw in formulas], taps, device))


def _formulas(draws: Sequence[Formula], taps: int, device: torch.device) -> Tensor:
    table = upload([_parameters(draw) for draw in draws], torch.float64, device)[:, :, None, None]
    shape, size, sigma_x, sigma_y, theta, beta, omega = table.unbind(1)
    axis = torch.arange(taps, dtype=torch.float64, device=device) - taps // 2
    x, y = axis[None, None, :], axis[None, :, None]
    cosine, sine = torch.cos(theta), torch.sin(theta)
    along = (cosine * x + sine * y) / sigma_x
    across = (cosine * y - sine * x) / sigma_y
    power = (along * along + across * across) ** beta
    bell = torch.where(shape == _GAUSSIAN, torch.exp(-0.5 * power), 1.0 / (1.0 + power))
    weights = torch.where(shape == _SINC, _sinc(x, y, omega), bell)
    inside = torch.maximum(x.abs(), y.abs()) <= (size - 1) / 2
    weights = torch.where(inside, weights, torch.zeros_like(weights))
    return weights / weights.sum(dim=(1, 2), keepdim=True)


def _sinc(x: Tensor, y: Tensor, omega: Tensor) -> Tensor:
    """omega J1(omega r) / (2 pi r), and its limit omega^2 / (4 pi) at the centre."""
    radius = torch.sqrt(x * x + y * y)
    apart = radius.clamp_min(1.0)  # no tap but the centre is nearer than 1
    wave = omega * torch.special.bessel_j1(omega * apart) / (2.0 * math.pi * apart)
    return torch.where(radius > 0, wave, omega * omega / (4.0 * math.pi))


def _parameters(draw: Formula) -> tuple[float, ...]:
    """Shape, size, sigma_x, sigma_y, theta, beta and omega; what a family does not use is harmless."""
    if isinstance(draw, SincDraw):
        return (_SINC, draw.size, 1.0, 1.0, 0.0, 1.0, draw.omega)
    if isinstance(draw, BlurDraw) and draw.omega is not None:
        return (_SINC, draw.size, 1.0, 1.0, 0.0, 1.0, draw.omega)
    assert draw.sigma_x is not None
    sigma_y = draw.sigma_x if draw.sigma_y is None else draw.sigma_y
    plateau = isinstance(draw, BlurDraw) and draw.family.startswith("plateau")
    beta = draw.beta if isinstance(draw, BlurDraw) and draw.beta is not None else 1.0
    sigmas = (max(draw.sigma_x, _POINT), max(sigma_y, _POINT))
    return (_PLATEAU if plateau else _GAUSSIAN, draw.size, *sigmas, draw.theta or 0.0, beta, 1.0)
