"""Autoencoders with weights: their cost, exact attention and quantisation, and how models hold and refer to them."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn

from pipelines.stage import Output, StageError
from stages.methods.resshift import TrainResShift
from stages.models import attention
from stages.models.autoencoders import build_autoencoder
from stages.models.flops import count, parameters
from stages.models.kl import Gaussian, KLAutoencoder
from stages.models.registry import load_autoencoder, load_model, save_model, trained_on
from stages.models.tiny import TinyAutoencoder
from stages.models.vq import VQAutoencoder
from tests.support.harness import FolderArtifact, FolderWriter, run_stage
from tests.support.textures import texture_pairs

TINY_VQ = {"codes": 32, "width": 4, "multipliers": (1, 2), "blocks": 1, "groups": 2}
TINY_KL = {"width": 4, "multipliers": (1, 2), "blocks": 1, "groups": 2}


def every_kind():
    return VQAutoencoder(**TINY_VQ), KLAutoencoder(**TINY_KL), TinyAutoencoder(width=4, blocks=1, halvings=1)


def saved(folder, autoencoder) -> FolderArtifact:
    return kept(folder, autoencoder, autoencoder.state_dict())


def kept(folder, autoencoder, weights) -> FolderArtifact:
    writer = FolderWriter(folder, Output("model", "", autoencoder.facets()))
    save_model(writer, autoencoder.family, autoencoder.constructor, weights, {})
    return FolderArtifact("autoencoder", folder, writer.manifest())


def test_full_sizes_are_those_that_are_published():
    with torch.device("meta"):
        vq, kl, tiny = VQAutoencoder(), KLAutoencoder(), TinyAutoencoder()
        image, latent = torch.empty(1, 3, 256, 256), torch.empty(1, 3, 64, 64)
        assert [parameters(m) for m in (vq, vq.encoder, vq.decoder, vq.codebook)] == [
            55_322_782, 22_337_411, 32_960_771, 24_576
        ]  # fmt: skip
        assert round(count(vq.encode, (image,)) / 1e9, 1) == 345.2
        assert round(count(vq.decode, (latent,)) / 1e9, 1) == 670.8
        assert parameters(kl) == 83_653_863
        assert parameters(tiny) == 1_222_532 + 1_222_531
        shapes = [m.encode(image).shape[1:] for m in (vq, kl, tiny)]
        faces = VQAutoencoder(channels=8, codes=4096, width=64, multipliers=(1, 2, 4, 8), blocks=(1, 2, 3, 4))
    assert shapes == [(3, 64, 64), (4, 32, 32), (4, 32, 32)]
    assert parameters(faces) == 77_009_115


@pytest.mark.parametrize("autoencoder", every_kind(), ids=lambda m: m.family)
def test_shapes_follow_channels_and_factor_for_any_multiple(autoencoder):
    image = torch.rand(2, 3, 6, 10) * 2 - 1
    latent = autoencoder.encode(image)
    assert latent.shape == (2, autoencoder.channels, 6 // autoencoder.factor, 10 // autoencoder.factor)
    assert autoencoder.decode(latent).shape == image.shape


def test_attention_in_groups_of_rows_is_attention():
    q, k, v = torch.randn(3, 2, 37, 5, dtype=torch.float64)
    whole = (q @ k.transpose(1, 2) / 5**0.5).softmax(-1) @ v
    for limit in (1, 2 * 37 * 4, 10**9):
        assert torch.allclose(attention.attend(q, k, v, limit), whole)


def test_quantisation_takes_the_nearest_code_and_passes_gradients_straight(monkeypatch):
    vq = VQAutoencoder(**TINY_VQ)
    nn.init.normal_(vq.codebook.weight)
    latent = torch.randn(2, 3, 4, 5, requires_grad=True)
    monkeypatch.setattr("stages.models.vq.DISTANCES", 7 * 32)  # groups of seven places
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantised = vq.quantise(latent)
    book = vq.codebook.weight
    for b, row, column in ((0, 0, 0), (1, 3, 4), (0, 2, 1)):
        distances = (book - latent[b, :, row, column]).square().sum(1)
        assert quantised.codes[b, row, column] == distances.argmin()
        assert torch.allclose(quantised.latent[b, :, row, column], book[distances.argmin()])
    quantised.latent.sum().backward()
    assert torch.equal(latent.grad, torch.ones_like(latent))
    error = (quantised.latent - latent).square().mean()
    assert torch.allclose(quantised.codebook, error)
    assert torch.allclose(quantised.commitment, error)
    assert torch.equal(vq.decode(latent), vq.decode(quantised.latent, quantise=False))


def test_a_kl_latent_is_the_scaled_mean_and_its_divergence_that_of_gaussians():
    kl = KLAutoencoder(**TINY_KL, scale=0.5)
    image = torch.rand(1, 3, 4, 4)
    assert torch.equal(kl.encode(image), kl.posterior(image).mean * 0.5)
    mean, log_variance = torch.randn(2, 3, 4, 2, 2)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0))
    assert torch.allclose(Gaussian(mean, log_variance).divergence(), expected.sum((1, 2, 3)), rtol=1e-5)


def test_a_space_is_named_by_what_encodes():
    vq = VQAutoencoder(**TINY_VQ)
    other = copy.deepcopy(vq)
    assert vq.space.startswith("vq-f2c3-")
    nn.init.zeros_(other.decoder.head.weight)
    assert other.space == vq.space
    nn.init.zeros_(other.encoder.head.weight)
    assert other.space != vq.space


def test_an_autoencoder_artifact_rebuilds_itself(tmp_path):
    for autoencoder in every_kind():
        artifact = saved(tmp_path / autoencoder.family, autoencoder)
        loaded = load_autoencoder(artifact)
        image = torch.rand(1, 3, 4, 4)
        assert torch.equal(loaded.encode(image), autoencoder.encode(image))
        assert loaded.space == artifact.facets["space"]
        assert not any(p.requires_grad for p in loaded.parameters())
        rebuilt = build_autoencoder(loaded.card(), 4)
        assert (rebuilt.channels, rebuilt.factor) == (loaded.channels, loaded.factor)


def test_an_artifact_with_published_names_is_loaded_as_it_is(tmp_path):
    tiny = TinyAutoencoder(width=4, blocks=1, halvings=1)
    theirs = {"first": "conv.0", "second": "conv.2", "third": "conv.4"}
    names = {name: ".".join(theirs.get(part, part) for part in name.split(".")) for name in tiny.state_dict()}
    weights = {names[name]: value for name, value in tiny.state_dict().items()}
    assert set(weights) != set(tiny.state_dict())
    loaded = load_autoencoder(kept(tmp_path / "a", tiny, weights))
    assert all(torch.equal(value, tiny.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_a_teacher_refers_to_its_autoencoder_and_does_not_train_or_copy_it(tmp_path):
    pairs = texture_pairs(tmp_path / "pairs")
    trained = VQAutoencoder(**{**TINY_VQ, "multipliers": (1, 1, 2)})
    weights = copy.deepcopy(trained.state_dict())
    autoencoder = saved(tmp_path / "autoencoder", trained)
    config = {
        "steps": 2, "autoencoder": "artifact", "residual": False, "picture_every": 0,
        "network": {"kind": "swin", "size": 8, "width": 8, "multipliers": [1, 1], "blocks": 1, "swin_width": 8,
                    "head_width": 4, "window": 4, "groups": 4},
        "process": {"timesteps": 4, "min_noise": 0.2}, "training": {"batch_size": 2, "learning_rate": 1e-2},
    }  # fmt: skip
    connected = {"pairs": pairs, "autoencoder": autoencoder}
    model = run_stage(TrainResShift, tmp_path / "a", config, connected).artifacts["model"]
    assert model.ref("autoencoder") is autoencoder
    assert model.facets["latent_space"] == trained.space
    assert trained_on(model)
    loaded = load_model(model)
    assert all(name.startswith("denoiser.") for name in loaded.state_dict())
    assert all(torch.equal(value, weights[name]) for name, value in loaded.autoencoder.state_dict().items())
    assert loaded.super_resolve(torch.rand(3, 5, 6)).shape == (3, 20, 24)
    alone = FolderArtifact("alone", model.folder, dataclasses.replace(model.manifest, refs={}))
    with pytest.raises(ValueError, match="alone: expected a ref to its autoencoder"):
        load_model(alone)
    twin = copy.deepcopy(loaded).double()  # copies share the autoencoder, and take it with them
    assert twin.autoencoder is loaded.autoencoder
    assert twin.autoencoder.codebook.weight.dtype == torch.float64
    with pytest.raises(StageError, match="the config asks for space-to-depth; set `autoencoder: artifact`"):
        run_stage(TrainResShift, tmp_path / "b", {**config, "autoencoder": "space-to-depth"}, connected)
    with pytest.raises(StageError, match="artifact needs one"):
        run_stage(TrainResShift, tmp_path / "c", config, {"pairs": pairs})
