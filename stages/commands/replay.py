"""``sharpline degrade replay``: one pair again, from its record and its photograph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.errors import UsageError, writing

if TYPE_CHECKING:
    from degrade.recipe import Recipe
    from pipelines.lookup import Built
    from stages.commands.photographs import Photograph
    from stages.commands.stored import Member, Stored


def command(
    where: Annotated[
        list[str], typer.Argument(metavar="SHARD.tar | SPEC STAGE", help="A shard, or a stage.", show_default=False)
    ],
    key: Annotated[str, typer.Argument(help="The pair's key, or how it begins.", show_default=False)],
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", "-i", metavar="PATH", help="Photograph, folder or tar to look in; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the two images go.")] = Path("."),
    show: Annotated[bool, typer.Option("--show", help="Print the whole recipe, render nothing.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="As in `run`.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another store than the spec's.")] = None,
) -> None:
    """Rebuild one pair from its record, compare it with the stored one, and write KEY.hr.png and KEY.lr.png.

    For a shard, --images says where the photograph may lie; it is found by the sha256 of its bytes. For a stage of a
    spec, shard and photograph are found in the store. Exit codes: 0 the stored pair is what its record says, 1 it
    differs, 2 the record or the photograph cannot be had.
    """
    from stages.commands.stored import from_built, from_shard

    built = _built(where, set_ or [], store)
    stored = from_shard(Path(where[0]), key) if built is None else from_built(built, key)
    recipe = stored.recipe()
    if show:
        _show(stored, recipe)
        return
    photo = _photograph(recipe, built, images or [])
    typer.echo(f"photograph {photo.place}")
    if not _compare(stored, photo, recipe, out):
        raise typer.Exit(1)


def _built(where: list[str], overrides: list[str], store: str | None) -> Built | None:
    """The stage that `where` names, None when it names a shard."""
    from pipelines.lookup import find_built

    if len(where) == 1:
        if overrides or store is not None:
            raise UsageError("--set and --store go with SPEC STAGE KEY; a shard needs neither")
        return None
    if len(where) != 2:
        raise UsageError(f"expected SHARD.tar KEY or SPEC STAGE KEY, got {len(where) + 1} words before the options")
    return find_built(where[0], where[1], overrides, store)


def _show(stored: Stored, recipe: Recipe) -> None:
    from degrade.wording import lines

    typer.echo(f"{stored.key}, from {stored.shard}")
    for line in lines(recipe):
        typer.echo(f"  {line}")


def _photograph(recipe: Recipe, built: Built | None, places: list[Path]) -> Photograph:
    """From the places given, or from the images that the stage was made of. Raises UsageError naming what is needed."""
    from stages.commands.photographs import checked, find_photograph

    found = find_photograph(recipe.image, places)
    called = ""
    for images in built.inputs.get("images", ()) if built is not None else ():
        from pyarrow import parquet

        rows = parquet.read_table(images.open("index.parquet"), filters=[("image", "=", recipe.image)]).to_pylist()
        for row in rows if found is None else ():
            called = f" ({row['name']})"
            data = images.read(row["entry"], row["offset"], row["size"])
            found = checked(recipe.image, data, f"{row['name']}, from {images.label}")
    if found is not None:
        return found
    looked = f"it is not in {', '.join(map(str, places))}; " if places else ""
    height, width = recipe.source
    raise UsageError(
        f"the photograph with sha256 {recipe.image}{called}, {width} x {height} px, is needed; {looked}"
        "say where it lies with --images FILE, FOLDER or TAR"
    )


def _compare(stored: Stored, photo: Photograph, recipe: Recipe, out: Path) -> bool:
    """Render, write both images, say how they compare with what is stored; False when either is another one."""
    from degrade.engine import render
    from degrade.errors import DegradeError
    from stages.data.pixels import Undecodable, decode_rgb, encode_png

    try:
        hr, lr = render(decode_rgb(photo.data), recipe)
    except (DegradeError, Undecodable) as error:
        raise UsageError(f"{stored.key}: the recipe cannot be applied to {photo.place}: {error}") from error
    with writing(out, "-o"):
        if out.exists() and not out.is_dir():
            raise UsageError(f"-o {out} is a file; name a folder")
        out.mkdir(parents=True, exist_ok=True)
    same = True
    for part, pixels, member in (("hr", hr, stored.hr), ("lr", lr, stored.lr)):
        path = out / f"{stored.key}.{part}.png"
        with writing(path, "-o"):
            path.write_bytes(encode_png(pixels))
        equal, said = _against(pixels, member)
        same = same and equal
        typer.echo(f"{part} {said}; wrote {path}")
    return same


def _against(pixels: Any, member: Member) -> tuple[bool, str]:
    """Whether rendered pixels are those of a stored member, and in words."""
    import numpy as np

    from stages.data.pixels import Undecodable, decode_rgb

    try:
        kept = decode_rgb(member.data)
    except Undecodable as error:
        return False, f"differs: the stored {member.ext} {error}"
    if kept.shape != pixels.shape:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (kept.shape, pixels.shape)]
        return False, f"differs: {sizes[0]} px are stored and the record gives {sizes[1]}"
    apart = np.abs(kept.astype(np.int16) - pixels.astype(np.int16))
    if not apart.any():
        return True, "identical"
    square = float(np.mean(apart.astype(np.float64) ** 2))
    said = f"at most {apart.max()} of 255 apart, PSNR {10 * np.log10(255**2 / square):.1f} dB"
    if member.lossless:
        return False, f"differs: {said}, {np.count_nonzero(apart.any(axis=2)) / apart[..., 0].size:.1%} of the pixels"
    return True, f"stored as lossy {member.ext}, so it cannot be compared exactly: {said}"
