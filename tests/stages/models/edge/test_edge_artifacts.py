"""An edge model as an artifact: the stages that take any model take it, without knowing what it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pipelines.stage import Output
from stages.data.tensors import to_image, to_pixels
from stages.evaluation.evaluate import Evaluate
from stages.models.kl import KLAutoencoder
from stages.models.registry import load_model, save_model, save_provenance
from stages.sampling.config import SamplingConfig
from stages.sampling.pixels import enlarge
from tests.stages.models.edge.test_edge_model import FOLDED_PIXELS, random_model, settings
from tests.support.harness import FolderArtifact, FolderWriter, run_stage
from tests.support.textures import texture_pairs


def kept(folder, model, **refs) -> FolderArtifact:
    writer = FolderWriter(
        folder, Output("model", "", {"role": "sr", "family": "edge", "scale": 4}), tuple(refs.values())
    )
    for role, artifact in refs.items():
        writer.ref(role, artifact)
    save_model(writer, model.family, model.constructor, model.state_dict(), model.card())
    save_provenance(writer, ())
    return FolderArtifact("edge", folder, writer.manifest(), refs)


def test_a_saved_model_comes_back_and_evaluation_measures_it_at_one_evaluation_an_image(tmp_path):
    model = random_model(**FOLDED_PIXELS)
    artifact = kept(tmp_path / "m", model)
    lr = torch.rand(3, 9, 10)
    assert torch.equal(load_model(artifact).super_resolve(lr, name="a"), model.super_resolve(lr, name="a"))
    pairs = texture_pairs(tmp_path / "pairs", train=1, val=2, hr_size=48)
    run = run_stage(Evaluate, tmp_path / "e", {}, {"pairs": pairs, "models": [artifact]})
    rows = json.loads(run.artifacts["metrics"].read("metrics.json"))["models"]
    assert f"edge-{artifact.digest[:12]}" in rows
    pixels = np.full((9, 10, 3), 128, np.uint8)
    found = enlarge(model, pixels, SamplingConfig(), steps=None, seed=0, name="a", device="cpu")
    assert np.array_equal(found, to_pixels(model.super_resolve(to_image(pixels), seed=0, name="a")))


def test_a_model_that_leans_on_a_trained_autoencoder_finds_it_by_its_ref(tmp_path):
    autoencoder = KLAutoencoder(width=4, multipliers=(1, 1, 1, 1), blocks=1, groups=4)
    writer = FolderWriter(tmp_path / "a", Output("model", "", autoencoder.facets()))
    save_model(writer, "kl", autoencoder.constructor, autoencoder.state_dict(), {})
    trained = FolderArtifact("autoencoder", tmp_path / "a", writer.manifest())
    model = type(random_model())(**settings(encoder=None, autoencoder=autoencoder)).eval()
    loaded = load_model(kept(tmp_path / "m", model, autoencoder=trained))
    lr = torch.rand(3, 8, 8)
    assert torch.equal(loaded.super_resolve(lr), model.super_resolve(lr))
    with pytest.raises(ValueError, match="expected a ref to its autoencoder"):
        load_model(kept(tmp_path / "n", model))
