"""The inspector of pairs: some of them as pictures with their recipes, every drawn parameter as a distribution."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.inspection import Figure, Group, Inspection, Look, Names, Numbers

if TYPE_CHECKING:
    import pyarrow

    from degrade.ranges import Stated
    from pipelines.lookup import Built
    from stages.commands.rows import Rows

PLACES = ("key", "shard", "image", "crop", "split", "json_offset", "json_size", "hr_offset", "hr_size", "hr_ext",
          "lr_offset", "lr_size", "lr_ext")  # fmt: skip
_APPLIED = "_applied"
_FRAMING = ("symmetry", "box_y", "box_x", "hr_height", "hr_width")
_DERIVED = re.compile(r"preset|scale|box_(height|width)|.+_(applied|height|width)")
"""Columns that follow from others (sizes from factors), and those that a group's note tells."""


def inspect(built: Built, look: Look) -> Inspection:
    """Totals, `look.count` pairs and the distributions of a set of pairs.

    One pass over the index in batches: memory does not grow with the number of pairs. Raises UsageError for a
    condition that cannot be read or that no pair meets.
    """
    from stages.commands.rows import Rows, Sampled

    rows = Rows(built.artifact.open("index.parquet"), look.where)
    census, sample = _Census(rows, _stated(built)), Sampled(look.count, look.seed)
    for batch in rows.batches([*PLACES, "size", *census.columns]):
        census.add(batch)
        sample.add(batch.select([*PLACES]))
    if not census.pairs:
        raise UsageError(f"no pair of {built.stage} meets {' and '.join(look.where) or 'that: it has none'}")
    figures = [_figure(built, row) for row in sample.rows] if look.pictures else []
    title = f"{built.spec} · {built.stage}"
    chosen = f"{len(figures)} of {census.pairs:,} pairs" + (f" with {', '.join(look.where)}" if look.where else "")
    return Inspection(
        facts=tuple(census.facts(built)),
        figures=tuple(figures),
        groups=tuple(census.groups()),
        chosen=census.pairs,
        total=rows.total,
        unit="pairs",
        contact_sheet=lambda: _sheet(figures, title, f"{chosen}, seed {look.seed}"),
    )


def _stated(built: Built) -> dict[str, Stated]:
    """What the stage's preset states of the columns; nothing where the stage has no preset of ours."""
    from degrade.presets import Preset
    from degrade.ranges import stated_ranges

    try:
        return stated_ranges(Preset.model_validate(built.config.get("preset")))
    except ValueError:
        return {}


@dataclass
class _Census:
    """What is counted of all pairs."""

    rows: Rows
    stated: dict[str, Stated]
    pairs: int = 0
    images: int = 0
    bytes: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    last_image: str = ""

    def __post_init__(self) -> None:
        from stages.commands.distributions import distribution

        names = [name for name in self.rows.schema.names if name.startswith("r_")]
        self.operators = [name[2:].removesuffix(_APPLIED) for name in names if name.endswith(_APPLIED)]
        drawn = [name for name in names if name[2:] in _FRAMING or not _DERIVED.fullmatch(name[2:])]
        self.columns = [*drawn, *(f"r_{operator}{_APPLIED}" for operator in self.operators)]
        self.counters = {
            name[2:]: distribution(
                name[2:], self.rows.schema.field(name).type, self._span(name), self.stated.get(name[2:])
            )
            for name in drawn
        }

    def _span(self, name: str) -> tuple[Any, Any] | None:
        import pyarrow.types as types

        kind = self.rows.schema.field(name).type
        return self.rows.span(name) if types.is_integer(kind) or types.is_floating(kind) else None

    def add(self, batch: pyarrow.RecordBatch) -> None:
        import pyarrow.compute as pc

        self.pairs += batch.num_rows
        self.bytes += pc.sum(batch.column("size")).as_py()
        self._count_images(batch.column("image"))
        for item in pc.value_counts(batch.column("split")).to_pylist():
            self.splits[item["values"]] += item["counts"]
        for operator in self.operators:
            self.applied[operator] += pc.sum(batch.column(f"r_{operator}{_APPLIED}")).as_py() or 0
        for name, counter in self.counters.items():
            counter.add(batch.column(f"r_{name}"))

    def _count_images(self, column: pyarrow.Array) -> None:
        """All pairs of an image lie side by side in the index, so that changes from row to row count the images."""
        import pyarrow.compute as pc

        changes = pc.sum(pc.not_equal(column[1:], column[:-1])).as_py() or 0
        self.images += changes + (column[0].as_py() != self.last_image)
        self.last_image = column[-1].as_py()

    def facts(self, built: Built) -> list[tuple[str, str]]:
        shards = [entry for entry in built.artifact.manifest.entries if entry.name.endswith(".tar")]
        facets = built.artifact.facets
        found = [("Pairs", f"{self.pairs:,}"), ("Photographs", f"{self.images:,}")]
        found += [("Pairs a photograph", f"{self.pairs / self.images:.3g}"), ("Size", _bytes(self.bytes))]
        found += [("A pair", _bytes(self.bytes / self.pairs)), ("Shards", f"{len(shards):,}")]
        found += [(name.title(), f"{self.splits[name]:,}") for name in ("train", "val", "test") if self.splits[name]]
        found += [("Scale", f"×{facets['scale']}")] if "scale" in facets else []
        return found

    def groups(self) -> list[Group]:
        """Framing and choices first, then the operators in the order of the index."""
        from degrade.wording import SYMMETRIES

        results = {name: counter.result() for name, counter in self.counters.items()}
        turned = results.get("symmetry")
        if isinstance(turned, Names):
            results["symmetry"] = replace(turned, counts={SYMMETRIES[name]: n for name, n in turned.counts.items()})
        shown = {name: found for name, found in results.items() if found is not None and _varies(found)}
        longest_first = sorted(self.operators, key=len, reverse=True)
        owner = {name: next((op for op in longest_first if name.startswith(f"{op}_")), "") for name in shown}
        framing = tuple(shown[name] for name in _FRAMING if name in shown)
        choices = tuple(found for name, found in shown.items() if not owner[name] and name not in _FRAMING)
        made = [
            Group("framing", "where each crop was taken", framing),
            Group("choices", "which way was taken", choices),
        ]
        for operator in self.operators:
            members = tuple(found for name, found in shown.items() if owner[name] == operator)
            note = f"applied to {_share(self.applied[operator] / self.pairs)}"
            made.append(Group(operator, note, members))
        return [group for group in made if group.members or group.name in self.operators]


def _varies(found: Numbers | Names) -> bool:
    """Whether there is anything to see: framing of one size, or an option without alternative, is not."""
    if isinstance(found, Numbers):
        return found.most > found.least
    return len(found.counts) > 1 or len(found.stated) > 1


def _figure(built: Built, row: dict[str, Any]) -> Figure:
    """One pair, with the steps of its recipe where the record can be read."""
    from degrade.wording import brief
    from stages.commands.stored import Member, Stored

    def read(part: str) -> bytes:
        return built.artifact.read(row["shard"], row[f"{part}_offset"], row[f"{part}_size"])

    hr, lr = Member(row["hr_ext"], read("hr")), Member(row["lr_ext"], read("lr"))
    recipe = Stored(row["key"], row["shard"], read("json"), hr, lr).recipe()
    notes = tuple(brief(step) for step in recipe.steps)
    return Figure(row["key"], (("lr", lr.data), ("hr", hr.data)), notes, f"{row['shard']}, {row['split']}")


def _sheet(figures: Sequence[Figure], title: str, subtitle: str) -> bytes:
    from PIL import Image

    from stages.commands.sheet import Cell, contact_sheet
    from stages.data.pixels import decode_rgb

    cells = []
    for figure in figures:
        lr, hr = (Image.fromarray(decode_rgb(data)) for _, data in figure.pictures)
        cells.append(Cell(figure.name, lr, hr, figure.notes))
    return contact_sheet(cells, title, subtitle)


def _share(share: float) -> str:
    return "all" if share == 1 else f"{100 * share:.3g} %"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
