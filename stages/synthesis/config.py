"""The ``with:`` section of ``degrade.pairs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.stage import Absent, Config, NameOrFile, is_file_name
from stages.synthesis.encoding import Encoding
from stages.synthesis.shards import Cut

if TYPE_CHECKING:
    from degrade.preset import Preset

CROPS = 4


class PairsConfig(Config):
    preset: NameOrFile = "real-esrgan"
    """Name of a preset of ``degrade/presets/``, or the path of a YAML file with a preset of one's own."""

    scale: Annotated[int, Field(ge=1, le=16)] = 4
    """How many times smaller than HR the LR image is."""

    hr_size: Annotated[int, Field(ge=8)] | Literal["whole"] = 256
    """Side of the square HR crop in pixels, a multiple of `scale`; or ``whole``: photographs as they are, each cut
    at the right and at the bottom to a multiple of `scale`."""

    crops: Annotated[int, Field(ge=1, le=10_000)] | Literal["area"] | None = None
    """Pairs from one image: a number, or ``area``: as many crops as would tile the image once, at least one.
    4 when left out, and 1 of a whole photograph."""

    shards: Annotated[int, Field(ge=1, le=100_000)] = 8
    """Images are spread over this many shards by their digest; a shard that gets none is not written."""

    shard_samples: Annotated[int, Field(ge=1)] | None = None
    """Most samples in a shard: one with more is split in two by the digests of its images, and its parts
    again until all fit."""

    encoding: Encoding = Encoding()
    """How the images are stored."""

    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    """With image digest and crop number, all that the random choices depend on."""

    on_small: Literal["skip", "fail"] = "skip"
    """What to do about images that are too small for `hr_size`: leave them out (and say so), or fail."""

    online: Annotated[bool, Absent(False)] = False
    """Store no pairs: training and evaluation make them from the photographs as they read them. The first epoch sees
    exactly the pairs that would have been stored, every later one fresh pairs of the same photographs."""

    @property
    def cut(self) -> Cut:
        """How many pairs of which size an image gives."""
        whole = self.hr_size == "whole"
        crops = self.crops if self.crops is not None else 1 if whole else CROPS
        return Cut(None if self.hr_size == "whole" else self.hr_size, self.scale, crops)

    @property
    def least(self) -> str:
        """The shortest side that gives a pair, in the spec's words."""
        return f"scale {self.scale}" if self.hr_size == "whole" else f"hr_size {self.hr_size}"

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        _preset_here(value)
        return value

    @model_validator(mode="after")
    def _whole_lr_size(self) -> PairsConfig:
        if self.hr_size != "whole" and self.hr_size % self.scale:
            nearest = max(1, round(self.hr_size / self.scale)) * self.scale
            raise ValueError(
                f"hr_size {self.hr_size} is not a multiple of scale {self.scale}; the nearest is {nearest}"
            )
        return self

    @model_validator(mode="after")
    def _online_pairs_meet_no_encoder(self) -> PairsConfig:
        lossy = [name for name in ("hr", "lr") if self.encoding.quality(name) is not None]
        if self.online and lossy:
            raise ValueError(
                f"encoding.{lossy[0]} loses detail, and on-line pairs are never encoded: they would differ from stored "
                "ones. Leave `encoding` out, or set online: false"
            )
        return self

    @model_validator(mode="after")
    def _preset_fits(self) -> PairsConfig:
        preset = _preset_here(self.preset)
        if preset is None:
            return self
        preset.check_scale(self.scale)
        if self.hr_size == "whole" and preset.crop.mode == "rescaled":
            raise ValueError(
                f"preset {preset.name!r} resizes every photograph to the HR size (crop.mode: rescaled), "
                "so hr_size: whole has no meaning; give a number, or choose a preset with crop.mode: native"
            )
        if self.hr_size == "whole" and preset.augment.zoom is not None:
            raise ValueError(
                f"preset {preset.name!r} zooms (augment.zoom), and a whole photograph has one size, so hr_size: whole "
                "has no meaning; give a number, or leave augment.zoom out of the preset"
            )
        return self


def _preset_here(name_or_file: str) -> Preset | None:
    """The preset; None for a file that is not there: it lies beside the spec, and workers are sent what it holds."""
    from degrade.presets import load_preset

    return load_preset(name_or_file) if not is_file_name(name_or_file) or Path(name_or_file).exists() else None
