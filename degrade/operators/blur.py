"""Blur with a kernel drawn from the families of Real-ESRGAN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from degrade.operators.base import Draw, Operator, Place, PositiveRange, Probability, Weights
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Family = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso", "sinc"]
FAMILIES = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")


class BlurDraw(Draw):
    """One kernel. `sigma_*` in pixels, `theta` and `omega` in radians; what a family does not use is null."""

    op: Literal["blur"] = "blur"
    family: Family
    size: int = Field(ge=1, le=63)
    sigma_x: float | None = Field(default=None, gt=0)
    sigma_y: float | None = Field(default=None, gt=0)
    theta: float | None = None
    beta: float | None = Field(default=None, gt=0)
    omega: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = _needs(self.family)
        for name in ("sigma_x", "sigma_y", "theta", "beta", "omega"):
            if (getattr(self, name) is not None) != (name in needs):
                raise ValueError(f"a {self.family} kernel takes exactly {', '.join(needs)}; check {name!r}")
        if self.size % 2 == 0:
            raise ValueError(f"a kernel size is odd, got {self.size}")
        return self

    def kernel(self) -> NDArray[np.float64]:
        """The full kernel, float64 [size, size], sum 1."""
        from degrade import kernels

        if self.omega is not None:
            return kernels.sinc(self.size, self.omega)
        assert self.sigma_x is not None
        sigma_y = self.sigma_x if self.sigma_y is None else self.sigma_y
        theta = 0.0 if self.theta is None else self.theta
        if self.family.startswith("plateau"):
            assert self.beta is not None
            return kernels.plateau(self.size, self.sigma_x, sigma_y, theta, self.beta)
        return kernels.gaussian(self.size, self.sigma_x, sigma_y, theta, 1.0 if self.beta is None else self.beta)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import filters, kernels

        if self.family == "iso" and self.sigma_x is not None:
            return filters.separable(image, kernels.trimmed_taps(kernels.gaussian_taps(self.size, self.sigma_x)))
        return filters.dense(image, kernels.trimmed(self.kernel()))


class Blur(Operator):
    """Ranges of a blur: kernel `sizes` (first and last odd size), families by weight, and their parameters.

    With probability `sinc` the kernel is a circular low-pass instead, with a cut-off from `sinc_small` for sizes below
    13 and from `sinc_large` from 13 on. A beta is drawn from below or from above 1 with equal probability (BasicSR's
    rule), so a range that starts at 1 gives exactly 1 half the time.
    """

    op: Literal["blur"] = "blur"
    draws: ClassVar[type[Draw]] = BlurDraw
    sizes: tuple[int, int]
    families: Weights
    sigma: PositiveRange
    theta: tuple[float, float] = (-math.pi, math.pi)
    beta_generalized: PositiveRange = (0.5, 4.0)
    beta_plateau: PositiveRange = (1.0, 2.0)
    sinc: Probability = 0.0
    sinc_small: PositiveRange = (math.pi / 3, math.pi)
    sinc_large: PositiveRange = (math.pi / 5, math.pi)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_sizes(self.sizes)
        unknown = sorted(set(self.families) - set(FAMILIES))
        if unknown:
            raise ValueError(f"unknown kernel family {unknown[0]!r}; the families are {', '.join(FAMILIES)}")
        for low, high in (self.beta_generalized, self.beta_plateau):
            if not low <= 1.0 <= high:
                raise ValueError(f"a beta range contains 1, got [{low}, {high}]")
        return self

    def draw(self, stream: Stream, place: Place) -> BlurDraw:
        size = draw_size(stream, self.sizes)
        if stream.bernoulli(self.sinc):
            omega = stream.uniform(*(self.sinc_small if size < 13 else self.sinc_large))
            return BlurDraw(id=self.id, family="sinc", size=size, omega=omega)
        names = sorted(self.families)
        family = names[stream.choice([self.families[name] for name in names])]
        values: dict[str, float] = {"sigma_x": stream.uniform(*self.sigma)}
        if "theta" in _needs(family):
            values["sigma_y"] = stream.uniform(*self.sigma)
            values["theta"] = stream.uniform(*self.theta)
        if "beta" in _needs(family):
            low, high = self.beta_plateau if family.startswith("plateau") else self.beta_generalized
            values["beta"] = stream.uniform(low, 1.0) if stream.bernoulli(0.5) else stream.uniform(1.0, high)
        return BlurDraw.model_validate({"id": self.id, "family": family, "size": size, **values})


def check_sizes(sizes: tuple[int, int]) -> None:
    """Refuse what is not [first, last] of odd kernel sizes between 3 and 63."""
    first, last = sizes
    if not (3 <= first <= last <= 63 and first % 2 == 1 and last % 2 == 1):
        raise ValueError(f"sizes are [first, last], odd, between 3 and 63, got [{first}, {last}]")


def draw_size(stream: Stream, sizes: tuple[int, int]) -> int:
    """One odd kernel size between the first and the last, each as likely."""
    return sizes[0] + 2 * stream.integer(0, (sizes[1] - sizes[0]) // 2)


def _needs(family: str) -> tuple[str, ...]:
    if family == "sinc":
        return ("omega",)
    names = ["sigma_x"]
    if family.endswith("aniso"):
        names += ["sigma_y", "theta"]
    if family.startswith(("generalized", "plateau")):
        names.append("beta")
    return tuple(names)
