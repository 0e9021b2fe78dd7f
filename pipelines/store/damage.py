"""Wrong bytes in a store: what an object really holds, read past every cache, and the place where it is set aside.

``damaged/<name>-<random>`` keeps what was found, for people: nothing reads it, and it may be deleted at any time.
An object that is set aside is *missing* for everybody, which every reader and the planner know how to tell;
killed in between, it is missing too, or still there to be found again.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import StoreError
from pipelines.store.cache import CHUNK, fetch
from pipelines.store.objects import ObjectNotFound, ObjectStore

FOLDER = "damaged"


@dataclass(frozen=True, slots=True)
class Found:
    """What an object holds: `size` in bytes and the `sha256` of its bytes ("" where the disk cannot read them)."""

    size: int
    sha256: str


def look(objects: ObjectStore, key: str) -> Found | None:
    """Read an object from where it lies, in bounded memory; None when it is not there.

    Raises StoreError when it could not be told: no permission, no network.
    """
    path = objects.local_path(key)
    return _look_at_file(path, objects, key) if path is not None else _look_at_object(objects, key)


def _look_at_file(path: Path, objects: ObjectStore, key: str) -> Found | None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Found(file.tell(), digest)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.EIO:  # the disk has lost it
            return Found(path.stat().st_size, "")
        raise StoreError(f"{objects.url}: could not read {key}: {error.strerror}") from error


def _look_at_object(objects: ObjectStore, key: str) -> Found | None:
    info = objects.head(key)
    if info is None:
        return None
    hasher, done = hashlib.sha256(), 0
    try:
        while done < info.size:
            data = objects.get_range(key, done, min(CHUNK, info.size - done))
            if not data:
                break
            hasher.update(data)
            done += len(data)
    except ObjectNotFound:
        return None
    return Found(done, hasher.hexdigest())


def set_aside(objects: ObjectStore, key: str, sound: Callable[[str], bool]) -> str | None:
    """Move the wrong bytes under `key` out of the way; the key at which they are now.

    `sound` tells of a key whether it holds the right bytes: what somebody has restored since it was found wrong
    stays (None), and so does what is not there.
    """
    info = objects.head(key)
    if info is None or sound(key):
        return None
    aside = f"{FOLDER}/{key.rsplit('/', 1)[-1]}-{secrets.token_hex(4)}"
    path = objects.local_path(key)
    if path is not None:
        objects.put_file_if_absent(aside, path)  # a move: of all that look at once, nobody sees half of it
        if not sound(aside):
            return aside
        back = objects.local_path(aside)
        assert back is not None
        objects.put_file_if_absent(key, back)
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "object"
        fetch(objects, key, info.size, copy)
        objects.put_file_if_absent(aside, copy)
    now = objects.head(key)
    if sound(aside) or now is None or now.stamp != info.stamp:
        objects.delete(aside)
        return None
    objects.delete(key)
    return aside
