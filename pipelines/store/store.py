"""A store: one place where all work is kept and found again. See the design's section on keys, store and resume.

::

    store.json                      schema and id
    blobs/ trees/                   artifacts
    keys/ parts/ work/              what is known and half done about keys, partitions, trainings
    attempts/ runs/ latest/         what was observed; hints
    heartbeats/                     who is alive
    damaged/                        wrong bytes that a repair has set aside; nothing reads them
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import cast

from pipelines.errors import WrongStore
from pipelines.keys import key_folder
from pipelines.store.attempts import Attempt
from pipelines.store.backends.local import LocalObjects
from pipelines.store.blobs import Blobs
from pipelines.store.cache import BlobCache, cache_folder
from pipelines.store.checkpoints import CheckpointStore
from pipelines.store.keylog import KeyLog
from pipelines.store.objects import ObjectNotFound, ObjectStore
from pipelines.store.parts import PartTable
from pipelines.store.runs import RunRecord
from pipelines.store.schema import decode, encode
from pipelines.store.scratch import new_scratch
from pipelines.store.trees import Trees

STORE_SCHEMA = 1


class Store:
    """Everything durable of one project. Safe for threads and for any number of processes and machines."""

    def __init__(self, objects: ObjectStore, store_id: str) -> None:
        self.objects, self.id = objects, store_id
        self.url = objects.url
        self.blobs = Blobs(objects, None if self.is_local else BlobCache(cache_folder()))
        self.trees = Trees(objects, self.blobs)

    @property
    def local_root(self) -> Path | None:
        """The folder of a store on a file system, else None."""
        path = self.objects.local_path("store.json")
        return path.parent if path is not None else None

    @property
    def is_local(self) -> bool:
        return self.local_root is not None

    def key_log(self, key: str) -> KeyLog:
        """The log of a stage key (``k1:<64 hex>``)."""
        return KeyLog(self.objects, key)

    def parts(self, family: str) -> PartTable:
        """The partition table of a stage family (64 hex)."""
        return PartTable(self.objects, family)

    def attempt(self, key: str, n: int) -> Attempt:
        """The observations of attempt `n` (its claim's number) at a key."""
        return Attempt(self.objects, key, n)

    def attempts(self, key: str) -> list[int]:
        """Numbers of the attempts that left observations, ascending."""
        return sorted(int(n) for n in self.objects.folders(f"attempts/{key_folder(key)}") if n.isdigit())

    def checkpoints(self, lineage: str) -> CheckpointStore:
        """Trainer states of a lineage (64 hex)."""
        return CheckpointStore(self.objects, lineage)

    def run(self, run_id: str) -> RunRecord:
        """The record of a run."""
        return RunRecord(self.objects, run_id)

    def runs(self) -> list[str]:
        """Ids of all runs, oldest first (ids begin with their time)."""
        return list(self.objects.folders("runs"))

    def scratch_root(self) -> Path | None:
        """A folder on the store's own file system that no key can name; None for a remote store."""
        root = self.local_root
        return root / ".scratch" if root is not None else None

    def new_scratch(self) -> Path:
        """A fresh empty folder for outputs: beside the objects when local, so that they are moved, not copied.

        The caller removes it. What killed processes of this machine left is removed here.
        """
        return new_scratch(self.scratch_root() or cache_folder() / "scratch")


def open_store(url: str | Path, *, create: bool = True) -> Store:
    """Open the store at a folder or ``s3://bucket/prefix``.

    Raises WrongStore for another kind of URL, or when there is none and `create` is false; NewerSchema when a
    newer Sharpline made it.
    """
    objects = _objects(str(url))
    raw = _get(objects, "store.json")
    if raw is None:
        if not create:
            raise WrongStore(f"no store at {objects.url}: no store.json there; check `store:` in the spec, or --store")
        objects.put_if_absent("store.json", encode({"id": uuid.uuid4().hex}, STORE_SCHEMA))
        raw = objects.get("store.json")
    data = decode(raw, STORE_SCHEMA, f"{objects.url}: store.json")
    return Store(objects, cast(str, data.get("id", "")))


def _objects(url: str) -> ObjectStore:
    scheme, separator, _ = url.partition("://")
    if not separator:
        return LocalObjects(Path(url))
    if scheme == "file":
        return LocalObjects(Path(url.removeprefix("file://")))
    if scheme == "s3":
        from pipelines.store.backends.s3 import S3Objects

        return S3Objects(url)
    raise WrongStore(f"store {url!r}: expected a folder or s3://bucket/prefix, got scheme {scheme!r}")


def _get(objects: ObjectStore, key: str) -> bytes | None:
    try:
        return objects.get(key)
    except ObjectNotFound:
        return None
