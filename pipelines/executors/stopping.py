"""How a running unit learns that it is asked to stop, whatever executor runs it and on whatever node.

A driver that ends asks through the store: by a hint of the attempt, which all ranks of a unit look for. A process
that is sent SIGTERM (a spot machine, a drained node) asks its own unit. Only a unit that has looked at
`ctx.stopping` is asked and waited for, because it has shown that it saves something; all others end at once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

from pipelines.errors import StoreError
from pipelines.failure import Terminated
from pipelines.store.attempts import Attempt
from pipelines.store.ticker import Ticker

GRACE: Final = 25.0  # seconds in which an interrupted training may save: Kubernetes and Slurm kill after 30
LOOK: Final = 1.0  # seconds between looks at the store: on S3 each is a request
HEEDS: Final = "heeds-stop"
STOP: Final = "stop"


class StopWatch:
    """The answer to `ctx.stopping` of one unit. Making it tells the driver that this unit may be asked."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._asked, self._told = attempt, threading.Event(), False
        self._ticker = Ticker(LOOK, self._look)
        self._look()
        self._ticker.start()
        if threading.current_thread() is threading.main_thread():
            _watches.append(self)

    @property
    def asked(self) -> bool:
        """Whether the driver or SIGTERM has asked."""
        return self._asked.is_set()

    def ask(self) -> None:
        self._asked.set()

    def close(self) -> None:
        """Look no longer."""
        self._ticker.stop()
        if self in _watches:
            _watches.remove(self)

    def _look(self) -> None:
        with contextlib.suppress(StoreError):  # an outage: the next look may succeed
            if not self._told:
                self._attempt.put_hint(HEEDS, {})
                self._told = True
            if stop_asked(self._attempt):
                self._asked.set()


_watches: list[StopWatch] = []
"""Of the unit that runs in the main thread, where signals arrive."""


@contextlib.contextmanager
def hears_sigterm() -> Iterator[None]:
    """While a unit runs in the main thread of its own process, SIGTERM asks it to stop, or ends it by Terminated.

    In another thread (of a driver, of Ray Train) nothing changes: signals are not its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def asked(_number: int, _frame: FrameType | None) -> None:
        if not _watches:
            raise Terminated("the process of this unit was asked to end (SIGTERM)")
        for watch in _watches:
            watch.ask()

    before = signal.signal(signal.SIGTERM, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def ask_to_stop(attempt: Attempt) -> bool:
    """Ask the unit of an attempt that is not of partitions. False when it has not shown that it would listen."""
    if attempt.hint(HEEDS) is None:
        return False
    attempt.put_hint(STOP, {})
    return True


def stop_asked(attempt: Attempt) -> bool:
    """Whether a driver has asked."""
    return attempt.hint(STOP) is not None
