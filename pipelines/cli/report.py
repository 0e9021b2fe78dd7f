"""``sharpline report``: write the report of a run, finished or not, and say where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    spec: Annotated[Path | None, typer.Argument(help="Report the latest run of this spec.", show_default=False)] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="A run's id, or how it begins.")] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="The store (default: the spec's, or ./.sharpline).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it here as well.")] = None,
) -> None:
    """Write report.html: the graph, timings, reuse and reasons, curves, pictures and metrics in one file."""
    from pipelines.cli.runs import open_existing
    from pipelines.progress.summary import file_url
    from pipelines.report.find import find_run
    from pipelines.report.write import REPORT, write_report

    opened, name = open_existing(spec, store)
    found = find_run(opened, run, name)
    path = write_report(opened, found, out)
    typer.echo(file_url(str(path)) if path is not None else f"{opened.url}/runs/{found}/{REPORT}")
