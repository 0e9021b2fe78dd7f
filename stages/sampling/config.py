"""Sampling settings of every stage that runs a super-resolver. Light: pydantic only, because `validate` loads it."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, TypedDict

from pydantic import NonNegativeInt, PositiveInt, model_validator

from pipelines.stage import Absent, Config

ColourFix: TypeAlias = Literal["wavelet", "adain"]

OVERLAP: Final = 32
"""Default overlap of tiles in LR pixels."""


class SamplingOptions(TypedDict, total=False):
    """Keywords of every `super_resolve`."""

    steps: int | None
    """Network evaluations in a row; by default those of the trained process."""
    seed: int
    """The noise is a function of it and of `name`."""
    name: str
    """The image's."""
    tile: int | None
    overlap: int
    colour_fix: ColourFix | None


class SamplingConfig(Config):
    """Base of a config that samples models on images that may be large or come out tinted."""

    tile: Annotated[PositiveInt | None, Absent(None)] = None
    """Side of the square tiles in LR pixels, rounded up to what the network takes; left out, the whole image at once.
    Tiles bound the memory of the networks."""

    overlap: Annotated[NonNegativeInt, Absent(OVERLAP)] = OVERLAP
    """LR pixels that neighbouring tiles share, rounded up to what the network takes. They are blended in the middle
    half of it; the outer quarters, where a tile does not see enough, do not count."""

    colour_fix: Annotated[ColourFix | None, Absent(None)] = None
    """Colours taken from the bicubic LR image: `wavelet` takes all that is coarser than about 32 HR pixels, `adain`
    the mean and the deviation of each channel. Left out, the model's own colours stay."""

    @model_validator(mode="after")
    def _overlap_fits(self) -> SamplingConfig:
        if self.tile is not None and self.overlap >= self.tile:
            raise ValueError(f"overlap {self.overlap} must be less than tile {self.tile}: tiles would not advance")
        if self.tile is None and self.overlap != OVERLAP:
            raise ValueError("overlap has no meaning without tile; leave it out or set tile")
        return self
