"""Lossy WebP compression by libwebp (OpenCV's codec): 4:2:0 chroma, integer quality."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from degrade.operators.base import Draw, Operator, Place, Quality
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WebpDraw(Draw):
    """One round trip through lossy WebP at `quality` (1..100)."""

    op: Literal["webp"] = "webp"
    quality: int = Field(ge=1, le=100)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import codecs

        return codecs.webp(image, self.quality)


class Webp(Operator):
    """Range of a WebP round trip: `quality` [lowest, highest], integers, both included; the scale is not JPEG's."""

    op: Literal["webp"] = "webp"
    draws: ClassVar[type[Draw]] = WebpDraw
    quality: Quality

    def draw(self, stream: Stream, place: Place) -> WebpDraw:
        return WebpDraw(id=self.id, quality=stream.integer(*self.quality))
