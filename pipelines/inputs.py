"""Artifacts as inputs: which one is connected to a slot, and reading it through the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.artifact import Facets, Manifest
from pipelines.errors import Damaged
from pipelines.stage import StageError
from pipelines.store.store import Store

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class InputArtifact:
    """One artifact connected to a slot: the producing cell's name and the artifact's digest."""

    label: str
    digest: str


class StoredArtifact:
    """A committed artifact, read through the store.

    Checked against their digests: the manifest, entries that are read whole (`read`, `table`), copies, and derived
    entries when they are opened, because nothing else vouches for those. Not checked: ranges, and content entries that
    are opened, which may be packs of many gigabytes; a range that a partition declares has a sha256 of its own.
    """

    def __init__(self, store: Store, digest: str, label: str = "") -> None:
        self._store, self.digest, self.label = store, digest, label
        self._checked: set[str] = set()
        self.manifest: Manifest = store.trees.get(digest)

    @property
    def facets(self) -> Facets:
        return self.manifest.facets

    def open(self, name: str) -> Path:
        entry = self.manifest.entry(name)
        if not entry.derived or entry.sha256 in self._checked:
            return self._store.blobs.open(entry.sha256)
        try:
            path = self._store.blobs.open_checked(entry.sha256)
        except Damaged as error:
            raise self._damaged(name, error) from error
        self._checked.add(entry.sha256)
        return path

    def copy(self, name: str, path: Path) -> None:
        """Write entry `name` to the new file `path`, checked against its digest."""
        entry = self.manifest.entry(name)
        self._store.blobs.copy(entry.sha256, entry.size, path)

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        entry = self.manifest.entry(name)
        if offset or size is not None:
            return self._store.blobs.read(entry.sha256, offset, size)
        try:
            return self._store.blobs.read_checked(entry.sha256)
        except Damaged as error:
            raise self._damaged(name, error) from error

    def read_again(self, name: str, offset: int, size: int) -> bytes:
        """A byte range whose first reading was wrong: past the local copy, if there is one."""
        self._store.blobs.forget(self.manifest.entry(name).sha256)
        return self.read(name, offset, size)

    def table(self, name: str = "index.parquet") -> pyarrow.Table:
        import pyarrow
        from pyarrow import parquet

        # from Arrow's own buffer: a thread that reads a Python file while Python ends aborts the process
        return parquet.read_table(pyarrow.BufferReader(self.read(name)))

    def ref(self, role: str) -> StoredArtifact:
        if role not in self.manifest.refs:
            have = ", ".join(self.manifest.refs) or "none"
            raise StageError(f"artifact {self.label or self.digest[:12]} has no reference {role!r}; it has: {have}")
        return StoredArtifact(self._store, self.manifest.refs[role], f"{self.label}.{role}")

    def _damaged(self, name: str, error: Damaged) -> Damaged:
        return Damaged(f"{name} of {self.label or self.digest[:12]}: {error}")
