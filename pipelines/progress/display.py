"""Which display a stream gets, and the live one."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from pipelines.events import Event
from pipelines.progress.board import Board, Failure, Warned
from pipelines.progress.lines import JsonLines, PlainLines, closing, stopping_words
from pipelines.progress.summary import Row, failure_rows
from pipelines.progress.text import UNICODE, clean, glyphs_for, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

_TONES = {"good": "bold green", "bad": "bold red", "warn": "yellow", "dim": "bright_black", "plain": ""}


class Display(Protocol):
    """Takes events between enter and exit. On exit it says how the run ended."""

    def emit(self, event: Event) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display_for(stream: TextIO, *, json: bool = False, quiet: bool = False) -> Display:
    """A live table on a terminal, plain lines elsewhere, JSON lines on request; `quiet` keeps problems and the end."""
    if json:
        return JsonLines(stream)
    if quiet or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return PlainLines(stream, quiet=quiet)
    return LiveDisplay(stream)


class LiveDisplay:
    """The live table; failures, retries and warnings are printed above it as they happen.

    Uses rich's refresh thread only.
    """

    def __init__(
        self, stream: TextIO, *, clock: Callable[[], float] = time.time, console: Console | None = None
    ) -> None:
        from rich.console import Console

        self.board = Board()
        self.glyphs = glyphs_for(getattr(stream, "encoding", None))
        if self.glyphs is not UNICODE and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not end the run
        self.console = console or Console(file=stream, highlight=False, soft_wrap=False)
        self.clock = clock
        self._live: Live | None = None

    def emit(self, event: Event) -> None:
        self.board.apply(event)
        if event.type == "stage.failed":
            self._print(failure_rows(Failure.of(event), self.glyphs))
        elif event.type == "stage.retry" and event.stage is not None:
            self._print([Row(f"! {one_line(self.board.stages[event.stage].retries[-1])}", tone="warn")])
        elif event.type == "stage.warning":
            self._print([Row(f"! {event.stage}: {one_line(Warned.of(event).words)}", tone="warn")])
        elif event.type == "stage.stopping":
            self._print([Row(f"! {event.stage}: {stopping_words(event)}", tone="warn")])

    def _print(self, rows: list[Row]) -> None:
        from rich.text import Text

        lines = []
        for row in rows:
            label = Text(f"  {row.label:<8} " if row.label else "", style="bright_black")
            lines.append(Text.assemble(label, (clean(row.text), _TONES[row.tone])))
        self.console.print(Text("\n").join(lines), soft_wrap=True)

    def __enter__(self) -> Self:
        from rich.live import Live

        from pipelines.progress.table import LiveTable

        table = LiveTable(self.board, self.glyphs, self.clock)
        self._live = Live(table, console=self.console, refresh_per_second=8, vertical_overflow="ellipsis")
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self.board.stages or self.board.finish is not None:
            self._print(closing(self.board, self.glyphs))
