"""The deterministic sampler: the chain's marginals with one noise all the way."""

from __future__ import annotations

import pytest
import torch

from stages.diffusion.deterministic import coefficients, inverse, sample
from stages.diffusion.resshift import ResShift


@pytest.mark.parametrize("timesteps", [1, 4, 15])
def test_every_step_keeps_the_noise_and_the_marginal(timesteps):
    """With the true z0 known, z_t stays z0 + eta_t (z_y - z0) + kappa sqrt(eta_t) noise of the same noise."""
    process = ResShift.create(timesteps, min_noise=0.2)
    z0, zy, noise = torch.randn(3, 2, 3, 4, 4, dtype=torch.float64)
    z = z0 + process.sqrt_eta[-1] ** 2 * (zy - z0) + 2 * process.sqrt_eta[-1] * noise
    for t in reversed(range(timesteps)):
        k, m, j = coefficients(process, t)
        z = k * z0 + m * z + j * zy
        root = process.sqrt_eta[t - 1] if t else 0.0
        assert torch.allclose(z, z0 + root**2 * (zy - z0) + 2 * root * noise, atol=1e-12)


def test_the_coefficients_are_those_of_the_paper():
    process = ResShift.create(15)
    for t in range(1, 15):
        before, eta = process.sqrt_eta[t - 1] ** 2, process.sqrt_eta[t] ** 2
        k = 1 - before + (before * eta) ** 0.5 - (before / eta) ** 0.5
        assert coefficients(process, t) == pytest.approx((k, (before / eta) ** 0.5, before - (before * eta) ** 0.5))
    assert coefficients(process, 0) == (1, 0, 0)


def test_sampling_runs_the_chain_backwards_and_ends_at_the_last_answer():
    process, seen = ResShift.create(4, min_noise=0.2), []
    z_T, zy = torch.randn(2, 1, 3, 4, 4)

    def predict(z, t):
        seen.append(int(t[0]))
        return torch.full_like(z, float(t[0]))

    assert torch.equal(sample(process, z_T, zy, predict), torch.zeros_like(zy))
    assert seen == [3, 2, 1, 0]


def test_the_inverse_has_the_first_label_and_the_last_scale():
    process = ResShift.create(15)
    asked, like = inverse(process), torch.zeros(1)
    assert asked.labels == (0,)
    zero = torch.zeros(1, dtype=torch.int64)
    assert asked.input_scale(zero, like).item() == pytest.approx(1 / 2.2182, rel=1e-4)  # as published
