"""Names of latent diffusion's autoencoders: CompVis (VQ-f4, KL-f8, and ResShift's copy) and diffusers (KL-f8).

A checkpoint of a whole Stable Diffusion holds its autoencoder behind :data:`PREFIX`: keep only those names, without
the prefix, before converting. The training's losses and averages are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.models.keymaps.rules import KeyMap

PREFIX = "first_stage_model."
_VALUE = r"\.(weight|bias)"
_BLOCK = (("norm1", "norm_in"), ("conv1", "conv_in"), ("norm2", "norm_out"), ("conv2", "conv_out"))
_IGNORED = (r"loss\..*", r"model_ema\..*", r"colorize")


def _common() -> Iterator[tuple[str, str]]:
    yield rf"quant_conv{_VALUE}", r"to_latent.\1"
    yield rf"post_quant_conv{_VALUE}", r"from_latent.\1"
    yield r"quantize\.embedding\.weight", "codebook.weight"
    yield rf"(encoder|decoder)\.conv_in{_VALUE}", r"\1.stem.\2"
    yield rf"(encoder|decoder)\.conv_out{_VALUE}", r"\1.head.\2"


def _compvis() -> Iterator[tuple[str, str]]:
    yield from _common()
    yield rf"(encoder|decoder)\.norm_out{_VALUE}", r"\1.norm.\2"
    for side, way, resample in (("encoder", "down", "downsample"), ("decoder", "up", "upsample")):
        for theirs, ours in (*_BLOCK, ("nin_shortcut", "skip")):
            yield rf"{side}\.{way}\.(\d+)\.block\.(\d+)\.{theirs}{_VALUE}", rf"{side}.levels.\1.blocks.\2.{ours}.\3"
            yield rf"{side}\.mid\.block_1\.{theirs}{_VALUE}", rf"{side}.middle.0.{ours}.\1"
            yield rf"{side}\.mid\.block_2\.{theirs}{_VALUE}", rf"{side}.middle.2.{ours}.\1"
        for theirs, ours in (("norm", "norm"), ("q", "q"), ("k", "k"), ("v", "v"), ("proj_out", "out")):
            yield rf"{side}\.mid\.attn_1\.{theirs}{_VALUE}", rf"{side}.middle.1.{ours}.\1"
        yield rf"{side}\.{way}\.(\d+)\.{resample}\.conv{_VALUE}", rf"{side}.levels.\1.resample.\2"


_ATTENTION = {  # the second name of each is that of checkpoints written before diffusers 0.18
    r"group_norm": "norm",
    r"(?:to_q|query)": "q",
    r"(?:to_k|key)": "k",
    r"(?:to_v|value)": "v",
    r"(?:to_out\.0|proj_attn)": "out",
}


def _diffusers(levels: int) -> Iterator[tuple[str, str]]:
    """diffusers counts the decoder's levels from the lowest resolution; CompVis and we from the highest."""
    yield from _common()
    yield rf"(encoder|decoder)\.conv_norm_out{_VALUE}", r"\1.norm.\2"
    for side, way in (("encoder", "down"), ("decoder", "up")):
        for i in range(levels):
            level = i if side == "encoder" else levels - 1 - i
            for theirs, ours in (*_BLOCK, ("conv_shortcut", "skip")):
                before = rf"{side}\.{way}_blocks\.{i}\.resnets\.(\d+)\.{theirs}{_VALUE}"
                yield before, rf"{side}.levels.{level}.blocks.\1.{ours}.\2"
            yield rf"{side}\.{way}_blocks\.{i}\.{way}samplers\.0\.conv{_VALUE}", rf"{side}.levels.{level}.resample.\1"
        for theirs, ours in (*_BLOCK, ("conv_shortcut", "skip")):
            yield rf"{side}\.mid_block\.resnets\.0\.{theirs}{_VALUE}", rf"{side}.middle.0.{ours}.\1"
            yield rf"{side}\.mid_block\.resnets\.1\.{theirs}{_VALUE}", rf"{side}.middle.2.{ours}.\1"
        for theirs, ours in _ATTENTION.items():
            yield rf"{side}\.mid_block\.attentions\.0\.{theirs}{_VALUE}", rf"{side}.middle.1.{ours}.\1"


COMPVIS = KeyMap(
    source="CompVis latent-diffusion's autoencoders",
    marks="encoder.mid.block_1.conv1.weight",
    rules=tuple(_compvis()),
    ignored=_IGNORED,
)
DIFFUSERS_KL_F8 = KeyMap(
    source="diffusers' AutoencoderKL with four levels",
    marks="encoder.mid_block.resnets.0.conv1.weight",
    rules=tuple(_diffusers(4)),
)
