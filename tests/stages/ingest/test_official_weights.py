"""``import.weights`` of published models: the artifact is what a stage of ours would have trained."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path

import cv2
import pytest
import torch
from safetensors.torch import save_file

from pipelines.graph import build_graph
from pipelines.stage import StageError
from stages.data.pixels import decode_rgb
from stages.data.samples import SampleIndex
from stages.evaluation.evaluate import Evaluate
from stages.inference.upscale import Upscale
from stages.ingest.images import IngestImages
from stages.ingest.weights import ImportWeights
from stages.methods.resshift import TrainResShift
from stages.models.kl import KLAutoencoder
from stages.models.registry import load_autoencoder, load_model, read_card
from stages.models.resshift import ResShiftModel
from stages.models.swin import WindowAttention
from stages.models.vq import VQAutoencoder
from stages.models.weights import read_weights
from tests.support.harness import FolderArtifact, run_stage
from tests.support.photos import bundled
from tests.support.provenance import having_seen
from tests.support.published import compvis, filled, resshift, taesd
from tests.support.specs import SpecFolder
from tests.support.textures import texture_pairs

VQ = {"codes": 32, "width": 8, "multipliers": [1, 1, 2], "blocks": 1, "groups": 4}
VQ_SHAPES = compvis(3, 8, (1, 1, 2), 1, 32)
SWIN = {
    "kind": "swin", "size": 16, "width": 8, "multipliers": [1, 2], "blocks": 1, "swin_width": 8, "head_width": 4,
    "window": 4, "groups": 4, "legacy_shift_mask": True,
}  # fmt: skip
UNET_SHAPES = resshift(8, (1, 2), 1, 8, 2, 4, 16)
TEACHER = {"role": "sr", "family": "resshift", "latent_space": "vq-f4c3"}


def artifact_of(folder: Path, source: Path | str, autoencoder: FolderArtifact | None = None, **config: object):
    inputs = {} if autoencoder is None else {"autoencoder": autoencoder}
    return run_stage(ImportWeights, folder, {"source": str(source), **config}, inputs).artifacts["model"]


@pytest.fixture(scope="module")
def vq(tmp_path_factory) -> FolderArtifact:
    folder = tmp_path_factory.mktemp("vq")
    torch.save({"state_dict": filled(VQ_SHAPES), "global_step": 3}, folder / "vq.ckpt")
    return artifact_of(folder / "run", folder / "vq.ckpt", role="autoencoder", family="vq", constructor=VQ)


def imported_teacher(folder: Path, vq: FolderArtifact, network: object = SWIN, **process: object) -> FolderArtifact:
    folder.mkdir()
    state = {f"module.{name}": value for name, value in filled(UNET_SHAPES, 1).items()}
    torch.save(state, folder / "resshift.pth")
    constructor = {"network": network, "process": process}
    return artifact_of(folder / "run", folder / "resshift.pth", vq, constructor=constructor, **TEACHER)


# ---------------------------------------------------------------- autoencoders


def test_an_imported_autoencoder_states_what_a_trained_one_does(vq):
    module = load_autoencoder(vq)
    assert isinstance(module, VQAutoencoder)
    assert vq.facets == module.facets()
    assert vq.facets["space"].startswith("vq-f4c3-")
    state = filled(VQ_SHAPES)
    assert torch.equal(module.codebook.weight, state["quantize.embedding.weight"])
    assert torch.equal(module.encoder.middle[1].q.weight, state["encoder.mid.attn_1.q.weight"])
    assert read_weights(vq.open("weights.safetensors")).keys() == module.state_dict().keys()  # no loss came along
    assert read_card(vq)["preprocessing"]["multiple"] == 4


def test_every_format_and_the_whole_stable_diffusion_give_the_same_autoencoder(tmp_path):
    shapes = compvis(4, 8, (1, 2), 1, None)
    alone = filled(shapes)
    halves = {name: value.half().float() for name, value in alone.items()}
    whole = {f"first_stage_model.{name}": value.half() for name, value in halves.items()}
    whole |= {"model.diffusion_model.out.2.bias": torch.ones(4), "cond_stage_model.logit_scale": torch.ones(())}
    torch.save(halves, tmp_path / "vae.pth")
    torch.save(halves, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": whole, "epoch": 1, "callbacks": {"best": {"score": torch.ones(1)}}}, tmp_path / "sd.ckpt")
    save_file(whole, tmp_path / "sd.safetensors")
    config = {"role": "autoencoder", "family": "kl",
              "constructor": {"width": 8, "multipliers": [1, 2], "blocks": 1, "groups": 4}}  # fmt: skip
    names = ("vae.pth", "old.pt", "sd.ckpt", "sd.safetensors")
    found = [artifact_of(tmp_path / f"run-{name}", tmp_path / name, **config) for name in names]
    assert len({artifact.digest for artifact in found}) == 1
    module = load_autoencoder(found[0])
    assert isinstance(module, KLAutoencoder)
    assert found[0].facets == module.facets()
    assert (module.factor, module.scale) == (2, 0.18215)
    space = found[0].facets["space"]
    assert artifact_of(tmp_path / "pinned", tmp_path / "vae.pth", **config, facets={"space": space}).facets == (
        found[0].facets
    )


def test_taesd_from_its_two_files(tmp_path):
    (tmp_path / "taesd").mkdir()
    for side in ("encoder", "decoder"):
        torch.save(filled(taesd(side, 4, 1, 2)), tmp_path / "taesd" / f"taesd_{side}.pth")
    constructor = {"width": 4, "blocks": 1, "halvings": 2}
    config = {"role": "autoencoder", "family": "tiny", "constructor": constructor}
    artifact = artifact_of(tmp_path / "run", tmp_path / "taesd", **config)
    assert artifact.facets == load_autoencoder(artifact).facets()


def test_weights_of_another_network_are_refused_when_they_are_imported(tmp_path, vq):
    torch.save(filled(VQ_SHAPES), tmp_path / "vq.pth")
    with pytest.raises(StageError, match=r"vq\.pth: .*quantize\.embedding\.weight has shape \[32, 3\], .*\[64, 3\]"):
        artifact_of(
            tmp_path / "a", tmp_path / "vq.pth", role="autoencoder", family="vq", constructor={**VQ, "codes": 64}
        )
    torch.save(filled(resshift(8, (1, 2), 1, 8, 2, 4, 16, channels=4)), tmp_path / "four.pth")
    with pytest.raises(StageError, match=r"four\.pth: .*input_blocks\.0\.0\.weight has shape \[8, 7, 3, 3\]"):
        artifact_of(tmp_path / "b", tmp_path / "four.pth", vq, constructor={"network": SWIN}, **TEACHER)


# ---------------------------------------------------------------- a whole teacher


@pytest.mark.parametrize(("process", "steps"), [({}, 15), ({"timesteps": 4, "min_noise": 0.2}, 4)])
def test_released_weights_and_their_autoencoder_are_a_whole_teacher(tmp_path, vq, process, steps):
    teacher = imported_teacher(tmp_path / "m", vq, **process)
    assert teacher.facets == {
        "role": "sr", "family": "resshift", "scale": 4, "timesteps": steps, "latent_space": vq.facets["space"]
    }  # fmt: skip
    assert teacher.ref("autoencoder") is vq
    card = read_card(teacher)
    assert card["sampler"] == {"kind": "ancestral", "steps": steps}
    assert card["preprocessing"] == {"colour": "sRGB", "range": [-1, 1], "padding": "reflect", "multiple": 8}
    model = load_model(teacher)
    assert isinstance(model, ResShiftModel)
    assert (model.evaluations(), model.residual) == (steps, False)
    assert all(m.legacy for m in model.modules() if isinstance(m, WindowAttention))
    assert torch.equal(model.denoiser.head.weight, filled(UNET_SHAPES, 1)["out.2.weight"])
    assert model.autoencoder.space == vq.facets["space"]

    pairs = texture_pairs(tmp_path / "pairs", train=1, val=1)
    evaluated = run_stage(Evaluate, tmp_path / "e", {}, {"pairs": pairs, "models": [teacher]}).artifacts["metrics"]
    row = json.loads(evaluated.read("metrics.json"))["models"][f"resshift-{teacher.digest[:12]}"]
    assert (row["model"], row["evaluations"]) == (teacher.digest, steps)


def test_photographs_that_its_autoencoder_has_seen_are_refused_for_evaluation(tmp_path, vq):
    pairs = texture_pairs(tmp_path / "pairs", train=1, val=2)
    seen = SampleIndex.from_artifact(pairs, split="val").images[:1]
    teacher = imported_teacher(tmp_path / "m", having_seen(tmp_path / "vq", vq, seen))
    with pytest.raises(StageError, match="was trained on 1 of the 2 source images of split val"):
        run_stage(Evaluate, tmp_path / "e", {}, {"pairs": pairs, "models": [teacher]})


def test_an_imported_teacher_enlarges_photographs(tmp_path, vq):
    (tmp_path / "photos").mkdir()
    coins = cv2.resize(cv2.imread(str(bundled("coins.png"))), (37, 21), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "photos" / "coins.png"), coins)
    config = {"source": str(tmp_path / "photos"), "min_size": 16}
    images = run_stage(IngestImages, tmp_path / "i", config).artifacts["images"]
    teacher = imported_teacher(tmp_path / "m", vq, timesteps=4, min_noise=0.2)
    out = run_stage(Upscale, tmp_path / "u", {"tile": 16, "overlap": 4}, {"images": images, "model": teacher})
    assert decode_rgb(out.artifacts["images"].read("coins.png")).shape == (84, 148, 3)


def test_an_imported_autoencoder_fits_the_slot_of_a_training(tmp_path, vq):
    config = {
        "steps": 1, "autoencoder": "artifact", "residual": False, "picture_every": 0, "network": SWIN,
        "process": {"timesteps": 4, "min_noise": 0.2}, "training": {"batch_size": 1, "learning_rate": 1e-3},
    }  # fmt: skip
    pairs = texture_pairs(tmp_path / "pairs", train=1, val=1)
    model = run_stage(TrainResShift, tmp_path / "t", config, {"pairs": pairs, "autoencoder": vq}).artifacts["model"]
    assert model.facets["latent_space"] == vq.facets["space"]


def test_released_weights_without_their_mask_are_warned_of(tmp_path, vq, caplog):
    with caplog.at_level(logging.WARNING):
        imported_teacher(tmp_path / "right", vq)
        assert not caplog.messages
        imported_teacher(tmp_path / "wrong", vq, {**SWIN, "legacy_shift_mask": False})
    assert "legacy_shift_mask: true" in caplog.text


def test_a_decoder_that_is_trained_further_does_not_read_the_teacher_again(tmp_path, vq):
    config = ImportWeights.Config(source=str(tmp_path), **TEACHER)
    other = copy.copy(vq.facets) | {"space": "vq-f4c3-000000000000"}
    parts = [
        ImportWeights.partitions(config, {"autoencoder": type("A", (), {"facets": facets})}, {"source": []})
        for facets in (vq.facets, other)
    ]
    assert parts[0] == parts[1]


# ---------------------------------------------------------------- what a plan refuses

VQ_STAGE = "vq: {uses: import.weights, with: {source: vq.pth, role: autoencoder, family: vq}}"
KL_STAGE = "kl: {uses: import.weights, with: {source: kl.pth, role: autoencoder, family: kl}}"


def teacher_stage(inputs: str = "", **config: object) -> str:
    settings = {"source": "resshift.pth", **TEACHER, **config}
    return f"teacher: {{uses: import.weights, inputs: {{{inputs}}}, with: {json.dumps(settings)}}}"


def spec(*stages: str) -> str:
    return "stages:\n" + "".join(f"  {stage}\n" for stage in stages)


def test_what_a_plan_knows_of_official_weights(tmp_path):
    graph = build_graph(SpecFolder(tmp_path).load(spec(VQ_STAGE, KL_STAGE, teacher_stage("autoencoder: vq"))))
    stated = {name: dict(outputs["model"].facets) for name, outputs in graph.outputs.items()}
    assert stated == {
        "vq": {"role": "autoencoder", "family": "vq", "channels": 3, "factor": 4},
        "kl": {"role": "autoencoder", "family": "kl", "channels": 4, "factor": 8},
        "teacher": {"role": "sr", "family": "resshift", "scale": 4, "timesteps": 15},
    }


PINNED = VQ_STAGE.replace("family: vq", "family: vq, facets: {space: vq-f4c3-0123456789ab}")
LPIPS = "lpips: {uses: import.weights, with: {source: l.pth, role: lpips}}"


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([teacher_stage()], "autoencoder: artifact needs one; connect it: inputs: {autoencoder: <stage>}"),
        ([KL_STAGE, teacher_stage("autoencoder: kl")], "kl has family 'kl', and teacher needs 'vq'"),
        (
            [PINNED, teacher_stage("autoencoder: vq", latent_space="vq-f4c3-ffffffffffff")],
            "vq has space 'vq-f4c3-0123456789ab', and teacher needs 'vq-f4c3-ffffffffffff'",
        ),
        ([LPIPS, teacher_stage("autoencoder: lpips")], "lpips has role 'lpips', and teacher needs 'autoencoder'"),
        ([KL_STAGE, KL_STAGE.replace("kl:", "k2:").replace("with", "inputs: {autoencoder: kl}, with")],
         "the input autoencoder is for `family: resshift`"),
        ([teacher_stage(latent_space=None)], "latent_space: expected the latents that the weights were trained on"),
        ([teacher_stage(role="raw")], "family resshift super-resolves: expected role: sr"),
        ([VQ_STAGE.replace("role: autoencoder, ", "")], "role autoencoder and the families vq, kl, tiny belong"),
        ([VQ_STAGE.replace("family: vq", "family: vq, facets: {factor: 8}")], "facets: factor is 4 by the constructor"),
        ([teacher_stage(constructor={"process": {"timesteps": 0}})], "process.timesteps: Input should be greater than"),
        ([VQ_STAGE.replace("family: vq", "family: vq, latent_space: vq-f4c3")], "latent_space has a meaning for"),
    ],
)  # fmt: skip
def test_what_cannot_be_whole_is_refused_with_the_spec(tmp_path, stages, said):
    errors = SpecFolder(tmp_path).errors(spec(*stages))
    assert any(said in error for error in errors), errors
