"""Artifacts as inputs: which one is connected to a slot, and reading it through the store."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.artifact import Facets, Manifest
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
    """A committed artifact, read through the store."""

    def __init__(self, store: Store, digest: str, label: str = "") -> None:
        self._store, self.digest, self.label = store, digest, label
        self.manifest: Manifest = store.trees.get(digest)

    @property
    def facets(self) -> Facets:
        return self.manifest.facets

    def open(self, name: str) -> Path:
        return self._store.blobs.open(self.manifest.entry(name).sha256)

    def copy(self, name: str, path: Path) -> None:
        """Write entry `name` to the new file `path`, checked against its digest."""
        entry = self.manifest.entry(name)
        self._store.blobs.copy(entry.sha256, entry.size, path)

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        return self._store.blobs.read(self.manifest.entry(name).sha256, offset, size)

    def table(self, name: str = "index.parquet") -> pyarrow.Table:
        from pyarrow import parquet

        return parquet.read_table(io.BytesIO(self.read(name)))

    def ref(self, role: str) -> StoredArtifact:
        if role not in self.manifest.refs:
            have = ", ".join(self.manifest.refs) or "none"
            raise StageError(f"artifact {self.label or self.digest[:12]} has no reference {role!r}; it has: {have}")
        return StoredArtifact(self._store, self.manifest.refs[role], f"{self.label}.{role}")
