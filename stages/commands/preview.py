"""``sharpline degrade preview``: what a preset does to a photograph, before anything is made with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import UsageError, writing

if TYPE_CHECKING:
    from degrade.presets import Preset
    from stages.commands.sheet import Cell


def command(
    preset: Annotated[str, typer.Argument(help="A preset's name, or a YAML file.", show_default=False)],
    image: Annotated[Path, typer.Argument(help="A photograph.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.png", help="Where the sheet goes.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=200, help="How many pairs.")] = 12,
    scale: Annotated[
        int | None, typer.Option(min=1, max=16, help="How many times smaller LR is (default: the preset's, or 4).")
    ] = None,
    hr_size: Annotated[int, typer.Option(min=8, help="Side of the HR crop in pixels.")] = 256,
    seed: Annotated[
        int, typer.Option(min=0, max=2**64 - 1, help="As in `degrade.pairs`: the same pairs as there.")
    ] = 0,
) -> None:
    """Draw pairs from a preset on one photograph and show them on a contact sheet, LR beside HR, with what was drawn.

    They are the pairs that `degrade.pairs` makes of this photograph with the same preset, scale, hr_size and seed.
    """
    from degrade.errors import DegradeError
    from degrade.presets import load_preset
    from stages.commands.sheet import contact_sheet
    from stages.data.pixels import Undecodable

    if out.suffix.lower() != ".png":
        raise UsageError(f"-o {out}: expected a file name that ends in .png")
    try:
        chosen = load_preset(preset)
        times = scale or chosen.scale or 4
        cells = list(_cells(chosen, image, count, times, hr_size, seed))
    except OSError as error:
        raise UsageError(f"{image}: cannot be read: {error.strerror or error}") from error
    except (DegradeError, Undecodable) as error:
        raise UsageError(f"{image}: {error}" if isinstance(error, Undecodable) else str(error)) from error
    subtitle = f"{image.name}, {count} pairs, scale {times}, HR {hr_size} px, seed {seed}"
    sheet = contact_sheet(cells, chosen.name, subtitle)
    with writing(out, "-o"):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(sheet)
    typer.echo(f"{out}: {count} pairs of {chosen.name}")


def _cells(preset: Preset, image: Path, count: int, scale: int, hr_size: int, seed: int) -> Iterator[Cell]:
    from PIL import Image

    from degrade.engine import render
    from degrade.recipe import sample_recipe
    from degrade.wording import brief
    from stages.commands.sheet import Cell
    from stages.data.pixels import decode_rgb

    data = image.read_bytes()
    digest, pixels = hashlib.sha256(data).hexdigest(), decode_rgb(data)
    size = (pixels.shape[0], pixels.shape[1])
    for crop in range(count):
        recipe = sample_recipe(
            preset, seed=seed, image=digest, crop=crop, image_size=size, hr_size=hr_size, scale=scale
        )
        hr, lr = render(pixels, recipe)
        notes = tuple(brief(step) for step in recipe.steps)
        yield Cell(f"crop {crop}", Image.fromarray(lr), Image.fromarray(hr), notes)
