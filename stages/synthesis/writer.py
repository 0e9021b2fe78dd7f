"""One pair after the other: drawn, rendered, encoded, appended to a shard and entered in its index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from degrade.engine import render
from degrade.recipe import sample_recipe
from stages.data.pixels import encode_png
from stages.data.tables import rows_table
from stages.synthesis.shards import sample_key

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray

    from degrade.presets import Preset
    from stages.data.tar import Group, TarWriter

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
    """Appends pairs made by one preset to one shard. What a pair holds depends on its own image and crop only."""

    def __init__(self, tar: TarWriter, preset: Preset, *, seed: int, scale: int, hr_size: int) -> None:
        self._tar, self._preset = tar, preset
        self._seed, self._scale, self._hr_size = seed, scale, hr_size
        self._rows: list[dict[str, Any]] = []

    def add(self, image: NDArray[np.uint8], digest: str, crop: int, split: str) -> None:
        """Append crop number `crop` of `image` (uint8 RGB, height x width x 3), whose bytes have sha256 `digest`.

        Raises ValueError (a DegradeError) for an image or preset that gives no pair.
        """
        recipe = sample_recipe(
            self._preset,
            seed=self._seed,
            image=digest,
            crop=crop,
            image_size=(image.shape[0], image.shape[1]),
            hr_size=self._hr_size,
            scale=self._scale,
        )
        hr, lr = render(image, recipe)
        key = sample_key(digest, crop)
        about = {"crop": crop, "image": digest, "recipe": json.loads(recipe.to_json()), "split": split}
        payloads = {"hr.png": encode_png(hr), "json": _encode(about), "lr.png": encode_png(lr)}
        group = self._tar.add((f"{key}.{part}", payload) for part, payload in payloads.items())
        row = {
            "key": key,
            "shard": self._tar.path.name,
            "split": split,
            "image": digest,
            "crop": crop,
            **_places(group),
        }
        self._rows.append(row | {f"r_{name}": value for name, value in recipe.columns().items()})

    def table(self) -> pyarrow.Table:
        """The index of what was added: :data:`COLUMNS`, then the recipe's own as ``r_<name>``, fixed by the preset."""
        recipe = {f"r_{name}": _ARROW[kind] for name, kind in self._preset.columns().items()}
        return rows_table(self._rows, {**COLUMNS, **recipe})


def _places(group: Group) -> dict[str, Any]:
    hr, about, lr = group.members  # in name order: hr.png, json, lr.png
    return {
        "offset": group.offset, "size": group.size, "sha256": group.sha256,
        "hr_offset": hr.offset, "hr_size": hr.size, "hr_ext": "png",
        "lr_offset": lr.offset, "lr_size": lr.size, "lr_ext": "png",
        "json_offset": about.offset, "json_size": about.size,
    }  # fmt: skip


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
