"""BSRGAN's blur: a Gaussian by its standard deviation, or by the eigenvalues of its covariance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from degrade.operators.base import Draw, Operator, Place, Probability, Range
from degrade.operators.blur import check_sizes, draw_size
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_POINT: Final = 1e-3
"""Below this standard deviation in pixels every kernel is the identity in float64; it also keeps 0 out of divisions."""


class EigenBlurDraw(Draw):
    """One Gaussian kernel of odd `size`. `sigma_*` in pixels along the two axes, of which the first is turned by
    `theta` radians; an isotropic kernel has `sigma_x` alone."""

    op: Literal["eigen_blur"] = "eigen_blur"
    isotropic: bool
    size: int = Field(ge=1, le=63)
    sigma_x: float = Field(ge=0)
    sigma_y: float | None = Field(default=None, ge=0)
    theta: float | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.size % 2 == 0:
            raise ValueError(f"a kernel size is odd, got {self.size}")
        if (self.sigma_y is None) != self.isotropic or (self.theta is None) != self.isotropic:
            raise ValueError("sigma_y and theta belong to a kernel that is not isotropic, and both to every such one")
        return self

    def kernel(self) -> NDArray[np.float64]:
        """The full kernel, float64 [size, size], sum 1."""
        from degrade import kernels

        sigma_y = self.sigma_x if self.sigma_y is None else self.sigma_y
        return kernels.gaussian(self.size, max(self.sigma_x, _POINT), max(sigma_y, _POINT), self.theta or 0.0)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import filters, kernels

        if self.isotropic:
            taps = kernels.gaussian_taps(self.size, max(self.sigma_x, _POINT))
            return filters.separable(image, kernels.trimmed_taps(taps))
        return filters.dense(image, kernels.trimmed(self.kernel()))


class EigenBlur(Operator):
    """Ranges of BSRGAN's blur (Zhang et al. 2021, section 3.1): kernel `sizes` (first and last odd size).

    With probability `isotropic` the standard deviation is drawn from `sigma` (pixels); otherwise the two eigenvalues
    of the covariance from `eigenvalues` (square pixels) and its rotation from `theta` (radians). Draws record the
    square roots of the eigenvalues, so the standard deviations of all blurs are in the same unit.
    """

    op: Literal["eigen_blur"] = "eigen_blur"
    draws: ClassVar[type[Draw]] = EigenBlurDraw
    sizes: tuple[int, int]
    isotropic: Probability = 0.5
    sigma: Range
    eigenvalues: Range
    theta: tuple[float, float] = (0.0, math.pi)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_sizes(self.sizes)
        if min(self.sigma[0], self.eigenvalues[0]) < 0:
            raise ValueError("sigma and eigenvalues are not negative")
        return self

    def draw(self, stream: Stream, place: Place) -> EigenBlurDraw:
        size = draw_size(stream, self.sizes)
        if stream.bernoulli(self.isotropic):
            return EigenBlurDraw(id=self.id, isotropic=True, size=size, sigma_x=stream.uniform(*self.sigma))
        first, second = math.sqrt(stream.uniform(*self.eigenvalues)), math.sqrt(stream.uniform(*self.eigenvalues))
        theta = stream.uniform(*self.theta)
        return EigenBlurDraw(id=self.id, isotropic=False, size=size, sigma_x=first, sigma_y=second, theta=theta)
