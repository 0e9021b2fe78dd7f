"""Which published layouts a family's weights may come in, and weights of any of them for one module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from torch import Tensor, nn

from stages.models.keymaps.ldm import COMPVIS, DIFFUSERS_KL_F8, PREFIX
from stages.models.keymaps.resshift import DENOISER
from stages.models.keymaps.rules import KeyMap, convert, unwrapped
from stages.models.keymaps.taesd import DIFFUSERS_TINY, TAESD, named_half

KEYMAPS: Final[dict[str, tuple[KeyMap, ...]]] = {
    "resshift": (DENOISER,),
    "vq": (COMPVIS,),
    "kl": (COMPVIS, DIFFUSERS_KL_F8),
    "tiny": (TAESD, DIFFUSERS_TINY),
}
OWN: Final = KeyMap(source="Sharpline's own", marks="", rules=((r"(.+)", r"\1"),))
PREFIXES: Final = {"vq": PREFIX, "kl": PREFIX}
"""What stands before a family's names in checkpoints of whole systems, of which nothing else is wanted."""
PARTS: Final = {"resshift": "denoiser"}
"""Families of which published weights are one submodule."""


def our_names(state: Mapping[str, Tensor], family: str, module: nn.Module) -> dict[str, Tensor]:
    """`state` under the names of `module`, which is of `family`: converted where it is in a published layout.

    Anything else comes back as it is. Raises KeyMapError for a published layout that does not fit the module.
    """
    bare = unwrapped(state)
    for keymap in KEYMAPS.get(family, ()):
        if keymap.marks in bare:
            part = PARTS.get(family)
            if part is None:
                return convert(bare, keymap, module)
            return {
                f"{part}.{name}": value for name, value in convert(bare, keymap, module.get_submodule(part)).items()
            }
    return dict(state)


def whole(states: Mapping[str, Mapping[str, Tensor]], family: str) -> dict[str, dict[str, Tensor]]:
    """The state dicts of several files, by file, under names that can be put together."""
    rename = named_half if family == "tiny" else dict
    return {file: rename(unwrapped(state)) for file, state in states.items()}


def fitted(state: Mapping[str, Tensor], family: str, module: nn.Module) -> dict[str, Tensor]:
    """`state`, in a published layout of `family` or our own, under the names of `module`: float32, none missing.

    Of the module only names and shapes count, so it may lie on the meta device. Raises KeyMapError.
    """
    layouts = ", ".join([OWN.source, *(keymap.source for keymap in KEYMAPS.get(family, ()))])
    any_layout = replace(OWN, source=f"any layout known for {family} ({layouts})")
    return convert(our_names(state, family, module), any_layout, module)


def is_published(state: Mapping[str, Tensor], family: str) -> bool:
    """Whether `state` is in a published layout of `family`."""
    bare = unwrapped(state)
    return any(keymap.marks in bare for keymap in KEYMAPS.get(family, ()))
