"""The loop on ranks, its validation, its best checkpoints and its observations."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import torch

from pipelines.stage import Interrupted, StageError
from stages.data.opening import open_pairs
from stages.training.loader import PairLoader
from stages.training.loop import Trainer
from stages.training.pictures import HeldOutPictures
from stages.training.ranks import SOLO
from tests.support.textures import texture_pairs
from tests.support.training import Toy, context, on_ranks, settings


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return texture_pairs(tmp_path_factory.mktemp("data") / "pairs", train=7, val=3)


def train(folder, artifact, ranks=SOLO, loss=None, stopping=False, **changed):
    config = settings(**changed)
    ctx = context(folder / str(ranks.rank), config)
    ctx.stopping = stopping
    method = Toy(config.training, loss)
    pictures = HeldOutPictures.of(artifact, ctx)
    with PairLoader(open_pairs(artifact, split="train"), 4, config, ranks) as loader:
        state = Trainer(method, loader, config, ctx, pictures, ranks).run()
    return state, ctx


@pytest.mark.parametrize("changed", [{}, {"micro_batch": 2}, {"training": {"batch_size": 5, "clip": 1e-3}}])
def test_three_ranks_train_as_one_does(tmp_path, artifact, changed):
    """Shares are uneven; sums are rounded in another order, and that is all."""
    steps = {"steps": 6, "validate_every": 3, "log_every": 1}
    alone, alone_ctx = train(tmp_path / "one", artifact, **steps, **changed)
    gang = on_ranks(3, lambda ranks: train(tmp_path / "three", artifact, ranks, **steps, **changed))
    for state, ctx in gang:
        for name, value in state.averages["net"].average.items():
            assert torch.equal(value, gang[0][0].averages["net"].average[name])
            assert torch.allclose(value, alone.averages["net"].average[name], atol=1e-6)
        for (step, mine), (step_alone, theirs) in zip(ctx.recorded, alone_ctx.recorded, strict=True):
            assert step == step_alone
            for name in {"loss", "gradient_norm", "validation/psnr", "validation/loss"} & set(theirs):
                assert mine[name] == pytest.approx(theirs[name], rel=1e-4)
    assert [len(list(ctx.checkpoints.folder.glob("*"))) for _, ctx in gang] == [1, 0, 0]


class AskedAt:
    """What `ctx.stopping` says to a rank that learns of it in some step."""

    def __init__(self, step):
        self.left = step

    def __float__(self):
        self.left -= 1
        return float(self.left <= 0)


def test_ranks_that_learn_at_different_steps_stop_after_one_and_the_same_and_go_on_from_it(tmp_path, artifact):
    interrupted = []

    def stopped(ranks):
        with pytest.raises(Interrupted) as told:
            train(tmp_path / "gang", artifact, ranks, steps=6, stopping=AskedAt({0: 5, 1: 3, 2: 99}[ranks.rank]))
        interrupted.append(str(told.value))

    on_ranks(3, stopped)
    assert interrupted == ["saved after step 3 of 6"] * 3
    assert [path.name for path in (tmp_path / "gang").glob("*/checkpoints/*")] == ["00000003"]
    for rank in "12":  # which see what rank 0 has saved
        shutil.copytree(tmp_path / "gang" / "0" / "checkpoints", tmp_path / "gang" / rank / "checkpoints")
    gone_on = on_ranks(3, lambda ranks: train(tmp_path / "gang", artifact, ranks, steps=6))
    straight = on_ranks(3, lambda ranks: train(tmp_path / "straight", artifact, ranks, steps=6))
    for (after, _), (never, _) in zip(gone_on, straight, strict=True):
        for name, value in never.averages["net"].average.items():
            assert torch.equal(value, after.averages["net"].average[name])


def test_a_training_that_is_asked_in_its_last_step_ends_as_it_would_have(tmp_path, artifact):
    state, _ = train(tmp_path, artifact, steps=3, stopping=AskedAt(3))
    assert state.step == 3


def test_ranks_of_one_gang_refuse_together_and_say_whose_samples(tmp_path, artifact, caplog):
    def broken(toy, part):
        return toy.error(part) * (float("nan") if 1 in part.samples else 1.0)

    with caplog.at_level(logging.WARNING):
        gang = on_ranks(2, lambda ranks: train(tmp_path, artifact, ranks, broken, steps=2))
    assert [state.skipped for state, _ in gang] == [{"net": 1}] * 2
    assert "rank 0: loss nan; samples " in caplog.text
    assert "rank 1:" not in caplog.text


def test_a_training_that_only_warms_up_says_so(tmp_path, artifact, caplog):
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "a", artifact, steps=2, training={"warmup": 1})
        assert "warm-up" not in caplog.text
        train(tmp_path / "b", artifact, steps=2, training={"warmup": 2})
    assert "2 steps of training are all warm-up (2), so the learning rate never reaches" in caplog.text


def test_a_batch_has_a_sample_for_every_rank(tmp_path, artifact):
    with pytest.raises(StageError, match=r"at least one sample for each of 3 ranks, got 2"):
        on_ranks(3, lambda ranks: train(tmp_path, artifact, ranks, training={"batch_size": 2}))


def test_validation_is_that_of_the_averaged_weights_and_changes_nothing(tmp_path, artifact):
    state, ctx = train(tmp_path / "a", artifact, steps=4, validate_every=4, validation_pairs=2)
    seen = {name: value for _, line in ctx.recorded for name, value in line.items() if name.startswith("validation/")}
    toy, pairs = Toy(settings().training), open_pairs(artifact, split="val")
    toy.network.load_state_dict(state.averages["net"].average)
    decibels = []
    for i in range(2):
        lr, hr = pairs.read_pair(i)
        with torch.no_grad():
            sr = toy.preview(torch.tensor(lr / 255.0, dtype=torch.float32).permute(2, 0, 1), "").permute(1, 2, 0)
        error = np.rint(sr.numpy() * 255) - hr
        decibels.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert seen["validation/psnr"] == pytest.approx(np.mean(decibels), abs=1e-3)
    assert seen["validation/loss"] > 0
    assert all(network.training for network in state.networks.values())
    without, _ = train(tmp_path / "b", artifact, steps=4, validate_every=0)
    for name, value in state.networks["net"].state_dict().items():
        assert torch.equal(value, without.networks["net"].state_dict()[name])


def test_the_best_checkpoints_are_kept_by_validation_psnr(tmp_path, artifact, monkeypatch):
    saves = []

    def save(self, step, folder, *, keep_last, keep):
        saves.append((step, set(keep), keep_last))

    monkeypatch.setattr("tests.support.harness.FolderCheckpoints.save", save)
    decibels = iter([20.0, 25.0, 23.0, 21.0, 25.0])
    measured = "stages.training.validation.Validation.measure"
    monkeypatch.setattr(measured, lambda *_: {"validation/psnr": next(decibels)})
    state, _ = train(tmp_path, artifact, steps=11, validate_every=2, keep_best=2, keep_last=3)
    assert saves == [(2, {2}, 3), (4, {2, 4}, 3), (6, {4, 6}, 3), (10, {4, 10}, 3), (11, {4, 10}, 3)]
    assert state.best == {4: 25.0, 10: 25.0}


def test_observations_have_no_gap(tmp_path, artifact):
    _, ctx = train(tmp_path, artifact, steps=3, log_every=1, checkpoint_every=1, peak_tflops=1e-6, picture_every=0)
    assert [step for step, _ in ctx.recorded] == [1, 2, 3]
    for _, line in ctx.recorded:
        assert {"samples_per_second", "step_ms_median", "step_ms_p95", "peak_memory_gb"} <= set(line)
        assert 0 <= line["data_wait"] < 1
        assert line["flops_share"] > 0
    assert [line["checkpoint_stall"] > 0 for _, line in ctx.recorded] == [False, True, True]  # before the next line
