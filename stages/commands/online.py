"""Pairs that are made on line, to be looked at: some of them drawn as the first epoch draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipelines.inspection import Figure
from stages.commands.rows import Rows, Sampled

if TYPE_CHECKING:
    import pyarrow

    from degrade.recipe import Recipe
    from pipelines.lookup import Built

DRAWN: Final = 4000
"""Most recipes that are drawn: enough for shares within 2 %, in a second or two."""

ARROW: Final = {"int": "int64", "float": "float64", "str": "string", "bool": "bool_"}


class OnLine:
    """The pairs of the first epoch of an on-line artifact."""

    places = ("key", "split", "image", "crop", "pack", "offset", "size", "height", "width")

    def __init__(self, built: Built, seed: int) -> None:
        from degrade.preset import Preset
        from stages.data.rules import Rules

        self._artifact, self._seed = built.artifact, seed
        self._rules = Rules.of(built.artifact)
        self._preset = Preset.model_validate(self._rules.preset)

    def index(self) -> pyarrow.BufferReader:
        """An index of at most :data:`DRAWN` pairs, chosen by the seed, as a Parquet file in memory.

        Its columns are `places` and those of the recipes, ``r_<name>``, as in the index of stored pairs.
        """
        import pyarrow
        from pyarrow import parquet

        sample, file = Sampled(DRAWN, self._seed), Rows(self._artifact.open("index.parquet"))
        for batch in file.batches(self.places):
            sample.add(batch)
        rows = [
            {**row, **{f"r_{name}": value for name, value in self._recipe(row).columns().items()}}
            for row in sample.rows
        ]
        drawn = {f"r_{name}": getattr(pyarrow, ARROW[kind])() for name, kind in self._preset.columns().items()}
        types = {**{name: file.schema.field(name).type for name in self.places}, **drawn}
        out = pyarrow.BufferOutputStream()
        parquet.write_table(pyarrow.Table.from_pylist(rows, pyarrow.schema(list(types.items()))), out)
        return pyarrow.BufferReader(out.getvalue())

    def figure(self, row: dict[str, Any]) -> Figure:
        """One pair, rendered now."""
        from degrade.engine import render
        from degrade.wording import brief
        from stages.data.pixels import decode_rgb, encode_png

        recipe = self._recipe(row)
        photograph = decode_rgb(self._artifact.read(row["pack"], row["offset"], row["size"]))
        hr, lr = render(photograph, recipe)
        pictures = (("lr", encode_png(lr)), ("hr", encode_png(hr)))
        return Figure(row["key"], pictures, tuple(brief(step) for step in recipe.steps), f"made now, {row['split']}")

    def _recipe(self, row: dict[str, Any]) -> Recipe:
        from degrade.recipe import sample_recipe

        return sample_recipe(
            self._preset,
            seed=self._rules.seed,
            image=row["image"],
            crop=row["crop"],
            image_size=(row["height"], row["width"]),
            hr_size=self._rules.hr_size,
            scale=self._rules.scale,
        )
