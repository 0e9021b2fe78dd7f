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
INPUT_STD_15 = [
    1.0008, 1.027, 1.060, 1.104, 1.158, 1.222, 1.296, 1.381, 1.474, 1.577, 1.689, 1.809, 1.938, 2.074, 2.218,
]
LOSS_WEIGHTS_15 = [322, 303, 5.08, 1.73, .82, .456, .279, .183, .126, .090, .066, .050, .038, .030, .024]
PAPER_4 = [.1000, .5201, .7614, .9900]
INPUT_STD_4 = [1.020, 1.443, 1.822, 2.218]
KEEP_4 = [0, .037, .467, .592]
# fmt: on
"""The official code's tables, to the digits that were printed."""

processes = st.builds(
    ResShift.create,
    timesteps=st.integers(2, 20),
    kappa=st.floats(0.1, 8),
    power=st.floats(0.1, 2),
    min_noise=st.floats(0.01, 0.5),
)


@pytest.mark.parametrize(
    ("timesteps", "min_noise", "sqrt_eta", "input_std"),
    [(15, 0.04, PAPER_15, INPUT_STD_15), (4, 0.2, PAPER_4, INPUT_STD_4)],
)
def test_schedule_and_input_scale_are_the_published_tables(timesteps, min_noise, sqrt_eta, input_std):
    process = ResShift.create(timesteps, min_noise=min_noise)
    assert process.sqrt_eta == pytest.approx(sqrt_eta, abs=5e-5)
    scale = process.input_scale(torch.arange(timesteps), torch.zeros(timesteps, 1, 1, 1, dtype=torch.float64))
    assert (1 / scale).flatten().tolist() == pytest.approx(input_std, abs=5.1e-4)


def test_posterior_and_loss_weights_are_the_published_tables():
    fifteen, four = ResShift.create(15, min_noise=0.04), ResShift.create(4, min_noise=0.2)
    std = [math.sqrt(fifteen.posterior_coefficients(t)[2]) for t in range(15)]
    assert std == pytest.approx(POSTERIOR_STD_15, abs=5.1e-4)
    assert [four.posterior_coefficients(t)[0] for t in range(4)] == pytest.approx(KEEP_4, abs=6e-4)
    assert fifteen.loss_weights() == pytest.approx(LOSS_WEIGHTS_15, rel=1.5e-3, abs=5.1e-4)
    with pytest.raises(ValueError, match="at least 2 steps"):
        ResShift.create(1).loss_weights()


def test_loss_weights_are_the_divergence_of_two_posteriors():
    """KL(q(z_{t-1} | z_t, z0) || q(z_{t-1} | z_t, f)) of Gaussians of one variance, for answers f one apart from z0."""
    process = ResShift.create(15)
    for t, weight in enumerate(process.loss_weights()[1:], 1):
        keep, pull, variance = process.posterior_coefficients(t)
        one, other = (torch.distributions.Normal(keep * 0.3 + pull * x0, variance**0.5) for x0 in (0.2, 1.2))
        assert weight == pytest.approx(float(torch.distributions.kl_divergence(one, other)), rel=1e-5)


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


def test_single_steps_drawn_one_after_another_have_the_marginals_mean_and_variance():
    """Monte Carlo of Eq. 1 against Eq. 2, at every step of the four-step chain."""
    process, x0, y = ResShift.create(4, min_noise=0.2), -0.3, 0.7
    generator = torch.Generator().manual_seed(1)
    z, draws = torch.full((1, 1, 500, 400), x0), 200_000
    for t in range(4):
        alpha = process.sqrt_eta[t] ** 2 - (process.sqrt_eta[t - 1] ** 2 if t else 0)
        z = z + alpha * (y - x0) + process.kappa * math.sqrt(alpha) * torch.randn(z.shape, generator=generator)
        mean = process.q_sample(torch.full((1, 1, 1, 1), x0), torch.full((1, 1, 1, 1), y), torch.tensor([t]), z * 0)
        std = process.kappa * process.sqrt_eta[t]
        assert z.mean().item() == pytest.approx(mean.flatten()[0].item(), abs=4 * std / math.sqrt(draws))
        assert z.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * draws))


def test_sampling_with_a_perfect_denoiser_walks_through_the_marginals():
    """Each z_t on the way from the prior is distributed as q(z_t | z0, z_y): the posterior undoes single steps."""
    process, x0, y = ResShift.create(15), -0.3, 0.7
    generator, draws = torch.Generator().manual_seed(2), 90_000
    zy, truth, seen = torch.full((1, 1, 300, 300), y), torch.full((1, 1, 300, 300), x0), {}

    def oracle(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen[int(t)] = z
        return truth

    process.sample(zy, oracle, lambda _: torch.randn(zy.shape, generator=generator))
    for t, z in seen.items():
        # the prior is centred at z_y, eta_T = 0.98 short of what Eq. 2 says: that offset shrinks as the chain goes
        eta, std = process.sqrt_eta[t] ** 2, process.kappa * process.sqrt_eta[t]
        late = (1 - process.sqrt_eta[-1] ** 2) * (y - x0) * eta / process.sqrt_eta[-1] ** 2
        assert z.mean().item() == pytest.approx(x0 + eta * (y - x0) + late, abs=4 * std / math.sqrt(draws))
        assert z.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * draws))


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
