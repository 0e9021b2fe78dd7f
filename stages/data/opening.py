"""Opening a pairs artifact, whichever way its pairs come: stored in shards, or made on line."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.stage import Artifact
from stages.data.index import Pairs
from stages.data.online import OnlinePairs
from stages.data.rules import is_online
from stages.data.samples import SampleIndex


def open_pairs(artifact: Artifact, *, split: str | Sequence[str] | None = None) -> Pairs:
    """The pairs of `artifact` of `split` (one, several, or all when None).

    Raises StageError when no pair is left, saying which splits there are.
    """
    return (OnlinePairs if is_online(artifact) else SampleIndex).from_artifact(artifact, split=split)
