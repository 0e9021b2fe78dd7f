"""Over-sharpening: the halos of an unsharp mask that is too strong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from degrade.operators.base import Draw, Operator, Ordered, Place
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Amount = Annotated[float, Field(ge=0, le=10)]
Sigma = Annotated[float, Field(gt=0, le=20)]
Code = Annotated[float, Field(ge=0, le=255)]


class HaloDraw(Draw):
    """One unsharp mask: `amount` (0 is none), `sigma` in pixels, `threshold` and `overshoot` in code values."""

    op: Literal["halo"] = "halo"
    amount: Amount
    sigma: Sigma
    threshold: Code
    overshoot: float | None = Field(default=None, ge=0, le=255)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import halo

        return halo.oversharpen(image, self.amount, self.sigma, self.threshold, self.overshoot)


class Halo(Operator):
    """Ranges of over-sharpening: `amount` of the difference that is added, `sigma` of the blur in pixels.

    Only differences above `threshold` code values are sharpened. `overshoot` limits how many code values a halo may
    reach beyond the lightest and darkest of its 3 x 3 neighbours, as screens and cameras clip it; null is no limit.
    """

    op: Literal["halo"] = "halo"
    draws: ClassVar[type[Draw]] = HaloDraw
    amount: Annotated[tuple[Amount, Amount], Ordered]
    sigma: Annotated[tuple[Sigma, Sigma], Ordered]
    threshold: Annotated[tuple[Code, Code], Ordered] = (0.0, 0.0)
    overshoot: Annotated[tuple[Code, Code], Ordered] | None = None

    def draw(self, stream: Stream, place: Place) -> HaloDraw:
        return HaloDraw(
            id=self.id,
            amount=stream.uniform(*self.amount),
            sigma=stream.uniform(*self.sigma),
            threshold=stream.uniform(*self.threshold),
            overshoot=None if self.overshoot is None else stream.uniform(*self.overshoot),
        )
