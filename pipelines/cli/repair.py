"""``sharpline repair``: restore what is missing or damaged of finished work, and nothing else."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    spec: Annotated[Path, typer.Argument(help="The spec whose results are repaired.", show_default=False)],
    stages: Annotated[
        list[str] | None, typer.Argument(help="Only these stages (default: all).", show_default=False)
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="As in `run`.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another store than the spec's.")] = None,
    executor: Annotated[str, typer.Option(help="ray (embedded unless --address) or local (without Ray).")] = "ray",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A running Ray cluster (`auto` finds this machine's).")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="Use at most this many cores of this machine.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Exit 4 when another run builds the same key.")] = False,
    format_: Annotated[str, typer.Option("--format", metavar="text|json", help="How to tell.")] = "text",
) -> None:
    """Verify, then make again exactly what is missing or damaged; the result is what was committed, or an error.

    Wrong bytes are kept under ``damaged/`` in the store. Damaged rows of partition tables are made again with their
    partitions, or dropped where the stage cannot be made again; a damaged record of a key log cannot be repaired.
    What was not built is not built. Exit codes: 0 all is intact, 1 a stage failed, nothing was verified, or
    something could not be looked at, 2 wrong usage or spec, 3 something cannot be restored, 4 lease held (--no-wait),
    5 cluster lost, 130 interrupted.
    """
    from pipelines.cli.common import executor_name, open_spec, stages_named
    from pipelines.cli.verify_text import as_format, progress, repair_lines
    from pipelines.plan import Planner
    from pipelines.progress.display import display_for
    from pipelines.repair import Repair
    from pipelines.run import ExecutorChoice
    from pipelines.verify.check import verify
    from pipelines.verify.reading import Reader
    from pipelines.verify.rows import drop_rows

    json = as_format(format_) == "json"
    loaded, graph, opened = open_spec(spec, set_ or [], store, create=False)
    names = stages_named(stages or [], graph, "repair") or graph.order
    choice = ExecutorChoice(executor_name(executor, address), address, cpus)
    with progress() as watch, display_for(sys.stderr if json else sys.stdout, json=False, quiet=json) as display:
        reader = Reader(opened, watch)
        repair = Repair(
            loaded, graph, opened, display,
            executor=choice, wait=not no_wait, reader=reader,
            say=lambda text: typer.echo(text, err=True), argv=sys.argv[1:],
        )  # fmt: skip
        done = repair.run(names)
        status = done.runs[-1].status if done.runs else "ok"
        dropped = drop_rows(opened, done.last) if status == "ok" else ()
        if dropped:
            done.last = verify(Planner(loaded, graph, opened), names, reader)
    if json:
        told = {**done.to_json(), "intact": done.last.intact, "complete": done.last.complete}
        typer.echo(jsonlib.dumps(told, indent=2, ensure_ascii=False))
    else:
        for line in repair_lines(done, str(spec), dropped):
            typer.echo(line)
    if status != "ok":
        raise typer.Exit(130 if status == "interrupted" else 1)
    if done.left:
        raise typer.Exit(3)
    if not done.last.complete:
        raise typer.Exit(1)
