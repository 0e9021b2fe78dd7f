"""``sharpline runs``: what was run, when, and how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.report.find import RunLine
    from pipelines.store.store import Store


def command(
    spec: Annotated[Path | None, typer.Argument(help="Only runs of this spec.", show_default=False)] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="The store (default: the spec's, or ./.sharpline).")
    ] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many, the newest first.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per run.")] = False,
) -> None:
    """List runs with their status, the newest first."""
    from json import dumps

    from pipelines.report.find import run_line

    opened, name = open_existing(spec, store)
    lines: list[RunLine] = []
    for run in reversed(opened.runs()):
        line = run_line(opened, run)
        if name is None or line.spec == name:
            lines.append(line)
        if len(lines) == last:
            break
    if json:
        for line in lines:
            typer.echo(dumps(line.to_json()))
        return
    if not lines:
        typer.echo(f"No runs in {opened.url}.")
    for text in table(lines):
        typer.echo(text)


def open_existing(spec: Path | None, store: str | None) -> tuple[Store, str | None]:
    """The store to look into, and the spec's name where one was given. Never creates a store."""
    from pipelines.store.store import open_store

    if spec is None:
        return open_store(store or ".sharpline", create=False), None
    from pipelines.spec.load import load_spec

    loaded = load_spec(spec)
    return open_store(store or loaded.store, create=False), loaded.name


def table(lines: list[RunLine]) -> list[str]:
    """Aligned columns: id, status, start (local time), duration, counts."""
    import time

    from pipelines.progress.text import duration

    if not lines:
        return []
    rows = [("RUN", "STATUS", "STARTED", "TOOK", "STAGES")]
    for line in lines:
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(line.started)) if line.started else "unknown"
        counts = ((line.built, "built"), (line.reused, "reused"), (line.failed, "failed"))
        said = ", ".join(f"{count} {word}" for count, word in counts if count) or "none finished"
        rows.append((line.run, line.status, started, duration(line.seconds), f"{said} of {line.total}"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
