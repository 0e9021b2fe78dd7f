"""The writer of a partition table.

On a file system a writer appends each row to a segment of its own as soon as it is added: a driver killed with
SIGKILL loses none, because a completed write(2) survives its process. The file is fsynced once a second and at
`flush`: a power failure can only lose the last rows, whose partitions are then built again.

Where objects cannot grow, rows are gathered into segments of 10 s or 1,000 rows, and a writer folds its own small
segments, so that a long stage leaves a handful.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from pipelines.errors import StoreError
from pipelines.store.objects import ObjectStore
from pipelines.store.parts import PartRow, segment_bytes, segment_head
from pipelines.store.ticker import Ticker

if TYPE_CHECKING:
    from pipelines.store.parts import PartTable

FLUSH_SECONDS = 10.0
FLUSH_ROWS = 1000
SYNC_SECONDS = 1.0
FOLD_SEGMENTS = 8  # own remote segments that are folded into one
FOLD_ROWS = 50_000  # a fold of this many rows is left alone


class PartWriter:
    """Adds rows to one table. Safe for threads. Rows added and not yet stored are visible after `flush` or `close`."""

    def __init__(self, objects: ObjectStore, table: PartTable, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects, self._table, self._clock = objects, table, clock
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._grows = objects.local_path(table.folder) is not None
        self._pending: list[bytes] = []
        self._own: list[tuple[str, list[bytes]]] = []
        self._since = 0.0
        self._ticker = Ticker(FLUSH_SECONDS, self.flush)

    def add(self, row: PartRow) -> None:
        """Add a finished partition."""
        line = row.to_line()
        with self._lock:
            if self._grows:
                self._append(line)
            else:
                self._gather(line)

    def flush(self) -> None:
        """Store every row that was added."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Store every row and let the table be compacted. A closed writer may be closed again."""
        self._ticker.stop()
        with self._lock:
            self._flush()
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._store_pending()

    # -- a growing file

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self._file = self._objects.append_file(f"{self._table.folder}/{self._table.new_name()}")
            assert self._file is not None
            line = segment_head() + line
            self._since = self._clock()
        try:
            _write_all(self._file, line)
        except OSError as error:  # half a row may be there: nothing may follow it
            self._file.close()
            self._file = None
            raise StoreError(f"{self._objects.url}: could not add to {self._table.folder}: {error.strerror}") from error
        if self._clock() - self._since >= SYNC_SECONDS:
            os.fdatasync(self._file.fileno())
            self._since = self._clock()

    # -- segments that cannot grow

    def _gather(self, line: bytes) -> None:
        self._pending.append(line.rstrip(b"\n"))
        self._ticker.start()
        if len(self._pending) >= FLUSH_ROWS:
            self._store_pending()

    def _store_pending(self) -> None:
        if not self._pending:
            return
        name = self._table.new_name(after=[name for name, _ in self._own])
        self._objects.put_if_absent(f"{self._table.folder}/{name}", segment_bytes(self._pending))
        self._own.append((name, self._pending))
        self._pending = []
        if len(self._own) >= FOLD_SEGMENTS:
            self._fold()

    def _fold(self) -> None:
        lines = [line for _, kept in self._own for line in kept]
        name = self._table.replace([name for name, _ in self._own], lines)
        self._own = [(name, lines)] if len(lines) < FOLD_ROWS else []


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
