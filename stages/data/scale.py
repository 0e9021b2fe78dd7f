"""The scale of a set of pairs, and what it must agree with."""

from __future__ import annotations

from pipelines.stage import Artifact, StageError


def pair_scale(artifact: Artifact) -> int:
    """The scale that a pairs artifact states. Raises StageError when it states none."""
    scale = artifact.facets.get("scale")
    if not isinstance(scale, int):
        raise StageError(f"{artifact.label}: the artifact states no integer `scale`, so it is no set of pairs")
    return scale


def refuse_other_scale(pairs: object, model: object, what: str) -> None:
    """Refuse pairs of another scale than the model's, which is `what`; anything but integers is not known yet."""
    if isinstance(pairs, int) and isinstance(model, int) and pairs != model:
        raise StageError(f"the pairs are of scale {pairs}, the {what} enlarges by {model}; connect pairs of its scale")
