"""Training on on-line pairs: one epoch of them is one epoch of stored ones; and pairs of many sizes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pipelines.stage import StageError
from stages.data.opening import open_pairs
from stages.methods.resshift import TrainResShift
from stages.training import loop
from stages.training.config import TrainConfig
from stages.training.loader import PairLoader
from stages.training.pairs import training_pairs
from tests.support.harness import FolderArtifact, run_stage
from tests.support.pairs import ingest, synthesise
from tests.support.photos import copy_photos
from tests.support.textures import pairs_artifact, shrink, textures

TINY = {
    "seed": 5,
    "network": {"widths": [8], "blocks": 1, "groups": 4},
    "process": {"timesteps": 4, "min_noise": 0.2},
    "training": {"batch_size": 2, "learning_rate": 1e-2, "ema": 0.9, "clip": 1.0},
    "data": {"patch": 8},
    "picture_every": 0,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> FolderArtifact:
    """Four photographs to learn from and two of validation."""
    folder = tmp_path_factory.mktemp("images")
    made = ingest(folder / "run", copy_photos(folder / "photos"), split={"val": 0.1, "test": 0})
    assert made.table()["split"].to_pylist().count("train") == 4
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory, images) -> tuple[FolderArtifact, FolderArtifact]:
    """The same eight pairs to learn from, stored and on line."""
    folder = tmp_path_factory.mktemp("pairs")
    return synthesise(folder / "stored", images), synthesise(folder / "online", images, online=True)


def train(folder, pairs, steps, checkpoints=None, **changed):
    config = {**TINY, "steps": steps, **changed}
    return run_stage(TrainResShift, folder, config, {"pairs": pairs}, checkpoints=checkpoints)


def model(*arguments, **changed) -> str:
    return train(*arguments, **changed).artifacts["model"].digest


def test_up_to_one_epoch_gives_the_weights_of_stored_pairs(tmp_path, both):
    """Eight pairs in batches of two are four steps; the fifth is the first of fresh pairs."""
    stored, online = both
    assert model(tmp_path / "s4", stored, 4) == model(tmp_path / "o4", online, 4)
    assert model(tmp_path / "s5", stored, 5) != model(tmp_path / "o5", online, 5)


def test_resuming_in_a_later_epoch_is_a_seek(tmp_path, both, monkeypatch):
    class Killed(BaseException):
        """Stands for `kill -9`."""

    def dying(self, step_once=loop.Trainer._step):
        if self.state.step == 7:
            raise Killed
        step_once(self)

    straight = model(tmp_path / "straight", both[1], 10)
    with monkeypatch.context() as patched:
        patched.setattr(loop.Trainer, "_step", dying)
        with pytest.raises(Killed):
            train(tmp_path / "killed", both[1], 10, tmp_path / "c", checkpoint_every=6)
    resumed = model(tmp_path / "resumed", both[1], 10, tmp_path / "c", loader_threads=1, cache_megabytes=0)
    assert resumed == straight


def test_sample_pictures_are_those_of_stored_pairs(tmp_path, both):
    seen = [train(tmp_path / str(i), pairs, 1, picture_every=1).context.images for i, pairs in enumerate(both)]
    assert len(seen[0]) == 6  # LR, SR and HR of two
    assert seen[0] == seen[1]


def loader(artifact, **changed) -> PairLoader:
    config = TrainConfig(steps=1, seed=3, training={"batch_size": 3, "learning_rate": 1}, data={"patch": 8}, **changed)
    return PairLoader(open_pairs(artifact, split="train"), 4, config)


def test_a_batch_is_a_function_of_its_place(both):
    """Batches of three straddle the epochs of eight pairs; neither threads, memory nor what was read before matter."""
    with loader(both[1], loader_threads=4) as straight, loader(both[1], cache_megabytes=0, loader_threads=1) as seeking:
        batches = {first: straight.batch(first) for first in range(0, 30, 3)}
        for first in (21, 6, 27):
            again = seeking.batch(first)
            assert again.keys == batches[first].keys
            assert torch.equal(again.lr, batches[first].lr)
            assert torch.equal(again.hr, batches[first].hr)


def test_every_epoch_holds_every_pair_once_under_a_name_of_its_own(both):
    with loader(both[1]) as data:
        keys = [key for first in range(0, 24, 3) for key in data.batch(first).keys]
    pairs = open_pairs(both[1], split="train")
    for epoch in range(3):
        expected = sorted(pairs.key(i, epoch) for i in range(8))
        assert sorted(keys[8 * epoch : 8 * epoch + 8]) == expected
    assert len(set(keys)) == 24


def test_inside_the_loader_opencv_has_one_thread(both):
    cv2.setNumThreads(2)
    with loader(both[1]) as data:
        data.batch(0)
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == 2


# ---------------------------------------------------------------- pairs of many sizes


def whole(folder, images, online) -> FolderArtifact:
    return synthesise(folder / f"whole-{online}", images, hr_size="whole", online=online, preset="bicubic", shards=2)


@pytest.mark.parametrize("online", [False, True], ids=["stored", "online"])
def test_whole_photographs_need_a_patch_that_fits(tmp_path, images, online):
    pairs = whole(tmp_path, images, online)
    shortest = int(open_pairs(pairs, split="train").hr_sizes().min()) // 4
    no_patch = TrainConfig(steps=1, training={"batch_size": 2})
    with pytest.raises(StageError, match=rf"of one size, .* the photographs' own; set data.patch, at most {shortest} "):
        training_pairs(pairs, no_patch, 4)
    too_large = TrainConfig(steps=1, training={"batch_size": 2}, data={"patch": 107})
    with pytest.raises(StageError, match=rf"2 are smaller: f8d773\w+ \(96x{shortest}\), c2dd0d\w+ \(160x106\)\. Lower"):
        training_pairs(pairs, too_large, 1)
    fits = TrainConfig(steps=1, training={"batch_size": 2}, data={"patch": shortest})
    with PairLoader(training_pairs(pairs, fits, 1), 4, fits) as data:
        assert data.batch(0).hr.shape == (2, 3, 4 * shortest, 4 * shortest)


def test_photographs_that_may_be_turned_need_a_patch(tmp_path, images):
    """All of one size is not enough where an epoch may turn some of them."""
    photos = copy_photos(tmp_path / "photos", "rocket.jpg")
    one = ingest(tmp_path / "run", photos, split={"val": 0, "test": 0})
    turning = tmp_path / "turning.yaml"
    turning.write_text("name: turning\naugment: {transpose: 0.5}\nsteps: [{id: down, op: imresize}]\n")
    pairs = synthesise(tmp_path / "pairs", one, hr_size="whole", crops=4, preset=str(turning), online=True)
    config = TrainConfig(steps=1, training={"batch_size": 2})
    with pytest.raises(StageError, match=r"sizes are 160x106, some of them turned; set data.patch, at most 106 "):
        training_pairs(pairs, config, 1)
    patched = TrainConfig(steps=1, training={"batch_size": 2}, data={"patch": 106})
    with PairLoader(training_pairs(pairs, patched, 1), 4, patched) as data:
        shapes = {data.batch(first).lr.shape for first in range(0, 12, 2)}
    assert shapes == {(2, 3, 106, 106)}


def test_pairs_of_another_origin_are_measured_by_the_first(tmp_path):
    """Their index has no recipe columns."""
    pairs = pairs_artifact(tmp_path / "p", [(shrink(hr, 4), hr) for hr in textures(2, 32)], ["train"] * 2)
    config = TrainConfig(steps=1, training={"batch_size": 2})
    assert np.array_equal(training_pairs(pairs, config, 4).hr_sizes(), [[32, 32], [32, 32]])
