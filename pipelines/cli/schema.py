"""``sharpline schema``: the JSON Schema of specs."""

from __future__ import annotations

import json

import typer


def command() -> None:
    """Print the JSON Schema of specs, with the config of every stage that is installed.

    Save it beside a spec and name it in the spec's first line, and an editor completes and checks while you type:
    `# yaml-language-server: $schema=sharpline.schema.json`
    """
    from pipelines.registry import known_stages, load_stage
    from pipelines.spec.schema import spec_schema

    typer.echo(json.dumps(spec_schema([load_stage(name) for name in known_stages()]), indent=2, ensure_ascii=False))
