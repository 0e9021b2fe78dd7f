"""A recipe: every random choice of one pair, as a small typed record that is drawn once and replayed for ever."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from degrade.augment import D4
from degrade.columns import Value, recipe_columns
from degrade.errors import DegradeError
from degrade.operators.base import Draw, Identifier, Place, Record, Side, Sides, Size
from degrade.operators.registry import AnyDraw, AnyOperator
from degrade.philox import Stream
from degrade.preset import Choice, Node, Preset, Sequence, Sharpen
from degrade.sampling import draw_crop

DRAWS: Final[dict[str, type[Draw]]] = {draw.model_fields["op"].default: draw for draw in AnyDraw.__args__}

ROOM: Final = 1 << 26
"""Pixels that any image on the way may have, however small the photograph is (0.8 GB)."""

ENLARGED: Final = 4
"""How many times longer than its context an image on the way may be at any size."""


class Skipped(Record):
    """An operator of the preset that was not applied to this pair."""

    id: Identifier
    op: str

    @field_validator("op")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in DRAWS:
            raise ValueError(f"{value!r} is no operator; the operators are {', '.join(sorted(DRAWS))}")
        return value


class Recipe(Record):
    """How to make one pair from one photograph.

    `source` is (height, width) of the photograph, `box` the context (y, x, height, width) cut from it, `rescaled` the
    size the box is resized to first (area down, cubic up; null: not), `symmetry` the element of D4 applied to it, and
    `inner` (y, x) where the HR crop starts in the result; (y, x) / scale is where the LR crop starts. `hr_size` is the
    side of a square HR crop, or its (height, width) where the pair is a whole photograph.
    `steps` are applied in order. `choices` (choice -> option) and `sequences` (sequence -> the order of its steps) say
    how the preset led to them; null where it did not come to them.
    """

    recipe: Literal[1] = 1
    preset: str
    seed: int = Field(ge=0, lt=2**64)
    image: str = Field(pattern=r"^[0-9a-f]{64}$")
    crop: int = Field(ge=0)
    scale: int = Field(ge=1, le=16)
    hr_size: Side | Sides
    source: Sides
    box: tuple[int, int, Side, Side]
    rescaled: Sides | None
    symmetry: D4
    inner: Size
    sharpen: Sharpen | None
    hr: Literal["raw", "sharpened"]
    choices: dict[str, str | None]
    sequences: dict[str, tuple[str, ...] | None]
    steps: tuple[Annotated[AnyDraw, Field(discriminator="op")], ...]
    skipped: tuple[Skipped, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        y, x, height, width = self.box
        if min(y, x) < 0 or y + height > self.source[0] or x + width > self.source[1]:
            raise ValueError(f"the box {list(self.box)} is not inside the source {list(self.source)}")
        context = self.context
        if any(side % self.scale for side in (*self.hr_shape, *context, *self.inner)):
            raise ValueError(f"hr_size, context and inner offset are multiples of the scale {self.scale}")
        if any(not 0 <= at <= side - hr for at, side, hr in zip(self.inner, context, self.hr_shape, strict=True)):
            raise ValueError(f"the HR crop at {list(self.inner)} is not inside the context {list(context)}")
        _check_room(context, (height, width), "the context")
        size = context
        for step in self.steps:
            size = step.output_size(size)
            _check_room(size, context, f"what {step.id} makes")
        if size != self.lr_context:
            raise ValueError(
                f"the steps end at {size[0]} x {size[1]} and the LR context is {self.lr_context[0]} x "
                f"{self.lr_context[1]}; a preset ends with a resize to the LR size (of: lr, keep: 1) or an imresize"
            )
        return self

    @property
    def hr_shape(self) -> Size:
        """(height, width) of the HR image."""
        return (self.hr_size, self.hr_size) if isinstance(self.hr_size, int) else self.hr_size

    @property
    def lr_shape(self) -> Size:
        """(height, width) of the LR image."""
        return self.hr_shape[0] // self.scale, self.hr_shape[1] // self.scale

    @property
    def context(self) -> Size:
        """(height, width) of the HR context after rescaling and symmetry."""
        height, width = self.rescaled or self.box[2:]
        return (width, height) if self.symmetry in ("t", "r90", "r270", "hvt") else (height, width)

    @property
    def lr_context(self) -> Size:
        """(height, width) of the LR context."""
        return self.context[0] // self.scale, self.context[1] // self.scale

    def to_json(self) -> str:
        """Compact JSON with sorted keys; floats in their shortest exact form, so reading it back loses nothing."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Recipe:
        """The recipe that was written; raises :class:`DegradeError` when it is damaged or of a newer version."""
        try:
            value: Any = json.loads(text)
            version = value.get("recipe") if isinstance(value, dict) else None
            if isinstance(version, int) and version > 1:
                raise DegradeError(
                    f"this recipe has version {version} and this Sharpline reads 1; use a newer Sharpline"
                )
            return cls.model_validate(value)
        except (ValidationError, ValueError, RecursionError) as error:
            if isinstance(error, DegradeError):
                raise
            raise DegradeError(f"not a recipe: {error}") from error

    def columns(self) -> dict[str, Value]:
        """The recipe as flat columns (names and types: :meth:`Preset.columns`)."""
        return recipe_columns(self)


def _check_room(size: Size, of: Size, what: str) -> None:
    """Refuse an image that no preset means and no machine should be asked for: enlarged by far, and large."""
    if size[0] * size[1] > max(ROOM, ENLARGED**2 * of[0] * of[1]):
        raise ValueError(
            f"{what} is {size[0]} x {size[1]}, over {ENLARGED} times the sides of {of[0]} x {of[1]} and over "
            f"{ROOM:,} pixels; narrow the factors of resizing"
        )


def sample_recipe(
    preset: Preset, *, seed: int, image: str, crop: int, image_size: Size, hr_size: int | None, scale: int
) -> Recipe:
    """Draw the recipe of crop number `crop` of one photograph.

    `image` is the sha256 of the photograph's bytes (64 hexadecimal digits), `image_size` its (height, width).
    `hr_size` is the side of the HR crop; None takes the whole photograph, less what is over a multiple of `scale`.
    A pure function: every operator draws from its own stream, keyed by (seed, image, crop, its id). Raises
    :class:`DegradeError` when the photograph is smaller than hr_size, hr_size is no multiple of `scale`, or the preset
    is made for another scale.
    """
    preset.check_scale(scale)
    start = Place(seed, image, crop, image_size, (0, 0))
    framing = draw_crop(preset, start, hr_size, scale)
    context = framing.context
    trace = _Trace(Place(seed, image, crop, context, (context[0] // scale, context[1] // scale)))
    trace.follow(preset.steps)
    applied = {step.id for step in trace.steps}
    skipped: dict[str, str] = {}
    for node in preset.nodes:
        if isinstance(node, Choice):
            trace.choices.setdefault(node.id, None)
        elif isinstance(node, Sequence):
            trace.sequences.setdefault(node.id, None)
        elif node.id not in applied:
            skipped[node.id] = node.op
    try:
        return Recipe.model_validate(
            {
                "preset": preset.name,
                "seed": seed,
                "image": image,
                "crop": crop,
                "scale": scale,
                "hr_size": framing.context if hr_size is None else hr_size,
                "source": image_size,
                "box": framing.box,
                "rescaled": framing.rescaled,
                "symmetry": framing.symmetry,
                "inner": framing.inner,
                "sharpen": preset.sharpen,
                "hr": preset.hr,
                "choices": trace.choices,
                "sequences": trace.sequences,
                "steps": trace.steps,
                "skipped": [{"id": name, "op": op} for name, op in skipped.items()],
            }
        )
    except ValidationError as error:
        raise DegradeError(f"preset {preset.name!r} gave no valid recipe: {error}") from error


class _Trace:
    """Follows a preset's tree for one pair and collects what was drawn."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.steps: list[Draw] = []
        self.choices: dict[str, str | None] = {}
        self.sequences: dict[str, tuple[str, ...] | None] = {}

    def follow(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            stream = self.place.stream(node.id)
            if isinstance(node, Choice):
                self._choice(node, stream)
            elif isinstance(node, Sequence):
                self._sequence(node, stream)
            else:
                self._operator(node, stream)

    def _choice(self, node: Choice, stream: Stream) -> None:
        names = sorted(node.options)  # the order of a mapping is no part of its meaning
        name = names[stream.choice([node.options[option].weight for option in names])]
        self.choices[node.id] = name
        self.follow(node.options[name].steps)

    def _sequence(self, node: Sequence, stream: Stream) -> None:
        if not stream.bernoulli(node.p):
            return
        order = range(len(node.steps)) if node.order == "fixed" else stream.permutation(len(node.steps))
        steps = node.arranged(order)
        self.sequences[node.id] = tuple(step.id for step in steps)
        self.follow(steps)

    def _operator(self, node: AnyOperator, stream: Stream) -> None:
        if not stream.bernoulli(node.p):
            return
        draw = node.draw(stream, self.place)
        self.steps.append(draw)
        here = self.place
        self.place = Place(here.seed, here.image, here.crop, draw.output_size(here.size), here.lr)
