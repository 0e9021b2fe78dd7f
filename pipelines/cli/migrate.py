"""``sharpline migrate``: rewrite an older spec in place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(spec: Annotated[Path, typer.Argument(help="The spec to rewrite.", show_default=False)]) -> None:
    """Rewrite a spec of an older version for this Sharpline, keeping its comments and layout.

    Older specs run without this: they are migrated in memory. A spec of the newest version is left as it is.
    """
    from pipelines.spec.parse import parse
    from pipelines.spec.problems import Problems, SpecErrors
    from pipelines.spec.source import read_source
    from pipelines.spec.versions import CURRENT, check_version, migrate_text

    problems, file = Problems(), str(spec)
    text = read_source(file, problems)
    root = parse(text, file, problems) if text is not None else None
    version = check_version(root, problems) if root is not None else None
    if text is None or version is None:
        raise SpecErrors(problems.found)
    if version == CURRENT:
        typer.echo(f"{spec} is of version {CURRENT}, the newest: nothing to do")
        return
    spec.write_text(migrate_text(text, version), "utf-8")
    typer.echo(f"{spec}: version {version} -> {CURRENT}")
