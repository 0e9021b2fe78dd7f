"""Displays for pipes, logs and machines: one line per event, or one JSON object per event."""

from __future__ import annotations

import json
from typing import TextIO

from pipelines.events import Event
from pipelines.progress.board import Board, Failure, StageLine, Warned, as_number, as_text
from pipelines.progress.summary import Row, failure_rows, summary
from pipelines.progress.text import Glyphs, clean, duration, glyphs_for, number, one_line, rate

PROGRESS_EVERY = 30.0


class Pipe:
    """Writes lines, flushed at once, for as long as somebody reads: ``| head`` must not end the run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._codec = getattr(stream, "encoding", None) or "utf-8"

    def line(self, text: str) -> None:
        """Write one line; what the stream's encoding cannot express becomes a question mark."""
        if self._stream is None:
            return
        try:
            self._stream.write(text.encode(self._codec, "replace").decode(self._codec, "replace") + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self._stream = None


class JsonLines:
    """Every event as one line of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._pipe = Pipe(stream)

    def emit(self, event: Event) -> None:
        self._pipe.line(json.dumps(event.to_json(), default=str))

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class PlainLines:
    """One plain line per event; progress of a stage at most once in 30 s. `quiet` keeps problems and the end."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self._pipe, self.quiet = Pipe(stream), quiet
        self.board = Board()
        self.glyphs: Glyphs = glyphs_for(getattr(stream, "encoding", None))
        self._spoke: dict[str, float] = {}

    def emit(self, event: Event) -> None:
        self.board.apply(event)
        if event.type == "stage.failed":
            for row in failure_rows(Failure.of(event), self.glyphs):
                self._write(str(row))
        elif not self.quiet or event.type in ("stage.retry", "stage.warning"):
            text = self._say(event)
            if text:
                elapsed = duration(event.time - (self.board.started or event.time))
                self._write(f"{elapsed:>9}  {text}")

    def _say(self, event: Event) -> str:
        if event.stage is None:
            return self._say_run(event)
        stage = self.board.stages[event.stage]
        if event.type in ("stage.progress", "partition.done"):
            return self._say_progress(stage, event)
        words = stage_words(stage, event)
        return f"{stage.name}: {words}" if words else ""

    def _say_run(self, event: Event) -> str:
        if event.type != "run.started":
            return ""
        return (
            f"run {as_text(event.data.get('run'))} of {self.board.name}, {as_text(event.data.get('executor'))} executor"
        )

    def _say_progress(self, stage: StageLine, event: Event) -> str:
        last = self._spoke.setdefault(stage.name, stage.started or event.time)
        if event.time - last < PROGRESS_EVERY or stage.fraction is None:
            return ""
        self._spoke[stage.name] = event.time
        parts = [f"{stage.fraction:.0%}", f"{number(stage.done)} of {number(stage.total)} {stage.unit}".rstrip()]
        speed = rate(stage.rate.per_second(event.time), stage.unit)
        left = stage.rate.eta(event.time, stage.total)
        parts += [speed] if speed else []
        parts += [f"{duration(left)} left"] if left is not None else []
        return f"{stage.name}: {', '.join(parts)}"

    def _write(self, text: str) -> None:
        self._pipe.line(clean(text))

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *error: object) -> None:
        if self.board.stages or self.board.finish is not None:
            for row in closing(self.board, self.glyphs):
                self._write(str(row))


def closing(board: Board, glyphs: Glyphs) -> list[Row]:
    """The summary without the failure blocks: they were shown when they happened."""
    rows = summary(board, glyphs)
    texts = [row.text for row in rows]
    return rows[texts.index("") + 1 :] if board.failures and "" in texts else rows


def stopping_words(event: Event) -> str:
    """What a stage does that was asked to stop."""
    seconds = as_number(event.data.get("seconds")) or 0
    return f"saves what it has, for at most {duration(seconds)}; Ctrl-C once more gives that up"


def stage_words(stage: StageLine, event: Event) -> str:
    """What happened to a stage, in a few words; nothing for what a log need not say."""
    data = event.data
    if event.type == "stage.planned":
        why = f" ({one_line(stage.reasons[0])})" if stage.reasons else ""
        return f"{stage.plan}{why}" if stage.plan not in ("cached", "") else ""
    if event.type == "stage.waiting":
        return f"waiting for {stage.holder}, which builds the same key"
    if event.type == "stage.started":
        parts = f", {number(stage.total)} partition{'s' if stage.total != 1 else ''}" if stage.partitioned else ""
        found = f", {number(stage.found)} of them already done" if stage.found else ""
        return f"{'resumed' if stage.how == 'resume' else 'started'}{parts}{found}"
    if event.type == "stage.stopping":
        return stopping_words(event)
    if event.type == "stage.retry":
        return f"retry: {one_line(stage.retries[-1]).removeprefix(stage.name + ': ')}"
    if event.type == "stage.warning":
        return one_line(Warned.of(event).words)
    if event.type == "stage.committed":
        return f"{stage.how} in {duration(stage.seconds)}"
    if event.type == "stage.reused":
        return "reused"
    if event.type == "stage.skipped":
        because = one_line(as_text(data.get("because")))
        return f"skipped ({because})" if because else "skipped"
    return ""
