"""``sharpline degrade presets``: which there are, and all values of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from degrade.presets import Preset


def command(
    name: Annotated[str | None, typer.Argument(help="A preset's name, or a YAML file.", show_default=False)] = None,
) -> None:
    """List the presets that come with Sharpline; with NAME, print all of its values as YAML, defaults included."""
    from degrade.errors import DegradeError
    from degrade.presets import load_preset, preset_names
    from degrade.wording import preset_summary
    from pipelines.errors import UsageError

    if name is None:
        names = preset_names()
        width = max(map(len, names))
        for known in names:
            typer.echo(f"{known:<{width}}  {preset_summary(known)}")
            typer.echo(f"{'':<{width}}  {_operators(load_preset(known))}")
        typer.echo("\n`sharpline degrade presets NAME` prints one; `degrade preview NAME IMAGE` shows what it does.")
        return
    import yaml

    try:
        preset = load_preset(name)
    except DegradeError as error:
        raise UsageError(str(error)) from error
    values = preset.model_dump(mode="json", exclude_none=True)
    typer.echo(
        yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True), nl=False
    )


def _operators(preset: Preset) -> str:
    """The kinds of operators, each once, in the order in which they first come."""
    return ", ".join(dict.fromkeys(operator.op for operator in preset.operators()))
