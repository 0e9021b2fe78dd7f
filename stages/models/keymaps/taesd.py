"""Names of TAESD: as its own class has them (`encoder.N`, `decoder.N`), and in diffusers (`encoder.layers.N`).

TAESD is also published as two files, one for each half, whose names begin with the layer's number: :func:`named_half`
tells which half it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from stages.models.keymaps.rules import KeyMap

_VALUE = r"\.(weight|bias)"
_CONVS = (("0", "first"), ("2", "second"), ("4", "third"))
LAYERS = 32
"""More layers than either half of any such network has."""


def named_half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One half's file under the names of the whole; anything else as it is.

    The encoder begins with a convolution, the decoder with a bound that has no weights.
    """
    if not state or not all(name[0].isdigit() for name in state):
        return dict(state)
    half = "encoder" if "0.weight" in state else "decoder"
    return {f"{half}.{name}": value for name, value in state.items()}


def _own() -> Iterator[tuple[str, str]]:
    yield rf"(encoder|decoder)\.(\d+){_VALUE}", r"\1.\2.\3"
    for theirs, ours in _CONVS:
        yield rf"(encoder|decoder)\.(\d+)\.conv\.{theirs}{_VALUE}", rf"\1.\2.{ours}.\3"


def _diffusers() -> Iterator[tuple[str, str]]:
    """There the bound at the decoder's entry is no layer, so its layers count from one less."""
    for side, first in (("encoder", 0), ("decoder", 1)):
        for i in range(LAYERS):
            yield rf"{side}\.layers\.{i}{_VALUE}", rf"{side}.{i + first}.\1"
            for theirs, ours in _CONVS:
                yield rf"{side}\.layers\.{i}\.conv\.{theirs}{_VALUE}", rf"{side}.{i + first}.{ours}.\1"


TAESD = KeyMap(source="TAESD", marks="encoder.1.conv.0.weight", rules=tuple(_own()))
DIFFUSERS_TINY = KeyMap(
    source="diffusers' AutoencoderTiny", marks="encoder.layers.1.conv.0.weight", rules=tuple(_diffusers())
)
