"""``losses:`` of a ``with:`` section: a list of differences and their weights. Light: `validate` loads it.

.. code-block:: yaml

    losses:
      - {kind: charbonnier, weight: 1, scales: 3}
      - {kind: ssim, weight: 0.2}
      - {kind: lpips, weight: 1, trunk: vgg}      # needs weights: see `Lpips`

Every kind but `lpips` needs no downloaded weights, and none of them stands in for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat

from pipelines.stage import Config, Input, StageError

GanKind: TypeAlias = Literal["hinge", "vanilla", "lsgan"]
"""What generator and discriminator minimise (`stages/losses/adversarial.py`)."""


class LossTerm(Config):
    weight: PositiveFloat = 1.0
    """The sum that is minimised counts the term this many times."""


class L1(LossTerm):
    """Mean absolute difference."""

    kind: Literal["l1"]


class MeanSquare(LossTerm):
    """Mean square difference."""

    kind: Literal["mse"]


class Charbonnier(LossTerm):
    """A smooth L1, on a pyramid where `scales` is more than 1."""

    kind: Literal["charbonnier"]
    epsilon: PositiveFloat = 1e-3
    """Differences well under it (of images in [0, 1]) count by their square."""
    scales: Annotated[int, Field(ge=1, le=8)] = 1


class Ssim(LossTerm):
    """1 - SSIM, Gaussian window of 11 pixels."""

    kind: Literal["ssim"]


class MsSsim(LossTerm):
    """1 - MS-SSIM."""

    kind: Literal["ms_ssim"]
    levels: Annotated[int, Field(ge=1, le=5)] = 5
    """Five need patches of 176 pixels a side, three 44."""


class Gradient(LossTerm):
    """Mean absolute difference of Sobel derivatives."""

    kind: Literal["gradient"]


class Frequency(LossTerm):
    """Mean absolute difference of Fourier amplitudes."""

    kind: Literal["frequency"]


class FocalFrequency(LossTerm):
    """Focal frequency loss."""

    kind: Literal["focal_frequency"]
    alpha: NonNegativeFloat = 1.0
    """How much more the frequencies count that differ most; 0 for all the same."""


class Lpips(LossTerm):
    """LPIPS v0.1. Its weights are an input of the stage: a `model` artifact of role lpips (``import.weights``)."""

    kind: Literal["lpips"]
    trunk: Literal["alex", "vgg"] = "vgg"


def _each_kind_once(terms: tuple[LossSpec, ...]) -> tuple[LossSpec, ...]:
    kinds = [term.kind for term in terms]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is there twice; give each kind once, with one weight")
    return terms


LossSpec: TypeAlias = Annotated[
    L1 | MeanSquare | Charbonnier | Ssim | MsSsim | Gradient | Frequency | FocalFrequency | Lpips,
    Field(discriminator="kind"),
]
LossList: TypeAlias = Annotated[tuple[LossSpec, ...], Field(min_length=1), AfterValidator(_each_kind_once)]
"""The type of a config field ``losses``."""

PERCEPTUAL_INPUT = Input(
    "model", "weights of LPIPS (import.weights), for losses of kind lpips", {"role": "lpips"}, optional=True
)
"""The slot of a stage whose losses may hold `lpips`; by convention it is called ``perceptual``."""


def wants_lpips(losses: Sequence[LossTerm]) -> bool:
    """Whether any of `losses` needs the weights of LPIPS."""
    return any(isinstance(term, Lpips) for term in losses)


def require_lpips(losses: Sequence[LossTerm], connected: Collection[str]) -> None:
    """Refuse a loss `lpips` without its weights, and weights that are connected and not asked for.

    `connected` are the slots that have an input. Called from a stage's `outputs`, it is found when the spec is
    validated. Raises StageError.
    """
    wanted = wants_lpips(losses)
    if wanted and "perceptual" not in connected:
        raise StageError(
            "losses: lpips needs trained weights, and nothing stands in for them; import them (uses: import.weights, "
            "role: lpips) and connect that stage: inputs: {perceptual: <stage>}"
        )
    if not wanted and "perceptual" in connected:
        raise StageError(
            "the input perceptual is connected, and no loss is of kind lpips; add one to `losses`, or disconnect it"
        )
