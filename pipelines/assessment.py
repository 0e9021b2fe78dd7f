"""What a plan finds out about one stage: what names it, which units it has, where it stands and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipelines.canonical import JsonObject, digest
from pipelines.failure import Failure
from pipelines.fingerprint import CodeFingerprint
from pipelines.inputs import InputArtifact
from pipelines.reasons import Reason
from pipelines.stage import Listing, Partition
from pipelines.store.keylog import KeyState

State: TypeAlias = Literal["cached", "run", "resume", "pending", "lost", "blocked"]

Outputs: TypeAlias = Mapping[str, str]
"""Artifact digests of one stage by output slot."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that is named by a stage's key, once its inputs are known."""

    key: str
    payload: JsonObject
    family: str
    lineage: str
    inputs: Mapping[str, tuple[InputArtifact, ...]]
    listings: Mapping[str, Listing]
    code: CodeFingerprint


@dataclass(frozen=True, slots=True)
class Work:
    """The units of a partitioned stage, and which of them the partition table already holds."""

    partitions: tuple[Partition, ...]
    keys: tuple[str, ...]
    done: frozenset[str] = frozenset()

    @property
    def missing(self) -> tuple[int, ...]:
        """Indexes of partitions that are yet to be built."""
        return tuple(i for i, key in enumerate(self.keys) if key not in self.done)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The state of one stage and the reasons for it. `done` of `total` counts partitions or steps.

    `failure` says more of what blocks a stage, where its own code does.
    """

    name: str
    uses: str
    state: State
    reasons: tuple[Reason, ...] = ()
    identity: Identity | None = None
    outputs: Outputs | None = None
    log: KeyState | None = None
    work: Work | None = None
    done: float | None = None
    total: float | None = None
    unit: str = ""
    failure: Failure | None = None

    def to_json(self) -> JsonObject:
        return {
            "stage": self.name,
            "uses": self.uses,
            "state": self.state,
            "reasons": [reason.to_json() for reason in self.reasons],
            "key": self.identity.key if self.identity else None,
            "outputs": dict(self.outputs) if self.outputs else None,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
        }


def lineage_of(identity: Identity, generation: int | None) -> str:
    """Where trainer state lives: a rebuild starts its own line, so that it cannot resume what it replaces."""
    return identity.lineage if generation is None else digest([identity.lineage, "rebuild", generation])
