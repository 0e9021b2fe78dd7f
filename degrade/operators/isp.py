"""Camera noise: photon and read-out noise on the sensor, seen through white balance, demosaicking and encoding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from degrade.operators.base import Draw, Key, Operator, Ordered, Place, Probability
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Noise = Annotated[float, Field(gt=0, le=1)]
Gain = Annotated[float, Field(ge=1, le=8)]
NoiseRange = Annotated[tuple[Noise, Noise], Ordered]
GainRange = Annotated[tuple[Gain, Gain], Ordered]


class IspDraw(Draw):
    """One exposure. Light is 0..1 at the sensor: noise of variance shot * light + read^2 (`read` is a deviation).

    `red_gain` and `blue_gain` are the white balance, `mosaic` whether the sensor has a Bayer pattern.
    """

    op: Literal["isp"] = "isp"
    shot: float = Field(ge=0, le=1)
    read: float = Field(ge=0, le=1)
    red_gain: Gain
    blue_gain: Gain
    mosaic: bool
    noise_key: Key
    not_columns: ClassVar[frozenset[str]] = frozenset({"op", "id", "noise_key"})

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        from degrade import isp

        gains = self.red_gain, self.blue_gain
        return isp.camera(image, self.shot, self.read, gains, self.mosaic, self.noise_key)


class Isp(Operator):
    """Ranges of camera noise; the defaults are those of Brooks et al. 2019 (arXiv 1811.11127, sections 3.1 and 3.4).

    `shot` and `read` are drawn log-uniformly. Without a range `read` follows `shot` as on the paper's cameras:
    log(read^2) is normal around 2.18 log(shot) + 1.20 with a deviation of 0.26. The gains are uniform, `mosaic` is the
    probability of a Bayer pattern.
    """

    op: Literal["isp"] = "isp"
    draws: ClassVar[type[Draw]] = IspDraw
    shot: NoiseRange = (0.0001, 0.012)
    read: NoiseRange | None = None
    red_gain: GainRange = (1.9, 2.4)
    blue_gain: GainRange = (1.5, 1.9)
    mosaic: Probability = 1.0

    def draw(self, stream: Stream, place: Place) -> IspDraw:
        shot = _log_uniform(stream, self.shot)
        return IspDraw(
            id=self.id,
            shot=shot,
            read=_usual_read(stream, shot) if self.read is None else _log_uniform(stream, self.read),
            red_gain=stream.uniform(*self.red_gain),
            blue_gain=stream.uniform(*self.blue_gain),
            mosaic=stream.bernoulli(self.mosaic),
            noise_key=place.key(f"{self.id}/field"),
        )


def _log_uniform(stream: Stream, limits: tuple[float, float]) -> float:
    low, high = limits
    drawn = _rounded(math.exp(stream.uniform(math.log(low), math.log(high))))
    return min(max(drawn, low), high)


def _usual_read(stream: Stream, shot: float) -> float:
    from statistics import NormalDist

    deviation = 0.26 * NormalDist().inv_cdf(stream.unit() + 2.0**-54)
    return min(_rounded(math.exp((2.18 * math.log(shot) + 1.20 + deviation) / 2.0)), 1.0)


def _rounded(value: float) -> float:
    """Nine significant digits: a recipe must not depend on the last bit of a platform's exp and log."""
    return float(f"{value:.9g}")
