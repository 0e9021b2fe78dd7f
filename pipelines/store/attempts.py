"""Attempts: everything that is observed while a key is built, under ``attempts/<key>/<n>/``.

Streams (``metrics``, ``log``, ``images``, ...) hold rows, hints are small mutable facts about a live attempt,
pictures are PNG files. Nothing here is ever read by a build: losing it loses views.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from pipelines.canonical import Json, JsonObject
from pipelines.keys import key_folder
from pipelines.store.objects import ObjectNotFound, ObjectStore, quote_name, unquote_name
from pipelines.store.schema import decode, encode
from pipelines.store.streams import SEGMENT_SECONDS, StreamHandler, StreamReader, StreamWriter

__all__ = ["Attempt", "StreamHandler", "StreamReader", "StreamWriter", "merge_metrics"]

ATTEMPT_SCHEMA = 1


class Attempt:
    """Writer and reader of one attempt's observations. `n` is the number of its claim in the key log."""

    def __init__(self, objects: ObjectStore, key: str, n: int) -> None:
        self.key, self.n = key, n
        self.folder = f"attempts/{key_folder(key)}/{n}"
        self._objects = objects

    # -- streams

    def stream(self, name: str, seconds: float = SEGMENT_SECONDS) -> StreamWriter:
        """A new writer of stream `name`, stored every `seconds`; close it."""
        return StreamWriter(self._objects, self._stream(name), seconds)

    def append(self, stream: str, rows: Iterable[Mapping[str, Json]]) -> None:
        """Add rows at once, as one segment."""
        writer = self.stream(stream)
        for row in rows:
            writer.append(row)
        writer.close()

    def read(self, stream: str) -> list[JsonObject]:
        """All rows of a stream: each writer's in order, writers in the order in which they began."""
        return self.reader(stream).new_rows()

    def reader(self, stream: str) -> StreamReader:
        """A reader that follows a growing stream."""
        return StreamReader(self._objects, self._stream(stream))

    def place(self, name: str) -> str:
        """Where a stream or file lies, for people."""
        key = f"{self.folder}/{quote_name(name)}"
        path = self._objects.local_path(key)
        return str(path) if path is not None else f"{self._objects.url}/{key}"

    # -- small files

    def put_json(self, name: str, data: Mapping[str, Json]) -> None:
        """Write or replace the file `name` (``failed.json``). A schema number is added when there is none."""
        self._objects.put(f"{self.folder}/{quote_name(name)}", encode(data, ATTEMPT_SCHEMA))

    def get_json(self, name: str) -> JsonObject | None:
        """What `put_json` wrote, or None."""
        return _get_json(self._objects, f"{self.folder}/{quote_name(name)}")

    def put_hint(self, name: str, data: Mapping[str, Json]) -> None:
        """Replace a small fact about the live attempt (progress). Call it at most a few times a second."""
        self._objects.put(self._hint(name), encode(data, ATTEMPT_SCHEMA))

    def hint(self, name: str) -> JsonObject | None:
        """The latest value of a hint, or None."""
        return _get_json(self._objects, self._hint(name))

    # -- pictures

    def put_picture(self, name: str, png: bytes) -> None:
        """Write or replace a picture; `name` is any text, slashes make folders."""
        self._objects.put(self._picture(name), png)

    def pictures(self) -> list[str]:
        """Names of all pictures, sorted."""
        folder = f"{self.folder}/pictures"
        found = (info.key[len(folder) + 1 :] for info in self._objects.list(folder))
        return sorted(unquote_name(name.removesuffix(".png")) for name in found)

    def picture(self, name: str) -> bytes:
        """The PNG bytes of a picture. Raises ObjectNotFound."""
        return self._objects.get(self._picture(name))

    def _picture(self, name: str) -> str:
        return f"{self.folder}/pictures/{quote_name(name)}.png"

    def _hint(self, name: str) -> str:
        return f"{self.folder}/hints/{quote_name(name)}.json"

    def _stream(self, name: str) -> str:
        return f"{self.folder}/{quote_name(name)}"


def merge_metrics(rows: Iterable[Mapping[str, Json]]) -> list[JsonObject]:
    """Metric rows as one curve: one row a step, in step order.

    Takes rows ``{step, time, attempt?, <metric>: value, ...}`` of any number of attempts in any order. A resumed
    attempt repeats steps: of each metric at each step the later attempt counts, then the later time.
    """
    merged: dict[int, JsonObject] = {}
    for row in sorted(rows, key=_made):
        step = cast(int, row["step"])
        merged[step] = {**merged.get(step, {}), **row}
    return [merged[step] for step in sorted(merged)]


def _made(row: Mapping[str, Json]) -> tuple[int, float]:
    return cast(int, row.get("attempt", 0)), cast(float, row.get("time", 0.0))


def _get_json(objects: ObjectStore, key: str) -> JsonObject | None:
    try:
        return decode(objects.get(key), ATTEMPT_SCHEMA, f"{objects.url}: {key}")
    except ObjectNotFound:
        return None
