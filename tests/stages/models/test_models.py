"""Networks and autoencoders: what they start as, what they lose, which sizes they take."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from stages.models.autoencoders import SpaceToDepth, build_autoencoder
from stages.models.padding import pad_to_multiple, reflected
from stages.models.registry import build_model
from stages.models.resshift import ResShiftModel
from stages.models.unet import UNet
from stages.models.weights import read_weights, write_weights

TINY = {
    "network": {"widths": [8, 16], "blocks": 1, "attention": True, "groups": 4},
    "process": {"timesteps": 4, "kappa": 2.0, "power": 0.3, "min_noise": 0.2, "end": 0.99},
    "residual": True,
}


def tiny(autoencoder: str = "space-to-depth", scale: int = 4, **changed: object) -> ResShiftModel:
    return ResShiftModel(scale=scale, autoencoder=autoencoder, **{**TINY, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("autoencoder", ["identity", "space-to-depth"])
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("steps", [None, 1])
def test_a_new_network_answers_exactly_the_bicubic_image(autoencoder, scale, steps):
    lr = torch.rand(3, 7, 10)
    model = tiny(autoencoder, scale)
    # 7x10 is no multiple of the network's: what the padding shows at the far edges is not the image's own border
    up = interpolate(lr[None], scale_factor=float(scale), mode="bicubic")[0].clamp(0, 1)
    sr = model.super_resolve(lr, steps=steps)
    inner = (slice(None), slice(None, -2 * scale), slice(None, -2 * scale))
    assert sr.shape == (3, 7 * scale, 10 * scale)
    assert torch.allclose(sr[inner], up[inner], atol=1e-6)


def test_without_residual_a_new_network_answers_zero():
    assert torch.equal(tiny(residual=False).super_resolve(torch.rand(3, 8, 8)), torch.full((3, 32, 32), 0.5))


def test_super_resolution_is_a_function_of_image_seed_and_name():
    model = tiny()
    torch.nn.init.normal_(model.denoiser.head.weight, std=0.1)
    lr = torch.rand(3, 8, 8)
    first = model.super_resolve(lr, seed=1, name="a")
    torch.rand(100)
    assert torch.equal(model.super_resolve(lr, seed=1, name="a"), first)
    assert not torch.equal(model.super_resolve(lr, seed=2, name="a"), first)
    assert not torch.equal(model.super_resolve(lr, seed=1, name="b"), first)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_space_to_depth_loses_no_bit(scale):
    autoencoder = build_autoencoder("space-to-depth", scale)
    image = torch.rand(2, 3, 6 * scale, 5 * scale) * 2 - 1
    latent = autoencoder.encode(image)
    assert latent.shape == (2, autoencoder.channels, 6, 5)
    assert torch.equal(autoencoder.decode(latent), image)


def test_space_to_depth_keeps_a_pixel_at_its_place():
    image = torch.zeros(1, 3, 8, 8)
    image[0, 1, 5, 6] = 1
    latent = SpaceToDepth(4).encode(image)
    assert latent[0, :, 1, 1].nonzero().flatten().tolist() == [16 + 4 * 1 + 2]  # green, row 5 % 4, column 6 % 4


def test_the_unet_uses_time_and_condition_once_trained():
    network = UNet(5, 2, widths=[8, 16], blocks=1, attention=False, groups=4)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, y, t = torch.randn(2, 5, 8, 8), torch.randn(2, 2, 8, 8), torch.tensor([0, 3])
    out = network(x, y, t)
    assert out.shape == x.shape
    assert not torch.allclose(network(x, y, torch.tensor([1, 3]))[0], out[0])
    assert not torch.allclose(network(x, y + 1, t), out)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40))
def test_padding_reflects_at_any_size(size, extra):
    period = list(range(size)) + list(range(size - 2, 0, -1))  # to and fro, without repeating either edge
    row = [period[i % len(period)] for i in range(size + extra)]
    assert reflected(size, size + extra).tolist() == row


def test_padding_reaches_the_next_multiple_and_keeps_the_image():
    image = torch.rand(1, 3, 5, 8)
    padded = pad_to_multiple(image, 4)
    assert padded.shape == (1, 3, 8, 8)
    assert torch.equal(padded[..., :5, :], image)
    assert torch.equal(padded[..., 5, :], image[..., 3, :])


def test_equal_weights_are_equal_bytes_and_come_back(tmp_path):
    state = tiny().state_dict()
    write_weights(tmp_path / "a", state)
    write_weights(tmp_path / "b", dict(reversed(state.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert all(torch.equal(value, state[name]) for name, value in read_weights(tmp_path / "a").items())


def test_a_card_of_an_unknown_family_or_schema_is_refused_by_name():
    with pytest.raises(ValueError, match=r"family 'srgan' is unknown here; known: .*resshift"):
        build_model({"schema": 1, "family": "srgan", "constructor": {}})
    with pytest.raises(ValueError, match="expected schema 1, got 9"):
        build_model({"schema": 9, "family": "resshift", "constructor": {}})
