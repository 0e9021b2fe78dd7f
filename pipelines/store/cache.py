"""Local copies of remote blobs: fetched once, verified against their name, safe to delete at any time."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pipelines.errors import StoreError
from pipelines.store.backends.local import LocalObjects
from pipelines.store.objects import ObjectNotFound, ObjectStore

CHUNK = 32 << 20  # bytes a request


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """``SHARPLINE_CACHE``, else ``sharpline`` in the user's cache folder (XDG)."""
    chosen = environ.get("SHARPLINE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sharpline"


class BlobCache:
    """Blobs below `root`, shared by all stores and processes of this machine: the name is the content's sha256."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._kept = LocalObjects(root)

    def find(self, sha256: str) -> Path | None:
        """The cached file, or None."""
        path = self._path(sha256)
        return path if path.is_file() else None

    def open(self, objects: ObjectStore, key: str, sha256: str) -> Path:
        """The cached file, fetched from `objects` first when needed. Raises StoreError when its bytes are wrong."""
        found = self.find(sha256)
        if found is not None:
            return found
        info = objects.head(key)
        if info is None:
            raise ObjectNotFound(key, objects.url)
        partial = self.root / "partial" / f"{os.getpid()}-{secrets.token_hex(8)}"
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            came = fetch(objects, key, info.size, partial)
            if came != sha256:
                raise StoreError(
                    f"{key} in {objects.url}: its bytes have sha256 {came}, so it is damaged; "
                    "`sharpline repair` rebuilds what it belongs to"
                )
            self._kept.put_file_if_absent(f"blobs/{sha256[:2]}/{sha256}", partial)
        finally:
            partial.unlink(missing_ok=True)
        return self._path(sha256)

    def drop(self, sha256: str) -> bool:
        """Remove the cached file; False when there is none."""
        found = self.find(sha256)
        if found is not None:
            found.unlink(missing_ok=True)
        return found is not None

    def _path(self, sha256: str) -> Path:
        return self.root / "blobs" / sha256[:2] / sha256


def fetch(objects: ObjectStore, key: str, size: int, path: Path) -> str:
    """Write an object to `path` in bounded memory; the sha256 of what came."""
    hasher = hashlib.sha256()
    with path.open("xb") as file:
        for offset in range(0, size, CHUNK):
            data = objects.get_range(key, offset, min(CHUNK, size - offset))
            hasher.update(data)
            file.write(data)
    return hasher.hexdigest()
