"""``sharpline accept``: keep results that were built by earlier code, knowingly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    spec: Annotated[Path, typer.Argument(help="The spec.", show_default=False)],
    stages: Annotated[list[str], typer.Argument(help="Stages whose results stay valid.", show_default=False)],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="As in `run`.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another store than the spec's.")] = None,
) -> None:
    """Accept code drift: `plan` stops mentioning it for these stages until their code changes again.

    Only stages with advisory code (training) can drift; all others rebuild when their code changes.
    """
    from pipelines.cli.common import open_spec, stages_named
    from pipelines.errors import UsageError
    from pipelines.plan import Planner

    loaded, graph, opened = open_spec(spec, set_ or [], store)
    plan = Planner(loaded, graph, opened).plan()
    for name in stages_named(stages, graph, "accept"):
        assessment = plan.stages[name]
        if loaded.stages[name].stage.code_policy == "key":
            raise UsageError(f"{name}: its code is part of its key; a change rebuilds it, there is nothing to accept")
        lost = assessment.state == "lost"  # what has lost bytes is healed by code that was accepted
        if (assessment.state != "cached" and not lost) or assessment.identity is None:
            raise UsageError(f"{name} is not built ({assessment.state}); there is no result to accept code for")
        opened.key_log(assessment.identity.key).append_accept(assessment.identity.code.digest)
        typer.echo(f"{name}: accepted with the code as it is now")
