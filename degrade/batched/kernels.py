"""Blur kernels of a batch, made on the device: the families of :mod:`degrade.kernels`, each sample its own.

Made on the host they would take 0.2 ms each, three per pair: longer than all the rest of the pair on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from degrade.batched.upload import upload
from degrade.operators.blur import BlurDraw
from degrade.operators.sinc import SincDraw

_GAUSSIAN, _PLATEAU, _SINC = 0.0, 1.0, 2.0


def kernels(draws: Sequence[BlurDraw | SincDraw], device: torch.device) -> Tensor:
    """float64 [n, k, k], each with sum 1, in the middle of k taps, the largest size of all."""
    taps = max(draw.size for draw in draws)
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


def _parameters(draw: BlurDraw | SincDraw) -> tuple[float, ...]:
    """Shape, size, sigma_x, sigma_y, theta, beta and omega; what a family does not use is harmless."""
    if isinstance(draw, SincDraw) or draw.omega is not None:
        assert draw.omega is not None
        return (_SINC, draw.size, 1.0, 1.0, 0.0, 1.0, draw.omega)
    assert draw.sigma_x is not None
    sigma_y = draw.sigma_x if draw.sigma_y is None else draw.sigma_y
    shape = _PLATEAU if draw.family.startswith("plateau") else _GAUSSIAN
    return (shape, draw.size, draw.sigma_x, sigma_y, draw.theta or 0.0, draw.beta or 1.0, 1.0)
