"""Gaussian noise that is correlated between the channels, as BSRGAN adds it to a fifth of its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from degrade.operators.base import Draw, Key, Operator, Place
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CorrelatedDraw(Draw):
    """One covariance of the channels in squared code values, and the key of the stream the field is made of."""

    op: Literal["correlated"] = "correlated"
    var_r: float = Field(ge=0)
    var_g: float = Field(ge=0)
    var_b: float = Field(ge=0)
    cov_rg: float
    cov_rb: float
    cov_gb: float
    noise_key: Key
    not_columns: ClassVar[frozenset[str]] = frozenset({"op", "id", "noise_key"})

    def covariance(self) -> list[list[float]]:
        """[3][3] in the order R, G, B."""
        return [
            [self.var_r, self.cov_rg, self.cov_rb],
            [self.cov_rg, self.var_g, self.cov_gb],
            [self.cov_rb, self.cov_gb, self.var_b],
        ]

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade.covariance import add_correlated

        return add_correlated(image, self.covariance(), self.noise_key)


class Correlated(Operator):
    """Channel-correlated Gaussian noise whose covariance has eigenvalues of up to `sigma` squared (code values)."""

    op: Literal["correlated"] = "correlated"
    draws: ClassVar[type[Draw]] = CorrelatedDraw
    sigma: float = Field(ge=0)

    def draw(self, stream: Stream, place: Place) -> CorrelatedDraw:
        from degrade.covariance import draw_covariance

        c = draw_covariance(stream, self.sigma)
        key = place.key(f"{self.id}/field")
        return CorrelatedDraw(
            id=self.id,
            var_r=c[0][0],
            var_g=c[1][1],
            var_b=c[2][2],
            cov_rg=c[0][1],
            cov_rb=c[0][2],
            cov_gb=c[1][2],
            noise_key=key,
        )
