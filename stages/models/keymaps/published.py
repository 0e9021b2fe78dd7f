"""Which published layouts a family's weights may come in, and weights of any of them for one module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from stages.models.keymaps.ldm import COMPVIS, DIFFUSERS_KL_F8
from stages.models.keymaps.resshift import DENOISER
from stages.models.keymaps.rules import KeyMap, convert, unwrapped
from stages.models.keymaps.taesd import DIFFUSERS_TINY, TAESD

KEYMAPS: Final[dict[str, tuple[KeyMap, ...]]] = {
    "resshift": (DENOISER,),
    "vq": (COMPVIS,),
    "kl": (COMPVIS, DIFFUSERS_KL_F8),
    "tiny": (TAESD, DIFFUSERS_TINY),
}
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
