"""Published state dicts under our names: nothing unknown, nothing missing, every tensor in its place."""

from __future__ import annotations

import pytest
import torch

from stages.models.keymaps.ldm import COMPVIS, DIFFUSERS_KL_F8
from stages.models.keymaps.resshift import DENOISER
from stages.models.keymaps.rules import KeyMapError, convert, unwrapped
from stages.models.keymaps.taesd import DIFFUSERS_TINY, TAESD
from stages.models.kl import KLAutoencoder
from stages.models.swin_unet import SwinUNet
from stages.models.tiny import TinyAutoencoder

SAMPLES = {
    "denoiser": (DENOISER, {
        "time_embed.2.bias": "time.2.bias",
        "feature_extractor.2.op.weight": "condition.2.weight",
        "input_blocks.0.0.weight": "encoder.0.conv.weight",
        "input_blocks.3.0.op.bias": "encoder.3.conv.bias",
        "input_blocks.4.0.emb_layers.1.weight": "encoder.4.block.film.weight",
        "input_blocks.1.1.blocks.1.attn.relative_position_bias_table": "encoder.1.swin.blocks.1.attention.bias",
        "input_blocks.1.1.blocks.1.attn_mask": "",
        "middle_block.1.patch_unembed.proj.weight": "middle.0.swin.leave.weight",
        "middle_block.2.out_layers.3.weight": "middle.1.block.conv_out.weight",
        "output_blocks.2.1.conv.weight": "decoder.2.conv.weight",
        "output_blocks.0.1.blocks.0.mlp.fc2.bias": "decoder.0.swin.blocks.0.narrow.bias",
        "output_blocks.11.0.skip_connection.weight": "decoder.11.block.skip.weight",
        "out.2.weight": "head.weight",
        "label_emb.weight": None,
    }),
    "compvis": (COMPVIS, {
        "encoder.down.1.block.0.nin_shortcut.weight": "encoder.levels.1.blocks.0.skip.weight",
        "encoder.down.0.downsample.conv.bias": "encoder.levels.0.resample.bias",
        "decoder.up.2.upsample.conv.weight": "decoder.levels.2.resample.weight",
        "decoder.mid.attn_1.proj_out.weight": "decoder.middle.1.out.weight",
        "quantize.embedding.weight": "codebook.weight",
        "loss.discriminator.main.0.weight": "",
    }),
    "taesd": (TAESD, {"encoder.14.weight": "encoder.14.weight", "decoder.3.conv.4.bias": "decoder.3.third.bias"}),
}  # fmt: skip


@pytest.mark.parametrize("layout", SAMPLES)
def test_known_names_become_ours(layout):
    keymap, samples = SAMPLES[layout]
    assert {name: keymap.rename(name) for name in samples} == samples


def diffusers_kl_names():
    """Names and shapes of AutoencoderKL with four levels of widths 4, 8, 16, 16, by its documented structure."""
    widths = [4, 8, 16, 16]

    def conv(name, out, into, side=3):
        return {f"{name}.weight": (out, into, side, side), f"{name}.bias": (out,)}

    def norm(name, width):
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    def resnet(name, into, out):
        names = norm(f"{name}.norm1", into) | conv(f"{name}.conv1", out, into)
        names |= norm(f"{name}.norm2", out) | conv(f"{name}.conv2", out, out)
        return names | (conv(f"{name}.conv_shortcut", out, into, 1) if into != out else {})

    names = conv("quant_conv", 8, 8, 1) | conv("post_quant_conv", 4, 4, 1)
    for side, way, order, count in (("encoder", "down", widths, 1), ("decoder", "up", widths[::-1], 2)):
        before = order[0]
        for i, width in enumerate(order):
            for j in range(count):
                names |= resnet(f"{side}.{way}_blocks.{i}.resnets.{j}", before if j == 0 else width, width)
            if i < 3:
                names |= conv(f"{side}.{way}_blocks.{i}.{way}samplers.0.conv", width, width)
            before = width
        for j in range(2):
            names |= resnet(f"{side}.mid_block.resnets.{j}", 16, 16)
        names |= norm(f"{side}.mid_block.attentions.0.group_norm", 16)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            names |= {
                f"{side}.mid_block.attentions.0.{part}.weight": (16, 16)
            }  # linear, where ours are 1x1 convolutions
            names |= {f"{side}.mid_block.attentions.0.{part}.bias": (16,)}
        names |= norm(f"{side}.conv_norm_out", order[-1] if side == "decoder" else 16)
    names |= conv("encoder.conv_in", 4, 3) | conv("encoder.conv_out", 8, 16)
    return names | conv("decoder.conv_in", 16, 4) | conv("decoder.conv_out", 3, 4)


def test_all_names_of_diffusers_kl_find_their_place():
    kl = KLAutoencoder(width=4, multipliers=(1, 2, 4, 4), blocks=1, groups=2)
    state = {name: torch.randn(shape) for name, shape in diffusers_kl_names().items()}
    found = convert(state, DIFFUSERS_KL_F8, kl)
    kl.load_state_dict(found)
    assert torch.equal(
        found["decoder.levels.3.blocks.0.conv_in.weight"], state["decoder.up_blocks.0.resnets.0.conv1.weight"]
    )
    assert torch.equal(
        found["encoder.middle.1.q.weight"][..., 0, 0], state["encoder.mid_block.attentions.0.to_q.weight"]
    )
    older = {
        name.replace("to_out.0", "proj_attn")
        .replace("to_q", "query")
        .replace("to_k", "key")
        .replace("to_v", "value"): v
        for name, v in state.items()
    }
    assert all(torch.equal(value, found[name]) for name, value in convert(older, DIFFUSERS_KL_F8, kl).items())


def test_taesd_in_diffusers_counts_the_decoder_from_one_less():
    tiny = TinyAutoencoder(width=4, blocks=1, halvings=1)
    own = {
        name.replace("first", "conv.0").replace("second", "conv.2").replace("third", "conv.4"): value
        for name, value in tiny.state_dict().items()
    }
    there = {
        f"{side}.layers.{int(i) - (side == 'decoder')}.{rest}": value
        for (side, i, rest), value in ((name.split(".", 2), value) for name, value in own.items())
    }
    for keymap, state in ((TAESD, own), (DIFFUSERS_TINY, there)):
        found = convert(state, keymap, tiny)
        assert all(torch.equal(found[name], value) for name, value in tiny.state_dict().items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_ddp_and_compile_put_before_names_is_dropped_where_all_have_it(prefix):
    value = torch.ones(1)
    assert unwrapped({f"{prefix}a": value, f"{prefix}b.module.c": value}).keys() == {"a", "b.module.c"}
    assert unwrapped({f"{prefix}a": value, "b": value}).keys() == {f"{prefix}a", "b"}


def test_what_does_not_fit_is_refused_by_name():
    network = SwinUNet(3, size=8, width=8, multipliers=(1,), blocks=1, swin_width=8, head_width=4, window=4, groups=4)
    state = {"module.out.2.weight": torch.zeros(3, 8, 3, 3), "module.label_emb.weight": torch.zeros(1)}
    with pytest.raises(KeyMapError, match=r"unknown here: label_emb.weight; missing for the network: .* and \d+ more"):
        convert(state, DENOISER, network)
    with pytest.raises(KeyMapError, match=r"out.2.weight has shape \[3, 9, 3, 3\], the network expects \[3, 8, 3, 3\]"):
        convert({"out.2.weight": torch.zeros(3, 9, 3, 3)}, DENOISER, network)
