"""The final sinc filter: ringing and overshoot (Real-ESRGAN, section 3.3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from degrade.operators.base import Draw, Operator, Place, PositiveRange
from degrade.operators.blur import check_sizes, draw_size
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SincDraw(Draw):
    """One circular low-pass: odd `size` in taps, cut-off `omega` in radians per pixel."""

    op: Literal["sinc"] = "sinc"
    size: int = Field(ge=1, le=63)
    omega: float = Field(gt=0)

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.size % 2 == 0:
            raise ValueError(f"a kernel size is odd, got {self.size}")
        return self

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import filters, kernels

        return filters.dense(image, kernels.trimmed(kernels.sinc(self.size, self.omega)))


class Sinc(Operator):
    """Ranges of a sinc filter: kernel `sizes` (first and last odd size) and the cut-off in radians per pixel."""

    op: Literal["sinc"] = "sinc"
    draws: ClassVar[type[Draw]] = SincDraw
    sizes: tuple[int, int]
    omega: PositiveRange = (math.pi / 3, math.pi)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_sizes(self.sizes)
        return self

    def draw(self, stream: Stream, place: Place) -> SincDraw:
        return SincDraw(id=self.id, size=draw_size(stream, self.sizes), omega=stream.uniform(*self.omega))
