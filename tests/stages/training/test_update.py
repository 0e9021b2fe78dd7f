"""One update: micro-batches, loss scale, clipping and the guard against arithmetic done by hand."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from pipelines.stage import StageError
from stages.training.config import OptimiserConfig
from stages.training.guard import MAX_SKIPS, Guard
from stages.training.ranks import SOLO
from stages.training.scaling import FIRST, INTERVAL, LossScale
from stages.training.state import TrainState
from stages.training.update import Updater
from tests.support.training import Toy, batch, context, settings


def updater(tmp_path, method, **changed):
    config = settings(**changed)
    state = TrainState.create(method, config.training.precision)
    return Updater(state, config, SOLO, Guard(state, SOLO, context(tmp_path, config)), "cpu")


def linear(factor):
    """Loss = factor * (sum of weights) * mean of the samples: its gradient is known for every weight."""
    return lambda toy, part: (toy.network.weight.sum() * (factor * part.lr.mean())).float()


GRADIENT = math.sqrt(48 * 3 * 9)  # norm of a gradient of ones


def test_uneven_micro_batches_weigh_by_their_samples(tmp_path):
    method = Toy(OptimiserConfig(), linear(1.0))
    seen = updater(tmp_path, method, micro_batch=3).update(method.phases[0], batch([1.0, 2.0, 3.0, 10.0]))
    assert seen["gradient_norm"] == pytest.approx(4 * GRADIENT)
    assert seen["loss"] == pytest.approx(4 * 0.01 * 48 * 27)


def test_fp16_gradients_are_unscaled_before_they_are_measured_and_clipped(tmp_path):
    method = Toy(OptimiserConfig(clip=1.0), linear(2.0**-24))
    given = []
    one = updater(tmp_path, method, training={"precision": "fp16", "clip": 1.0})
    step = one.state.optimisers["net"].step
    one.state.optimisers["net"].step = lambda: (given.append(method.network.weight.grad.clone()), step())
    seen = one.update(method.phases[0], batch([1.0] * 4))
    assert seen["gradient_norm"] == pytest.approx(2.0**-24 * GRADIENT)
    assert torch.all(given[0] == 2.0**-24)  # below the clip: left alone, and not lost as half precision would
    assert seen["loss_scale"] == FIRST


def overflowing(toy, part):
    """Gradients of 2: half precision holds them up to a scale of 2**14."""
    return ((toy.network.weight.half() * 2).sum(dtype=torch.float32) * part.lr.mean().float()).float()


def test_overflow_lowers_the_scale_and_is_no_refusal(tmp_path):
    method = Toy(OptimiserConfig(), overflowing)
    one = updater(tmp_path, method, training={"precision": "fp16"})
    before = method.network.weight.clone()
    for _ in range(2):
        one.update(method.phases[0], batch([1.0] * 4))
        assert torch.equal(method.network.weight, before)
    one.update(method.phases[0], batch([1.0] * 4))
    assert not torch.equal(method.network.weight, before)
    assert one.state.scales["net"] == LossScale(2.0**14, good=1)
    assert one.state.skipped == {}


def test_a_scale_that_cannot_be_to_blame_leaves_it_to_the_guard(tmp_path):
    """A gradient that is infinite at every scale: sixteen halvings, then five refusals, then the end."""
    method = Toy(OptimiserConfig(), lambda toy, part: (toy.network.weight.sum() * 0).sqrt() + part.lr.sum() * 0)
    one = updater(tmp_path, method, training={"precision": "fp16"})
    for _ in range(16):
        one.update(method.phases[0], batch([1.0] * 4))
    assert (one.state.scales["net"].value, one.state.skipped) == (1.0, {})
    for _ in range(MAX_SKIPS - 1):
        one.update(method.phases[0], batch([1.0] * 4))
    with pytest.raises(StageError, match=r"5 updates in a row"):
        one.update(method.phases[0], batch([1.0] * 4))
    assert one.state.skipped == {"net": MAX_SKIPS}


def test_the_scale_doubles_after_many_good_updates():
    scale = LossScale()
    for _ in range(INTERVAL):
        scale.went_well()
    assert scale == LossScale(2 * FIRST, good=0)


def test_the_guard_names_the_micro_batch_whose_loss_is_not_finite(tmp_path, caplog):
    method = Toy(OptimiserConfig())
    with caplog.at_level(logging.WARNING):
        updater(tmp_path, method, micro_batch=2).update(method.phases[0], batch([0.1, 0.2, 0.3, math.nan]))
    assert "micro-batch 2 of 2: loss nan; samples key-2, key-3" in caplog.text
    assert "key-0" not in caplog.text


def test_the_guard_finds_a_gradient_that_is_not_finite_behind_a_finite_loss(tmp_path, caplog):
    """The root of zero: 0, with an infinite slope."""
    method = Toy(OptimiserConfig(), lambda toy, part: (toy.network.weight.sum() * part.lr.mean()).abs().sqrt())
    one = updater(tmp_path, method, micro_batch=1)
    before = {name: value.clone() for name, value in method.network.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        one.update(method.phases[0], batch([1.0, 2.0, 0.0, 3.0]))
    assert "micro-batch 3 of 4: loss 0.0, its gradient is not finite; samples key-2" in caplog.text
    assert "key-1" not in caplog.text
    assert all(torch.equal(value, before[name]) for name, value in method.network.state_dict().items())
    assert all(p.grad is None for p in method.network.parameters())


def test_a_good_update_of_one_optimiser_does_not_excuse_another(tmp_path):
    one = updater(tmp_path, Toy(OptimiserConfig()))
    for _ in range(MAX_SKIPS - 1):
        one.guard.refuse("broken", math.nan, 1.0, [])
        one.guard.accept("healthy")
    with pytest.raises(StageError, match=r"5 updates in a row were not finite, the last at step 0, broken"):
        one.guard.refuse("broken", math.nan, 1.0, [])


def test_a_state_takes_scale_refusals_and_the_best_along(tmp_path):
    method = Toy(OptimiserConfig(), overflowing)
    one = updater(tmp_path / "a", method, training={"precision": "fp16"})
    for _ in range(3):
        one.update(method.phases[0], batch([1.0] * 4))
    one.state.refused_in_a_row, one.state.best, one.state.step = {"net": 2}, {3: 21.5}, 7
    one.state.save(tmp_path)
    two = updater(tmp_path / "b", Toy(OptimiserConfig()), training={"precision": "fp16"}).state
    two.load(tmp_path)
    assert two.scales == one.state.scales != {"net": LossScale()}
    assert (two.refused_in_a_row, two.best, two.step) == ({"net": 2}, {3: 21.5}, 7)
