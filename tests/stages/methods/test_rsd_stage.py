"""distill.rsd as a stage: exact resume, also between sub-steps, equal bytes, one-step artifacts, refusals."""

from __future__ import annotations

import json

import pytest
import torch

from pipelines.stage import StageError
from stages.evaluation.evaluate import Evaluate
from stages.methods.rsd import DistillRSD, RSDConfig
from stages.models.registry import load_model, trained_on
from stages.models.weights import read_weights
from stages.training import update
from tests.support.distillation import distil as distilled
from tests.support.distillation import small_teacher
from tests.support.harness import run_stage
from tests.support.textures import texture_pairs

TINY = {
    "fake_updates": 2, "nodes": 2, "losses": [{"kind": "l1", "weight": 0.5}],
    "training": {"batch_size": 2, "learning_rate": 1e-3, "ema": 0.9}, "fake": {"learning_rate": 2e-3},
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return small_teacher(tmp_path_factory.mktemp("data"))


def distil(folder, trained, steps, checkpoints=None, **changed):
    return distilled(DistillRSD, folder, trained, steps, checkpoints, **{**TINY, **changed})


@pytest.fixture(scope="module")
def straight(tmp_path_factory, trained):
    """(the artifact of five steps in a row, its checkpoints)"""
    folder = tmp_path_factory.mktemp("straight")
    return distil(folder / "run", trained, 5, folder / "checkpoints").artifacts["model"], folder / "checkpoints"


class Killed(BaseException):
    """Stands for `kill -9`: nothing in the stage handles it."""


@pytest.mark.parametrize("at", [("fake", 0), ("fake", 1), ("student", 0)])
def test_a_kill_between_sub_steps_goes_back_to_the_last_checkpoint_and_changes_nothing(
    tmp_path, trained, straight, monkeypatch, at
):
    apply, seen = update.Updater.update, {"fake": 0, "student": 0}

    def dying(self, phase, part):
        if self.state.step == 3 and (phase.name, seen[phase.name] % phase.repeats) == at:
            raise Killed
        seen[phase.name] += 1
        return apply(self, phase, part)

    with monkeypatch.context() as patched:
        patched.setattr(update.Updater, "update", dying)
        with pytest.raises(Killed):
            distil(tmp_path / "killed", trained, 5, tmp_path / "ck", checkpoint_every=2)
    assert [p.name for p in (tmp_path / "ck").iterdir()] == ["00000002"]
    resumed = distil(tmp_path / "resumed", trained, 5, tmp_path / "ck", checkpoint_every=2)
    assert resumed.artifacts["model"].digest == straight[0].digest
    states = [torch.load(c / "00000005" / "state.pt", weights_only=True) for c in (straight[1], tmp_path / "ck")]
    flat = [dict(_flat(state)) for state in states]
    assert flat[0].keys() == flat[1].keys()
    assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(flat[1][k])) for k, v in flat[0].items())
    assert {"networks.student", "networks.fake", "averages.student", "optimisers.fake", "optimisers.student"} <= {
        ".".join(name.split("/")[:2]) for name in flat[0]
    }


def _flat(value, name=""):
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _flat(inner, f"{name}/{key}" if name else str(key))
    elif value is not None and not isinstance(value, str):
        yield name, value


def test_recomputation_and_observation_change_no_byte(tmp_path, trained):
    plain = distil(tmp_path / "a", trained, 2)
    watched = distil(
        tmp_path / "b", trained, 2, recompute=True, peak_tflops=1.0, validate_every=1, picture_every=1, log_every=1
    )
    assert plain.artifacts["model"].digest == watched.artifacts["model"].digest
    names = {name for _, line in watched.context.recorded for name in line}
    assert {"fake/x0", "fake/discriminator", "student/distillation", "student/generator", "student/l1",
            "validation/student/loss", "validation/psnr"} <= names  # fmt: skip


def test_the_averaged_student_is_what_leaves(straight):
    state = torch.load(straight[1] / "00000005" / "state.pt", weights_only=True)
    left = read_weights(straight[0].open("weights.safetensors"))
    assert left.keys() == state["averages"]["student"].keys()
    assert all(torch.equal(value, state["averages"]["student"][name]) for name, value in left.items())
    assert any(not torch.equal(value, state["networks"]["student"][name]) for name, value in left.items())


def test_the_artifact_is_a_one_step_model_that_evaluates(tmp_path, trained):
    pairs, taught = trained
    model = distil(tmp_path / "a", trained, 2).artifacts["model"]
    assert model.facets == {
        "role": "sr", "family": "one-step", "distilled": "rsd", "scale": 4, "latent_space": "space-to-depth-4"
    }  # fmt: skip
    loaded = load_model(model)
    assert (loaded.evaluations(), loaded.noise_channels) == (1, 1)
    assert loaded.super_resolve(torch.rand(3, 5, 6), tile=4, overlap=2).shape == (3, 20, 24)
    assert trained_on(model) == trained_on(taught)
    inputs = {"pairs": pairs, "models": [taught, model]}
    scores = run_stage(Evaluate, tmp_path / "scores", {}, inputs).artifacts["metrics"]
    rows = json.loads(scores.read("metrics.json"))["models"]
    assert sorted(row.get("evaluations", 0) for row in rows.values()) == [0, 1, 4]


def test_the_loop_takes_k_fake_updates_on_fresh_batches_and_then_one_of_the_student(tmp_path, trained, monkeypatch):
    apply, seen = update.Updater.update, []

    def watching(self, phase, part):
        seen.append((phase.name, part.samples))
        return apply(self, phase, part)

    monkeypatch.setattr(update.Updater, "update", watching)
    distil(tmp_path / "a", trained, 2)
    assert [name for name, _ in seen] == ["fake", "fake", "student"] * 2
    assert [samples for _, samples in seen] == [(2 * i, 2 * i + 1) for i in range(6)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"losses": [{"kind": "lpips"}]}, r"lpips needs trained weights.*inputs: \{perceptual"),
        ({"nodes": 9}, "nodes: expected at most 4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, trained, changed, message):
    with pytest.raises(StageError, match=message):
        distil(tmp_path / "a", trained, 1, **changed)


def test_nodes_that_the_teacher_does_not_have_are_refused_with_the_spec():
    inputs = {"pairs": {"scale": 4}, "teacher": {"scale": 4, "timesteps": 15}}
    DistillRSD.outputs(RSDConfig(steps=1, nodes=15), inputs)
    for nodes, message in ((16, "at most 15"), ((3, 7), "up to 14, the last of the teacher's process")):
        with pytest.raises(StageError, match=message):
            DistillRSD.outputs(RSDConfig(steps=1, nodes=nodes), inputs)


def test_pairs_of_another_scale_are_refused(tmp_path, trained):
    with pytest.raises(StageError, match="the pairs are of scale 2, the teacher enlarges by 4"):
        distil(tmp_path / "a", (texture_pairs(tmp_path / "pairs", scale=2), trained[1]), 1)
