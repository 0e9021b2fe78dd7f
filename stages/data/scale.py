"""The scale of a set of pairs."""

from __future__ import annotations

from pipelines.stage import Artifact, StageError


def pair_scale(artifact: Artifact) -> int:
    """The scale that a pairs artifact states. Raises StageError when it states none."""
    scale = artifact.facets.get("scale")
    if not isinstance(scale, int):
        raise StageError(f"{artifact.label}: the artifact states no integer `scale`, so it is no set of pairs")
    return scale
