"""How the two images of a pair are stored: the ``encoding:`` section of ``degrade.pairs``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.stage import Config

Quality = Annotated[int, Field(ge=1, le=100)]
JPEG_QUALITY = 95


class Encoding(Config):
    """File formats of HR and LR. PNG and WebP without a quality are lossless (costs: `stages.data.encoders`)."""

    hr: Literal["png", "webp", "jpeg", "original"] = "png"
    """``original`` keeps the photograph's own bytes where the HR image is all of it and untouched, else it is png.

    That takes raw HR (the preset does not sharpen it), no symmetry, a photograph of exactly the HR size, and a file
    that every decoder reads alike: JPEG, PNG or WebP of 8-bit RGB or gray, not turned by EXIF.
    """

    hr_quality: Quality | None = None
    """1 to 100, for jpeg (95 when left out) and for webp (lossless when left out)."""

    lr: Literal["png", "webp", "jpeg"] = "png"
    """A lossy LR image has artefacts that the recipe knows nothing of."""

    lr_quality: Quality | None = None
    """As `hr_quality`."""

    @model_validator(mode="after")
    def _lossy_formats_have_a_quality(self) -> Encoding:
        for name, kind, quality in (("hr", self.hr, self.hr_quality), ("lr", self.lr, self.lr_quality)):
            if quality is not None and kind in ("png", "original"):
                raise ValueError(f"{name}_quality {quality} has no meaning for {name}: {kind}; choose jpeg or webp")
        return self

    def quality(self, image: Literal["hr", "lr"]) -> int | None:
        """The quality of that image's encoder; None is lossless."""
        kind, quality = (self.hr, self.hr_quality) if image == "hr" else (self.lr, self.lr_quality)
        return JPEG_QUALITY if quality is None and kind == "jpeg" else quality
