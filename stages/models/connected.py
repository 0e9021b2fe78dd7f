"""The autoencoder that a training stage works in: one that needs no weights, or an input artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stages.models.config import require_autoencoder
from stages.models.registry import load_autoencoder

if TYPE_CHECKING:
    from pipelines.stage import Artifact
    from stages.models.latent_space import TrainedAutoencoder


def connected_autoencoder(inputs: Mapping[str, Artifact], which: str) -> str | TrainedAutoencoder:
    """`which` itself, or for ``artifact`` the trained autoencoder of the input `autoencoder`, on the CPU.

    Raises StageError where config and inputs disagree, so that no connected autoencoder goes unused.
    """
    require_autoencoder(which, inputs)
    return load_autoencoder(inputs["autoencoder"]) if which == "artifact" else which
