"""What a running stage holds: its inputs, its outputs, its checkpoints, and ways to say how it goes."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.artifact import Entry, Facets, Manifest
from pipelines.canonical import JsonObject
from pipelines.pieces import Read, SourceFile

if TYPE_CHECKING:
    import pyarrow


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
