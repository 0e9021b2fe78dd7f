"""Training from a latent cache: the bits of training without one, fewer images decoded, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.graph import build_graph
from pipelines.spec.load import load_spec
from pipelines.spec.problems import SpecErrors
from pipelines.stage import StageError
from stages.data.latents import LatentIndex
from stages.data.samples import SampleIndex
from stages.encoding.latents import EncodeLatents
from stages.methods.latents import latents_of
from stages.methods.resshift import TrainResShift
from stages.models.resshift import ResShiftModel
from stages.training import loop
from stages.training.config import TrainConfig
from stages.training.loader import PairLoader
from tests.support.autoencoders import autoencoder_artifact, tiny_vq
from tests.support.harness import FolderArtifact, run_stage
from tests.support.photos import copy_photos
from tests.support.textures import texture_pairs
from tests.support.workspace import Workspace

TINY: dict[str, Any] = {
    "seed": 5,
    "autoencoder": "artifact",
    "network": {"widths": [8], "blocks": 1, "groups": 4},
    "process": {"timesteps": 4, "min_noise": 0.2},
    "training": {"batch_size": 3, "learning_rate": 1e-2, "ema": 0.9, "clip": 1.0},
    "log_every": 1,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> FolderArtifact:
    return texture_pairs(tmp_path_factory.mktemp("data") / "pairs", train=7, val=2)


@pytest.fixture(scope="module")
def vq(tmp_path_factory) -> FolderArtifact:
    return autoencoder_artifact(tmp_path_factory.mktemp("vq"), tiny_vq())


def encode(folder: Path, pairs: FolderArtifact, vq: FolderArtifact, **config: Any) -> FolderArtifact:
    return run_stage(EncodeLatents, folder, config, {"pairs": pairs, "autoencoder": vq}).artifacts["latents"]


@pytest.fixture(scope="module")
def latents(tmp_path_factory, pairs, vq) -> FolderArtifact:
    return encode(tmp_path_factory.mktemp("latents"), pairs, vq)


def train(
    folder: Path, steps: int, checkpoints: Path | None = None, *, changed: dict[str, Any] | None = None, **inputs
):
    return run_stage(
        TrainResShift, folder, {**TINY, "steps": steps, **(changed or {})}, inputs, checkpoints=checkpoints
    )


def losses(run) -> list[float]:
    return [values["loss"] for _, values in run.context.recorded if "loss" in values]


@pytest.mark.parametrize("changed", [{}, {"losses": [{"kind": "l1"}], "validate_every": 2}], ids=["latent", "with HR"])
def test_float32_latents_train_to_the_bits_of_training_without_a_cache(tmp_path, pairs, vq, latents, changed):
    """Five steps of three are two epochs of seven pairs, some of them mirrored, and a validation."""
    live = train(tmp_path / "live", 5, tmp_path / "c1", changed=changed, pairs=pairs, autoencoder=vq)
    cached = train(
        tmp_path / "cached", 5, tmp_path / "c2", changed=changed, pairs=pairs, autoencoder=vq, latents=latents
    )
    assert live.artifacts["model"].digest == cached.artifacts["model"].digest
    assert losses(live) == losses(cached)
    states = [torch.load(tmp_path / c / "00000005" / "state.pt", weights_only=True) for c in ("c1", "c2")]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_a_killed_training_from_a_cache_goes_on_to_the_same_bits(tmp_path, pairs, vq, latents, monkeypatch):
    class Killed(BaseException):
        """Stands for `kill -9`."""

    def dying(self, step_once=loop.Trainer._step):
        if self.state.step == 3:
            raise Killed
        step_once(self)

    inputs = {"pairs": pairs, "autoencoder": vq, "latents": latents}
    straight = train(tmp_path / "straight", 4, **inputs)
    with monkeypatch.context() as patched:
        patched.setattr(loop.Trainer, "_step", dying)
        with pytest.raises(Killed):
            train(tmp_path / "killed", 4, tmp_path / "c", changed={"checkpoint_every": 2}, **inputs)
    resumed = train(tmp_path / "resumed", 4, tmp_path / "c", **inputs)
    assert resumed.artifacts["model"].digest == straight.artifacts["model"].digest


def test_half_precision_latents_start_at_nearly_the_same_loss(tmp_path, pairs, vq, latents):
    half = encode(tmp_path / "half", pairs, vq, dtype="bfloat16")
    runs = [
        train(tmp_path / name, 2, pairs=pairs, autoencoder=vq, latents=cache)
        for name, cache in (("a", latents), ("b", half))
    ]
    assert losses(runs[0])[0] == pytest.approx(losses(runs[1])[0], rel=0.02)
    assert losses(runs[0]) != losses(runs[1])


def test_hr_images_are_decoded_only_for_losses_that_look_at_them(pairs, vq, latents, monkeypatch):
    read: list[str] = []
    original = SampleIndex.read

    def noting(self: SampleIndex, i: int, part: Any) -> bytes:
        read.append(part)
        return original(self, i, part)

    monkeypatch.setattr(SampleIndex, "read", noting)
    stored = SampleIndex.from_artifact(pairs, split="train")
    cached = LatentIndex.of_pairs(latents, stored.table["key"])
    config = TrainConfig(steps=1, seed=3, training={"batch_size": 3, "learning_rate": 1})
    with PairLoader(stored, 4, config, latents=cached, hr=False) as data:
        lean = data.batch(0)
    assert set(read) == {"lr"}
    with pytest.raises(ValueError, match="carries latents and no HR images"):
        _ = lean.hr
    with PairLoader(stored, 4, config, latents=cached) as data:
        full = data.batch(0)
    assert torch.equal(full.lr, lean.lr)
    network = {**TINY["network"], "attention": False}
    model = ResShiftModel(scale=4, autoencoder=tiny_vq(), residual=True, network=network, process=TINY["process"])
    for batch in (full, full.part(1, 3), lean.part(0, 1).to("cpu")):
        start = full.samples.index(batch.samples[0])
        z0, zy = model.encode_pair(full.lr[start : start + len(batch)], full.hr[start : start + len(batch)])
        assert all(torch.equal(a, b) for a, b in zip(latents_of(batch, model), (z0, zy), strict=True))


def test_a_cache_of_other_pairs_or_of_another_encoder_is_refused_before_the_first_step(tmp_path, pairs, vq, latents):
    others = texture_pairs(tmp_path / "others", train=8, val=2)
    with pytest.raises(StageError, match=r"its latents are those of the pairs [0-9a-f]{12}, and the input pairs is"):
        train(tmp_path / "a", 1, pairs=others, autoencoder=vq, latents=latents)
    other = autoencoder_artifact(tmp_path / "vq", tiny_vq(1))
    with pytest.raises(StageError, match=r"latents has space 'vq-f4c3-\w+', and this training 'vq-f4c3-\w+'"):
        train(tmp_path / "b", 1, pairs=pairs, autoencoder=other, latents=latents)


SPEC = """
photos: {uses: ingest.images, with: {source: ./photos, split: {val: 0, test: 0}}}
pairs:
  uses: degrade.pairs
  inputs: {images: photos}
  matrix: {scale: [2, 4]}
  with: {preset: bicubic, hr_size: 32, scale: $(matrix.scale)}
latents:
  uses: encode.latents
  inputs: {pairs: pairs@scale=4}
  with: {autoencoder: space-to-depth}
teacher:
  uses: train.resshift
  inputs: {pairs: pairs@scale=4, latents: latents}
  with: {steps: 1}
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("with.data={patch: 8}", "the latent of a random patch is no patch of a latent"),
        ("with.autoencoder=identity", "latents has space 'space-to-depth-4', and this training 'pixel'"),
        ("with.autoencoder=artifact", "autoencoder: artifact needs one; connect it"),
        ("inputs.pairs=pairs@scale=2", "latents has scale 4, and the pairs 2"),
        ("with.losses=[{kind: lpips}]", r"lpips needs trained weights.*connect that stage: inputs: {perceptual"),
    ],
)
def test_what_does_not_fit_is_found_where_the_spec_is_read(tmp_path, change, message):
    copy_photos(tmp_path / "photos", "coins.png")
    work = Workspace(tmp_path)
    work.spec(SPEC)
    build_graph(load_spec(work.file, []))
    with pytest.raises(SpecErrors, match=message):
        build_graph(load_spec(work.file, [f"stages.teacher.{change}"]))


def test_a_cache_without_mirror_images_needs_flip_false(tmp_path):
    copy_photos(tmp_path / "photos", "coins.png")
    work = Workspace(tmp_path)
    work.spec(SPEC.replace("space-to-depth}", "space-to-depth, mirrored: false}"))
    with pytest.raises(SpecErrors, match=r"encode with mirrored: true, or set data: {flip: false}"):
        build_graph(load_spec(work.file, []))
    build_graph(load_spec(work.file, ["stages.teacher.with.data={flip: false}"]))
