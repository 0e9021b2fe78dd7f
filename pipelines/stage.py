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

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Protocol, TypeAlias, TypeVar

import pydantic

from pipelines.artifact import KINDS, Entry, Facets, Kind, Manifest
from pipelines.canonical import Json, JsonObject, digest, digest_lines

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "CONTRACT_VERSION",
    "KINDS", "Absent", "Artifact", "Checkpoints", "Config", "Context", "Entry", "Execution", "Extendable",
    "Facets", "Input", "Interrupted", "Json", "JsonObject", "Kind", "ListedFile", "Listing", "Manifest", "NameOrFile",
    "Output", "OutputWriter", "Partition", "PartitionResult", "PeerLost", "Read", "Resources", "Source", "SourceFile",
    "Stage", "StageError", "digest", "is_file_name",
]  # fmt: skip

T = TypeVar("T")

CONTRACT_VERSION: Final = 1
"""Raised by hand when the framework changes what it does *for* a stage in a way that changes bytes.

All of `pipelines` counts as this one integer in the code fingerprint of a stage.
"""


# ---------------------------------------------------------------- configuration


@dataclass(frozen=True, slots=True)
class FieldRole:
    """What a config field means to keys: :data:`Execution`, :data:`Extendable`, :data:`Source`, :data:`NameOrFile`."""

    role: Literal["execution", "extendable", "source", "name-or-file"]


@dataclass(frozen=True, slots=True)
class Absent:
    """``Annotated[int, Absent(1)]``: the field was added after release; the key omits it at this frozen value.

    The value is frozen for ever: changing the field's *default* later changes keys, as it should.
    """

    value: object


Execution = Annotated[T, FieldRole("execution")]
"""A field that cannot change the result's bytes (log cadence, micro-batch, prefetch): never in a key."""

Extendable = Annotated[T, FieldRole("extendable")]
"""A training horizon (``steps``): in the key, but not in the lineage, so that raising it continues."""

Source = Annotated[str, FieldRole("source")]
"""A location outside the store (path, glob, URI). Its listing is identity, the location itself never is."""

NameOrFile = Annotated[str, FieldRole("name-or-file")]
"""A name of something that ships with the stage, or a file of the user's own (see :func:`is_file_name`).

A file is found beside the spec that names it. Where it lies is not identity: :meth:`Stage.identity` has to put
the values behind the name or in the file in its place.
"""


def is_file_name(text: str) -> bool:
    """Whether a :data:`NameOrFile` is a file: it has a folder or a suffix (``./mine.yaml``), which no name has."""
    return "/" in text or bool(Path(text).suffix)


class Config(pydantic.BaseModel):
    """Base of every stage's ``with:`` section: frozen, no unknown fields, no NaN. Defaults are validated."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Resources(pydantic.BaseModel):
    """What one unit of a stage needs (``resources:`` in a spec). Execution only: never part of a key.

    `workers` bounds how many partitions run at once (None: as many as fit).
    `ranks` is how many processes a gang stage runs as (None: one); every rank gets the other amounts. The one thing
    here that may be part of a key: two ranks add up in another order than one, so where an output is declared
    reproducible, more than one rank is identity.
    `memory` is in bytes. `custom` names custom Ray resources.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    workers: pydantic.PositiveInt | None = None
    ranks: pydantic.PositiveInt | None = None
    cpus: pydantic.NonNegativeFloat | None = None
    gpus: pydantic.NonNegativeFloat | None = None
    memory: pydantic.PositiveInt | None = None
    custom: dict[str, float] = pydantic.Field(default_factory=dict)


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


# ---------------------------------------------------------------- sources


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file seen by stat or LIST. `name` is relative to the source, `stamp` an mtime or ETag.

    `location` (absolute path or URI) says where to read it and is not identity.
    """

    name: str
    size: int
    stamp: str
    location: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of one ``Source`` field, in name order."""

    files: tuple[ListedFile, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda file: file.name)))

    @property
    def signature(self) -> str:
        """sha256 over relative name, size and stamp: what the stage key holds."""
        return digest_lines([f"{f.name}\t{f.size}\t{f.stamp}" for f in self.files])


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A listed file whose bytes have been hashed. `offset` is its place inside a container file (a tar)."""

    name: str
    size: int
    sha256: str
    location: str
    offset: int = 0


# ---------------------------------------------------------------- partitions


@dataclass(frozen=True, slots=True)
class Read:
    """A range of input bytes that a partition depends on.

    Identity is (`slot`, `name`, `sha256` of exactly those bytes). `entry`, `offset` and `size` only say where
    they lie, so repacking an input re-runs nothing. For a source, `slot` is the field's name and `entry`
    the file's location.
    """

    slot: str
    name: str
    sha256: str
    entry: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Partition:
    """One unit of a partitioned stage. `id` names it to people (``pairs[3]``) and may name its outputs.

    `id`, `params` and the identity of `reads` enter the partition's key. `weight` is relative cost.
    """

    id: str
    params: JsonObject = field(default_factory=dict)
    reads: tuple[Read, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """A finished partition as `finish` sees it: its output entries by slot."""

    partition: Partition
    entries: Mapping[str, tuple[Entry, ...]]


# ---------------------------------------------------------------- what a running stage holds


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


class Artifact(Protocol):
    """A read-only input artifact. Files and ranges are fetched on demand.

    What is read whole and every derived entry is checked against its digest; damage is an error that names the
    repair. Ranges, and content entries that are opened, are not checked.
    """

    @property
    def label(self) -> str: ...  # the producing stage (and cell), for logs and pictures; never written into an artifact
    @property
    def manifest(self) -> Manifest: ...
    @property
    def digest(self) -> str: ...
    @property
    def facets(self) -> Facets: ...

    def open(self, name: str) -> Path:
        """A local read-only file with the bytes of entry `name`; checked where the entry is derived (an index)."""
        ...

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """A byte range of an entry, without fetching the rest; checked where it is the whole entry."""
        ...

    def table(self, name: str = "index.parquet") -> pyarrow.Table:
        """A Parquet entry as a pyarrow table, checked; by convention ``index.parquet`` lists items."""
        ...

    def ref(self, role: str) -> Artifact:
        """The artifact that this one refers to under `role` (``autoencoder``)."""
        ...


class OutputWriter(Protocol):
    """One output slot of a running stage. Files appear in the artifact when the stage returns."""

    def path(self, name: str, *, derived: bool = False, meta: JsonObject | None = None) -> Path:
        """A local path to write entry `name` to; its folder exists. Called once for each entry."""
        ...

    def keep(self, entry: Entry) -> None:
        """Carry an entry of a finished partition (in `finish`) or of an input over into the artifact, uncopied."""
        ...

    def facet(self, **facets: bool | int | float | str | None) -> None:
        """State facets that were not known before the run; those stated by `outputs` may not change."""
        ...

    def ref(self, role: str, artifact: Artifact) -> None:
        """Refer to an input artifact instead of copying it."""
        ...


class Checkpoints(Protocol):
    """Trainer state of this lineage. A save is atomic: after a kill either all of it or none is visible."""

    def save(self, step: int, folder: Path, *, keep_last: int = 2, keep: Collection[int] = ()) -> None:
        """Commit the files of `folder` as the state after `step` optimiser steps.

        Of older ones the newest stay, `keep_last` with this one, and those of the steps in `keep`.
        """
        ...

    def latest(self, at_most: int) -> tuple[int, Path] | None:
        """The newest intact state with ``step <= at_most``: (step, local folder), or None."""
        ...


class Context(Protocol):
    """What a running stage is given. `config` is the stage's own typed config."""

    config: Any
    inputs: Mapping[str, Artifact]
    many: Mapping[str, Sequence[Artifact]]  # slots declared with many=True
    out: Mapping[str, OutputWriter]
    sources: Mapping[str, Sequence[SourceFile]]  # by Source field
    checkpoints: Checkpoints
    log: logging.Logger
    seed: int  # config.seed where there is one, else 0
    threads: int
    devices: tuple[str, ...]  # "cpu", or "cuda:0", ...
    rank: int  # of a gang: 0 <= rank < world_size; else 0
    world_size: int  # 1 unless the stage is a gang and the spec asks for more ranks
    rendezvous: str  # where ranks meet, as torch's init_method: file:///… or tcp://host:port; "" for one rank

    @property
    def scratch(self) -> Path:
        """An empty local folder, removed afterwards."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether this unit was asked to stop (Ctrl-C, SIGTERM): save what must not be lost, raise Interrupted.

        Cheap: ask at every step. It stays true. The first time tells the framework that this unit is worth waiting
        for: from then on it is given some seconds to end, where others are ended at once. The ranks of a gang learn of
        it at different moments and have to agree on a step. Always false for partitions and in `finish`.
        """
        ...

    def progress(self, done: float, total: float, unit: str = "") -> None:
        """Report how far the unit is. Cheap: call it as often as is natural."""
        ...

    def metrics(self, step: int, **values: float) -> None:
        """Record observations at a step (losses, samples/s). For a step seen twice the later one wins."""
        ...

    def image(self, name: str, png: bytes, *, step: int | None = None, caption: str = "") -> None:
        """Record a PNG picture as an observation (shown in the report)."""
        ...

    def read(self, read: Read) -> bytes:
        """The bytes of a partition's declared read, checked against their sha256."""
        ...

    def part_file(self, entry: Entry) -> Path:
        """A local read-only file with the bytes of a finished partition's entry (in `finish`), checked once."""
        ...


# ---------------------------------------------------------------- the stage

InputFacets: TypeAlias = Mapping[str, "Facets | Sequence[Facets]"]
"""Facets of connected inputs by slot (a list for `many` slots); unknown facets are simply absent."""


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
