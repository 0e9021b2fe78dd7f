"""A latent cache as an input of a training stage: what fits, and what is refused. Light: `validate` loads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pipelines.stage import Artifact, Input, InputFacets, StageError

if TYPE_CHECKING:
    from stages.data.index import Pairs
    from stages.data.latents import LatentIndex
    from stages.training.config import DataConfig

LATENTS_INPUT: Final = Input(
    "samples", "latents of these very pairs (encode.latents): nothing is encoded while training", {"role": "latents"},
    optional=True,
)  # fmt: skip
"""The slot of a stage that can train from a latent cache; by convention ``latents``."""


def refuse_unfit_latents(data: DataConfig, inputs: InputFacets, space: object) -> None:
    """Refuse a connected cache that cannot serve this training, as far as facets tell before a run.

    `space` is the latent space of the training where it is known, else None. Called from a stage's `outputs`, and so
    when a spec is validated. Raises StageError.
    """
    latents, pairs = inputs.get("latents"), inputs.get("pairs")
    if not isinstance(latents, Mapping):
        return
    if data.patch is not None:
        raise StageError(
            f"data.patch: {data.patch} and the input latents exclude each other: the latent of a random patch is no "
            "patch of a latent. Leave data.patch out and choose the size in degrade.pairs (hr_size), or disconnect "
            "latents"
        )
    if isinstance(pairs, Mapping):
        if pairs.get("online"):
            raise StageError(
                "the input latents is connected, and pairs are made on line: they are others in every epoch. Connect "
                "the stored pairs that were encoded, or disconnect latents"
            )
        _compare("scale", latents.get("scale"), pairs.get("scale"), "the pairs")
    _compare("space", latents.get("space"), space, "this training")
    if data.flip and latents.get("mirrored") is False:
        raise StageError(
            "data.flip needs the latents of mirror images, which the input latents lacks; encode with mirrored: true, "
            "or set data: {flip: false}"
        )


def connected_latents(inputs: Mapping[str, Artifact], pairs: Pairs, data: DataConfig, space: str) -> LatentIndex | None:
    """The connected cache, checked against the very artifacts; None without one.

    Raises StageError when it was made of other pairs or by another encoder, naming both.
    """
    from stages.data.latents import LatentIndex
    from stages.data.samples import SampleIndex

    if "latents" not in inputs:
        return None
    latents = inputs["latents"]
    refuse_unfit_latents(data, {slot: artifact.facets for slot, artifact in inputs.items()}, space)
    if not isinstance(pairs, SampleIndex):
        raise StageError(f"{latents.label} holds latents of stored pairs, and {pairs.artifact.label} makes others")
    of, given = latents.manifest.refs.get("pairs", "none"), inputs["pairs"].digest
    if of != given:
        raise StageError(
            f"{latents.label}: its latents are those of the pairs {of[:12]}, and the input pairs is "
            f"{inputs['pairs'].label} ({given[:12]}); connect the stage that encodes these pairs"
        )
    return LatentIndex.of_pairs(latents, pairs.table["key"])


def _compare(facet: str, cached: Any, wanted: Any, whose: str) -> None:
    if cached is not None and wanted is not None and cached != wanted:
        raise StageError(
            f"the input latents has {facet} {cached!r}, and {whose} {wanted!r}; connect a cache that was encoded with "
            "the same pairs and autoencoder"
        )
