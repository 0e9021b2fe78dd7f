"""Gaussian and Poisson noise, in colour or the same in the three channels (gray)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from degrade.operators.base import Draw, Key, Operator, Place, Probability, Range
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NoiseDraw(Draw):
    """What both kinds share: `gray`, and the key of the stream that the field is made of."""

    gray: bool
    noise_key: Key
    not_columns: ClassVar[frozenset[str]] = frozenset({"op", "id", "noise_key"})


class GaussianDraw(NoiseDraw):
    """White Gaussian noise of standard deviation `sigma`, in code values of 0..255."""

    op: Literal["gaussian"] = "gaussian"
    sigma: float = Field(ge=0)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import noise

        return noise.add_gaussian(image, self.sigma, self.gray, self.noise_key)


class PoissonDraw(NoiseDraw):
    """Shot noise at 256 levels, multiplied by `scale` (1 is physical, 0 is none)."""

    op: Literal["poisson"] = "poisson"
    scale: float = Field(ge=0)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import noise

        return noise.add_poisson(image, self.scale, self.gray, self.noise_key)


class Gaussian(Operator):
    """Ranges of Gaussian noise: `sigma` in code values, `gray` the probability of gray noise."""

    op: Literal["gaussian"] = "gaussian"
    draws: ClassVar[type[Draw]] = GaussianDraw
    sigma: Range
    gray: Probability = 0.0

    def draw(self, stream: Stream, place: Place) -> GaussianDraw:
        gray = stream.bernoulli(self.gray)
        return GaussianDraw(
            id=self.id, gray=gray, sigma=stream.uniform(*self.sigma), noise_key=place.key(f"{self.id}/field")
        )


class Poisson(Operator):
    """Ranges of Poisson noise: `scale`, and `gray` the probability of gray noise."""

    op: Literal["poisson"] = "poisson"
    draws: ClassVar[type[Draw]] = PoissonDraw
    scale: Range
    gray: Probability = 0.0

    def draw(self, stream: Stream, place: Place) -> PoissonDraw:
        gray = stream.bernoulli(self.gray)
        return PoissonDraw(
            id=self.id, gray=gray, scale=stream.uniform(*self.scale), noise_key=place.key(f"{self.id}/field")
        )
