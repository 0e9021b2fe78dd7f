"""JPEG compression by libjpeg (OpenCV's codec): 4:2:0 chroma, integer quality."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from degrade.operators.base import Draw, Operator, Place, Quality
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class JpegDraw(Draw):
    """One round trip through JPEG at `quality` (1..100)."""

    op: Literal["jpeg"] = "jpeg"
    quality: int = Field(ge=1, le=100)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import codecs

        return codecs.jpeg(image, self.quality)


class Jpeg(Operator):
    """Range of a JPEG round trip: `quality` [lowest, highest], integers, both included."""

    op: Literal["jpeg"] = "jpeg"
    draws: ClassVar[type[Draw]] = JpegDraw
    quality: Quality

    def draw(self, stream: Stream, place: Place) -> JpegDraw:
        return JpegDraw(id=self.id, quality=stream.integer(*self.quality))
