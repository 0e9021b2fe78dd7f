"""What the work of a stage is made of: files of its sources, ranges of bytes, partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.artifact import Entry
from pipelines.canonical import JsonObject, digest_lines


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
