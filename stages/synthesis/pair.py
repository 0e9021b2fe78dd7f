"""One pair: its choices drawn, its images rendered and encoded. A pure function of a photograph's bytes and a crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from degrade.engine import render
from degrade.recipe import Recipe, sample_recipe
from stages.data.encoders import EXTENSION, encode, plain_extension
from stages.data.pixels import decode_rgb
from stages.synthesis.shards import sample_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from degrade.presets import Preset
    from stages.synthesis.encoding import Encoding


@dataclass(frozen=True)
class Photograph:
    """A decoded source: `pixels` uint8 RGB [h, w, 3], `digest` the sha256 of its file, `data` its bytes if kept."""

    digest: str
    split: str
    pixels: NDArray[np.uint8]
    data: bytes | None = None


@dataclass(frozen=True)
class Pair:
    """A pair ready to be stored. `files` are the members of its sample, extension (``hr.png``) to bytes."""

    key: str
    photo: Photograph
    recipe: Recipe
    hr_ext: str
    lr_ext: str
    files: dict[str, bytes]


@dataclass(frozen=True)
class PairMaker:
    """Makes pairs by one preset. `hr_size` None takes whole photographs."""

    preset: Preset
    seed: int
    scale: int
    hr_size: int | None
    encoding: Encoding

    def read(self, data: bytes, digest: str, split: str) -> Photograph:
        """Decode a photograph; its bytes are kept only where they may be stored. Raises Undecodable."""
        return Photograph(digest, split, decode_rgb(data), data if self.encoding.hr == "original" else None)

    def make(self, photo: Photograph, crop: int) -> Pair:
        """Pair number `crop` of `photo`. Raises DegradeError when the photograph and the preset give none."""
        height, width = photo.pixels.shape[:2]
        recipe = sample_recipe(
            self.preset,
            seed=self.seed,
            image=photo.digest,
            crop=crop,
            image_size=(height, width),
            hr_size=self.hr_size,
            scale=self.scale,
        )
        hr, lr = render(photo.pixels, recipe)
        kept = _untouched(photo, recipe)
        kind = "png" if self.encoding.hr == "original" else self.encoding.hr
        hr_ext, hr_data = kept or (EXTENSION[kind], encode(hr, kind, self.encoding.quality("hr")))
        lr_ext, lr_data = EXTENSION[self.encoding.lr], encode(lr, self.encoding.lr, self.encoding.quality("lr"))
        files = {f"hr.{hr_ext}": hr_data, "json": _about(photo, recipe), f"lr.{lr_ext}": lr_data}
        return Pair(sample_key(photo.digest, crop), photo, recipe, hr_ext, lr_ext, files)


def _untouched(photo: Photograph, recipe: Recipe) -> tuple[str, bytes] | None:
    """(extension, bytes) of the photograph itself, where the HR image is exactly what any reader would decode of it."""
    whole = recipe.hr_shape == recipe.source and recipe.rescaled is None
    if photo.data is None or not whole or recipe.symmetry != "e" or recipe.hr != "raw":
        return None
    extension = plain_extension(photo.data)
    return None if extension is None else (extension, photo.data)


def _about(photo: Photograph, recipe: Recipe) -> bytes:
    """The sample's record as JSON with sorted keys, put together around the recipe's own text."""
    text = f'{{"crop":{recipe.crop},"image":"{photo.digest}","recipe":{recipe.to_json()},"split":"{photo.split}"}}'
    return text.encode("ascii")
