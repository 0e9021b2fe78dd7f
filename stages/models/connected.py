"""The autoencoder that a training stage works in: one that needs no weights, or an input artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipelines.stage import StageError
from stages.models.registry import load_autoencoder

if TYPE_CHECKING:
    from pipelines.stage import Artifact
    from stages.models.latent_space import TrainedAutoencoder


def connected_autoencoder(inputs: Mapping[str, Artifact], which: str) -> str | TrainedAutoencoder:
    """`which` itself, or for ``artifact`` the trained autoencoder of the input `autoencoder`, on the CPU.

    Raises StageError where config and inputs disagree, so that no connected autoencoder goes unused.
    """
    if which == "artifact":
        if "autoencoder" not in inputs:
            raise StageError("autoencoder: artifact needs one; connect it: inputs: {autoencoder: <stage>}")
        return load_autoencoder(inputs["autoencoder"])
    if "autoencoder" in inputs:
        raise StageError(
            f"the input autoencoder is connected, and the config asks for {which}; set `autoencoder: artifact`, or "
            "disconnect it"
        )
    return which
