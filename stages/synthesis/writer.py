"""A shard as it is written: pairs appended to a tar, and a row of its index for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.data.tables import rows_table

if TYPE_CHECKING:
    import pyarrow

    from degrade.presets import Preset
    from stages.data.tar import Group, TarWriter
    from stages.synthesis.pair import Pair

COLUMNS = {
    "key": "string", "shard": "string", "split": "string", "image": "string", "crop": "int32",
    "offset": "int64", "size": "int64", "sha256": "string",
    "hr_offset": "int64", "hr_size": "int64", "hr_ext": "string",
    "lr_offset": "int64", "lr_size": "int64", "lr_ext": "string",
    "json_offset": "int64", "json_size": "int64",
}  # fmt: skip
"""Arrow types of the index. `offset`, `size` and `sha256` are those of the whole sample with headers and padding."""

_ARROW = {"int": "int64", "float": "float64", "str": "string", "bool": "bool"}


class PairWriter:
    """Appends pairs to one shard and keeps their index."""

    def __init__(self, tar: TarWriter) -> None:
        self._tar = tar
        self._rows: list[dict[str, Any]] = []

    def add(self, pair: Pair) -> None:
        """Append `pair`; its files are not kept."""
        group = self._tar.add((f"{pair.key}.{extension}", data) for extension, data in pair.files.items())
        self._rows.append(
            {
                "key": pair.key,
                "shard": self._tar.path.name,
                "split": pair.photo.split,
                "image": pair.photo.digest,
                "crop": pair.recipe.crop,
                **_places(group, pair),
                **{f"r_{name}": value for name, value in pair.recipe.columns().items()},
            }
        )

    def table(self, preset: Preset) -> pyarrow.Table:
        """The index of what was added: :data:`COLUMNS`, then the recipe's own as ``r_<name>``, fixed by the preset."""
        recipe = {f"r_{name}": _ARROW[kind] for name, kind in preset.columns().items()}
        return rows_table(self._rows, {**COLUMNS, **recipe})


def _places(group: Group, pair: Pair) -> dict[str, Any]:
    hr, about, lr = group.members  # in name order: hr.*, json, lr.*
    return {
        "offset": group.offset, "size": group.size, "sha256": group.sha256,
        "hr_offset": hr.offset, "hr_size": hr.size, "hr_ext": pair.hr_ext,
        "lr_offset": lr.offset, "lr_size": lr.size, "lr_ext": pair.lr_ext,
        "json_offset": about.offset, "json_size": about.size,
    }  # fmt: skip
