"""``sharpline run``: build what is missing, go on where the last run stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.executors.stopping import GRACE


def command(
    spec: Annotated[Path, typer.Argument(help="The spec to run.", show_default=False)],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; may be repeated.")
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", "-s", metavar="WHAT", help="stage, +stage, stage+, stage@axis=v, stage[3,17]."),
    ] = None,
    rebuild: Annotated[
        list[str] | None, typer.Option("--rebuild", metavar="STAGE", help="Build a stage again although it is cached.")
    ] = None,
    executor: Annotated[str, typer.Option(help="ray (embedded unless --address) or local (without Ray).")] = "ray",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A running Ray cluster (`auto` finds this machine's).")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="Use at most this many cores of this machine.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another store than the spec's.")] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", "-k", help="A failure stops only what needs it.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Exit 4 when another run builds the same key.")] = False,
    grace: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long Ctrl-C or SIGTERM waits for trainings to save.")
    ] = GRACE,
    json: Annotated[bool, typer.Option("--json", help="One JSON event per line.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the end, and failures.")] = False,
) -> None:
    """Run a spec. What is cached is reused, what was interrupted goes on, what changed is rebuilt.

    Exit codes: 0 ok, 1 a stage failed, 2 wrong usage or spec, 4 lease held (--no-wait), 5 cluster lost,
    130 interrupted.
    """
    from pipelines.cli.common import choose, executor_name, open_spec, refuse_unready, to_rebuild
    from pipelines.progress.display import display_for
    from pipelines.run import ExecutorChoice, run
    from pipelines.scheduler import Options

    loaded, graph, opened = open_spec(spec, set_ or [], store)
    selection = choose(select or [], graph, opened, loaded)
    rebuilt = to_rebuild(rebuild or [], graph, selection)
    refuse_unready(selection, loaded, graph, opened)
    options = Options(
        keep_going=keep_going,
        wait_for_leases=not no_wait,
        selected=selection.stages,
        partitions=selection.partitions,
        grace=grace,
    )
    choice = ExecutorChoice(executor_name(executor, address), address, cpus)
    with display_for(sys.stdout, json=json, quiet=quiet) as display:
        result = run(
            loaded,
            graph,
            opened,
            display,
            executor=choice,
            options=options,
            rebuild=rebuilt,
            argv=sys.argv[1:],
        )
    if result.status != "ok":
        raise typer.Exit(130 if result.status == "interrupted" else 1)
