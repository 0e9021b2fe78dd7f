"""train.resshift as a platform team relies on it: exact resume, equal bytes, clear refusals."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys

import pytest
import torch

from pipelines.stage import StageError
from stages.data.samples import SampleIndex
from stages.methods.resshift import ResShiftConfig, ResShiftMethod, TrainResShift
from stages.models.registry import load_model, trained_on
from stages.models.resshift import ResShiftModel
from stages.training import loop
from tests.support.harness import run_stage
from tests.support.states import same
from tests.support.textures import texture_pairs

TINY = {
    "seed": 5,
    "network": {"widths": [8], "blocks": 1, "groups": 4},
    "process": {"timesteps": 4, "min_noise": 0.2},
    "training": {"batch_size": 2, "learning_rate": 1e-2, "warmup": 3, "ema": 0.9, "clip": 1.0},
    "data": {"patch": 4},
    "picture_every": 0,
    "checkpoint_every": 1000,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return texture_pairs(tmp_path_factory.mktemp("data") / "pairs")


def train(folder, pairs, steps, checkpoints=None, **changed):
    config = {**TINY, "steps": steps, **changed}
    return run_stage(TrainResShift, folder, config, {"pairs": pairs}, checkpoints=checkpoints)


def state(checkpoints, step):
    return torch.load(checkpoints / f"{step:08d}" / "state.pt", weights_only=True)


class Killed(BaseException):
    """Stands for `kill -9`: nothing in the stage handles it."""


def kill_at(monkeypatch, step):
    step_once = loop.Trainer._step

    def dying(self):
        if self.state.step == step:
            raise Killed
        step_once(self)

    monkeypatch.setattr(loop.Trainer, "_step", dying)


def test_interrupted_continued_and_straight_training_are_bit_identical(tmp_path, pairs, monkeypatch):
    straight = train(tmp_path / "straight", pairs, 12, tmp_path / "cs")
    with monkeypatch.context() as patched:
        kill_at(patched, 7)
        with pytest.raises(Killed):
            train(tmp_path / "killed", pairs, 12, tmp_path / "ck", checkpoint_every=5)
    assert [p.name for p in (tmp_path / "ck").iterdir()] == ["00000005"]
    resumed = train(tmp_path / "resumed", pairs, 12, tmp_path / "ck", checkpoint_every=5)
    train(tmp_path / "short", pairs, 5, tmp_path / "cr")
    raised = train(tmp_path / "raised", pairs, 12, tmp_path / "cr")
    assert straight.artifacts["model"].digest == resumed.artifacts["model"].digest == raised.artifacts["model"].digest
    assert same(state(tmp_path / "cs", 12), state(tmp_path / "ck", 12))
    assert same(state(tmp_path / "cs", 12), state(tmp_path / "cr", 12))


def test_a_finished_training_is_exported_from_its_last_checkpoint(tmp_path, pairs, monkeypatch):
    first = train(tmp_path / "a", pairs, 4, tmp_path / "c")
    kill_at(monkeypatch, 4)
    assert train(tmp_path / "b", pairs, 4, tmp_path / "c").artifacts["model"].digest == first.artifacts["model"].digest


def test_what_is_execution_does_not_change_the_artifact(tmp_path, pairs):
    one = train(tmp_path / "a", pairs, 6)
    two = train(
        tmp_path / "b", pairs, 6, checkpoint_every=2, log_every=1, picture_every=3, cache_megabytes=0, loader_threads=1,
        validate_every=2, keep_best=1, recompute=True, peak_tflops=1.0,
    )  # fmt: skip
    assert one.artifacts["model"].digest == two.artifacts["model"].digest
    assert {name.rpartition("/")[2] for name in two.context.images} == {"lr", "sr", "hr"}
    assert one.artifacts["model"].digest != train(tmp_path / "c", pairs, 6, seed=6).artifacts["model"].digest


def test_metrics_have_every_logged_step_once(tmp_path, pairs):
    recorded = train(tmp_path / "a", pairs, 7, log_every=3).context.recorded
    assert [step for step, _ in recorded] == [3, 6, 7]
    assert {"loss", "learning_rate", "gradient_norm", "samples_per_second"} <= set(recorded[0][1])


def test_one_batch_can_be_learnt_by_heart(tmp_path):
    """Two pairs, seen again and again: the loss falls from the bicubic answer's error to far below 1e-3."""
    two = texture_pairs(tmp_path / "pairs", train=2, val=0, hr_size=16)
    settings = {"learning_rate": 3e-3, "batch_size": 2, "ema": 0.0, "clip": 1.0}
    run = train(
        tmp_path / "a", two, 100, training=settings, data={"flip": False},
        network={"widths": [64], "blocks": 1, "groups": 4}, process={"timesteps": 4, "kappa": 0.1, "min_noise": 0.1},
        log_every=1,
    )  # fmt: skip
    losses = [values["loss"] for _, values in run.context.recorded]
    assert losses[0] > 3e-3
    assert max(losses[-10:]) < 1e-4


def test_the_loss_of_a_new_network_is_the_error_of_the_bicubic_answer(pairs):
    config = ResShiftConfig(**{**TINY, "steps": 1})
    dump = config.model_dump(mode="json", include={"autoencoder", "residual", "network", "process"})
    model = ResShiftModel(scale=4, **dump)
    index = SampleIndex.from_artifact(pairs, split="train")
    with loop.PairLoader(index, 4, config) as loader:
        batch = loader.batch(0)
    z0, zy = model.encode_pair(batch.lr, batch.hr)
    loss = ResShiftMethod(model, config).losses(batch)["loss"]
    assert torch.equal(loss, (zy - z0).square().mean())


def test_micro_batches_add_up_to_the_batch(pairs):
    config = ResShiftConfig(**{**TINY, "steps": 1})
    dump = config.model_dump(mode="json", include={"autoencoder", "residual", "network", "process"})
    method = ResShiftMethod(ResShiftModel(scale=4, **dump), config)
    with loop.PairLoader(SampleIndex.from_artifact(pairs, split="train"), 4, config) as loader:
        batch = loader.batch(0)
    whole = method.losses(batch)["loss"]
    parts = [method.losses(batch.part(i, i + 1))["loss"] for i in range(2)]
    assert torch.allclose(whole, sum(parts) / 2, rtol=1e-6)


def test_the_artifact_rebuilds_itself_and_says_what_it_saw(tmp_path, pairs):
    model = train(tmp_path / "a", pairs, 3).artifacts["model"]
    assert model.facets == {
        "role": "sr", "family": "resshift", "timesteps": 4, "scale": 4, "latent_space": "space-to-depth-4"
    }  # fmt: skip
    loaded = load_model(model)
    assert (loaded.scale, loaded.family, loaded.evaluations()) == (4, "resshift", 4)
    assert loaded.super_resolve(torch.rand(3, 5, 6)).shape == (3, 20, 24)
    train_images = SampleIndex.from_artifact(pairs, split="train").images
    assert trained_on(model) == set(train_images)
    assert json.loads(model.read("model.json"))["sampler"] == {"kind": "ancestral", "steps": 4}


def test_updates_that_are_not_finite_are_refused_then_stop_training(tmp_path, pairs, monkeypatch, caplog):
    losses = ResShiftMethod.losses
    broken: set[int] = {0, 2}

    def sometimes(self, batch):
        out = losses(self, batch)
        return {"loss": out["loss"] * float("nan")} if batch.samples[0] // 2 in broken else out

    monkeypatch.setattr(ResShiftMethod, "losses", sometimes)
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "a", pairs, 4, tmp_path / "c")
    kept = state(tmp_path / "c", 4)
    assert kept["skipped"] == {"denoiser": 2}
    assert all(torch.isfinite(v).all() for v in kept["networks"]["model"].values())
    assert "samples " in caplog.text
    broken |= set(range(20))
    with pytest.raises(StageError, match=r"5 updates in a row were not finite.*learning_rate"):
        train(tmp_path / "b", pairs, 20)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"training": {"batch_size": 9}}, r"a batch takes 9 different pairs, the train split has 4"),
        ({"data": {"patch": 64}}, r"data.patch: expected at most the LR size 8x8"),
        ({"network": {"widths": [8, 8, 8]}, "data": {"patch": 6}}, r"multiples of 4; set data.patch"),
    ],
)
def test_data_that_does_not_fit_is_refused_before_the_first_step(tmp_path, pairs, changed, message):
    with pytest.raises(StageError, match=message):
        train(tmp_path / "a", pairs, 1, **changed)


def test_state_of_other_networks_is_refused(tmp_path, pairs):
    train(tmp_path / "a", pairs, 2, tmp_path / "c")
    with pytest.raises(StageError, match=r"trainer state of step 2 does not fit.*--rebuild"):
        train(tmp_path / "b", pairs, 3, tmp_path / "c", network={"widths": [12], "blocks": 1, "groups": 4})


def test_training_leaves_the_process_as_it_was(tmp_path, pairs):
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    train(tmp_path / "a", pairs, 1)
    after = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_declaring_stages_imports_nothing_heavy():
    code = (
        "import sys, stages.methods.resshift, stages.evaluation.evaluate\n"
        "print([m for m in ('torch', 'cv2', 'numpy', 'pyarrow', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_second_process_gives_the_same_bytes(tmp_path, pairs):
    """PYTHONHASHSEED and a fresh interpreter change nothing."""
    here = train(tmp_path / "a", pairs, 3).artifacts["model"].digest
    shutil.copytree(pairs.folder, tmp_path / "pairs")
    code = (
        "import pathlib, pickle, sys\n"
        "from tests.stages.methods.test_resshift import train\n"
        "from tests.support.textures import texture_pairs\n"
        f"root = pathlib.Path({str(tmp_path)!r})\n"
        "print(train(root / 'b', texture_pairs(root / 'p'), 3).artifacts['model'].digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "99"}
    )
    assert done.stdout.strip() == here
