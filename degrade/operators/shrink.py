"""Down-scaling by a divisor that is uniform (so that the factor is not), clipped as BSRGAN clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from degrade.operators.base import Draw, Operator, Place, PositiveRange, Side, Size, Weights, resize_modes
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Mode = Literal["antialiased", "area", "linear", "cubic"]


class ShrinkDraw(Draw):
    """One resize to `height` x `width`; `divisor` is what was drawn to get there."""

    op: Literal["shrink"] = "shrink"
    divisor: float = Field(ge=1)
    mode: Mode
    height: Side
    width: Side

    def output_size(self, size: Size) -> Size:
        return self.height, self.width

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np

        from degrade import filters
        from degrade.imresize import imresize

        size = (self.height, self.width)
        result = imresize(image, size) if self.mode == "antialiased" else filters.resize(image, size, self.mode)
        return np.clip(result, 0.0, 255.0, out=result)


class Shrink(Operator):
    """Ranges of a down-scaling: each side becomes floor(side / divisor), at least 1.

    `modes` are weights of area, linear and cubic as in `resize`, and of antialiased: MATLAB's bicubic.
    """

    op: Literal["shrink"] = "shrink"
    draws: ClassVar[type[Draw]] = ShrinkDraw
    divisor: PositiveRange
    modes: Annotated[Weights, resize_modes(get_args(Mode))]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.divisor[0] < 1:
            raise ValueError(f"a divisor is at least 1, got [{self.divisor[0]}, {self.divisor[1]}]")
        return self

    def draw(self, stream: Stream, place: Place) -> ShrinkDraw:
        divisor = stream.uniform(*self.divisor)
        names = sorted(self.modes)
        mode = names[stream.choice([self.modes[name] for name in names])]
        height, width = (max(1, int(side / divisor)) for side in place.size)
        return ShrinkDraw.model_validate(
            {"id": self.id, "divisor": divisor, "mode": mode, "height": height, "width": width}
        )
