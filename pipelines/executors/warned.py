"""What units warn of, on its way from their logs to people: bounded, each text once.

A worker hears them (:class:`Heard`), an outcome carries them, the driver tells them (:class:`Tally`). No key,
manifest or partition row knows of them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pipelines.events import Event

MOST: Final = 20
"""Texts of one unit, and of one stage."""
LONGEST: Final = 1000
"""Characters of a text."""


class Heard(logging.Handler):
    """Keeps the warnings of one unit, and what its stage logged as an error and survived."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: dict[str, None] = {}
        self._more = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage().strip()[:LONGEST]
        except Exception:
            self.handleError(record)
            return
        if text in self._kept or not text:
            return
        if len(self._kept) < MOST - 1:
            self._kept[text] = None
        else:
            self._more += 1

    @contextlib.contextmanager
    def listening(self, log: logging.Logger) -> Iterator[None]:
        """Hear what `log` is told meanwhile."""
        log.addHandler(self)
        try:
            yield
        finally:
            log.removeHandler(self)

    @property
    def texts(self) -> tuple[str, ...]:
        """At most `MOST` texts in their order; the last says how many more there were."""
        return (*self._kept, *([_more(self._more)] if self._more else []))


class Tally:
    """Tells what the units of one stage warned of: a single unit's at once, equal texts of partitions with a count."""

    def __init__(self, stage: str, tell: Callable[[Event], None]) -> None:
        self._stage, self._tell = stage, tell
        self._partitions: dict[str, dict[str, None]] = {}
        self._told: set[str] = set()
        self._more: set[str] = set()

    def add(self, partition: str | None, texts: Sequence[str]) -> None:
        """A unit has ended: `partition` names it, None is for the whole stage."""
        for text in texts:
            if text not in self._partitions and len(self._partitions) >= MOST:
                self._more.add(partition or "")
                continue
            found = self._partitions.setdefault(text, {})
            if partition is not None:
                found[partition] = None
            else:
                self._say(text)

    def flush(self) -> None:
        """Partitions have ended: tell of each text that was not told yet."""
        for text in self._partitions:
            self._say(text)

    def close(self) -> None:
        """Nothing more is to come: tell what is left, and that there was more than is told."""
        self.flush()
        if self._more:
            units = len(self._more)
            self._emit(f"other warnings of {units} unit{'s' if units > 1 else ''} stand in the log", None, units)
            self._more.clear()

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            partitions = self._partitions[text]
            self._emit(text, next(iter(partitions), None), max(1, len(partitions)))

    def _emit(self, text: str, partition: str | None, count: int) -> None:
        self._tell(Event("stage.warning", self._stage, {"partition": partition, "text": text, "count": count}))


def _more(count: int) -> str:
    return f"{count} more warning{'s' if count > 1 else ''} of this unit: see its log"
