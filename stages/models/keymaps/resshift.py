"""Names of ResShift's released denoisers (v1, v2, v3, x2, faces, inpainting): github.com/zsyOAOA/ResShift.

SinSR's are the same. Buffers that follow from sizes (masks, offsets between tokens) are ignored: the masks there
are wrong (`legacy_shift_mask` reproduces them), the offsets equal ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.models.keymaps.rules import KeyMap

_VALUE = r"\.(weight|bias)"
_BLOCK = (
    (r"in_layers\.0", "norm_in"),
    (r"in_layers\.2", "conv_in"),
    (r"emb_layers\.1", "film"),
    (r"out_layers\.0", "norm_out"),
    (r"out_layers\.3", "conv_out"),
    (r"skip_connection", "skip"),
)
_SWIN_BLOCK = (
    (r"norm1", "norm_attention"),
    (r"attn\.qkv", "attention.qkv"),
    (r"attn\.proj", "attention.out"),
    (r"norm2", "norm_mlp"),
    (r"mlp\.fc1", "widen"),
    (r"mlp\.fc2", "narrow"),
)


def _block(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """A residual block; group 1 of `theirs` is the step's number."""
    for a, b in _BLOCK:
        yield rf"{theirs}\.{a}{_VALUE}", rf"{ours}.{b}.\2"


def _swin(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """A Swin layer; group 1 of `theirs` is the step's number."""
    yield rf"{theirs}\.patch_embed\.proj{_VALUE}", rf"{ours}.enter.\2"
    yield rf"{theirs}\.patch_unembed\.proj{_VALUE}", rf"{ours}.leave.\2"
    yield rf"{theirs}\.blocks\.(\d+)\.attn\.relative_position_bias_table", rf"{ours}.blocks.\2.attention.bias"
    for a, b in _SWIN_BLOCK:
        yield rf"{theirs}\.blocks\.(\d+)\.{a}{_VALUE}", rf"{ours}.blocks.\2.{b}.\3"


def _rules() -> Iterator[tuple[str, str]]:
    yield rf"time_embed\.(\d+){_VALUE}", r"time.\1.\2"
    yield rf"feature_extractor\.(\d+)(?:\.op)?{_VALUE}", r"condition.\1.\2"
    yield rf"out\.0{_VALUE}", r"norm.\1"
    yield rf"out\.2{_VALUE}", r"head.\1"
    for theirs, ours in (("input_blocks", "encoder"), ("output_blocks", "decoder")):
        yield from _block(rf"{theirs}\.(\d+)\.0", rf"{ours}.\1.block")
        yield from _swin(rf"{theirs}\.(\d+)\.1", rf"{ours}.\1.swin")
    yield rf"input_blocks\.(\d+)\.0(?:\.op)?{_VALUE}", r"encoder.\1.conv.\2"
    yield rf"output_blocks\.(\d+)\.[12]\.conv{_VALUE}", r"decoder.\1.conv.\2"
    yield from _block(r"middle_block\.(0)", "middle.0.block")
    yield from _swin(r"middle_block\.(1)", "middle.0.swin")
    yield from _block(r"middle_block\.(2)", "middle.1.block")


DENOISER = KeyMap(
    source="ResShift's UNetModelSwin",
    marks="input_blocks.0.0.weight",
    rules=tuple(_rules()),
    ignored=(r".*\.attn\.relative_position_index", r".*\.attn_mask"),
)
