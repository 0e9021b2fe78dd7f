"""The one-step model as evaluation, upscaling and export meet it."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import interpolate

from stages.diffusion.noise import Noise
from stages.models.edge.config import BidirectionalConfig, EdgeConfig, StepBiasConfig
from stages.models.edge.deployed import EdgeDeployed
from stages.models.edge.model import EdgeModel
from stages.models.kl import KLAutoencoder
from stages.models.numerics import seeded
from stages.models.padding import pad_to_multiple
from stages.models.registry import build_family

NETWORK = {"widths": [16, 16], "blocks": 1, "attention": [-1], "head_width": 8, "groups": 4, "embedding": 8}
OWN = {"encoder": {"widths": [8, 8], "blocks": [1, 1]}, "decoder": {"width": 8, "blocks": 1}}
FOLDED_PIXELS = {
    "latent": {"channels": 48, "factor": 4}, "autoencoder": "space-to-depth",
    "encoder": {"widths": [8], "blocks": [1], "residual": True},
    "decoder": {"width": 8, "blocks": 1, "residual": True},
}  # fmt: skip


def settings(**changed) -> dict:
    autoencoder = changed.pop("autoencoder", None)
    config = EdgeConfig.model_validate({"network": NETWORK, **OWN, **changed})
    return {**config.model_dump(mode="json"), "autoencoder": autoencoder}


def random_model(**changed) -> EdgeModel:
    with seeded(1):
        model = EdgeModel(**settings(**changed))
        for name, parameter in model.named_parameters():
            nn.init.normal_(parameter, std=1.0 if ".time." in name else 0.1)
    return model.eval()


def lr_image(height: int = 20, width: int = 28) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(5))


def test_a_new_small_model_answers_the_bicubic_image_of_any_size():
    model, lr = EdgeModel(**settings(**FOLDED_PIXELS)), lr_image(13, 17)
    found = model.super_resolve(lr, seed=1, name="a")
    assert found.shape == (3, 52, 68)
    padded = pad_to_multiple(lr[None], 2)
    wanted = interpolate(padded, scale_factor=4.0, mode="bicubic")[0, :, :52, :68].clamp(0, 1)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_one_evaluation_at_the_last_step():
    model, seen = random_model(), []
    model.network.register_forward_hook(lambda _, inputs, __: seen.append(inputs[2].tolist()))
    model.super_resolve(lr_image())
    assert seen == [[999]]
    assert model.evaluations() == model.evaluations(1) == 1
    for ask in (lambda: model.evaluations(2), lambda: model.super_resolve(lr_image(), steps=15)):
        with pytest.raises(ValueError, match="one step"):
            ask()


def test_noise_is_a_function_of_seed_and_name_and_none_is_there_at_k_zero():
    lr = lr_image()
    noisy, silent = random_model(process={"k": 0.5}), random_model(process={"k": 0.5, "inference_k": 0})
    first = noisy.super_resolve(lr, seed=1, name="a")
    assert torch.equal(noisy.super_resolve(lr, seed=1, name="a"), first)
    assert not torch.equal(noisy.super_resolve(lr, seed=2, name="a"), first)
    assert not torch.equal(noisy.super_resolve(lr, seed=1, name="b"), first)
    assert torch.equal(silent.super_resolve(lr, seed=1, name="a"), silent.super_resolve(lr, seed=2, name="b"))
    assert silent.card()["sampler"] == {"kind": "one-step", "steps": 1, "t": 999, "k": 0}


def test_sampling_is_the_forward_pass_of_the_padded_image_with_the_named_noise():
    model, lr = random_model(process={"k": 0.5}), lr_image(18, 27)
    noise = Noise(3).normal("sample/1000", ["a"], (4, 10, 14))
    with torch.no_grad():
        wanted = model.enlarge(pad_to_multiple(lr[None], 4), noise)[0, :, :72, :108].clamp(0, 1)
    assert torch.allclose(model.super_resolve(lr, seed=3, name="a"), wanted, atol=1e-6)


def test_tiles_give_nearly_the_whole_image():
    """Norms see a tile where they would see the image, so that the answers are not the same."""
    model, lr = random_model(process={"k": 0.1}), lr_image(64, 96)
    whole = model.super_resolve(lr, name="a")
    tiled = model.super_resolve(lr, name="a", tile=48, overlap=32)
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().mean() < 0.1 * whole.std()


@pytest.mark.parametrize(
    "process",
    [
        {"mean": "lr", "inference_k": 0},
        {"mean": "lr", "k": 0.5, "zero_terminal": False},
        {"mean": "hr", "zero_terminal": False},
        {"mean": "hr", "prediction": "v"},
        {"mean": "hr", "prediction": "v", "zero_terminal": False, "inference_k": 0},
        {"mean": "lr", "prediction": "v", "zero_terminal": False, "k": 0.3},
        {"mean": "residual-shift", "timesteps": 15, "k": 2.0},
        {"mean": "residual-shift", "timesteps": 15, "k": 2.0, "inference_k": 0},
    ],
)
def test_what_ships_answers_as_the_model_does(process):
    model = random_model(process=process, residual=process.get("prediction") != "v")
    deployed, lr = EdgeDeployed(model, pixel_shuffle=True), torch.rand(2, 3, 16, 32)
    noise = torch.randn(2, 4, 8, 16) if deployed.noisy else None
    assert deployed.noisy == (process.get("inference_k") != 0)
    with torch.no_grad():
        wanted = model.enlarge(lr, noise).clamp(0, 1)
        assert wanted.std() > 0.01
        assert torch.allclose(deployed(lr, noise), wanted, atol=1e-4)
    assert deployed.network.stem.in_channels == (8 if deployed.noisy else 4)
    with pytest.raises(ValueError, match="noise: expected"):
        deployed(lr, torch.randn(2, 4, 8, 16) if noise is None else None)


def test_a_small_model_over_folded_pixels_ships_too():
    model, lr = random_model(**FOLDED_PIXELS, process={"inference_k": 0}), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(EdgeDeployed(model)(lr), model.enlarge(lr).clamp(0, 1), atol=1e-4)


def test_the_card_rebuilds_the_model_and_its_weights_hold_no_autoencoder():
    for changed in ({}, FOLDED_PIXELS):
        model = random_model(**changed)
        again = build_family("edge", json.loads(json.dumps(model.constructor)))
        again.load_state_dict(model.state_dict())
        assert torch.equal(again.eval().super_resolve(lr_image(), name="a"), model.super_resolve(lr_image(), name="a"))


def test_a_trained_autoencoder_stands_in_for_what_the_model_lacks_and_is_no_part_of_its_weights():
    autoencoder = KLAutoencoder(width=4, multipliers=(1, 1, 1, 1), blocks=1, groups=4)
    model, lr = EdgeModel(**settings(encoder=None, decoder=None, autoencoder=autoencoder)), torch.rand(1, 3, 8, 8)
    assert {name.split(".")[0] for name in model.state_dict()} == {"network"}
    assert isinstance(model.constructor["autoencoder"], dict)
    with torch.no_grad():
        enlarged = autoencoder.encode(interpolate(2 * lr - 1, scale_factor=4.0, mode="bicubic"))
        assert torch.equal(model.encode_lr(lr), enlarged)
        assert torch.equal(model.decode(enlarged), autoencoder.decode(enlarged))
        assert model.encode_hr(torch.rand(1, 3, 32, 32)).shape == model.encode_lr(lr).shape
    with pytest.raises(ValueError, match="deployed"):
        EdgeDeployed(model)


def test_gradients_reach_encoder_network_and_decoder():
    model = random_model()
    model.enlarge(torch.rand(1, 3, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"encoder": None}, "encoder: expected its settings"),
        ({"decoder": None}, "decoder: expected its settings"),
        ({"encoder": {"widths": [8, 8], "blocks": [1, 1], "residual": True}}, "without weights"),
        ({"autoencoder": "space-to-depth"}, "has 48 channels and factor 4"),
    ],
)
def test_models_that_cannot_be_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        EdgeModel(**settings(**changed))


def test_settings_that_contradict_each_other_are_refused_and_uniform_has_no_bias():
    for wrong in ({"mean": "residual-shift", "prediction": "v"}, {"mean": "residual-shift", "end": 0.03}):
        with pytest.raises(ValidationError):
            BidirectionalConfig.model_validate(wrong)
    with pytest.raises(ValidationError, match="residual"):
        EdgeConfig.model_validate({"process": {"prediction": "v"}})
    assert StepBiasConfig().exponents == (0.0, 0.0, 1)
    assert StepBiasConfig(kind="biased", first=3, over=7).exponents == (3.0, 0.0, 7)
