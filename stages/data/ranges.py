"""Byte ranges of an artifact's large files, read in place: one positioned read each, from any thread."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.stage import Artifact, StageError


@dataclass(frozen=True)
class RangeReader:
    """Reads ranges of the entries of one artifact. A remote entry is fetched once, whole, and read from its copy."""

    artifact: Artifact
    _paths: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)

    def read(self, entry: str, offset: int, size: int, what: str) -> bytes:
        """`size` bytes from `offset` of `entry`. Raises StageError naming `what` when the entry ends before."""
        file = self._open(entry)
        try:
            data = os.pread(file, size, offset)
        finally:
            os.close(file)
        if len(data) != size:
            raise StageError(
                f"{self.artifact.label}: {entry} ends inside {what} "
                f"(expected {size} bytes at {offset}, got {len(data)}); the file is damaged"
            )
        return data

    def _open(self, entry: str) -> int:
        if entry in self._paths:
            try:
                return os.open(self._paths[entry], os.O_RDONLY)
            except FileNotFoundError:  # a local cache of a remote store may have dropped it
                pass
        self._paths[entry] = self.artifact.open(entry)
        return os.open(self._paths[entry], os.O_RDONLY)
