"""``sharpline verify``: whether what was committed is still there, byte for byte."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer


def command(
    spec: Annotated[Path, typer.Argument(help="The spec whose results are verified.", show_default=False)],
    stages: Annotated[
        list[str] | None, typer.Argument(help="Only these stages (default: all).", show_default=False)
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="As in `run`.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another store than the spec's.")] = None,
    resynthesise: Annotated[
        str | None,
        typer.Option(metavar="P%", help="Also make P % of each stage's partitions again, and compare; keeps nothing."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses other partitions to make again.")] = 0,
    cpus: Annotated[int | None, typer.Option(min=1, help="Use at most this many cores to make them again.")] = None,
    format_: Annotated[str, typer.Option("--format", metavar="text|json", help="How to tell.")] = "text",
) -> None:
    """Read every committed byte of the stages' current results and compare it with its digest. Writes nothing.

    Exit codes: 0 all that is built is intact, 1 nothing was verified, or something could not be looked at (the store
    could not be read, a source is not there), 2 wrong usage or spec, 3 something is bad.
    """
    from pipelines.cli.common import open_spec, stages_named
    from pipelines.cli.verify_text import as_format, progress, redone_lines, verification_lines
    from pipelines.plan import Planner
    from pipelines.verify.check import verify
    from pipelines.verify.reading import Reader
    from pipelines.verify.resynthesis import percent
    from pipelines.verify.resynthesis import resynthesise as make_again

    json, part = as_format(format_) == "json", percent(resynthesise)
    loaded, graph, opened = open_spec(spec, set_ or [], store, create=False)
    planner = Planner(loaded, graph, opened)
    names = stages_named(stages or [], graph, "verify") or graph.order
    with progress() as watch:
        found = verify(planner, names, Reader(opened, watch))
    redone = make_again(planner, names, part, seed=seed, cpus=cpus) if part is not None else ()
    if json:
        again = [stage.to_json() for stage in redone]
        typer.echo(jsonlib.dumps({**found.to_json(), "resynthesised": again}, indent=2, ensure_ascii=False))
    else:
        for line in (*verification_lines(found, str(spec)), *redone_lines(redone)):
            typer.echo(line)
    if found.bad or any(stage.differences for stage in redone):
        raise typer.Exit(3)
    if not found.complete:
        raise typer.Exit(1)
