"""What travels to a worker and what comes back: JSON, so that no pickled code or object crosses versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias

from pipelines.artifact import Entry, Facets
from pipelines.canonical import JsonObject
from pipelines.failure import Failure
from pipelines.inputs import InputArtifact
from pipelines.stage import Partition, Read, SourceFile

UnitKind: TypeAlias = Literal["run", "partition", "finish"]


@dataclass(frozen=True, slots=True)
class Needs:
    """Resources that one unit occupies while it runs. `memory` in bytes. Amounts are those of one of its `ranks`."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    ranks: int = 1

    def of_one_rank(self) -> dict[str, float]:
        """Flat amounts by name, zero amounts left out."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory), **self.custom}
        return {name: amount for name, amount in amounts.items() if amount}

    def as_dict(self) -> dict[str, float]:
        """The same for all ranks together: a gang takes everything at once, or nothing."""
        return {name: amount * self.ranks for name, amount in self.of_one_rank().items()}


@dataclass(frozen=True, slots=True)
class Seat:
    """One process's place in a gang: `rank` of `size`, which meet at `rendezvous` (torch's ``init_method``).

    `devices` are this rank's own, where they are not those of the task.
    """

    rank: int = 0
    size: int = 1
    rendezvous: str = ""
    devices: tuple[str, ...] = ()


ALONE = Seat()


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of one stage, complete: a worker needs nothing but this and the store.

    A gang's task is run by `ranks` processes, each in its :class:`Seat`; a lost rank restarts all, up to `restarts`
    times.
    With `keep` false it is a rehearsal: its entries are hashed and thrown away, and the store is only read.
    """

    kind: UnitKind
    stage: str
    uses: str
    store: str
    key: str
    attempt: int
    lineage: str
    family: str
    config: JsonObject
    inputs: Mapping[str, tuple[InputArtifact, ...]]
    many: tuple[str, ...]
    sources: Mapping[str, tuple[SourceFile, ...]]
    threads: int
    devices: tuple[str, ...]
    code: tuple[str, ...]
    package: str
    fingerprint: str
    libraries: Mapping[str, str]
    partition: Partition | None = None
    partition_key: str | None = None
    parts: tuple[tuple[Partition, str], ...] = ()
    keep: bool = True
    ranks: int = 1
    restarts: int = 0

    def rehearsal(self, partition: Partition, key: str) -> Task:
        """The task that makes one partition without keeping it."""
        return replace(self, kind="partition", partition=partition, partition_key=key, keep=False)

    @property
    def title(self) -> str:
        """What people see: ``pairs[3]``, ``pairs (finish)`` or ``teacher``."""
        if self.partition is not None:
            return f"{self.stage}[{self.partition.id}]"
        return f"{self.stage} (finish)" if self.kind == "finish" else self.stage

    def to_text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Task:
        data: dict[str, Any] = json.loads(text)
        data["inputs"] = {slot: tuple(InputArtifact(**a) for a in found) for slot, found in data["inputs"].items()}
        data["sources"] = {f: tuple(SourceFile(**s) for s in files) for f, files in data["sources"].items()}
        data["partition"] = partition_from(data["partition"]) if data["partition"] else None
        data["parts"] = tuple((partition_from(part), key) for part, key in data["parts"])
        for name in ("many", "devices", "code"):
            data[name] = tuple(data[name])
        return cls(**data)


def partition_from(data: Mapping[str, Any]) -> Partition:
    """Rebuild a partition from its JSON form."""
    return Partition(data["id"], data["params"], tuple(Read(**read) for read in data["reads"]), data["weight"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished unit: what it wrote by slot, or its failure. `seconds` is wall time inside the worker.

    `resumed_from` is the step of the checkpoint it went on from; `codes` are the code fingerprints under which
    the training behind it ran, oldest first: more than one means that its code changed on the way. `warnings` is
    what its stage warned of, for people; a gang's are those of rank 0, or of the rank whose failure this is.
    """

    entries: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    facets: Mapping[str, Facets] = field(default_factory=dict)
    refs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seconds: float = 0.0
    resumed_from: int | None = None
    codes: tuple[str, ...] = ()
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()

    def to_text(self) -> str:
        data: dict[str, Any] = {
            "entries": {slot: [entry.to_json() for entry in entries] for slot, entries in self.entries.items()},
            "facets": self.facets,
            "refs": self.refs,
            "seconds": self.seconds,
            "resumed_from": self.resumed_from,
            "codes": self.codes,
            "failure": asdict(self.failure) if self.failure else None,
            "warnings": self.warnings,
        }
        return json.dumps(data, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Outcome:
        data: dict[str, Any] = json.loads(text)
        entries = {slot: tuple(Entry.from_json(e) for e in found) for slot, found in data["entries"].items()}
        failure = Failure(**data["failure"]) if data["failure"] else None
        resumed, codes, warnings = data["resumed_from"], tuple(data["codes"]), tuple(data.get("warnings") or ())
        return cls(entries, data["facets"], data["refs"], data["seconds"], resumed, codes, failure, warnings)

    @classmethod
    def failed(cls, failure: Failure, seconds: float = 0.0, warnings: tuple[str, ...] = ()) -> Outcome:
        return cls(seconds=seconds, failure=failure, warnings=warnings)
