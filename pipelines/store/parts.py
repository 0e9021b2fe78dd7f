"""Partition tables: what finished partitions of a stage family left, as rows of append-only segments.

``parts/<family>/<name>.jsonl`` begins with ``{"schema":1}``; every further line is one row. A name is a moment
(13 digits, milliseconds) and a random word, and a segment that replaces others sorts after all of them, so a
listing in key order sees a row in its old segment or in its new one. Rows may appear several times: of one
key the row with the latest time counts, in whatever order segments are read.

A row ends with a seal over all of it. A row that is not what was written counts as absent, so its partition is
built again when it is needed; readers collect such lines for ``verify``, and compaction keeps them under
``damaged/`` and goes on without them. The last line of a segment, without its line end, is no such line: its writer
was killed in the middle, or still writes. Rows without a seal are of earlier versions; compaction seals them.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipelines.artifact import Entry
from pipelines.canonical import Json, JsonObject
from pipelines.errors import Damaged, NewerSchema, StoreError
from pipelines.store.damage import FOLDER as DAMAGED
from pipelines.store.objects import ObjectNotFound, ObjectStore
from pipelines.store.schema import decode, encode, json_line

if TYPE_CHECKING:
    from pipelines.store.partwriter import PartWriter

PARTS_SCHEMA = 1
_HEAD = b'{"key":"'
_KEY = slice(len(_HEAD), len(_HEAD) + 64)
_NAME = re.compile(r"(\d{13})-[0-9a-f]+\.jsonl")
_MARK = b',"seal":"'
_END = b'"}'
_DIGITS = 16  # of the sha256: enough against accidents, and a row is short
_SEAL = slice(-_DIGITS - len(_END), -len(_END))
_BEFORE = slice(None, -_DIGITS - len(_END))  # what is sealed: the row and the mark of its seal
_UNSEALED = {"key", "at", "attempt", "seconds", "entries"}
_MADE_BY = re.compile(r".*/\d+", re.DOTALL)
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PartRow:
    """A finished partition.

    `key` is its partition key (64 hex), `entries` its output entries by slot, `seconds` what it took,
    `attempt` who made it (``<stage key>/<attempt>``), `at` when (Unix seconds).
    """

    key: str
    entries: Mapping[str, list[Entry]]
    seconds: float
    attempt: str
    at: float

    def to_line(self) -> bytes:
        """One line of JSON with the key first, where :class:`PartRows` looks for it, and the seal last."""
        entries: JsonObject = {slot: [entry.to_json() for entry in found] for slot, found in self.entries.items()}
        data: JsonObject = {
            "key": self.key,
            "at": round(self.at, 3),
            "attempt": self.attempt,
            "seconds": round(self.seconds, 4),
            "entries": entries,
        }
        return _seal(json_line(data)[:-1]) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> PartRow:
        return cls.from_json(json.loads(line))

    @classmethod
    def from_json(cls, data: Any) -> PartRow:
        """A parsed line. Raises AttributeError, KeyError, TypeError or ValueError for what is no row."""
        entries = {slot: [Entry.from_json(e) for e in found] for slot, found in data["entries"].items()}
        return cls(data["key"], entries, float(data["seconds"]), data["attempt"], float(data["at"]))


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of `segment` that is not what was written: row `number`, counted from 1; the head is 0."""

    segment: str
    number: int
    raw: bytes

    @property
    def name(self) -> str:
        return f"row {self.number}" if self.number else "head"


class PartRows(Mapping[str, PartRow]):
    """Rows by partition key, decoded when they are asked for: a plan over 100,000 of them mostly counts.

    `bad` are lines that were left out because they are damaged.
    """

    def __init__(self) -> None:
        self._lines: dict[str, bytes] = {}
        self.bad: list[BadLine] = []

    def __getitem__(self, key: str) -> PartRow:
        return PartRow.from_line(self._lines[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, key: object) -> bool:
        return key in self._lines

    def lines(self) -> Iterable[bytes]:
        """The rows as they are to be stored, all sealed."""
        return (line if _is_sealed(line) else _seal(line) for line in self._lines.values())

    def add_segment(self, raw: bytes, segment: str, url: str = "") -> None:
        """Take the rows of a segment's bytes. Raises NewerSchema for a segment of a later version."""
        lines = raw.split(b"\n")
        lines.pop()  # what follows the last line end: nothing, or a row whose end is missing
        if not lines:
            return
        head_is_bad = _head_is_bad(lines, f"{url}: {segment}")
        if head_is_bad:
            self.bad.append(BadLine(segment, 0, lines[0]))
        known = self._lines
        for number, line in enumerate(lines[1:], 1):
            if not _is_sealed(line) and (head_is_bad or not _is_unsealed(line)):
                self.bad.append(BadLine(segment, number, line))
                continue
            key = line[_KEY].decode("ascii")
            before = known.setdefault(key, line)
            if before is not line and before != line and _rank(line) > _rank(before):
                known[key] = line


class PartTable:
    """The partition table of one family (64 hex: the stage key without inputs and sources)."""

    def __init__(self, objects: ObjectStore, family: str) -> None:
        if len(family) != 64 or family.strip("0123456789abcdef"):
            raise StoreError(f"expected a stage family (64 lower-case hex characters), got {family!r}")
        self.folder = f"parts/{family}"
        self._objects = objects

    def load(self) -> PartRows:
        """All sound rows. Reads every segment once; segments folded meanwhile are found in what replaced them."""
        return self._read()[0]

    def writer(self) -> PartWriter:
        """A writer of rows; close it."""
        from pipelines.store.partwriter import PartWriter

        return PartWriter(self._objects, self)

    def compact(self) -> None:
        """Fold all segments that nobody can still append to into one, without damaged lines. Safe beside others.

        The new segment exists before the old ones go; killed in between, rows are there twice. Damaged lines are
        kept under ``damaged/``, for people.
        """
        names = [name for name in self._names() if self._finished(name)]
        rows, read = self._read(names)
        if rows.bad:
            kept = b"".join(line.raw + b"\n" for line in rows.bad)
            self._objects.put_if_absent(f"{DAMAGED}/rows-{secrets.token_hex(8)}", kept)
        if len(read) > 1 or rows.bad:
            self.replace(read, rows.lines())

    def replace(self, names: Iterable[str], lines: Iterable[bytes]) -> str:
        """Write `lines` (without line ends) as one segment in place of the segments `names`; its name."""
        old = list(names)
        new = self.new_name(after=old)
        if not self._objects.put_if_absent(f"{self.folder}/{new}", segment_bytes(lines)):
            raise StoreError(f"{self._objects.url}: {self.folder}/{new} exists already; nothing was deleted, run again")
        for name in old:
            self._objects.delete(f"{self.folder}/{name}")
        return new

    def new_name(self, after: Iterable[str] = ()) -> str:
        """A segment name that no other writer can choose, behind all of `after` in key order."""
        moments = [int(match[1]) for match in map(_NAME.fullmatch, after) if match]
        moment = max([time.time_ns() // 1_000_000, *(earlier + 1 for earlier in moments)])
        return f"{moment:013d}-{secrets.token_hex(6)}.jsonl"

    def _read(self, only: Iterable[str] | None = None) -> tuple[PartRows, list[str]]:
        rows, read = PartRows(), list[str]()
        wanted = set(only) if only is not None else None
        while True:
            fresh = [n for n in self._names() if n not in read and (wanted is None or n in wanted)]
            gone = False
            for name in fresh:
                key = f"{self.folder}/{name}"
                try:
                    raw = self._objects.get(key)
                except ObjectNotFound:  # folded since it was listed
                    gone = True
                    continue
                rows.add_segment(raw, key, self._objects.url)
                read.append(name)
            if not gone:
                return rows, read

    def _names(self) -> list[str]:
        """Names of segments. Local folders are read until two readings agree: readdir is not a snapshot."""
        names = self._listed()
        while self._objects.local_path(self.folder) is not None and (again := self._listed()) != names:
            names = again
        return names

    def _listed(self) -> list[str]:
        found = (info.key.rsplit("/", 1)[1] for info in self._objects.list(self.folder))
        return [name for name in found if name.endswith(".jsonl")]

    def _finished(self, name: str) -> bool:
        """Whether a segment can have no further rows. Its header is written under the lock that a writer holds."""
        key = f"{self.folder}/{name}"
        try:
            return self._objects.get_range(key, 0, 1) != b"" and self._objects.abandoned(key)
        except ObjectNotFound:
            return False


def segment_bytes(lines: Iterable[bytes]) -> bytes:
    """A whole segment from rows without line ends."""
    return segment_head() + b"".join(line + b"\n" for line in lines)


def segment_head() -> bytes:
    """The first line of every segment."""
    return encode({}, PARTS_SCHEMA)


def _rank(line: bytes) -> tuple[float, bytes]:
    return cast(float, cast("dict[str, Json]", json.loads(line))["at"]), line


def _seal(line: bytes) -> bytes:
    """A row without seal and line end, with its seal."""
    before = line[:-1] + _MARK
    return before + _digits(before) + _END


def _is_sealed(line: bytes) -> bool:
    """Whether a line is a row with its right seal."""
    return line[_SEAL] == _digits(line[_BEFORE]) and line.startswith(_HEAD) and line.endswith(_END)


def _digits(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest()[:_DIGITS].encode()


def _is_unsealed(line: bytes) -> bool:
    """Whether a line can be a row of earlier versions, whose fields are known: all later rows have a seal."""
    try:
        data = json.loads(line)
        row = PartRow.from_json(data)
        entries = [entry for found in row.entries.values() for entry in found]
        if not all(_HEX.fullmatch(entry.sha256) and type(entry.size) is int for entry in entries):
            return False
        return set(data) == _UNSEALED and bool(_HEX.fullmatch(row.key) and _MADE_BY.fullmatch(row.attempt))
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _head_is_bad(lines: list[bytes], where: str) -> bool:
    """Whether the head of a segment is damaged. A later version is believed unless a row has a seal of this one."""
    try:
        decode(lines[0], PARTS_SCHEMA, where)
    except Damaged:
        return True
    except NewerSchema:
        if any(_is_sealed(line) for line in lines[1:]):
            return True
        raise
    return False
