"""Work beside the driver's loop, in threads that never keep the process alive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Background:
    """Runs calls in daemon threads, at most `limit` at a time.

    Not a ThreadPoolExecutor: the interpreter waits for its threads at exit, so that Ctrl-C while 10 TB are
    hashed would end hours later.
    """

    def __init__(self, limit: int) -> None:
        self._slots = threading.Semaphore(limit)

    def submit(self, name: str, call: Callable[[], T]) -> Future[T]:
        """Start `call` when a slot is free; a future cancelled before that never starts."""
        future: Future[T] = Future()
        threading.Thread(target=self._run, args=(future, call), name=name, daemon=True).start()
        return future

    def _run(self, future: Future[T], call: Callable[[], T]) -> None:
        with self._slots:
            settle(future, call)


def settle(future: Future[T], call: Callable[[], T]) -> None:
    """Give `future` what `call` returns or raises, unless it was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
