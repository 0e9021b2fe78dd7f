"""The one interface between the store's ideas and where bytes lie: a flat map from keys to immutable or replaced bytes.

A key is a relative POSIX path of portable characters. Everything above this module is built on two
promises: an object is seen whole or not at all, and of several `put_if_absent` on one key exactly one wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from pipelines.errors import StoreError

_PART = re.compile(r"[A-Za-z0-9_@=,+!-][A-Za-z0-9_.@=,+!-]*")
_PLAIN = re.compile(r"[A-Za-z0-9_.@=,+-]")
LONGEST_PART = 255  # bytes, of common file systems
LONGEST_KEY = 900  # S3 allows 1,024; the store's own prefix needs some


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing tells: `size` in bytes; `stamp` differs whenever the object was written anew."""

    key: str
    size: int
    stamp: str


class ObjectNotFound(StoreError):
    """No object has this key."""

    def __init__(self, key: str, url: str) -> None:
        super().__init__(f"{key}: no such object in {url}")
        self.key = key


class ObjectStore(Protocol):
    """Where bytes lie. All methods raise StoreError (with key and cause) when the backend fails for good."""

    url: str

    def get(self, key: str) -> bytes:
        """All bytes. Raises ObjectNotFound."""
        ...

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`, fewer at the end. Raises ObjectNotFound."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Replace atomically. For hints and heartbeats: what must not be lost is written by `put_if_absent`."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create atomically and durably. False when the key exists.

        May return True when an equal object was there before: a lost response is settled by reading back,
        so records that compete for a key must differ (hold a random token).
        """
        ...

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        """Like `put_if_absent` with the bytes of a file, which is gone afterwards (moved where possible).

        On S3, of two concurrent writers of a file above 64 MB both may return True; keys of files name
        their content or their only writer, so that is harmless.
        """
        ...

    def append_file(self, key: str) -> BinaryIO | None:
        """A new object opened for appending (unbuffered, locked), or None where objects cannot grow."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Size and stamp, or None when there is no such object."""
        ...

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """All objects below `folder` (``"keys/k1-ab"``; ``""`` is everything), in key order."""
        ...

    def folders(self, folder: str) -> tuple[str, ...]:
        """Names of the folders directly in `folder` that hold objects, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""
        ...

    def abandoned(self, key: str) -> bool:
        """Whether nobody can still be appending to this object."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the object is (or would be) a real file, or None for a remote backend."""
        ...


def check_key(key: str) -> str:
    """Return `key`, or raise StoreError when it could leave the store or is not portable."""
    parts = key.split("/")
    for part in parts:
        if not _PART.fullmatch(part) or len(part) > LONGEST_PART:
            raise StoreError(
                f"object key {key!r}: part {part!r} is not usable; expected 1 to {LONGEST_PART} letters, digits "
                "or _.@=,+!- and no leading dot"
            )
    if len(key) > LONGEST_KEY:
        raise StoreError(f"object key {key[:60]!r}...: {len(key)} characters, at most {LONGEST_KEY} are usable")
    return key


def check_folder(folder: str) -> str:
    """A folder without its trailing slash, checked like a key; ``""`` is the whole store."""
    folder = folder.rstrip("/")
    return check_key(folder) if folder else ""


def quote_name(name: str) -> str:
    """Any text as one or more key parts: other characters become ``!xx`` (UTF-8, hex), slashes stay folders."""
    return "/".join(_quote_part(part) for part in name.split("/"))


def _quote_part(part: str) -> str:
    quoted = "".join(
        char if _PLAIN.fullmatch(char) else "".join(f"!{byte:02x}" for byte in char.encode()) for char in part
    )
    return "!2e" + quoted[1:] if quoted.startswith(".") else quoted or "!"


def unquote_name(name: str) -> str:
    """The inverse of :func:`quote_name`."""
    return "/".join(_unquote_part(part) for part in name.split("/"))


def _unquote_part(part: str) -> str:
    if part == "!":
        return ""
    raw = re.sub(rb"!([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), part.encode())
    return raw.decode()
