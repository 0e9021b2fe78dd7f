"""A lens out of focus: blur by a disc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from degrade.operators.base import Draw, Operator, Ordered, Place
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Radius = Annotated[float, Field(gt=0, le=50)]
Softness = Annotated[float, Field(ge=0, le=5)]


class DefocusDraw(Draw):
    """One disc of `radius` pixels, its rim softened by a Gaussian of sigma `softness` pixels."""

    op: Literal["defocus"] = "defocus"
    radius: Radius
    softness: Softness = 0.0

    def kernel(self) -> NDArray[np.float64]:
        """The point spread function, float64 [odd, odd], sum 1."""
        from degrade import optics

        return optics.disc(self.radius, self.softness)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import filters, kernels

        return filters.dense(image, kernels.trimmed(self.kernel()))


class Defocus(Operator):
    """Ranges of a defocus in pixels: `radius` of the disc (0.5 and below do nothing) and `softness` of its rim."""

    op: Literal["defocus"] = "defocus"
    draws: ClassVar[type[Draw]] = DefocusDraw
    radius: Annotated[tuple[Radius, Radius], Ordered]
    softness: Annotated[tuple[Softness, Softness], Ordered] = (0.0, 0.0)

    def draw(self, stream: Stream, place: Place) -> DefocusDraw:
        radius = stream.uniform(*self.radius)
        return DefocusDraw(id=self.id, radius=radius, softness=stream.uniform(*self.softness))
