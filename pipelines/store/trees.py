"""Trees: manifests of finished artifacts under ``trees/<digest>.json``, each naming blobs that exist."""

from __future__ import annotations

from collections import OrderedDict

from pipelines.artifact import MANIFEST_SCHEMA, Manifest
from pipelines.canonical import JsonObject, sha256_hex
from pipelines.errors import Damaged, NewerSchema, StoreError
from pipelines.store.blobs import Blobs
from pipelines.store.damage import set_aside
from pipelines.store.objects import ObjectNotFound, ObjectStore
from pipelines.store.schema import decode, encode, json_line

REMEMBERED = 128  # manifests kept in memory: they never change


class Trees:
    """The manifests of one store."""

    def __init__(self, objects: ObjectStore, blobs: Blobs) -> None:
        self._objects, self._blobs = objects, blobs
        self._known: OrderedDict[str, Manifest] = OrderedDict()

    def put(self, manifest: Manifest) -> str:
        """Store a manifest; its digest. Raises StoreError naming an entry or a reference that is not in the store.

        Two manifests of one digest may differ in derived entries: the first one stays, unless it is damaged or a
        blob that it names is gone. :meth:`renew` replaces it.
        """
        digest = manifest.digest
        self._refuse_dangling(manifest)
        key = tree_key(digest)
        data = manifest_bytes(manifest)
        if not self._objects.put_if_absent(key, data) and not self._intact(digest):
            self._objects.put(key, data)
            self._known.pop(digest, None)
        return digest

    def renew(self, manifest: Manifest) -> None:
        """Put `manifest` in the place of one with the same digest and other derived entries, which were wrong.

        For one who has made the artifact anew from checked bytes: derived entries are functions of the content.
        """
        digest = self.put(manifest)
        data = manifest_bytes(manifest)
        if self._objects.get(tree_key(digest)) != data:
            self._objects.put(tree_key(digest), data)
            self._known.pop(digest, None)

    def get(self, digest: str) -> Manifest:
        """The manifest with this digest, verified. Raises StoreError when it is gone, Damaged when it is that."""
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

    def set_aside(self, digest: str) -> str | None:
        """Make a damaged manifest missing; the key under which it is kept. None when it is missing or intact."""

        def sound(key: str) -> bool:
            try:
                read_manifest(self._objects.get(key), digest, key, exactly=True)
            except Damaged:
                return False
            return True

        self._known.pop(digest, None)
        return set_aside(self._objects, tree_key(digest), sound)

    def _load(self, digest: str) -> Manifest:
        key = tree_key(digest)
        try:
            raw = self._objects.get(key)
        except ObjectNotFound as error:
            raise StoreError(
                f"artifact {digest} is not in {self._objects.url}; `sharpline plan` says what would build it"
            ) from error
        return read_manifest(raw, digest, f"{self._objects.url}: {key}")

    def _intact(self, digest: str) -> bool:
        try:
            kept = self._load(digest)
        except NewerSchema:
            raise
        except StoreError:
            return False
        sizes = self._blobs.sizes(entry.sha256 for entry in kept.entries)
        return all(sizes[entry.sha256] == entry.size for entry in kept.entries)

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


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as it is stored: one line of JSON that ends with a seal over all of it.

    The digest covers content only; without the seal a flipped bit in a derived entry would go unseen.
    """
    body = manifest.to_json()
    return encode({**body, "seal": sha256_hex(json_line(body))})


def read_manifest(raw: bytes, digest: str, where: str, *, exactly: bool = False) -> Manifest:
    """The manifest in `raw`, which lies at `where` and must have this digest. Raises Damaged, or NewerSchema.

    Manifests without a seal are of earlier versions. `exactly` refuses bytes that mean the same and are not
    those that were written.
    """
    data = decode(raw, MANIFEST_SCHEMA, where)
    try:
        manifest = Manifest.from_json(data)
        found = manifest.digest
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{where} is damaged: {error}") from error
    if found != digest:
        raise Damaged(f"{where} is damaged: its content has digest {found}")
    body: JsonObject = {name: value for name, value in data.items() if name != "seal"}
    if "seal" in data and data["seal"] != sha256_hex(json_line(body)):
        raise Damaged(f"{where} is damaged: its derived entries are not those that were sealed")
    if exactly and raw != (json_line(data) if "seal" in data else encode(manifest.to_json())):
        raise Damaged(f"{where} is damaged: its bytes are not those that were written")
    return manifest
