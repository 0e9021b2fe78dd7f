"""What every operator is: ranges that a preset states, and a draw that a recipe records and the engine renders.

A new operator is one file with a subclass of each, a line in ``registry.py`` and a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from degrade.philox import Stream, stream_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Size = tuple[int, int]
Side = Annotated[int, Field(ge=1, le=1 << 20)]
"""Of an image, in pixels; OpenCV reads no longer ones."""

Sides = tuple[Side, Side]


class Record(BaseModel):
    """A frozen, closed record: unknown fields are errors, NaN and infinity too."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range is [low, high] with low <= high, got [{value[0]}, {value[1]}]")
    return value


def _some_weight(value: dict[str, float]) -> dict[str, float]:
    if not value or sum(value.values()) <= 0:
        raise ValueError("at least one weight must be above 0")
    return value


def _qualities(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1] <= 100:
        raise ValueError(f"quality is [lowest, highest] between 1 and 100, got {list(value)}")
    return value


def resize_modes(known: Sequence[str]) -> AfterValidator:
    """Makes weights of resize modes of weights: ``Annotated[Weights, resize_modes(("area", "cubic"))]``."""

    def check(value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(known))
        if unknown:
            raise ValueError(f"unknown resize mode {unknown[0]!r}; the modes are {', '.join(known)}")
        return value

    return AfterValidator(check)


Ordered: Final = AfterValidator(_ordered)
"""Makes a range of a pair of bounded numbers: ``Annotated[tuple[Radius, Radius], Ordered]``."""

Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Weights = Annotated[dict[str, Weight], AfterValidator(_some_weight)]
Range = Annotated[tuple[float, float], Ordered]
PositiveRange = Annotated[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], Ordered]
Quality = Annotated[tuple[int, int], AfterValidator(_qualities)]
"""[lowest, highest] of a lossy format, integers, both included."""

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


@dataclass(frozen=True)
class Place:
    """Where a pair's sampling stands: the image size at this point and the LR size at the end, as (height, width)."""

    seed: int
    image: str
    crop: int
    size: Size
    lr: Size

    def stream(self, name: str) -> Stream:
        """The stream of draws with this name, for this pair."""
        return Stream(self.key(name))

    def key(self, name: str) -> str:
        """The key of a stream that is rendered later (a noise field)."""
        return stream_key(self.seed, self.image, self.crop, name)


class Draw(Record):
    """What one operator drew for one pair. Subclasses add ``op: Literal[...]`` and their parameters."""

    id: Identifier
    not_columns: ClassVar[frozenset[str]] = frozenset({"op", "id"})

    def output_size(self, size: Size) -> Size:
        """(height, width) after this operator, for an input of `size`. Raises ValueError where they contradict."""
        return size

    def render(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply to a float32 RGB image [h, w, 3] in code values (nominally 0..255); the input may be overwritten."""
        raise NotImplementedError


class Operator(Record):
    """The ranges of one operator in a preset. Subclasses add ``op: Literal[...]`` and ``draws``.

    `id` names the operator in recipes, columns and random streams; `p` is the probability that it is applied.
    """

    id: Identifier
    p: Probability = 1.0
    draws: ClassVar[type[Draw]]

    @classmethod
    def resizes(cls) -> bool:
        """Whether the image may have another size after this operator: whether its draws say which."""
        return cls.draws.output_size is not Draw.output_size

    def settles(self, at_lr: bool) -> bool:
        """Whether the image surely has the LR size after this operator, given whether it surely had it before.

        An operator that resizes is taken to leave it, unless it says here when it does not.
        """
        return at_lr and not self.resizes()

    def draw(self, stream: Stream, place: Place) -> Draw:
        """Draw the parameters for one pair; called only when the operator is applied."""
        raise NotImplementedError
