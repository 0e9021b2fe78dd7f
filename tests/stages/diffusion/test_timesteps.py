"""Which steps are trained on: the density that is stated, and no memory of what was drawn."""

from __future__ import annotations

import pytest
import torch

from stages.diffusion.noise import Noise
from stages.diffusion.timesteps import StepBias, uniforms

EVENLY = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000


@pytest.mark.parametrize("exponent", [0.0, 1.0, 4.0])
def test_draws_have_the_density_of_the_formula(exponent):
    bias = StepBias(exponent, exponent)
    found = torch.bincount(bias.draw(EVENLY, 0, 10), minlength=10) / 100_000
    wanted = [((t + 1) / 10) ** (1 + exponent) - (t / 10) ** (1 + exponent) for t in range(10)]
    assert found.tolist() == pytest.approx(wanted, abs=2e-5)
    assert bias.probabilities(0, 10).tolist() == pytest.approx(wanted)


def test_a_larger_exponent_is_nearer_to_the_end_and_the_ends_are_within():
    means = [StepBias(b, b).draw(EVENLY, 0, 1000).double().mean().item() for b in (0, 1, 4)]
    assert means == pytest.approx([499.5, 666.2, 832.8], abs=0.1)  # (1 + b) / (2 + b) of T, less half a step
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    for b in (0.0, 50.0):
        assert StepBias(b, b).draw(ends, 0, 1000).tolist() == [0, 999]


def test_the_bias_goes_in_a_straight_line_and_then_stays():
    bias = StepBias(4.0, 1.0, 100)
    assert [bias.exponent(step) for step in (0, 50, 100, 10_000)] == [4.0, 2.5, 1.0, 1.0]


def test_a_training_step_draws_the_same_alone_in_any_batch_and_at_any_time():
    bias, noise = StepBias(4.0, 0.0, 10), Noise(7)
    whole = bias.draw(uniforms(noise, "t", [3, 4, 5]), 6, 1000)
    bias.draw(uniforms(noise, "t", [9]), 9, 1000)
    assert bias.draw(uniforms(Noise(7), "t", [5]), 6, 1000).item() == whole[2]
    assert whole.tolist() == [int(1000 * u ** (1 / 2.6)) for u in uniforms(noise, "t", [3, 4, 5]).tolist()]


def test_uniforms_are_uniform():
    drawn = uniforms(Noise(0), "t", range(4000))
    assert drawn.dtype == torch.float64
    assert torch.histc(drawn, 4, 0, 1).min() > 900
