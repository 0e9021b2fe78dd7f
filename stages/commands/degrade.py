"""``sharpline degrade``: look at presets, see what they do to a photograph, rebuild a pair from its record."""

from __future__ import annotations

import typer

from stages.commands import presets, preview, replay

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Look at presets, preview them on a photograph, and rebuild a pair from its record.",
)
app.command("presets", short_help="List the presets, or print one.")(presets.command)
app.command("preview", short_help="See what a preset does to a photograph.")(preview.command)
app.command("replay", short_help="Rebuild one pair from its record and compare.")(replay.command)
