"""Random resizing without antialiasing, as ``F.interpolate`` does it in Real-ESRGAN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from degrade.operators.base import Draw, Operator, Place, PositiveRange, Side, Size, Weight, Weights, resize_modes
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Mode = Literal["area", "linear", "cubic"]
Direction = Literal["up", "down", "keep"]


class ResizeDraw(Draw):
    """One resize to `height` x `width`; `factor` and `direction` are what was drawn to get there."""

    op: Literal["resize"] = "resize"
    direction: Direction
    factor: float = Field(gt=0)
    mode: Mode
    height: Side
    width: Side

    def output_size(self, size: Size) -> Size:
        return self.height, self.width

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import filters

        return filters.resize(image, (self.height, self.width), self.mode)


class Resize(Operator):
    """Ranges of a resize.

    The size is floor(base * factor), where the base is the image at that point (``of: input``) or the LR size at the
    end (``of: lr``). `up`, `down` and `keep` are weights; `factor` is [smallest, largest] around 1, of which `down`
    uses the lower part and `up` the upper. `modes` are weights of area, linear and cubic.
    """

    op: Literal["resize"] = "resize"
    draws: ClassVar[type[Draw]] = ResizeDraw
    of: Literal["input", "lr"]
    up: Weight = 0.0
    down: Weight = 0.0
    keep: Weight = 0.0
    factor: PositiveRange = (1.0, 1.0)
    modes: Annotated[Weights, resize_modes(get_args(Mode))]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.up + self.down + self.keep <= 0:
            raise ValueError("one of up, down and keep must have a weight above 0")
        if not self.factor[0] <= 1.0 <= self.factor[1]:
            raise ValueError(f"factor contains 1, got [{self.factor[0]}, {self.factor[1]}]")
        return self

    def settles(self, at_lr: bool) -> bool:
        return self.of == "lr" and self.up == self.down == 0

    def draw(self, stream: Stream, place: Place) -> ResizeDraw:
        directions: tuple[Direction, ...] = ("up", "down", "keep")
        direction = directions[stream.choice((self.up, self.down, self.keep))]
        low, high = self.factor
        factor = {"up": (1.0, high), "down": (low, 1.0), "keep": (1.0, 1.0)}[direction]
        drawn = stream.uniform(*factor)
        names = sorted(self.modes)
        mode = names[stream.choice([self.modes[name] for name in names])]
        base = place.lr if self.of == "lr" else place.size
        height, width = (max(1, int(side * drawn)) for side in base)
        return ResizeDraw.model_validate(
            {"id": self.id, "direction": direction, "factor": drawn, "mode": mode, "height": height, "width": width}
        )
