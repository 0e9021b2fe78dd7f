"""MATLAB-compatible antialiased bicubic down-scaling to the LR size (the classical SR degradation)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from degrade.operators.base import Draw, Operator, Place, Side, Size
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ImresizeDraw(Draw):
    """One bicubic resize to `height` x `width`; nothing is random."""

    op: Literal["imresize"] = "imresize"
    height: Side
    width: Side

    def output_size(self, size: Size) -> Size:
        return self.height, self.width

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade.imresize import imresize

        return imresize(image, (self.height, self.width))


class Imresize(Operator):
    """Bicubic to the LR size; it has no ranges."""

    op: Literal["imresize"] = "imresize"
    draws: ClassVar[type[Draw]] = ImresizeDraw

    def settles(self, at_lr: bool) -> bool:
        return True

    def draw(self, stream: Stream, place: Place) -> ImresizeDraw:
        return ImresizeDraw(id=self.id, height=place.lr[0], width=place.lr[1])
