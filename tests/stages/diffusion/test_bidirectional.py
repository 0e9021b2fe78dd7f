"""The process that knows the LR latent: its schedules, its marginals and its limits."""

from __future__ import annotations

import math

import pytest
import torch

from stages.diffusion.bidirectional import Bidirectional, scaled_linear
from stages.diffusion.resshift import ResShift

MEANS = ["hr", "lr", "residual-shift"]
HR, LR = 0.6, -0.4
"""One value of z_h and one of z_l."""


def full(value: float, count: int = 1) -> torch.Tensor:
    return torch.full((count, 1, 1, 1), value, dtype=torch.float64)


def test_the_schedule_is_stable_diffusions():
    """sigma = s_t / a_t begins at 0.0292 and ends at 14.6146, as every sampler for Stable Diffusion states."""
    a = scaled_linear(1000, 0.00085, 0.012, zero_terminal=False)
    sigmas = [math.sqrt(1 - x * x) / x for x in a]
    assert sigmas[0] == pytest.approx(0.0292, abs=5e-5)
    assert sigmas[-1] == pytest.approx(14.6146, abs=5e-5)
    assert a[499] ** 2 == pytest.approx(0.27766, abs=5e-5)  # alpha_bar after 500 steps


def test_a_zero_terminal_keeps_the_first_step_and_leaves_nothing_at_the_last():
    before, after = (scaled_linear(1000, 0.00085, 0.012, zero_terminal=zero) for zero in (False, True))
    assert (after[0], after[-1]) == (pytest.approx(before[0]), 0.0)
    steps = [(after[i] - after[i + 1]) / (before[i] - before[i + 1]) for i in range(999)]
    assert steps == pytest.approx([steps[0]] * 999)  # one stretch everywhere
    assert scaled_linear(1, 0.1, 0.2, zero_terminal=True) == [0.0]


@pytest.mark.parametrize("timesteps", [4, 15])
def test_residual_shift_is_resshifts_chain(timesteps):
    ours = Bidirectional.create(mean="residual-shift", timesteps=timesteps, k=2.0, min_noise=0.2)
    theirs = ResShift.create(timesteps, kappa=2.0, min_noise=0.2)
    z_h, z_l, noise = torch.randn(3, timesteps, 4, 2, 2)
    t = torch.arange(timesteps)
    assert torch.allclose(ours.q_sample(z_h, z_l, t, noise), theirs.q_sample(z_h, z_l, t, noise), atol=1e-6)
    assert torch.allclose(ours.start(z_l, noise), theirs.prior(z_l, noise), atol=1e-6)
    assert torch.allclose(ours.input_scale(t, z_h), theirs.input_scale(t, z_h))


def test_mean_hr_is_the_chain_of_ddpm():
    """Its marginals are those of single steps z_t = sqrt(1 - beta_t) z_{t-1} + sqrt(beta_t) noise, from their betas."""
    process = Bidirectional.create(mean="hr", timesteps=20, zero_terminal=False)
    mean, variance = HR, 0.0
    for t in range(20):
        beta = (math.sqrt(0.00085) + t / 19 * (math.sqrt(0.012) - math.sqrt(0.00085))) ** 2
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        at = torch.tensor([t])
        assert process.q_sample(full(HR), full(LR), at, full(0)).item() == pytest.approx(mean)
        assert process.q_sample(full(0), full(0), at, full(1)).item() ** 2 == pytest.approx(variance)


@pytest.mark.parametrize("mean", MEANS)
def test_drawn_latents_have_the_mean_and_the_variance_of_the_formula(mean):
    process, draws = Bidirectional.create(mean=mean, timesteps=10, k=0.7, end=0.9), 100_000
    generator = torch.Generator().manual_seed(0)
    signal = scaled_linear(10, 0.00085, 0.012, zero_terminal=True)
    first, last = 0.04, 0.9
    for t in (0, 4, 9):
        noise = torch.randn(draws, 1, 1, 1, generator=generator, dtype=torch.float64)
        z = process.q_sample(full(HR, draws), full(LR, draws), torch.full((draws,), t), noise)
        a, s = signal[t], math.sqrt(1 - signal[t] ** 2)
        eta = (first * (last / first) ** ((t / 9) ** 0.3)) ** 2
        middle, std = {
            "hr": (a * HR, 0.7 * s),
            "lr": (a * HR + s * LR, 0.7 * s),
            "residual-shift": (HR + eta * (LR - HR), 0.7 * math.sqrt(eta)),
        }[mean]
        assert z.mean().item() == pytest.approx(middle, abs=4 * std / math.sqrt(draws))
        assert z.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * draws))


def test_the_last_step_of_mean_lr_is_the_lr_latent_and_k_times_the_noise_exactly():
    z_h, z_l, noise = torch.randn(3, 2, 4, 8, 8)
    for k in (0.0, 0.1):
        process = Bidirectional.create(mean="lr", k=k)
        last = torch.full((2,), process.last)
        assert torch.equal(process.q_sample(z_h, z_l, last, noise), z_l + k * noise)
        assert torch.equal(process.start(z_l, noise), z_l + k * noise)
        assert torch.equal(process.start(z_l, None), z_l)


@pytest.mark.parametrize("mean", MEANS)
def test_inference_without_noise_draws_none_whatever_k_was_in_training(mean):
    process, z_l = Bidirectional.create(mean=mean, k=0.5, inference_k=0.0), torch.randn(1, 4, 2, 2)

    def refused(_: int) -> torch.Tensor:
        raise AssertionError("noise was drawn")

    seen = []
    found = process.sample(z_l, lambda z, t: seen.append((z, int(t[0]))) or z * 2, refused)
    assert [t for _, t in seen] == [process.last]
    assert torch.equal(found, seen[0][0] * 2)
    with pytest.raises(ValueError, match="one step, got 2"):
        process.respaced(2)


@pytest.mark.parametrize("mean", ["hr", "lr"])
def test_v_of_the_truth_leads_back_to_it_at_every_step(mean):
    process = Bidirectional.create(mean=mean, k=0.3, prediction="v") if mean == "lr" else Bidirectional.create(
        mean=mean, prediction="v"
    )  # fmt: skip
    z_h, z_l, noise = torch.randn(3, 1000, 1, 1, 1, dtype=torch.float64)
    t = torch.arange(1000)
    v = process.target(z_h, z_l, t, noise)
    assert torch.allclose(process.x0(process.q_sample(z_h, z_l, t, noise), t, v), z_h)
    plain = Bidirectional.create(mean=mean)
    assert torch.equal(plain.x0(noise, t, plain.target(z_h, z_l, t, noise)), z_h)
    with pytest.raises(ValueError, match="prediction"):
        Bidirectional.create(mean="residual-shift", prediction="v")


@pytest.mark.parametrize("mean", ["hr", "lr"])
def test_what_enters_the_network_has_unit_variance_where_the_latents_are_independent(mean):
    process = Bidirectional.create(mean=mean, timesteps=8, k=1.5)
    t = torch.arange(8).repeat_interleave(20_000)
    z_h, z_l, noise = torch.randn(3, len(t), 1, 1, 1, generator=torch.Generator().manual_seed(1))
    z = process.input_scale(t, z_h) * process.q_sample(z_h, z_l, t, noise)
    assert z.reshape(8, -1).std(1).tolist() == pytest.approx([1.0] * 8, abs=0.03)


def test_nothing_needs_no_scale():
    """Mean hr without noise has nothing left at its end; dividing by that would make NaN of it."""
    process = Bidirectional.create(mean="hr", k=0.0)
    last = torch.tensor([process.last])
    assert (process.input_scale(last, full(0)) * process.q_sample(full(1), full(1), last, full(1))).item() == 0
