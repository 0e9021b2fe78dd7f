"""From the files that people have to an :class:`~stages.losses.lpips.Lpips` with its weights.

A trunk and five heads are needed. Any of these spellings is understood, in one state dict or in several:

=====================================  ===========================================================================
names                                  where they come from
=====================================  ===========================================================================
``features.N.weight``, ``.bias``       torchvision's ``alexnet`` or ``vgg16`` checkpoint (its classifier is ignored)
``net.sliceK.N.weight``, ``.bias``     the trunk inside a whole state dict of the ``lpips`` package
``linK.model.1.weight``                the heads of the ``lpips`` package (``weights/v0.1/alex.pth``, ``vgg.pth``)
``linK.model.0.weight``                the same, saved from a model without dropout
=====================================  ===========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from torch import Tensor

from stages.losses.lpips import Lpips
from stages.losses.trunks import TrunkName
from stages.models.state_dicts import merge, read_state
from stages.models.weights import read_weights

if TYPE_CHECKING:
    from pipelines.stage import Artifact

_TRUNK: Final = re.compile(r"(?:features|net\.slice\d+)\.(\d+)\.(weight|bias)")
_HEAD: Final = re.compile(r"lin(\d)\.model\.[01]\.weight")
_FILES: Final[dict[TrunkName, tuple[str, str]]] = {
    "alex": ("alexnet-owt-7be5be79.pth", "alex.pth"),
    "vgg": ("vgg16-397923af.pth", "vgg.pth"),
}


LpipsWeights: TypeAlias = "Mapping[str, Tensor] | Path | Sequence[Path] | Artifact | None"
"""A state dict, files (safetensors or torch's) that together hold it, a `model` artifact, or nothing."""


class MissingWeights(ValueError):
    """LPIPS weights are absent, incomplete, or of the other trunk; the message says which files are needed."""


def load_lpips(trunk: TrunkName, weights: LpipsWeights) -> Lpips:
    """A frozen LPIPS on the CPU in evaluation mode.

    Raises :class:`MissingWeights`, and StageError for a file that cannot be read.
    """
    if weights is None:
        raise MissingWeights(f"LPIPS ({trunk}) has no weights, and nothing stands in for them: {where_from(trunk)}")
    model, found = Lpips(trunk), _renamed(_state(weights))
    wanted = model.state_dict()
    unlike = [name for name in wanted if name in found and wanted[name].shape != found[name].shape]
    if unlike:
        name = unlike[0]
        raise MissingWeights(
            f"LPIPS ({trunk}): {name} should be {list(wanted[name].shape)} and is {list(found[name].shape)}: these are "
            f"weights of another network, of the other trunk perhaps; {where_from(trunk)}"
        )
    missing = sorted(set(wanted) - set(found))
    if missing:
        parts = [part for part in ("trunk", "heads") if any(name.startswith(part) for name in missing)]
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise MissingWeights(f"LPIPS ({trunk}): no weights for its {' and '.join(parts)} ({some}): {where_from(trunk)}")
    model.load_state_dict({name: found[name] for name in wanted})
    return model.eval()


def where_from(trunk: TrunkName) -> str:
    """Which two files hold the weights, and how they get into a spec."""
    of_trunk, of_heads = _FILES[trunk]
    return (
        f"put {of_trunk} (torchvision's {'alexnet' if trunk == 'alex' else 'vgg16'} weights) and {of_heads} (from "
        "weights/v0.1 of the lpips package) into one folder, import it with `uses: import.weights`, `role: lpips`, "
        "and connect that stage as the input `perceptual`"
    )


def _state(weights: Mapping[str, Tensor] | Path | Sequence[Path] | Artifact) -> Mapping[str, Tensor]:
    if isinstance(weights, Mapping):
        return weights
    if isinstance(weights, (Path, Sequence)):
        files = [weights] if isinstance(weights, Path) else weights
        return merge({file.name: read_state(file, file.name, "auto", None) for file in files})
    return read_weights(weights.open("weights.safetensors"))


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, value in weights.items():
        if match := _TRUNK.fullmatch(name):
            found[f"trunk.features.{match[1]}.{match[2]}"] = value
        elif match := _HEAD.fullmatch(name):
            found[f"heads.{match[1]}"] = value
    return found
