"""Pairs in a training step: which pairs come is a function of their numbers; the pool resumes to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from degrade.batched.online import OnlinePairs
from degrade.batched.pool import PairPool
from degrade.engine import render
from degrade.errors import DegradeError
from degrade.presets import load_preset

PHOTOS = [data.astronaut(), data.coffee()]
DIGESTS = ["ab" * 32, "cd" * 32]


def test_batches_hold_the_pairs_of_their_numbers():
    pairs = OnlinePairs(load_preset("resshift"), seed=4, scale=4, hr_size=64, device=torch.device("cpu"))
    hr, lr = pairs([*PHOTOS, PHOTOS[0]], [*DIGESTS, DIGESTS[0]], [0, 7, 1])
    assert (hr.shape, lr.shape, hr.dtype) == ((3, 3, 64, 64), (3, 3, 16, 16), torch.float32)
    again, _ = pairs([PHOTOS[1]], [DIGESTS[1]], [7])
    assert torch.equal(again[0], hr[1])
    stored = render(PHOTOS[1], pairs.recipe((400, 600), DIGESTS[1], 7))
    assert np.array_equal(torch.round(hr[1] * 255).permute(1, 2, 0).numpy(), stored[0])
    assert not torch.equal(hr[0], hr[2]) or not torch.equal(lr[0], lr[2])
    with pytest.raises(DegradeError, match="2 images, 1 digests and 2 crops"):
        pairs(PHOTOS, DIGESTS[:1], [0, 1])


def batch(step: int, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.arange(step * count, (step + 1) * count, dtype=torch.float32).reshape(-1, 1, 1, 1)
    return numbers.expand(-1, 3, 8, 8).clone(), numbers.expand(-1, 3, 2, 2).clone()


def numbers(pairs: tuple[torch.Tensor, torch.Tensor]) -> list[int]:
    hr, lr = pairs
    assert torch.equal(hr[:, 0, 0, 0], lr[:, 0, 0, 0])  # they stay together
    return [int(value) for value in hr[:, 0, 0, 0]]


def test_the_pool_gives_back_every_pair_once_in_another_order():
    pool = PairPool(capacity=10, seed=1)
    out = [numbers(pool.swap(*batch(step))) for step in range(60)]
    flat = [value for taken in out[2:] for value in taken]  # two batches pass through while it fills
    assert out[0] == [0, 1, 2, 3]
    assert len(set(flat)) == len(flat)
    delays = [step - value // 4 for step, taken in enumerate(out[2:], 2) for value in taken]
    assert max(delays) > 2
    assert sum(delays) / len(delays) == pytest.approx(2.0, abs=0.4)  # of 8 kept, 4 go at each step
    other = PairPool(capacity=10, seed=2)
    assert out != [numbers(other.swap(*batch(step))) for step in range(60)]


def test_a_resumed_pool_goes_on_as_if_it_had_not_stopped():
    straight = PairPool(capacity=9, seed=5)
    expected = [numbers(straight.swap(*batch(step))) for step in range(20)]
    for stop in (0, 1, 7):
        first, second = PairPool(capacity=9, seed=5), PairPool(capacity=9, seed=5)
        head = [numbers(first.swap(*batch(step))) for step in range(stop)]
        second.load_state_dict(first.state_dict())
        first.swap(*batch(99))  # the state is a copy
        assert head + [numbers(second.swap(*batch(step))) for step in range(stop, 20)] == expected


def test_pools_refuse_what_does_not_fit():
    with pytest.raises(DegradeError, match="got capacity 0"):
        PairPool(capacity=0, seed=1)
    with pytest.raises(DegradeError, match="at most 3"):
        PairPool(capacity=3, seed=1).swap(*batch(0))
    with pytest.raises(DegradeError, match="seed 1 and this one has 2"):
        PairPool(capacity=3, seed=2).load_state_dict(PairPool(capacity=3, seed=1).state_dict())
