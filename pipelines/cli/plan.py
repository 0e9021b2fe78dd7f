"""``sharpline plan``: what a run would do, and why, without doing anything."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer


def command(
    spec: Annotated[Path, typer.Argument(help="The spec to plan.", show_default=False)],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; may be repeated.")
    ] = None,
    select: Annotated[list[str] | None, typer.Option("--select", "-s", metavar="WHAT", help="As in `run`.")] = None,
    rebuild: Annotated[list[str] | None, typer.Option("--rebuild", metavar="STAGE", help="As in `run`.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another store than the spec's.")] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 when there is work to do.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
) -> None:
    """Show the state of every stage: cached, resume, run, pending, lost or blocked, with the reasons.

    cached: nothing to do. resume: part of it is done. run: to be built. pending: an upstream stage will run,
    and this one is cached if the same bytes come out. lost: committed, but its bytes are gone and cannot be
    made again. blocked: cannot run.
    """
    from pipelines.cli.common import choose, open_spec, to_rebuild
    from pipelines.plan import Planner

    loaded, graph, opened = open_spec(spec, set_ or [], store)
    selection = choose(select or [], graph, opened, loaded)
    plan = Planner(loaded, graph, opened, rebuild=to_rebuild(rebuild or [], graph, selection)).plan(selection.stages)
    if json:
        typer.echo(jsonlib.dumps(plan.to_json(), indent=2, ensure_ascii=False))
    else:
        from pipelines.cli.plan_text import plan_lines

        for line in plan_lines(plan):
            typer.echo(line)
    if exit_code and plan.has_work:
        raise typer.Exit(3)
