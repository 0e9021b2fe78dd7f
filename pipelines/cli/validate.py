"""``sharpline validate``: read a spec as a run would, and start nothing."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer


def command(
    spec: Annotated[Path, typer.Argument(help="The spec to check.", show_default=False)],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; may be repeated.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The result, and every problem, as JSON.")] = False,
) -> None:
    """Check a spec: its YAML, names, types, insertions, inputs, kinds and facets. All problems are shown at once.

    Exit codes: 0 the spec can be run, 2 it cannot.
    """
    from pipelines.graph import build_graph
    from pipelines.spec.load import load_spec
    from pipelines.spec.problems import SpecErrors

    try:
        loaded = load_spec(spec, set_ or [])
        graph = build_graph(loaded)
    except SpecErrors as errors:
        if not json:
            raise
        found = {"schema": 1, "valid": False, "problems": [problem.to_json() for problem in errors.problems]}
        typer.echo(jsonlib.dumps(found, indent=2, ensure_ascii=False))
        raise typer.Exit(errors.exit_code) from None
    if json:
        typer.echo(jsonlib.dumps({"schema": 1, "valid": True, "problems": [], "stages": list(graph.order)}, indent=2))
        return
    edges = len(graph.edges)
    typer.echo(f"{spec} is valid: {len(graph.order)} stages, {edges} {'edge' if edges == 1 else 'edges'}")
