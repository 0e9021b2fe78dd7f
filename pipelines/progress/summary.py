"""The last words of a run: what ran, what was reused, where the results are, how to go on after a failure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pipelines.progress.board import Board, Failure, StageLine, as_text
from pipelines.progress.text import Glyphs, clip, duration, one_line

Tone: TypeAlias = Literal["good", "bad", "warn", "plain", "dim"]

MAX_NAMES = 6
MAX_FAILURES = 5
_OUTCOMES = {"ok": "finished", "failed": "failed", "interrupted": "interrupted"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of plain text: an indented label and what it says."""

    text: str
    label: str = ""
    tone: Tone = "plain"

    def __str__(self) -> str:
        return f"  {self.label:<8} {self.text}".rstrip() if self.label else self.text


def file_url(place: str) -> str:
    """A path as a ``file://`` URL that a terminal makes clickable; URLs and odd places stay as they are."""
    path = Path(place)
    return path.as_uri() if path.is_absolute() else place


def failure_rows(failure: Failure, glyphs: Glyphs) -> list[Row]:
    """Stage and partition, the cause with the user's own frame, and the log's place."""
    rows = [Row(f"{glyphs.failed} {failure.unit} failed: {_first_line(failure.cause)}", tone="bad")]
    if failure.frame is not None:
        rows.append(Row(f"    {failure.frame.where}"))
        if failure.frame.source:
            rows.append(Row(f"      {failure.frame.source}", tone="dim"))
    rows += [Row(f"    {line}") for line in failure.message.splitlines()[1:12]]
    if failure.kind == "internal":
        rows.append(Row("    This is a defect of Sharpline, not of your code. Please report it with these lines:"))
        rows += [Row(f"      {line}", tone="dim") for line in failure.traceback.splitlines()[-12:]]
    elif failure.kind == "lost":
        rows.append(Row("    The worker went away (killed, out of memory, or its machine was lost)."))
    if failure.log:
        rows.append(Row(failure.log, "log"))
    return rows


def summary(board: Board, glyphs: Glyphs) -> list[Row]:
    """All closing lines. A run without ``run.finished`` counts as interrupted."""
    finish = board.finish or {}
    status = as_text(finish.get("status")) or "interrupted"
    rows: list[Row] = []
    for failure in board.failures[:MAX_FAILURES]:
        rows += failure_rows(failure, glyphs)
    if len(board.failures) > MAX_FAILURES:
        rows.append(Row(f"    and {len(board.failures) - MAX_FAILURES} more failures; the report lists all"))
    rows += [Row("")] if rows else []
    rows.append(_headline(board, status, glyphs))
    rows += _stage_rows(board)
    store = as_text(board.start.get("store"))
    rows += [Row(store, "store")] if store else []
    rows += [Row(file_url(board.report), "report")] if board.report else []
    if status != "ok" and board.command:
        rows.append(Row(board.command, "continue", "warn"))
    return rows


def _headline(board: Board, status: str, glyphs: Glyphs) -> Row:
    seconds = (board.finish or {}).get("seconds")
    if not isinstance(seconds, (int, float)):
        seconds = board.last - board.started if board.last and board.started else None
    took = f" after {duration(seconds)}" if seconds is not None else ""
    counts = [
        f"{count} {word}"
        for word, count in (
            ("built", board.count("done")),
            ("reused", board.count("reused")),
            ("failed", board.count("failed")),
            ("skipped", board.count("skipped")),
            ("not started", board.count("queued") + board.count("waiting") if status != "ok" else 0),
        )
        if count
    ]
    mark, tone = {"ok": (glyphs.done, "good"), "failed": (glyphs.failed, "bad")}.get(status, (glyphs.failed, "warn"))
    text = f"{mark} {board.name} {_OUTCOMES.get(status, status)}{took}"
    return Row(f"{text}: {', '.join(counts)}" if counts else text, tone=tone)  # type: ignore[arg-type]


def _stage_rows(board: Board) -> list[Row]:
    rows = []
    for label, stages in (
        ("built", board.of("done")),
        ("reused", board.of("reused")),
        ("skipped", board.of("skipped")),
    ):
        if stages:
            names = [_named(stage) for stage in stages[:MAX_NAMES]]
            more = f" and {len(stages) - MAX_NAMES} more" if len(stages) > MAX_NAMES else ""
            rows.append(Row(", ".join(names) + more, label))
    return rows


def _named(stage: StageLine) -> str:
    took = f" {duration(stage.seconds)}" if stage.seconds is not None and stage.phase == "done" else ""
    return f"{stage.name}{took}"


def _first_line(text: str) -> str:
    lines = text.splitlines()
    return clip(one_line(lines[0]), 400, "...") if lines else "no reason given"
