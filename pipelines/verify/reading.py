"""Reading every blob once, in several threads, past every cache: hashing releases the interpreter's lock."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

from pipelines.store.blobs import blob_key
from pipelines.store.damage import Found, look
from pipelines.store.store import Store

LOCAL_THREADS, REMOTE_THREADS = 8, 16
INTERVAL = 0.5  # seconds between reports of progress

Watch: TypeAlias = Callable[[int, int, float], None]
"""Called now and then with bytes read, bytes in all, seconds so far."""


@dataclass(slots=True)
class Reader:
    """Reads blobs of one store. What was found intact is not read again by the same reader."""

    store: Store
    watch: Watch | None = None
    intact: dict[str, Found] = field(default_factory=dict)
    read: int = 0

    def look_at(self, sizes: Mapping[str, int]) -> dict[str, Found | None]:
        """What lies under each name in `sizes` (stated bytes by sha256); None where nothing does."""
        wanted = sorted((sha for sha in sizes if sha not in self.intact), key=lambda sha: -sizes[sha])
        found: dict[str, Found | None] = {sha: self.intact[sha] for sha in sizes if sha in self.intact}
        meter = _Meter(sum(sizes[sha] for sha in wanted), self.watch)

        def read(sha: str) -> Found | None:
            seen = look(self.store.objects, blob_key(sha))
            meter.add(seen.size if seen is not None else 0)
            return seen

        with ThreadPoolExecutor(self._threads()) as pool:
            for sha, seen in zip(wanted, pool.map(read, wanted), strict=True):
                found[sha] = seen
                if seen is not None and seen.sha256 == sha:
                    self.intact[sha] = seen
        self.read += meter.done
        return found

    def _threads(self) -> int:
        cores = len(os.sched_getaffinity(0))
        return min(LOCAL_THREADS, cores) if self.store.is_local else REMOTE_THREADS


class _Meter:
    def __init__(self, total: int, watch: Watch | None) -> None:
        self._total, self._watch = total, watch
        self._lock = threading.Lock()
        self._started = self._told = time.monotonic()
        self.done = 0

    def add(self, size: int) -> None:
        with self._lock:
            self.done += size
            now = time.monotonic()
            if self._watch is not None and now - self._told >= INTERVAL:
                self._told = now
                self._watch(self.done, self._total, now - self._started)


def stated_sizes(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The bytes stated of each sha256; where two statements differ the larger one counts, for the progress only."""
    sizes: dict[str, int] = {}
    for sha256, size in pairs:
        sizes[sha256] = max(size, sizes.get(sha256, 0))
    return sizes
