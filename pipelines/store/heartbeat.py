"""Signs of life of drivers: ``heartbeats/<holder>.json``, rewritten while the driver lives.

An observer needs no clock in common with the driver: it watches whether the object changes during `patience`
seconds of its own monotonic clock (which stands still while the machine sleeps).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from pipelines.errors import StoreError
from pipelines.store.holder import Holder
from pipelines.store.objects import ObjectNotFound
from pipelines.store.schema import encode

if TYPE_CHECKING:
    from pipelines.store.store import Store

INTERVAL = 5.0  # seconds between beats
PATIENCE = 60.0  # seconds without a beat after which a holder counts as dead

log = logging.getLogger("sharpline.store")


class Heartbeat:
    """Beats for `holder` while the context is open; the first beat is written before the body starts."""

    def __init__(self, store: Store, holder: Holder, interval: float = INTERVAL) -> None:
        self._objects = store.objects
        self._holder, self._interval = holder, interval
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="sharpline-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        try:
            self._objects.delete(heartbeat_key(self._holder))
        except StoreError as failure:
            log.warning("heartbeat was left behind: %s", failure)

    def _beat_on(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._beat()
            except StoreError as failure:  # an outage of the store: the next beat may succeed
                log.warning("heartbeat failed: %s", failure)

    def _beat(self) -> None:
        self._count += 1
        data = encode({"holder": self._holder.to_json(), "beat": self._count, "at": round(time.time(), 3)})
        self._objects.put(heartbeat_key(self._holder), data)


class Liveness:
    """An observer of other drivers. Keep one and ask it repeatedly: it measures between questions."""

    def __init__(self, store: Store, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects, self._patience, self._clock = store.objects, patience, clock
        self._seen: dict[str, tuple[bytes | None, float]] = {}

    def dead(self, holder: Holder) -> bool:
        """Whether `holder` is gone: proven on this machine, or without a beat for `patience` seconds."""
        if holder.proven_dead():
            return True
        try:
            beat = self._read(holder)
        except StoreError:  # our own view is broken, which proves nothing about the holder
            self._seen.pop(holder.id, None)
            return False
        now = self._clock()
        last, since = self._seen.get(holder.id, (None, now))
        if holder.id not in self._seen or beat != last:
            self._seen[holder.id] = (beat, now)
            return False
        return now - since >= self._patience

    def _read(self, holder: Holder) -> bytes | None:
        try:
            return self._objects.get(heartbeat_key(holder))
        except ObjectNotFound:  # it left, or never began: as good as a beat that does not change
            return None


def heartbeat_key(holder: Holder) -> str:
    """The object that `holder` rewrites."""
    return f"heartbeats/{holder.id}.json"
