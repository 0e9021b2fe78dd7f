"""The inspector of pairs: some of them as pictures with their recipes, every drawn parameter as a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.inspection import Figure, Inspection, Look

if TYPE_CHECKING:
    from degrade.ranges import Stated
    from pipelines.lookup import Built
    from stages.commands.census import Census


def inspect(built: Built, look: Look) -> Inspection:
    """Totals, `look.count` pairs and the distributions of a set of pairs.

    One pass over the index in batches: memory does not grow with the number of pairs. Pairs that are made on line
    have no index of what was drawn: some thousands of them are drawn here. Raises UsageError for a condition that
    cannot be read or that no pair meets.
    """
    from stages.commands.census import Census
    from stages.commands.online import OnLine
    from stages.commands.rows import Rows, Sampled
    from stages.data.rules import is_online

    online = is_online(built.artifact)
    source = OnLine(built, look.seed) if online else Stored(built)
    rows = Rows(source.index(), look.where)
    census, sample = Census(rows, _stated(built)), Sampled(look.count, look.seed)
    for batch in rows.batches([*source.places, "split", "image", "size", *census.columns]):
        census.add(batch)
        sample.add(batch.select(list(source.places)))
    if not census.pairs:
        raise UsageError(f"no pair of {built.stage} meets {' and '.join(look.where) or 'that: it has none'}")
    figures = [source.figure(row) for row in sample.rows] if look.pictures else []
    chosen = f"{len(figures)} of {census.pairs:,} pairs" + (f" with {', '.join(look.where)}" if look.where else "")
    return Inspection(
        facts=tuple(_facts(built, census, online)),
        figures=tuple(figures),
        groups=tuple(census.groups()),
        chosen=census.pairs,
        total=rows.total,
        unit="pairs drawn" if online else "pairs",
        contact_sheet=lambda: _sheet(figures, f"{built.spec} · {built.stage}", f"{chosen}, seed {look.seed}"),
    )


class Stored:
    """Pairs in shards."""

    places = (
        "key", "shard", "split", "json_offset", "json_size", "hr_offset", "hr_size", "hr_ext",
        "lr_offset", "lr_size", "lr_ext",
    )  # fmt: skip

    def __init__(self, built: Built) -> None:
        self._artifact = built.artifact

    def index(self) -> Path:
        """The Parquet file with a row for every pair."""
        return self._artifact.open("index.parquet")

    def figure(self, row: dict[str, Any]) -> Figure:
        """One pair as it is stored, with the steps of its recipe. Raises UsageError where the record is damaged."""
        from degrade.wording import brief
        from stages.commands.stored import stored_at

        pair = stored_at(self._artifact, row)
        notes = tuple(brief(step) for step in pair.recipe().steps)
        return Figure(pair.key, (("lr", pair.lr.data), ("hr", pair.hr.data)), notes, f"{pair.shard}, {row['split']}")


def _stated(built: Built) -> dict[str, Stated]:
    """What the stage's preset states of the columns; nothing where the stage has no preset of ours."""
    from degrade.presets import Preset
    from degrade.ranges import stated_ranges

    try:
        return stated_ranges(Preset.model_validate(built.config.get("preset")))
    except ValueError:
        return {}


def _facts(built: Built, census: Census, online: bool) -> list[tuple[str, str]]:
    """Names and values of the page's head."""
    facets, entries = built.artifact.facets, built.artifact.manifest.entries
    scale = [("Scale", f"×{facets['scale']}")] if "scale" in facets else []
    if online:
        from pyarrow import parquet

        epoch = parquet.read_metadata(built.artifact.open("index.parquet")).num_rows
        return [("Pairs an epoch", f"{epoch:,}"), ("Drawn here", f"{census.pairs:,}"), ("Stored", "none"), *scale]
    return [
        ("Pairs", f"{census.pairs:,}"),
        ("Photographs", f"{census.images:,}"),
        ("Pairs a photograph", f"{census.pairs / census.images:.3g}"),
        ("Size", _bytes(census.bytes)),
        ("A pair", _bytes(census.bytes / census.pairs)),
        ("Shards", f"{sum(entry.name.endswith('.tar') for entry in entries):,}"),
        *((name.title(), f"{count:,}") for name in ("train", "val", "test") if (count := census.splits[name])),
        *scale,
    ]


def _sheet(figures: Sequence[Figure], title: str, subtitle: str) -> bytes:
    from PIL import Image

    from stages.commands.sheet import Cell, contact_sheet
    from stages.data.pixels import decode_rgb

    cells = []
    for figure in figures:
        lr, hr = (Image.fromarray(decode_rgb(data)) for _, data in figure.pictures)
        cells.append(Cell(figure.name, lr, hr, figure.notes))
    return contact_sheet(cells, title, subtitle)


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
