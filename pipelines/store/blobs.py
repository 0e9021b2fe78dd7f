"""Blobs: immutable bytes named by their sha256, under ``blobs/<first two hex>/<sha256>``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.canonical import sha256_hex
from pipelines.errors import Damaged, StoreError
from pipelines.store.cache import BlobCache, fetch
from pipelines.store.copies import copy_hashed
from pipelines.store.damage import look, set_aside
from pipelines.store.objects import ObjectNotFound, ObjectStore

REMOTE_THREADS = 32


class Blobs:
    """The blobs of one store. A name is a promise about the content, so adding is idempotent and never overwrites."""

    def __init__(self, objects: ObjectStore, cache: BlobCache | None = None) -> None:
        self._objects = objects
        self._cache = cache

    def add_file(self, path: Path) -> tuple[str, int]:
        """Store the bytes of `path`, which is gone afterwards; (sha256, size in bytes).

        What lies there under its name in another size is not it, and makes way.
        """
        sha256, size = hash_file(path)
        stored = self._size(sha256)
        if stored is not None and stored != size:
            self.set_aside(sha256)
        if stored == size:
            path.unlink()
        else:
            self._objects.put_file_if_absent(blob_key(sha256), path)
        return sha256, size

    def set_aside(self, sha256: str) -> str | None:
        """Make a blob whose bytes are not those of its name missing; the key under which they are kept.

        None when there is nothing to do: it is missing already, or intact.
        """

        def sound(key: str) -> bool:
            found = look(self._objects, key)
            return found is not None and found.sha256 == sha256

        return set_aside(self._objects, blob_key(sha256), sound)

    def add_bytes(self, data: bytes) -> tuple[str, int]:
        """Store `data`; (sha256, size in bytes)."""
        sha256 = sha256_hex(data)
        self._objects.put_if_absent(blob_key(sha256), data)
        return sha256, len(data)

    def has(self, sha256: str) -> bool:
        return self._objects.head(blob_key(sha256)) is not None

    def missing(self, sha256s: Iterable[str]) -> set[str]:
        """Those of `sha256s` that are not in the store."""
        return {sha for sha, size in self.sizes(sha256s).items() if size is None}

    def sizes(self, sha256s: Iterable[str]) -> dict[str, int | None]:
        """Bytes of each of `sha256s` as the store says, None for what is not there. Nothing is read."""
        wanted = sorted(set(sha256s))
        if not wanted:
            return {}
        if self._cache is None:
            return {sha: self._size(sha) for sha in wanted}
        with ThreadPoolExecutor(min(REMOTE_THREADS, len(wanted))) as pool:
            return dict(zip(wanted, pool.map(self._size, wanted), strict=True))

    def _size(self, sha256: str) -> int | None:
        found = self._objects.head(blob_key(sha256))
        return None if found is None else found.size

    def open(self, sha256: str) -> Path:
        """A local read-only file: the blob itself, or for a remote store a verified copy in the local cache."""
        if self._cache is not None:
            return self._cache.open(self._objects, blob_key(sha256), sha256)
        path = self._objects.local_path(blob_key(sha256))
        assert path is not None
        if not path.is_file():
            raise _lost(sha256, self._objects)
        return path

    def open_checked(self, sha256: str) -> Path:
        """Like `open`, after the file was read to its end. Raises Damaged where its bytes are not those of its name."""
        path = self.open(sha256)
        came = hash_file(path)[0]
        if came != sha256 and self.forget(sha256):
            return self.open(sha256)
        if came != sha256:
            raise self.damaged(sha256, came)
        return path

    def read_checked(self, sha256: str) -> bytes:
        """All bytes of a blob. Raises Damaged where they are not those of its name."""
        data = self.read(sha256)
        if sha256_hex(data) != sha256 and self.forget(sha256):
            data = self.read(sha256)
        came = sha256_hex(data)
        if came != sha256:
            raise self.damaged(sha256, came)
        return data

    def forget(self, sha256: str) -> bool:
        """Drop the local copy of a remote blob, which may have gone bad where the blob has not; False without one."""
        return self._cache is not None and self._cache.drop(sha256)

    def damaged(self, sha256: str, came: str) -> Damaged:
        """The error about a blob whose bytes have the sha256 `came`."""
        return Damaged(
            f"blob {sha256} in {self._objects.url} is damaged: its bytes have sha256 {came}; "
            "`sharpline repair SPEC` makes it again"
        )

    def copy(self, sha256: str, size: int, path: Path) -> None:
        """Write a blob of `size` bytes to the new file `path`, which is the caller's own to change.

        A remote blob that is not in the local cache is not put there: it would take its space twice. Raises
        StoreError when the blob is gone or its bytes are not those of its name.
        """
        here = self._cache.find(sha256) if self._cache is not None else self.open(sha256)
        try:
            came = copy_hashed(here, path) if here is not None else fetch(self._objects, blob_key(sha256), size, path)
        except ObjectNotFound as error:
            raise _lost(sha256, self._objects) from error
        if came != sha256:
            raise StoreError(
                f"blob {sha256} in {self._objects.url} is damaged: its bytes have sha256 {came}; "
                "`sharpline repair` rebuilds what it belongs to"
            )

    def read(self, sha256: str, offset: int = 0, size: int | None = None) -> bytes:
        """At most `size` bytes from `offset` (None: up to the end), without fetching the rest."""
        key = blob_key(sha256)
        cached = self._cache.find(sha256) if self._cache is not None else None
        try:
            if cached is not None:
                with cached.open("rb") as file:
                    return os.pread(file.fileno(), _length(cached.stat().st_size, offset, size), offset)
            if size is not None:
                return self._objects.get_range(key, offset, size)
            return self._objects.get(key)[offset:]
        except ObjectNotFound as error:
            raise _lost(sha256, self._objects) from error


def blob_key(sha256: str) -> str:
    """The object key of a blob. Raises StoreError for what is not a lower-case sha256."""
    if len(sha256) != 64 or sha256.strip("0123456789abcdef"):
        raise StoreError(f"expected a blob's sha256 (64 lower-case hex characters), got {sha256!r}")
    return f"blobs/{sha256[:2]}/{sha256}"


def hash_file(path: Path) -> tuple[str, int]:
    """(sha256, size in bytes) of a file, read once."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def _length(total: int, offset: int, size: int | None) -> int:
    left = max(0, total - offset)
    return left if size is None else min(size, left)


def _lost(sha256: str, objects: ObjectStore) -> StoreError:
    return StoreError(
        f"blob {sha256} is not in {objects.url}: it was deleted or never arrived; "
        "`sharpline plan` names the stage that builds it"
    )
