"""Streams of JSON rows as numbered immutable segments: metrics, logs, events.

``<folder>/<writer>-<seq>.jsonl`` begins with ``{"schema":1,"first":k}``, k being how many rows of this writer came
before; every further line is one row. Writers (processes, ranks) never share a segment. A writer folds its own
small segments: ``<writer>-<from>-<to>.jsonl`` stands for all of that range, whose segments then go.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import math
import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pipelines.canonical import Json, JsonObject
from pipelines.errors import StoreError
from pipelines.store.objects import ObjectNotFound, ObjectStore
from pipelines.store.schema import decode, encode, json_line
from pipelines.store.ticker import Ticker

STREAM_SCHEMA = 1
SEGMENT_SECONDS = 5.0
SEGMENT_BYTES = 1 << 20
FOLD_SEGMENTS = 64

_NAME = re.compile(r"(?P<writer>.+?)-(?P<first>\d{6,})(?:-(?P<last>\d{6,}))?\.jsonl")
_open_writers: weakref.WeakSet[StreamWriter] = weakref.WeakSet()


def writer_name() -> str:
    """A name for one writer of this process. Names sort by the moment of their making."""
    return f"{time.time_ns() // 1_000_000:013d}x{secrets.token_hex(4)}"


class StreamWriter:
    """Appends rows to a stream. Safe for threads; rows are stored every 5 s, every 1 MB, at `flush` and at `close`.

    A writer that was never closed is flushed when the interpreter ends normally.
    """

    def __init__(self, objects: ObjectStore, folder: str, seconds: float = SEGMENT_SECONDS) -> None:
        self._objects, self._folder = objects, folder
        self._writer = writer_name()
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._pending: list[bytes] = []
        self._bytes = 0
        self._rows = 0  # rows stored so far
        self._seq = 0
        self._group: list[bytes] = []  # rows of the segments since `_group_seq`, to be folded
        self._group_seq, self._group_row, self._group_bytes = 0, 0, 0
        self._ticker = Ticker(seconds, self.flush)
        _open_writers.add(self)

    def append(self, row: Mapping[str, Json]) -> None:
        """Add one row."""
        line = _line(row)
        with self._lock:
            self._pending.append(line)
            self._bytes += len(line)
            if self._bytes >= SEGMENT_BYTES:
                self._store()
        self._ticker.start()

    def flush(self) -> None:
        """Make every row visible."""
        with self._lock:
            self._store()

    def close(self) -> None:
        """Make every row visible and end the writer's thread. A row appended later opens it again."""
        self._ticker.stop()
        self.flush()

    def _store(self) -> None:
        if not self._pending:
            return
        while not self._put(f"{self._writer}-{self._seq:06d}.jsonl", self._rows, self._pending):
            self._seq += 1  # an earlier try did arrive, with fewer rows; readers go by row numbers
        self._group.extend(self._pending)
        self._group_bytes += self._bytes
        self._rows += len(self._pending)
        self._pending, self._bytes = [], 0
        self._seq += 1
        if self._seq - self._group_seq >= FOLD_SEGMENTS or self._group_bytes >= SEGMENT_BYTES:
            self._fold()

    def _fold(self) -> None:
        first, last = self._group_seq, self._seq - 1
        if last > first:
            self._put(f"{self._writer}-{first:06d}-{last:06d}.jsonl", self._group_row, self._group)
            for seq in range(first, last + 1):
                self._objects.delete(f"{self._folder}/{self._writer}-{seq:06d}.jsonl")
        self._group, self._group_bytes = [], 0
        self._group_seq, self._group_row = self._seq, self._rows

    def _put(self, name: str, first_row: int, lines: Sequence[bytes]) -> bool:
        data = encode({"first": first_row}, STREAM_SCHEMA) + b"".join(line + b"\n" for line in lines)
        return self._objects.put_if_absent(f"{self._folder}/{name}", data)


@dataclass(frozen=True, slots=True, order=True)
class _Segment:
    writer: str
    first: int
    last: int
    key: str


class StreamReader:
    """Reads a stream as it grows: each `new_rows` gives the rows that were stored since the last."""

    def __init__(self, objects: ObjectStore, folder: str) -> None:
        self._objects, self._folder = objects, folder
        self._taken: dict[str, tuple[int, int]] = {}  # writer -> (next segment, rows taken)

    def new_rows(self) -> list[JsonObject]:
        """Rows by writer, in each writer's order; writers in the order in which they began."""
        rows: list[JsonObject] = []
        tries = 0
        while not self._take(rows, gaps_allowed=tries >= 3):
            tries += 1
        return rows

    def _take(self, rows: list[JsonObject], *, gaps_allowed: bool) -> bool:
        """False to list again: a segment was folded while we read, or the listing has overlooked one."""
        for segment in self._segments():
            next_seq, taken = self._taken.get(segment.writer, (0, 0))
            if segment.last < next_seq:
                continue
            try:
                raw = self._objects.get(segment.key)
            except ObjectNotFound:
                return False
            first, lines = _parse(raw, f"{self._objects.url}: {segment.key}")
            if first > taken and not gaps_allowed:
                return False
            rows.extend(lines[max(0, taken - first) :])
            self._taken[segment.writer] = (segment.last + 1, first + len(lines))
        return True

    def _segments(self) -> Iterator[_Segment]:
        """Segments by writer and number; of overlapping ones the fold comes first, so that the others are skipped."""
        found = []
        for info in self._objects.list(self._folder):
            match = _NAME.fullmatch(info.key.rsplit("/", 1)[1])
            if match:
                first, last = int(match["first"]), int(match["last"] or match["first"])
                found.append(_Segment(match["writer"], first, last, info.key))
        return iter(sorted(found, key=lambda s: (s.writer, s.first, -s.last)))


class StreamHandler(logging.Handler):
    """Writes log records as rows ``{time, level, logger, message, error?}`` plus `extra` to a stream."""

    def __init__(self, stream: StreamWriter, extra: Mapping[str, Json] | None = None) -> None:
        super().__init__()
        self._stream, self._extra = stream, dict(extra or {})

    def emit(self, record: logging.LogRecord) -> None:
        try:
            row: JsonObject = {
                "time": round(record.created, 3),
                "level": record.levelname,
                "logger": record.name,
                "message": record.getMessage(),
                **self._extra,
            }
            if record.exc_info:
                row["error"] = logging.Formatter().formatException(record.exc_info)
            self._stream.append(row)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()
        super().close()


def _parse(raw: bytes, where: str) -> tuple[int, list[JsonObject]]:
    head, *lines = raw.rstrip(b"\n").split(b"\n")
    data = decode(head, STREAM_SCHEMA, where)
    return cast(int, data["first"]), [cast(JsonObject, json.loads(line)) for line in lines]


def _line(row: Mapping[str, Json]) -> bytes:
    try:
        return json_line(row)[:-1]
    except ValueError:
        return json_line(_finite(row))[:-1]


def _finite(value: object) -> object:
    """JSON has no NaN and no infinities: a loss that is one of them is shown as missing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


@atexit.register
def _close_all() -> None:
    for writer in list(_open_writers):
        if writer.pid == os.getpid():  # a forked child holds copies of its parent's rows
            with contextlib.suppress(StoreError):
                writer.close()
