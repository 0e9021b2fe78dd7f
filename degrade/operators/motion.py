"""A camera in motion: blur along a straight line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from degrade.operators.base import Draw, Operator, Ordered, Place, Range
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Length = Annotated[float, Field(ge=0, le=100)]
Asymmetry = Annotated[float, Field(ge=-1, le=1)]


class MotionDraw(Draw):
    """One line of `length` pixels at `theta` radians; `asymmetry` is how much of the exposure is at its end."""

    op: Literal["motion"] = "motion"
    length: Length
    theta: float
    asymmetry: Asymmetry = 0.0

    def kernel(self) -> NDArray[np.float64]:
        """The point spread function, float64 [odd, odd], sum 1: the image of a point of light."""
        from degrade import optics

        return optics.line(self.length, self.theta, self.asymmetry)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import filters, kernels

        turned = kernels.trimmed(self.kernel())[::-1, ::-1]  # filters correlate, and a point spreads by convolution
        return filters.dense(image, turned)


class Motion(Operator):
    """Ranges of a motion blur: `length` in pixels, `theta` in radians (x runs along columns, y along rows).

    `asymmetry` from -1 to 1 is a motion that slows down or speeds up: at 1 the exposure grows from nothing at the start
    of the line to twice the mean at its end. The centroid stays where it is, so HR and LR stay registered.
    """

    op: Literal["motion"] = "motion"
    draws: ClassVar[type[Draw]] = MotionDraw
    length: Annotated[tuple[Length, Length], Ordered]
    theta: Range = (-math.pi, math.pi)
    asymmetry: Annotated[tuple[Asymmetry, Asymmetry], Ordered] = (0.0, 0.0)

    def draw(self, stream: Stream, place: Place) -> MotionDraw:
        length, theta = stream.uniform(*self.length), stream.uniform(*self.theta)
        return MotionDraw(id=self.id, length=length, theta=theta, asymmetry=stream.uniform(*self.asymmetry))
