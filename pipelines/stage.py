"""The stage contract: everything a stage may use of the framework, and all that it must provide.

A stage is a class with a name, a version, a typed ``Config``, input slots, outputs, and one way to run:

* ``run(ctx)``: one unit of work;
* ``partitions(...)`` + ``run_partition(ctx, part)`` + ``finish(ctx, parts)``: many units, each cached by itself;
* ``gang = True`` and ``run(ctx)``: where a spec says ``resources: {ranks: n}``, n processes at once run the one unit.

The module that defines a stage imports nothing heavy at its top (no torch, cv2, ray): ``validate`` and
``plan`` load it. ``run`` imports the implementation. A stage never names a path of the store and never
imports Ray; what it needs is on the context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, TypeAlias

from pipelines.artifact import KINDS, Entry, Facets, Kind, Manifest
from pipelines.canonical import Json, JsonObject, digest
from pipelines.context import Artifact, Checkpoints, Context, OutputWriter
from pipelines.fields import (
    Absent,
    Config,
    Execution,
    Extendable,
    FieldRole,
    NameOrFile,
    Resources,
    Source,
    is_file_name,
)
from pipelines.pieces import ListedFile, Listing, Partition, PartitionResult, Read, SourceFile

__all__ = [
    "CONTRACT_VERSION",
    "KINDS", "Absent", "Artifact", "Checkpoints", "Config", "Context", "Entry", "Execution", "Extendable",
    "Facets", "FieldRole", "Input", "InputFacets", "Interrupted", "Json", "JsonObject", "Kind", "ListedFile",
    "Listing", "Manifest", "NameOrFile", "Output", "OutputWriter", "Partition", "PartitionResult", "PeerLost", "Read",
    "Resources", "Source", "SourceFile", "Stage", "StageError", "digest", "facets_of", "is_file_name",
]  # fmt: skip

CONTRACT_VERSION: Final = 1
"""Raised by hand when the framework changes what it does *for* a stage in a way that changes bytes.

All of `pipelines` counts as this one integer in the code fingerprint of a stage.
"""


# ---------------------------------------------------------------- slots


@dataclass(frozen=True, slots=True)
class Input:
    """An input slot. `facets` are demanded of the artifact; `many` slots take a list of labelled artifacts."""

    kind: Kind
    doc: str = ""
    facets: Facets = field(default_factory=dict)
    many: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """An output slot as stated before the run.

    `facets` are those known from config and inputs. `reproducible=False` (accelerator training, vendor
    export): the first commit wins and it is never rebuilt unless asked.
    """

    kind: Kind
    doc: str = ""
    facets: Facets = field(default_factory=dict)
    reproducible: bool = True


# ---------------------------------------------------------------- what a running stage raises


class StageError(Exception):
    """Raised by a stage for bad data or bad settings: shown to the user as is, never retried."""


class PeerLost(Exception):
    """Raised by a rank of a gang that lost the others: all ranks start again, from the last checkpoint.

    A rank that finds its connection broken should raise this and not the library's error, which would be taken for
    a bug in the stage and told in place of the real reason.
    """


class Interrupted(Exception):
    """Raised by a stage that stops because `ctx.stopping` told it to: no failure, the next run goes on from there.

    Its text says how far the stage came ("saved after step 41"). In a gang all ranks raise it after the same step.
    """


# ---------------------------------------------------------------- the stage

InputFacets: TypeAlias = Mapping[str, "Facets | Sequence[Facets]"]
"""Facets of connected inputs by slot (a list for `many` slots); unknown facets are simply absent."""


def facets_of(inputs: InputFacets, slot: str) -> Facets:
    """Those of the single input `slot` that are known; none where nothing is connected."""
    found = inputs.get(slot)
    return dict(found) if isinstance(found, Mapping) else {}


class Stage:
    """Base class of all stages. Class attributes declare; class methods are pure; `run*` does the work."""

    name: ClassVar[str]
    """What a spec's ``uses:`` says. Stages outside the built-in rooms are named ``package.module:Class``."""

    version: ClassVar[int] = 1
    """Raised by hand when the meaning of the stage changes; part of the key."""

    Config: ClassVar[type[Config]]
    inputs: ClassVar[Mapping[str, Input]] = {}
    gang: ClassVar[bool] = False
    """Whether `run` may be called by several processes at once, one for each rank (``resources: {ranks: 2}``).

    Only rank 0's outputs, metrics, pictures, progress and checkpoints count: what the others write goes nowhere.
    Checkpoints are read, and logs written, by all. When a rank dies or raises :class:`PeerLost`, all start again.
    """

    code_policy: ClassVar[Literal["key", "advisory"]] = "key"
    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions whose version changes the output's bytes (``opencv-python-headless``); part of the key."""

    @classmethod
    def outputs(cls, config: Any, inputs: InputFacets) -> Mapping[str, Output]:
        """Output slots with the facets known before the run. The first is the default of ``inputs: {x: stage}``."""
        raise NotImplementedError(f"{cls.__qualname__}.outputs")

    @classmethod
    def demands(cls, config: Any) -> Mapping[str, Facets]:
        """Facets that this config demands of each slot, beyond those declared in `inputs`."""
        return {}

    @classmethod
    def identity(cls, config: Any) -> JsonObject | None:
        """The config as it enters the key when a plain dump will not do: presets resolved into values.

        None (the default) means the dump of all identity fields. Paths of the dump should keep the
        config's own field names, so that a changed value can be traced to a line of the spec.
        """
        return None

    @classmethod
    def resources(cls, config: Any) -> Resources:
        """Defaults for what the spec's ``resources:`` leaves open."""
        return Resources(cpus=1, gpus=0)

    @classmethod
    def list_sources(cls, config: Any) -> Mapping[str, Listing]:
        """Stat or LIST every ``Source`` field. Reads no file content; runs in `plan`."""
        return {}

    @classmethod
    def hash_sources(cls, config: Any, listings: Mapping[str, Listing]) -> Mapping[str, Sequence[SourceFile]]:
        """Hash the listed files (members of a tar one by one). Runs only when the listing has changed."""
        return {}

    @classmethod
    def partitions(
        cls,
        config: Any,
        inputs: Mapping[str, Artifact],
        sources: Mapping[str, Sequence[SourceFile]],
    ) -> Sequence[Partition]:
        """The units of this stage: a pure, torch-free function of committed input indexes and hashed sources."""
        raise NotImplementedError(f"{cls.__qualname__}.partitions")

    def run(self, ctx: Context) -> None:
        """Do the work as one unit."""
        raise NotImplementedError(f"{type(self).__qualname__}.run")

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        """Do one unit. Its entries are stored and cached under the partition's key."""
        raise NotImplementedError(f"{type(self).__qualname__}.run_partition")

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        """Assemble the artifact from all partitions. By default every content entry is carried over."""
        for part in parts:
            for slot, entries in part.entries.items():
                for entry in entries:
                    if not entry.derived:
                        ctx.out[slot].keep(entry)

    @classmethod
    def is_partitioned(cls) -> bool:
        """Whether this stage defines `partitions`."""
        return cls.partitions.__func__ is not Stage.partitions.__func__  # type: ignore[attr-defined]
