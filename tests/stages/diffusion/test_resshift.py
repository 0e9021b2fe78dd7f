"""The ResShift process against published tables and against formulas derived another way."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.diffusion.resshift import ResShift

# fmt: off
PAPER_15 = [.0200, .1172, .1763, .2336, .2916, .3510, .4124, .4759, .5417, .6099, .6807, .7540, .8300, .9086, .9900]
POSTERIOR_STD_15 = [0, .039, .175, .231, .280, .325, .368, .412, .455, .498, .542, .586, .630, .676, .722]
PAPER_4 = [.1000, .5201, .7614, .9900]
# fmt: on
INPUT_STD_4 = [1.020, 1.443, 1.822, 2.218]

processes = st.builds(
    ResShift.create,
    timesteps=st.integers(2, 20),
    kappa=st.floats(0.1, 8),
    power=st.floats(0.1, 2),
    min_noise=st.floats(0.01, 0.5),
)


def test_the_schedule_is_the_papers_table_for_15_and_4_steps():
    assert ResShift.create(15, min_noise=0.04).sqrt_eta == pytest.approx(PAPER_15, abs=5e-5)
    assert ResShift.create(4, min_noise=0.2).sqrt_eta == pytest.approx(PAPER_4, abs=5e-5)


def test_input_scaling_and_posterior_noise_are_the_papers_tables():
    four, like = ResShift.create(4, min_noise=0.2), torch.zeros(4, 1, 1, 1)
    assert (1 / four.input_scale(torch.arange(4), like)).flatten().tolist() == pytest.approx(INPUT_STD_4, abs=5e-4)
    fifteen = ResShift.create(15, min_noise=0.04)
    std = [math.sqrt(fifteen.posterior_coefficients(t)[2]) for t in range(15)]
    assert std == pytest.approx(POSTERIOR_STD_15, abs=6e-4)
    weights = [four.posterior_coefficients(t)[0] for t in range(4)]
    assert weights == pytest.approx([0, 0.037, 0.467, 0.592], abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(processes, st.floats(-2, 2), st.floats(-2, 2), st.floats(-4, 4), st.integers(1, 19))
def test_the_posterior_is_bayes_rule_applied_to_one_transition(process, x0, y, x_t, t):
    """Multiply q(x_{t-1} | x0, y) with q(x_t | x_{t-1}, y) as Gaussians in x_{t-1}, from their definitions only."""
    t = min(t, process.timesteps - 1)
    eta, before, kappa = process.sqrt_eta[t] ** 2, process.sqrt_eta[t - 1] ** 2, process.kappa
    alpha = eta - before
    precision = 1 / (kappa**2 * before) + 1 / (kappa**2 * alpha)
    marginal = (x0 + before * (y - x0)) / (kappa**2 * before)
    transition = (x_t - alpha * (y - x0)) / (kappa**2 * alpha)
    keep, pull, variance = process.posterior_coefficients(t)
    assert variance == pytest.approx(1 / precision, rel=1e-9)
    assert keep * x_t + pull * x0 == pytest.approx((marginal + transition) / precision, rel=1e-6, abs=1e-6)


def test_composing_transitions_gives_the_marginal():
    process = ResShift.create(15)
    mean, variance, x0, y = -0.3, 0.0, -0.3, 0.7
    zero, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    for t in range(15):
        alpha = process.sqrt_eta[t] ** 2 - (process.sqrt_eta[t - 1] ** 2 if t else 0)
        mean, variance = mean + alpha * (y - x0), variance + process.kappa**2 * alpha
        at = torch.tensor([t])
        no_noise = process.q_sample(x0 * one, y * one, at, zero)
        noisy = process.q_sample(zero, zero, at, one)
        assert no_noise.item() == pytest.approx(mean, abs=1e-6)
        assert noisy.item() ** 2 == pytest.approx(variance, rel=1e-5)


def test_sampling_starts_at_the_prior_and_a_perfect_denoiser_ends_at_the_truth():
    process, zy, truth = ResShift.create(4, min_noise=0.2), torch.ones(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    seen: list[torch.Tensor] = []

    def oracle(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(z)
        return truth

    assert torch.equal(process.sample(zy, oracle, lambda _: torch.full_like(zy, 0.5)), truth)
    assert torch.allclose(seen[0], zy + 2 * 0.99 * 0.5)
    assert len(seen) == 4


def test_a_respaced_chain_keeps_the_prior_its_etas_and_their_labels():
    process = ResShift.create(15)
    assert process.respaced(15) == process
    assert process.respaced(4).labels == (3, 7, 11, 14)
    assert process.respaced(1).sqrt_eta == process.sqrt_eta[-1:]
    with pytest.raises(ValueError, match="expected 1 to 15"):
        process.respaced(16)
