"""Trainer states of one lineage, under ``work/<lineage>/``.

A state is its files in ``states/<name>/`` and a record ``commits/<name>.json`` that lists them with size and sha256
and is written last: before it the state does not exist, with it the state is whole. `name` is the step, the moment
and a random word, so two writers never touch each other's files, and of one step the later save counts.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pipelines.canonical import Json, JsonObject
from pipelines.errors import NewerSchema, StoreError
from pipelines.store.blobs import hash_file
from pipelines.store.cache import fetch
from pipelines.store.objects import ObjectNotFound, ObjectStore, quote_name
from pipelines.store.schema import decode, encode

CHECKPOINT_SCHEMA = 1
ORPHAN_AGE = 6 * 3600.0  # seconds after which files without a record belong to a killed save
_NAME = re.compile(r"(\d{10,})-(\d{13})x[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """One file of a state; `name` is its path relative to the saved folder, `size` in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A committed state: `step` optimiser steps done; `meta` is what its writer said about it."""

    name: str
    step: int
    at: float
    files: tuple[CheckpointFile, ...]
    meta: JsonObject = field(default_factory=dict)


class CheckpointStore:
    """The trainer states of one lineage (64 hex)."""

    def __init__(self, objects: ObjectStore, lineage: str) -> None:
        if len(lineage) != 64 or lineage.strip("0123456789abcdef"):
            raise StoreError(f"expected a lineage (64 lower-case hex characters), got {lineage!r}")
        self.folder = f"work/{lineage}"
        self._objects = objects

    def save(
        self,
        step: int,
        folder: Path,
        keep_last: int = 2,
        meta: Mapping[str, Json] | None = None,
        keep: Collection[int] = (),
    ) -> Checkpoint:
        """Commit the files of `folder` as the state after `step` steps. They are moved out of it where possible.

        Afterwards, of the states up to `step`, the newest `keep_last` intact ones are kept, and the newest intact one
        of every step in `keep`; later steps are left alone.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if not paths:
            raise StoreError(f"checkpoint at step {step}: {folder} holds no files")
        name = f"{step:010d}-{time.time_ns() // 1_000_000:013d}x{secrets.token_hex(6)}"
        files = tuple(self._save_file(name, path, path.relative_to(folder).as_posix()) for path in paths)
        checkpoint = Checkpoint(name, step, round(time.time(), 3), files, dict(meta or {}))
        if not self._whole(checkpoint):
            raise StoreError(f"checkpoint at step {step}: files vanished from {self.folder} while it was saved")
        self._objects.put_if_absent(self._record(name), encode(_to_json(checkpoint), CHECKPOINT_SCHEMA))
        self._prune(step, max(1, keep_last), set(keep))
        return checkpoint

    def steps(self) -> list[int]:
        """Steps of all committed states, ascending."""
        return sorted({int(name.partition("-")[0]) for name in self._names()})

    def latest(self, at_most: int, dest: Path) -> tuple[int, Path] | None:
        """The newest intact state with ``step <= at_most`` as (step, folder below `dest`), or None.

        Every file is verified (size and sha256); a damaged state is passed over for the one before it. The files
        are read-only: locally they are the store's own (hard links), so they must not be written to.
        """
        found = self.restore(at_most, dest)
        return (found[0].step, found[1]) if found else None

    def restore(self, at_most: int, dest: Path) -> tuple[Checkpoint, Path] | None:
        """Like `latest`, with the whole record: its `meta` tells under which code the state was made."""
        for checkpoint in self.committed(at_most):
            folder = dest / checkpoint.name
            if all(self._fetch(checkpoint, file, folder / file.name) for file in checkpoint.files):
                return checkpoint, folder
            shutil.rmtree(folder, ignore_errors=True)
        return None

    def committed(self, at_most: int | None = None) -> Iterator[Checkpoint]:
        """Records of committed states, newest first; unreadable ones are passed over. Files are not looked at."""
        for name in sorted(self._names(), reverse=True):
            if at_most is None or int(name.partition("-")[0]) <= at_most:
                checkpoint = self._load(name)
                if checkpoint is not None:
                    yield checkpoint

    # -- details

    def _names(self) -> list[str]:
        found = (
            info.key.rsplit("/", 1)[1].removesuffix(".json") for info in self._objects.list(self.folder + "/commits")
        )
        return [name for name in found if _NAME.fullmatch(name)]

    def _load(self, name: str) -> Checkpoint | None:
        key = self._record(name)
        try:
            raw = self._objects.get(key)
        except ObjectNotFound:  # pruned since it was listed
            return None
        try:
            return _from_json(name, decode(raw, CHECKPOINT_SCHEMA, f"{self._objects.url}: {key}"))
        except NewerSchema:
            raise
        except (StoreError, KeyError):  # damaged
            return None

    def _save_file(self, name: str, path: Path, relative: str) -> CheckpointFile:
        sha256, size = hash_file(path)
        self._objects.put_file_if_absent(self._state(name, relative), path)
        return CheckpointFile(relative, size, sha256)

    def _fetch(self, checkpoint: Checkpoint, file: CheckpointFile, target: Path) -> bool:
        """Put a verified file at `target`; False when it is gone or damaged."""
        key = self._state(checkpoint.name, file.name)
        if target.exists() and hash_file(target) == (file.sha256, file.size):
            return True
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        local = self._objects.local_path(key)
        try:
            if local is None:
                return fetch(self._objects, key, file.size, target) == file.sha256
            _link_or_copy(local, target)
        except (FileNotFoundError, ObjectNotFound):
            return False
        return hash_file(target) == (file.sha256, file.size)

    def _whole(self, checkpoint: Checkpoint) -> bool:
        for file in checkpoint.files:
            info = self._objects.head(self._state(checkpoint.name, file.name))
            if info is None or info.size != file.size:
                return False
        return True

    def _prune(self, step: int, keep_last: int, keep: set[int]) -> None:
        whole, wanted = 0, set(keep)
        for checkpoint in list(self.committed(step)):
            if whole >= keep_last and checkpoint.step not in wanted:
                self._objects.delete(self._record(checkpoint.name))  # first the record: a state is never half there
                self._delete_files(checkpoint.name)
            elif self._whole(checkpoint):
                whole += 1
                wanted.discard(checkpoint.step)
        self._delete_orphans()

    def _delete_orphans(self) -> None:
        oldest = (time.time() - ORPHAN_AGE) * 1000
        committed = set(self._names())
        for name in self._objects.folders(f"{self.folder}/states"):
            match = _NAME.fullmatch(name)
            if match and name not in committed and int(match[2]) < oldest:
                self._delete_files(name)

    def _delete_files(self, name: str) -> None:
        for info in list(self._objects.list(f"{self.folder}/states/{name}")):
            self._objects.delete(info.key)

    def _record(self, name: str) -> str:
        return f"{self.folder}/commits/{name}.json"

    def _state(self, name: str, file: str) -> str:
        return f"{self.folder}/states/{name}/{quote_name(file)}"


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _to_json(checkpoint: Checkpoint) -> JsonObject:
    files: list[Json] = [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in checkpoint.files]
    return {"step": checkpoint.step, "at": checkpoint.at, "files": files, "meta": checkpoint.meta}


def _from_json(name: str, data: JsonObject) -> Checkpoint:
    files = tuple(
        CheckpointFile(cast(str, f["name"]), cast(int, f["size"]), cast(str, f["sha256"]))
        for f in cast("list[JsonObject]", data["files"])
    )
    return Checkpoint(name, cast(int, data["step"]), cast(float, data["at"]), files, cast(JsonObject, data["meta"]))
