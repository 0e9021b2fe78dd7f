"""BSRGAN's nearest down-sampling: blur with a Gaussian that is moved to the middle of a step, keep every n-th pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from degrade.operators.base import Draw, Operator, Place, PositiveRange, Side, Size
from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TAPS = 25


class DecimateDraw(Draw):
    """One blur of `sigma` pixels and every `stride`-th pixel of the result, to `height` x `width`."""

    op: Literal["decimate"] = "decimate"
    stride: int = Field(ge=1, le=16)
    sigma: float = Field(gt=0)
    height: Side
    width: Side

    def output_size(self, size: Size) -> Size:
        left = (-(-size[0] // self.stride), -(-size[1] // self.stride))
        if left != (self.height, self.width):
            raise ValueError(
                f"a stride of {self.stride} makes {left[0]} x {left[1]} of {size[0]} x {size[1]}, and {self.id} says "
                f"{self.height} x {self.width}"
            )
        return left

    def taps(self) -> NDArray[np.float64]:
        """[25]: weights of the pixels at -12..12 from the one kept, sum 1; their mean is (stride - 1) / 2.

        The Gaussian is sampled at whole pixels and moved by linear interpolation, as the reference does it, so a
        small sigma on an even stride averages the two pixels in the middle of the step.
        """
        import numpy as np

        from degrade import kernels

        centred = kernels.gaussian_taps(TAPS, self.sigma)
        places = kernels.axis(TAPS)
        moved = np.interp(places - (self.stride - 1) / 2, places, centred)
        return np.asarray(moved / moved.sum(), dtype=np.float64)

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np

        from degrade import filters

        return np.ascontiguousarray(filters.separable(image, self.taps())[:: self.stride, :: self.stride])


class Decimate(Operator):
    """Ranges of a decimation: `stride` in pixels, and the `sigma` of the blur before it in pixels.

    LR pixel i shows the blurred image at i * stride + (stride - 1) / 2, where the other ways of resizing put it too.
    """

    op: Literal["decimate"] = "decimate"
    draws: ClassVar[type[Draw]] = DecimateDraw
    stride: int = Field(ge=1, le=16)
    sigma: PositiveRange

    def draw(self, stream: Stream, place: Place) -> DecimateDraw:
        height, width = (-(-side // self.stride) for side in place.size)
        return DecimateDraw(
            id=self.id, stride=self.stride, sigma=stream.uniform(*self.sigma), height=height, width=width
        )
