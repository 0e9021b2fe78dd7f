"""Trees: manifests of finished artifacts under ``trees/<digest>.json``, each naming blobs that exist."""

from __future__ import annotations

from collections import OrderedDict

from pipelines.artifact import MANIFEST_SCHEMA, Manifest
from pipelines.errors import StoreError
from pipelines.store.blobs import Blobs
from pipelines.store.objects import ObjectNotFound, ObjectStore
from pipelines.store.schema import decode, encode

REMEMBERED = 128  # manifests kept in memory: they never change


class Trees:
    """The manifests of one store."""

    def __init__(self, objects: ObjectStore, blobs: Blobs) -> None:
        self._objects, self._blobs = objects, blobs
        self._known: OrderedDict[str, Manifest] = OrderedDict()

    def put(self, manifest: Manifest) -> str:
        """Store a manifest; its digest. Raises StoreError naming an entry or a reference that is not in the store.

        Two manifests of one digest may differ in derived entries: the first one stays, unless a blob that
        it names is gone.
        """
        digest = manifest.digest
        self._refuse_dangling(manifest)
        key = tree_key(digest)
        data = encode(manifest.to_json())
        if not self._objects.put_if_absent(key, data) and not self._intact(digest):
            self._objects.put(key, data)
            self._known.pop(digest, None)
        return digest

    def get(self, digest: str) -> Manifest:
        """The manifest with this digest, verified. Raises StoreError when it is gone or damaged."""
        known = self._known.get(digest)
        if known is not None:
            return known
        manifest = self._load(digest)
        self._known[digest] = manifest
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return manifest

    def has(self, digest: str) -> bool:
        return self._objects.head(tree_key(digest)) is not None

    def _load(self, digest: str) -> Manifest:
        key = tree_key(digest)
        try:
            raw = self._objects.get(key)
        except ObjectNotFound as error:
            raise StoreError(
                f"artifact {digest} is not in {self._objects.url}; `sharpline plan` says what would build it"
            ) from error
        data = decode(raw, MANIFEST_SCHEMA, f"{self._objects.url}: {key}")
        try:
            manifest = Manifest.from_json(data)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{self._objects.url}: {key} is damaged: {error}") from error
        if manifest.digest != digest:
            raise StoreError(f"{self._objects.url}: {key} is damaged: its content has digest {manifest.digest}")
        return manifest

    def _intact(self, digest: str) -> bool:
        try:
            kept = self._load(digest)
        except StoreError:
            return False
        return not self._blobs.missing(entry.sha256 for entry in kept.entries)

    def _refuse_dangling(self, manifest: Manifest) -> None:
        missing = self._blobs.missing(entry.sha256 for entry in manifest.entries)
        for entry in manifest.entries:
            if entry.sha256 in missing:
                raise StoreError(
                    f"cannot commit artifact {manifest.digest[:12]}: entry {entry.name!r} (blob {entry.sha256}) is not "
                    f"in {self._objects.url}; run again: what is missing is built anew"
                )
        for role, digest in manifest.refs.items():
            if not self.has(digest):
                raise StoreError(
                    f"cannot commit artifact {manifest.digest[:12]}: it refers to {role} {digest}, which is not in "
                    f"{self._objects.url}"
                )


def tree_key(digest: str) -> str:
    """The object key of a manifest."""
    if len(digest) != 64 or digest.strip("0123456789abcdef"):
        raise StoreError(f"expected an artifact's digest (64 lower-case hex characters), got {digest!r}")
    return f"trees/{digest}.json"
