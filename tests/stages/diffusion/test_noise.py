"""Noise is named, never consumed: who else draws, and in which batch, cannot matter."""

from __future__ import annotations

import torch

from stages.diffusion.noise import Noise


def test_a_sample_has_its_noise_in_any_batch_and_order():
    noise = Noise(7)
    whole = noise.normal("forward", [3, 4, 5], (2, 8))
    assert torch.equal(noise.normal("forward", [5], (2, 8))[0], whole[2])
    assert torch.equal(Noise(7).normal("forward", [4, 3], (2, 8)), whole[[1, 0]])
    assert noise.integers("t", [3, 4, 5], 15).tolist() == [noise.integer("t", g, 15) for g in (3, 4, 5)]


def test_seed_purpose_and_sample_all_change_the_noise():
    draws = [Noise(s).normal(p, [g], (64,)) for s in (0, 1) for p in ("a", "b") for g in (0, 1, "name")]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(draws)


def test_noise_has_the_right_distribution_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    drawn = Noise(0).normal("x", range(200), (100,))
    steps = Noise(0).integers("t", range(3000), 3)
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.03
    assert torch.bincount(steps).min() > 900
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_is_frozen():
    """A changed value would change every training and every sampled image; raise stage versions if it must."""
    assert Noise(1).integers("t", [0, 1, 2, 3, 4, 5], 15).tolist() == [7, 10, 0, 8, 10, 1]
