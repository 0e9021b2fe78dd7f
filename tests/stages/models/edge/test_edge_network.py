"""The parts of an edge model: what they cost at full size, what a phone is given to run, and what folding keeps."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stages.models.edge.blocks import ChannelNorm, EdgeAttention
from stages.models.edge.config import EdgeConfig, EdgeNetworkConfig
from stages.models.edge.decoder import EdgeDecoder
from stages.models.edge.deployed import EdgeDeployed
from stages.models.edge.encoder import EdgeEncoder
from stages.models.edge.model import EdgeModel
from stages.models.edge.unet import EdgeUNet
from stages.models.flops import count, flops, parameters
from stages.models.tiny import TinyAutoencoder

SMALL = {"widths": (16, 32), "blocks": 1, "attention": (-1,), "head_width": 8, "groups": 4, "embedding": 8}
PHONE = {
    "convolution", "native_group_norm", "silu", "hardswish", "relu", "tanh", "add", "mul", "sub", "mean", "rsqrt",
    "pow", "cat", "bmm", "_softmax", "upsample_nearest2d", "pixel_shuffle", "clamp", "view", "_unsafe_view",
    "transpose", "unsqueeze", "clone", "div",
}  # fmt: skip
"""Operators that the exporters take, and those that move or rename data."""


def small(**changed) -> EdgeUNet:
    network = EdgeUNet(4, **{**SMALL, **changed})
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, std=1.0 if "time." in name else 0.2)
    return network


@pytest.fixture(scope="module")
def full_size() -> EdgeModel:
    with torch.device("meta"):
        return EdgeModel(**EdgeConfig().model_dump(mode="json"))


def shipped(**changed) -> EdgeDeployed:
    """Full size, without noise, on the meta device: its constants are numbers, which are computed elsewhere."""
    changed = {"process": {"inference_k": 0}, **changed}
    with torch.device("meta"):
        model = EdgeModel(**EdgeConfig.model_validate(changed).model_dump(mode="json"))
    return EdgeDeployed(model)


class Graph(TorchDispatchMode):
    """Notes each operator, the most dimensions of any tensor, and the sides of what is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: set[str] = set()
        self.dimensions, self.normed = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.operators.add(name)
        shapes = [x.shape for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        self.dimensions = max(self.dimensions, *map(len, shapes))
        if name == "native_group_norm":
            self.normed = max(self.normed, *args[0].shape[-2:])
        return out


def test_each_part_and_the_whole_keep_the_papers_budget(full_size):
    """About 169 M parameters and 142 G multiply-accumulates for 128 -> 512 (arXiv 2412.06978, abstract)."""
    with torch.device("meta"):
        z, t, lr = torch.empty(1, 4, 64, 64), torch.zeros(1, dtype=torch.int64), torch.empty(1, 3, 128, 128)
    sizes = {
        name: (parameters(part) / 1e6, count(call, inputs) / 2e9)
        for name, part, call, inputs in [
            ("encoder", full_size.encoder, full_size.encoder, (lr,)),
            ("network", full_size.network, full_size.network, (z, z, t)),
            ("decoder", full_size.decoder, full_size.decoder, (z,)),
            ("all", full_size, full_size.enlarge, (lr,)),
        ]
    }
    assert sizes["encoder"] == pytest.approx((1.519, 7.597), abs=1e-3)
    assert sizes["network"] == pytest.approx((165.690, 53.786), abs=1e-3)
    assert sizes["decoder"] == pytest.approx((1.223, 70.675), abs=1e-3)
    assert sizes["all"] == pytest.approx((168.432, 132.059), abs=1e-3)
    assert 165 < sizes["all"][0] < 169
    assert sizes["all"][1] < 142


@pytest.mark.parametrize(
    ("changed", "million", "giga"), [
        ({}, 166.057, 132.032),
        ({"decoder": {"upsample": "pixel-shuffle"}}, 166.389, 132.032),
        ({"network": {"attention": (-2,)}}, 166.057, 139.504),
    ],
)  # fmt: skip
def test_what_ships_keeps_the_budget_too(changed, million, giga):
    deployed = shipped(**changed)
    assert parameters(deployed) / 1e6 == pytest.approx(million, abs=1e-3)
    assert flops(deployed, (torch.empty(1, 3, 128, 128),)) / 2e9 == pytest.approx(giga, abs=1e-3)
    assert 165 < million < 169
    assert giga < 142


def test_every_channel_count_is_a_multiple_of_32_but_for_the_ends(full_size):
    convolutions = [m for m in full_size.modules() if isinstance(m, nn.Conv2d)]
    counts = {n for m in convolutions for n in (m.in_channels, m.out_channels)}
    assert {n for n in counts if n % 32} == {3, 4, 8}


@pytest.mark.parametrize("upsample", ["nearest", "pixel-shuffle"])
def test_a_phone_is_given_four_dimensions_no_operator_that_exporters_refuse_and_norms_of_small_maps(upsample):
    deployed, lr = shipped(decoder={"upsample": upsample}), torch.empty(1, 3, 128, 128, device="meta")
    with Graph() as graph:
        deployed(lr)
    assert graph.dimensions == 4
    assert graph.operators <= PHONE
    assert graph.normed == 64


def test_folding_a_step_keeps_the_answers():
    network, z_t, z_l = small(), *torch.randn(2, 2, 4, 8, 8)
    for t in (0, 999):
        folded = network.fold(t)
        wanted = network(z_t, z_l, torch.full((2,), t))
        assert wanted.std() > 0.1
        assert torch.allclose(folded(z_t, z_l), wanted, atol=1e-4)
        assert parameters(folded) == parameters(network) - sum(
            p.numel() for name, p in network.named_parameters() if ".time." in f".{name}"
        )
    assert not torch.allclose(network.fold(0)(z_t, z_l), wanted, atol=1e-2)  # t does matter
    with pytest.raises(ValueError, match="folded already"):
        folded.fold(1)
    with pytest.raises(ValueError, match="expected none"):
        folded(z_t, z_l, torch.zeros(2))
    with pytest.raises(ValueError, match="expected steps"):
        network(z_t, z_l)


def test_attention_and_norm_of_few_dimensions_are_the_usual_ones():
    attention, x = EdgeAttention(16, 8), torch.randn(2, 16, 4, 6)
    heads = [layer(x).reshape(2, 2, 8, 24).transpose(2, 3) for layer in (attention.q, attention.k, attention.v)]
    wanted = scaled_dot_product_attention(*heads).transpose(2, 3).reshape(2, 16, 4, 6)
    assert torch.allclose(attention(x), attention.out(wanted), atol=1e-6)
    norm = ChannelNorm(16)
    nn.init.normal_(norm.weight)
    usual = layer_norm(x.permute(0, 2, 3, 1), (16,), norm.weight, norm.bias).permute(0, 3, 1, 2)
    assert torch.allclose(norm(x), usual, atol=1e-5)


def test_pixel_shuffle_can_take_the_place_of_nearest_neighbours_to_the_edge():
    decoder, z = EdgeDecoder(4, 4, width=8, blocks=1), torch.randn(1, 4, 5, 7)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.15)
    wanted, other = decoder(z), decoder.shuffled()
    assert wanted.shape == (1, 3, 20, 28)
    assert wanted.std() > 0.1
    assert torch.allclose(other(z), wanted, atol=1e-5)
    assert not [layer for layer in other.modules() if isinstance(layer, nn.Upsample)]
    assert other.shuffled() is other


def test_the_weights_of_a_tiny_autoencoders_decoder_fit():
    autoencoder, z = TinyAutoencoder(width=8, blocks=1, halvings=2), torch.randn(1, 4, 4, 4)
    decoder = EdgeDecoder(4, 4, width=8, blocks=1)
    decoder.layers.load_state_dict(autoencoder.decoder.state_dict())
    assert torch.equal(decoder(z), autoencoder.decode(z))


def test_the_encoder_leads_from_lr_to_the_latents_resolution():
    assert EdgeEncoder(4, 4, 8, widths=(8, 16), blocks=(1, 1))(torch.rand(1, 3, 12, 20)).shape == (1, 4, 6, 10)
    assert EdgeEncoder(48, 4, 4, widths=(8,), blocks=(1,))(torch.rand(1, 3, 12, 20)).shape == (1, 48, 12, 20)
    with pytest.raises(ValueError, match=r"expected as many widths and blocks, got \[8\]"):
        EdgeEncoder(4, 4, 8, widths=(8,), blocks=(1,))
    for factor in (2, 6, 12):
        with pytest.raises(ValueError, match="latent factor"):
            EdgeEncoder(4, 4, factor)


def test_hardswish_takes_the_place_of_silu_everywhere_but_in_the_embedding():
    folded, latents = small(activation="hardswish").fold(9), torch.randn(2, 1, 4, 4, 4)
    with Graph() as graph:
        folded(*latents)
    assert "hardswish" in graph.operators
    assert "silu" not in graph.operators


@pytest.mark.parametrize("settings", [{"attention": (-5,)}, {"head_width": 48}, {"widths": (20,)}, {"attention": (0,)}])
def test_networks_that_cannot_be_are_refused(settings):
    with pytest.raises(ValidationError):
        EdgeNetworkConfig.model_validate(settings)
