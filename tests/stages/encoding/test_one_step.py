"""encode.one_step: the very answers that the model gives where it is used, in bytes that depend on nothing else."""

from __future__ import annotations

import pytest
import torch

from pipelines.stage import StageError
from stages.data.latents import LatentIndex
from stages.data.samples import SampleIndex
from stages.data.tensors import to_image
from stages.encoding.one_step import EncodeOneStep
from stages.methods.edge_unet import TrainEdgeUNet
from stages.models.numerics import numerics
from stages.models.registry import load_model
from tests.support.edge import UNET, edge
from tests.support.harness import FolderArtifact, run_stage
from tests.support.textures import texture_pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> FolderArtifact:
    return texture_pairs(tmp_path_factory.mktemp("data") / "pairs")


@pytest.fixture(scope="module")
def model(tmp_path_factory, pairs) -> FolderArtifact:
    """With noise at inference."""
    config = {**UNET, "process": {"timesteps": 10, "k": 0.3}}
    return edge(TrainEdgeUNet, tmp_path_factory.mktemp("unet"), config, 3, pairs=pairs).artifacts["model"]


def encode(folder, pairs, model, reverse=False, **config) -> FolderArtifact:
    inputs = {"pairs": pairs, "model": model}
    return run_stage(EncodeOneStep, folder, config, inputs, reverse=reverse).artifacts["latents"]


def test_a_stored_answer_decodes_to_the_image_that_the_model_makes(tmp_path, pairs, model):
    answers, loaded = encode(tmp_path, pairs, model, seed=3), load_model(model)
    stored = SampleIndex.from_artifact(pairs, split="val")
    cached = LatentIndex.of_pairs(answers, stored.table["key"])
    for i in range(len(stored)):
        lr, key = to_image(stored.read_pair(i)[0]), stored.key(i)
        for mirrored in (False, True):
            (latent,) = cached.read(i, mirrored)
            with numerics(1, reproducible=True), torch.no_grad():
                expected = loaded.super_resolve(lr.flip(-1) if mirrored else lr, seed=3, name=key)
                found = ((loaded.decode(latent[None])[0] + 1) / 2).clamp(0, 1)
            torch.testing.assert_close(found, expected)


def test_the_artifact_names_pairs_model_and_space_and_is_the_same_whoever_worked(tmp_path, pairs, model):
    answers = encode(tmp_path / "a", pairs, model)
    assert answers.facets == {
        "role": "one-step", "space": "space-to-depth-4", "channels": 48, "scale": 4, "height": 8, "width": 8,
        "dtype": "float32", "mirrored": True, "parts": 1,
    }  # fmt: skip
    assert answers.manifest.refs == {"pairs": pairs.digest, "model": model.digest}
    assert encode(tmp_path / "b", pairs, model, batch_size=3, loader_threads=1).digest == answers.digest
    assert encode(tmp_path / "c", pairs, model, seed=1).digest != answers.digest


def test_pairs_of_another_scale_are_refused(tmp_path, model):
    with pytest.raises(StageError, match="pairs are of scale 2, the model enlarges by 4"):
        encode(tmp_path / "a", texture_pairs(tmp_path / "pairs", scale=2), model)
