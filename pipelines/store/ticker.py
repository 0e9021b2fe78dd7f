"""A thread that stores buffered rows now and then, so that what was observed is soon visible to others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pipelines.errors import StoreError

log = logging.getLogger("sharpline.store")


class Ticker:
    """Calls `action` every `interval` seconds from the first `start` to `stop`.

    A StoreError is logged and the next tick tries again: the last word is the caller's own flush.
    """

    def __init__(self, interval: float, action: Callable[[], None]) -> None:
        self._interval, self._action = interval, action
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread unless it runs."""
        with self._lock:
            if self._thread is None:
                self._stopped.clear()
                self._thread = threading.Thread(target=self._tick, name="sharpline-flush", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for an action in progress. Not to be called from within `action`."""
        with self._lock:
            self._stopped.set()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _tick(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                self._action()
            except StoreError as error:
                log.warning("rows stay in memory until the store answers: %s", error)
