"""The evaluate stage: rows that can be checked by hand, refusals, and a result that names no label."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipelines.identity import dump
from pipelines.stage import Output, StageError
from stages.data.samples import SampleIndex
from stages.evaluation.evaluate import Evaluate, EvaluateConfig, spread
from stages.metrics.fidelity import measure
from stages.models.registry import save_model, save_provenance
from stages.models.resshift import ResShiftModel
from tests.support.harness import FolderArtifact, FolderWriter, run_stage
from tests.support.textures import pairs_artifact, shrink, texture_pairs, textures

CONSTRUCTOR = {
    "scale": 4,
    "autoencoder": "space-to-depth",
    "residual": True,
    "network": {"widths": [8], "blocks": 1, "attention": False, "groups": 4},
    "process": {"timesteps": 4, "kappa": 2.0, "power": 0.3, "min_noise": 0.2, "end": 0.99},
}


def untrained(folder, label, sources=(), family="resshift", **changed) -> FolderArtifact:
    """A model that answers the (torch) bicubic image."""
    constructor = {**CONSTRUCTOR, **changed}
    facets = {"role": "sr", "family": family, "scale": constructor["scale"]}
    writer = FolderWriter(folder, Output("model", facets=facets))
    save_model(writer, family, constructor, ResShiftModel(**constructor).state_dict(), {})
    save_provenance(writer, sources)
    return FolderArtifact(label, folder, writer.manifest())


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return texture_pairs(tmp_path_factory.mktemp("data") / "pairs", train=2, val=3, hr_size=48)


def evaluate(folder, pairs, models, **config):
    run = run_stage(Evaluate, folder, config, {"pairs": pairs, "models": models})
    return run, json.loads(run.artifacts["metrics"].read("metrics.json"))


def test_an_untrained_model_scores_as_the_bicubic_image_that_it_answers(tmp_path, pairs):
    model = untrained(tmp_path / "m", "teacher")
    run, result = evaluate(tmp_path / "e", pairs, [model])
    index = SampleIndex.from_artifact(pairs, split="val")
    by_hand = []
    for i in range(len(index)):
        lr, hr = index.read_pair(i)
        by_hand.append(measure("psnr_y", cv2.resize(lr, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), hr, 4))
    row = result["models"][f"resshift-{model.digest[:12]}"]
    assert row["psnr_y"] == pytest.approx(np.mean(by_hand), abs=0.05)  # cv2 rounds its weights
    assert row["model"] == model.digest
    assert row["evaluations"] == 4
    assert result["protocol"]["images"] == 3
    assert result["protocol"]["crop_border"] == 4
    per_image = run.artifacts["metrics"].read("per_image.jsonl").decode().splitlines()
    mine = [json.loads(line) for line in per_image if json.loads(line)["model"] != "bicubic"]
    assert np.mean([line["ssim_y"] for line in mine]) == pytest.approx(row["ssim_y"], abs=1e-6)


def test_pictures_lie_side_by_side_and_carry_the_label(tmp_path, pairs):
    run, _ = evaluate(tmp_path / "e", pairs, [untrained(tmp_path / "m", "teacher@seed=1")], pictures=2)
    groups = {name.partition("/")[0] for name in run.context.images}
    assert len(groups) == 2
    assert {f"{g}/{what}" for g in groups for what in ("lr", "bicubic", "teacher@seed=1", "hr")} == set(
        run.context.images
    )
    sizes = {cv2.imdecode(np.frombuffer(png, np.uint8), 1).shape for png in run.context.images.values()}
    assert sizes == {(48, 48, 3)}


def test_the_artifact_knows_digests_and_not_labels(tmp_path, pairs):
    model = untrained(tmp_path / "m", "teacher")
    first, _ = evaluate(tmp_path / "a", pairs, [model])
    renamed, result = evaluate(tmp_path / "b", replace(pairs, label="x"), [replace(model, label="student"), model])
    assert first.artifacts["metrics"].digest == renamed.artifacts["metrics"].digest
    assert len(result["models"]) == 2  # bicubic, and one row for one digest


def test_each_number_of_steps_is_a_row(tmp_path, pairs):
    _, result = evaluate(tmp_path / "e", pairs, [untrained(tmp_path / "m", "t")], steps=[1, 4], baselines=[])
    assert [row["evaluations"] for row in result["models"].values()] == [1, 4]


def test_a_model_of_one_step_stands_once_beside_a_chain_at_several_numbers_of_steps(tmp_path, pairs):
    teacher, student = untrained(tmp_path / "m", "teacher"), untrained(tmp_path / "s", "student", family="one-step")
    _, result = evaluate(tmp_path / "e", pairs, [teacher, student], steps=[1, 4], baselines=[])
    chain, one = f"resshift-{teacher.digest[:12]}", f"one-step-{student.digest[:12]}"
    assert {row: found["evaluations"] for row, found in result["models"].items()} == {
        f"{chain}@steps=1": 1, f"{chain}@steps=4": 4, one: 1,
    }  # fmt: skip


def test_images_that_a_model_was_trained_on_are_refused_unless_allowed(tmp_path, pairs):
    seen = SampleIndex.from_artifact(pairs, split="val").images[:1]
    model = untrained(tmp_path / "m", "teacher", seen)
    with pytest.raises(
        StageError, match=r"teacher was trained on 1 of the 3 source images of split val.*allow_overlap"
    ):
        evaluate(tmp_path / "a", pairs, [model])
    _, result = evaluate(tmp_path / "b", pairs, [model], allow_overlap=True)
    assert result["overlap"] == "a model was trained on 1 of the 3 source images of split val"
    assert "overlap" not in evaluate(tmp_path / "c", pairs, [untrained(tmp_path / "n", "other")])[1]


def test_another_scale_and_an_empty_split_are_refused(tmp_path, pairs):
    with pytest.raises(StageError, match="number 1 enlarges by 2, and the pairs are of scale 4"):
        evaluate(tmp_path / "a", pairs, [untrained(tmp_path / "m", "double", scale=2)])
    with pytest.raises(StageError, match="no sample of split test"):
        evaluate(tmp_path / "b", pairs, [], split="test")


def test_a_part_of_the_images_is_spread_over_all_sources():
    images = ["a", "a", "a", "b", "b", "c"]
    assert [images[i] for i in spread(images, ["a0", "a1", "a2", "b0", "b1", "c0"])] == ["a", "b", "c", "a", "b", "a"]


def test_any_image_size_is_measured(tmp_path):
    hr = textures(1, 52)[0][:, :44]
    odd = pairs_artifact(tmp_path / "p", [(shrink(hr, 4), hr)], ["val"])
    network = {**CONSTRUCTOR["network"], "widths": [8, 8, 8]}
    _, result = evaluate(tmp_path / "e", odd, [untrained(tmp_path / "m", "t", network=network)])
    assert all(np.isfinite(row["psnr_y"]) for row in result["models"].values())


def test_sampling_settings_are_told_and_change_the_answer(tmp_path, pairs):
    model = untrained(tmp_path / "m", "t")
    row = f"resshift-{model.digest[:12]}"
    _, plain = evaluate(tmp_path / "a", pairs, [model])
    _, tiled = evaluate(tmp_path / "b", pairs, [model], tile=8, overlap=4)
    _, fixed = evaluate(tmp_path / "c", pairs, [model], colour_fix="adain")
    assert not {"tile", "overlap", "colour_fix"} & set(plain["protocol"])
    assert {name: tiled["protocol"][name] for name in ("tile", "overlap")} == {"tile": 8, "overlap": 4}
    assert fixed["protocol"]["colour_fix"] == "adain"
    assert tiled["models"][row]["psnr_y"] == pytest.approx(plain["models"][row]["psnr_y"], abs=0.5)
    assert fixed["models"][row] == plain["models"][row]  # the bicubic image has the colours of the bicubic image
    deep = untrained(tmp_path / "n", "t", network={**CONSTRUCTOR["network"], "widths": [8, 8, 8]})
    with pytest.raises(StageError, match="tiles would not advance"):
        evaluate(tmp_path / "d", pairs, [deep], tile=4, overlap=2)


def test_sampling_settings_left_out_change_no_key_and_given_ones_do():
    names = {"tile", "overlap", "colour_fix"}
    assert not names & set(dump(EvaluateConfig()))
    assert dump(EvaluateConfig(tile=8, overlap=4, colour_fix="wavelet")).items() >= {
        ("tile", 8), ("overlap", 4), ("colour_fix", "wavelet"),
    }  # fmt: skip
    with pytest.raises(ValueError, match="overlap has no meaning without tile"):
        EvaluateConfig(overlap=4)
