"""The losses of images that a stage's config names, with the weights that are connected to it."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.stage import Artifact, StageError
from stages.losses.combined import CombinedLoss
from stages.losses.config import LossList
from stages.losses.lpips_weights import MissingWeights


def connected_losses(inputs: Mapping[str, Artifact], losses: LossList) -> CombinedLoss:
    """`losses` of images in [-1, 1], on the CPU; LPIPS has the weights of the slot ``perceptual``.

    Raises StageError where these are missing or do not fit.
    """
    try:
        return CombinedLoss(losses, value_range=(-1, 1), lpips=inputs.get("perceptual"))
    except MissingWeights as error:
        raise StageError(f"losses: {error}") from error
