"""The first channels of a wide UNet, and nothing else, are what a narrow one begins with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from stages.models.edge.slicing import GELU, slice_unet, their_name
from stages.models.edge.unet import EdgeUNet

NARROW = {"widths": (16, 16, 16), "blocks": 2, "attention": (-2,), "head_width": 8, "groups": 4, "embedding": 8}
WIDE = {"widths": (32, 32, 32), "blocks": 2, "attention": (-2,), "head_width": 8, "groups": 8, "embedding": 32}
"""Groups of both hold the same channels, of joints too: norms do not tell them apart."""


def randomised(**settings) -> EdgeUNet:
    network = EdgeUNet(4, **settings)
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, std=0.5 if "time." in name else 0.2)
    return network


def published(network: EdgeUNet) -> dict[str, Tensor]:
    """The weights of `network` as diffusers would name and shape them, with layers that an edge UNet lacks."""
    state: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        if ".gate." in name:
            continue
        if ".value." in name:
            value = torch.cat([value * GELU, network.state_dict()[name.replace("value", "gate")] / GELU])
        linear = ".transformers." in name and value.dim() == 4 and ".enter." not in name
        state[their_name(name)] = value.flatten(1) if linear else value
    state["conv_in.weight"] = state["conv_in.weight"][:, :4]
    extra = ["mid_block.resnets.0.conv1.weight"]
    extra += [f"down_blocks.1.attentions.0.transformer_blocks.0.{x}.weight" for x in ("norm2", "attn2.to_q")]
    return state | {name: torch.zeros(4, 4) for name in extra}


def first_only(wide: EdgeUNet) -> None:
    """Zero whatever leads from a channel that is left out to one that is kept."""
    with torch.no_grad():
        for name, value in wide.named_parameters():
            if value.dim() < 2 or name.startswith("stem"):
                continue
            if name == "time.first.weight":
                value[:8, 1::2] = 0
                continue
            rows = 8 if name.startswith("time.") else 16
            left_out = torch.ones(value.shape[1], dtype=torch.bool)
            left_out[: 8 if "time." in name else 16] = False
            if value.shape[1] == 64:  # a joint of two
                left_out[32:48] = False
            value[:rows, left_out] = 0
        wide.stem.weight[:, 4:] = 0


def test_a_wide_network_whose_first_channels_know_no_others_is_answered_by_its_slice():
    """Without transformers: their norms look at all channels, so that a slice is an approximation there."""
    wide, narrow = randomised(**{**WIDE, "attention": ()}), randomised(**{**NARROW, "attention": ()})
    first_only(wide)
    sliced = slice_unet(published(wide), narrow)
    narrow.load_state_dict(sliced.state)
    z_t, z_l, t = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([7, 900])
    wanted = wide(z_t, z_l, t)
    assert wanted.std() > 0.1
    assert torch.allclose(narrow(z_t, z_l, t), wanted, atol=1e-3)
    assert sliced.fresh == ()
    assert set(sliced.unused) == {
        "mid_block.resnets.0.conv1.weight",
        "down_blocks.1.attentions.0.transformer_blocks.0.norm2.weight",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q.weight",
    }


def test_slices_are_the_first_channels_and_of_joints_the_first_of_each():
    wide, narrow = randomised(**WIDE), randomised(**NARROW)
    theirs = published(wide)
    state = slice_unet(theirs, narrow).state
    assert torch.equal(state["down.0.blocks.0.conv1.weight"], theirs["down_blocks.0.resnets.0.conv1.weight"][:16, :16])
    joint = theirs["up_blocks.0.resnets.0.conv1.weight"]
    assert torch.equal(state["up.0.blocks.0.conv1.weight"][:, :16], joint[:16, :16])
    assert torch.equal(state["up.0.blocks.0.conv1.weight"][:, 16:], joint[:16, 32:48])
    assert torch.equal(state["stem.weight"][:, :4], theirs["conv_in.weight"][:16])
    assert not state["stem.weight"][:, 4:].any()
    assert torch.equal(state["head.weight"], theirs["conv_out.weight"][:, :16])
    gated = theirs["down_blocks.1.attentions.1.transformer_blocks.0.ff.net.0.proj.weight"]
    assert torch.allclose(state["down.1.transformers.1.value.weight"][..., 0, 0], gated[:64, :16] / GELU)
    assert torch.equal(state["down.1.transformers.1.gate.weight"][..., 0, 0], gated[128:192, :16] * GELU)
    heads = theirs["up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_k.weight"]
    assert torch.equal(state["up.1.transformers.2.attention.k.weight"][..., 0, 0], heads[:16, :16])
    assert all(state[name].shape == value.shape for name, value in narrow.state_dict().items())


def test_where_stable_diffusion_has_no_transformer_the_networks_own_stays():
    wide, narrow = randomised(**{**WIDE, "attention": ()}), EdgeUNet(4, **{**NARROW, "attention": (-1,)})
    sliced = slice_unet(published(wide), narrow)
    assert sliced.fresh
    assert all(".transformers." in name for name in sliced.fresh)
    assert all(torch.equal(sliced.state[name], narrow.state_dict()[name]) for name in sliced.fresh)


def test_names_are_those_of_diffusers():
    assert their_name("up.2.blocks.0.skip.weight") == "up_blocks.2.resnets.0.conv_shortcut.weight"
    assert their_name("down.1.leave.bias") == "down_blocks.1.downsamplers.0.conv.bias"
    assert their_name("time.second.bias") == "time_embedding.linear_2.bias"
    assert their_name("down.0.blocks.1.time.weight") == "down_blocks.0.resnets.1.time_emb_proj.weight"
    assert (
        their_name("up.1.transformers.2.attention.out.bias")
        == "up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_out.0.bias"
    )
    assert their_name("up.1.transformers.2.leave.bias") == "up_blocks.1.attentions.2.proj_out.bias"


def test_gates_are_nearly_what_gelu_made_of_them():
    x = torch.linspace(-8, 8, 1000)
    assert (silu(GELU * x) / GELU - gelu(x)).abs().max() < 0.021


def test_weights_that_do_not_fit_are_refused_by_name():
    narrow = randomised(**NARROW)
    theirs = published(randomised(**WIDE))
    del theirs["conv_norm_out.bias"]
    with pytest.raises(ValueError, match=r"conv_norm_out\.bias is not among the weights"):
        slice_unet(theirs, narrow)
    with pytest.raises(ValueError, match=r"linear_1\.weight: expected at least \[8, 16\] for time\.first\.weight"):
        slice_unet(published(randomised(**{**WIDE, "widths": (8, 8, 8)})), narrow)
    with pytest.raises(ValueError, match=r"linear_1\.weight: expected at least \[8, 16\] .* got \[4, 16\]"):
        slice_unet(published(randomised(**{**WIDE, "embedding": 4})), randomised(**{**NARROW, "embedding": 8}))
