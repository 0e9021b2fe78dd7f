"""The pieces of the loop against arithmetic done by hand."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from stages.data.samples import SampleIndex
from stages.training.config import OptimiserConfig, TrainConfig
from stages.training.ema import Ema
from stages.training.loader import PairLoader
from stages.training.schedule import learning_rate
from tests.support.textures import texture_pairs


def test_warm_up_is_linear_and_cosine_ends_at_its_horizon():
    config = OptimiserConfig(learning_rate=1.0, warmup=4, schedule="cosine", horizon=12, final_learning_rate=0.2)
    rates = [learning_rate(config, step) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[8] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 2)) / 2)
    assert rates[12:] == pytest.approx([0.2] * 8)


def test_the_learning_rate_does_not_know_how_long_training_lasts():
    assert "steps" not in OptimiserConfig.model_fields
    with pytest.raises(ValidationError, match="cosine needs a horizon"):
        OptimiserConfig(schedule="cosine")


def test_micro_batch_is_refused_where_it_would_change_the_bytes():
    with pytest.raises(ValidationError, match=r"micro_batch is for device: cuda"):
        TrainConfig(steps=1, micro_batch=2)
    assert TrainConfig(steps=1, micro_batch=2, device="cuda").micro_batch == 2


def test_ema_is_the_weighted_sum_of_all_weights_so_far():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 1.0)
    ema = Ema(network, 0.9)
    for value in (2.0, 3.0):
        torch.nn.init.constant_(network.weight, value)
        ema.update()
    assert ema.average["weight"].item() == pytest.approx(0.81 * 1 + 0.09 * 2 + 0.1 * 3)
    with ema.in_place():
        assert network.weight.item() == pytest.approx(1.29)
    assert network.weight.item() == 3.0


@pytest.fixture
def pairs(tmp_path):
    return SampleIndex.from_artifact(texture_pairs(tmp_path / "pairs", train=5, val=1), split="train")


def loader(pairs, **changed):
    config = TrainConfig(steps=1, seed=3, training={"batch_size": 2, "learning_rate": 1}, data={"patch": 4}, **changed)
    return PairLoader(pairs, 4, config)


def test_a_batch_is_a_function_of_its_place_not_of_what_was_read_before(pairs):
    with loader(pairs) as straight, loader(pairs, cache_megabytes=0, loader_threads=1) as seeking:
        batches = [straight.batch(first) for first in range(0, 20, 2)]
        for k in (7, 2, 3):
            again = seeking.batch(2 * k)
            assert again.keys == batches[k].keys
            assert torch.equal(again.lr, batches[k].lr)
            assert torch.equal(again.hr, batches[k].hr)


def test_every_pair_is_seen_once_an_epoch(pairs):
    with loader(pairs) as data:
        seen = [key for first in range(0, 20, 2) for key in data.batch(first).keys]
    assert all(sorted(seen[e : e + 5]) == sorted(pairs.key(i) for i in range(5)) for e in range(0, 20, 5))


def test_crops_and_mirrors_move_lr_and_hr_together(pairs):
    with loader(pairs) as data:
        for first in range(0, 40, 2):
            batch = data.batch(first)
            shrunk = torch.nn.functional.avg_pool2d(batch.hr, 4)
            assert (shrunk - batch.lr).abs().max() < 1 / 255  # LR is the area average of HR
