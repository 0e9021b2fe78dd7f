"""The typed form of a preset: how a pair is cropped, augmented, sharpened, and through which operators it goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from degrade.errors import DegradeError
from degrade.operators.base import Identifier, Ordered, Probability, Record, Weight
from degrade.operators.registry import AnyOperator


class Crop(Record):
    """How the HR crop is taken.

    ``native`` cuts it at the photograph's own scale. It is degraded inside a larger context and cut out afterwards:
    at least `margin` LR pixels on each side where the photograph has them, so that filters meet real pixels, and a
    random whole number of LR pixels below `phases`, so that the 8 x 8 grid of JPEG falls anywhere in the LR crop
    (Real-ESRGAN degrades 400 to cut 256 for the same ends).
    ``rescaled`` takes the largest square and area-resizes it to the HR size (ResShift's ``rescale_gt``); there is no
    context then.
    """

    mode: Literal["native", "rescaled"] = "native"
    margin: int = Field(default=4, ge=0, le=64)
    phases: int = Field(default=16, ge=1, le=64)


CROP: Final = "crop"
SYMMETRY: Final = "symmetry"
"""Names of the streams that framing draws from; those of steps are their ids, so no step is called so."""

_END: Final = (
    "end with an imresize, or with a resize that has of: lr, keep: 1 and neither up nor down, applied in every case "
    "(p: 1)"
)

Zoom = Annotated[float, Field(gt=0, le=4)]


class Augment(Record):
    """What happens to the HR crop before it is degraded.

    `hflip`, `vflip` and `transpose` are the probabilities of mirroring left-right, top-bottom, and of transposing,
    drawn independently. `zoom` [low, high] is how large the photograph is shown, uniformly: at 0.5 the HR crop shows
    twice as many native pixels a side, resized to the HR size (area down, cubic up), so that detail comes at several
    scales as in Real-ESRGAN's multi-scale training images. A photograph is never shrunk below the HR size: one that is
    too small for a part of the range draws from the rest, or is shrunk only until it fits. Null is none.
    """

    hflip: Probability = 0.0
    vflip: Probability = 0.0
    transpose: Probability = 0.0
    zoom: Annotated[tuple[Zoom, Zoom], Ordered] | None = None


class Sharpen(Record):
    """Unsharp masking before the operators: `radius` in pixels (taps are the odd number above), code values."""

    weight: float = Field(ge=0, le=4)
    radius: int = Field(ge=2, le=200)
    threshold: float = Field(ge=0, le=255)


class Sequence(Record):
    """A list of steps that is applied as a whole with probability `p`, in order or in a random order.

    ``after: {b: a}`` keeps step b behind step a in a shuffled order: where they come the other way round they change
    places, which leaves every order that is allowed as likely as any other. A step may be named once.
    """

    op: Literal["sequence"] = "sequence"
    id: Identifier
    p: Probability = 1.0
    order: Literal["fixed", "shuffled"] = "fixed"
    after: dict[Identifier, Identifier] = {}
    steps: tuple[Node, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.after and self.order == "fixed":
            raise ValueError("after is for order: shuffled; a fixed order is that of the steps")
        named = [*self.after, *self.after.values()]
        unknown = sorted(set(named) - {step.id for step in self.steps})
        if unknown:
            raise ValueError(f"after names {unknown[0]!r}, which is no step of this sequence")
        if len(set(named)) < len(named):
            raise ValueError("after names a step twice; every step may be in one pair")
        return self

    def arranged(self, order: Iterable[int]) -> tuple[Node, ...]:
        """The steps in `order` (their indices), with those changed over that stand against `after`."""
        steps = [self.steps[index] for index in order]
        place = {step.id: index for index, step in enumerate(steps)}
        for later, earlier in self.after.items():
            if place[later] < place[earlier]:
                steps[place[later]], steps[place[earlier]] = steps[place[earlier]], steps[place[later]]
        return tuple(steps)


class Option(Record):
    """One alternative of a choice."""

    weight: Weight
    steps: tuple[Node, ...] = ()


class Choice(Record):
    """Exactly one of several alternatives, by weight."""

    op: Literal["choice"] = "choice"
    id: Identifier
    options: dict[Identifier, Option] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if sum(option.weight for option in self.options.values()) <= 0:
            raise ValueError("at least one option must have a weight above 0")
        return self


Node: TypeAlias = Annotated[AnyOperator | Sequence | Choice, Field(discriminator="op")]
Sequence.model_rebuild()
Option.model_rebuild()
Choice.model_rebuild()


class Preset(Record):
    """A whole degradation. ``model_dump(mode="json")`` is its identity: every value, resolved.

    `preset` is the version of this format. `hr` says whether the stored HR image is the sharpened one or the raw one;
    the LR image is always made of the sharpened one when there is `sharpen`. `scale` is set where the ranges hold for
    one scale only; elsewhere sizes follow the scale that is asked for.
    """

    preset: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)
    scale: int | None = Field(default=None, ge=1, le=16)
    crop: Crop = Crop()
    augment: Augment = Augment()
    sharpen: Sharpen | None = None
    hr: Literal["raw", "sharpened"] = "raw"
    steps: tuple[Node, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.hr == "sharpened" and self.sharpen is None:
            raise ValueError("hr: sharpened needs a sharpen section; add one or say hr: raw")
        if self.augment.zoom is not None and self.crop.mode == "rescaled":
            raise ValueError("augment.zoom needs crop.mode: native; rescaled shows the whole of a photograph already")
        _check_names(self.steps, {})
        _check_columns(self.nodes)
        if any(op.resizes() for op in self.operators()) and not self._reaches_lr:
            raise ValueError(f"the steps may end at another size than the LR image; {_END}")
        if self.scale is not None:
            self.check_scale(self.scale)
        return self

    def operators(self) -> Iterator[AnyOperator]:
        """All operators in the order of the file, those of every alternative too."""
        for node in self.nodes:
            if not isinstance(node, Sequence | Choice):
                yield node

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, depth first, in the order of the file."""
        return tuple(walk(self.steps))

    @cached_property
    def _reaches_lr(self) -> bool:
        """Whether the steps surely end at the LR size from wherever they start."""
        return _settled(self.steps, False)

    def check_scale(self, scale: int) -> None:
        """Raise :class:`DegradeError` when this preset is made for another scale, or changes no size at all."""
        if self.scale is not None and scale != self.scale:
            raise DegradeError(
                f"preset {self.name!r} is made for scale {self.scale} and got {scale}; "
                f"say scale: {self.scale}, or use a preset without a scale of its own"
            )
        if scale > 1 and not self._reaches_lr:
            raise DegradeError(
                f"the steps of preset {self.name!r} end at the HR size, and at scale {scale} the LR image is smaller; "
                f"{_END}, or say scale: 1"
            )

    def columns(self) -> dict[str, str]:
        """Name -> ``int | float | str | bool`` of every column that recipes of this preset have."""
        from degrade.columns import preset_columns

        return preset_columns(self)


def _check_columns(nodes: tuple[Node, ...]) -> None:
    from degrade.columns import check_columns

    check_columns(nodes)


def walk(steps: tuple[Node, ...]) -> Iterator[Node]:
    """All nodes, depth first, in the order of the file."""
    for node in steps:
        yield node
        if isinstance(node, Sequence):
            yield from walk(node.steps)
        elif isinstance(node, Choice):
            for option in node.options.values():
                yield from walk(option.steps)


def _settled(steps: tuple[Node, ...], at_lr: bool) -> bool:
    """Whether the image surely has the LR size after `steps`, given whether it surely had it before."""
    for node in steps:
        before = at_lr
        if isinstance(node, Choice):
            at_lr = all(_settled(option.steps, before) for option in node.options.values())
        elif isinstance(node, Sequence):
            inside = _settled(node.steps, before) if node.order == "fixed" else _settled_shuffled(node, before)
            at_lr = inside and (node.p == 1 or before)
        else:
            at_lr = node.settles(before) and (node.p == 1 or before)
    return at_lr


def _settled_shuffled(sequence: Sequence, at_lr: bool) -> bool:
    """The same for any order of its steps: what may leave the LR size comes before a step that goes to it."""
    moving = {step.id for step in sequence.steps if not _settled((step,), True)}
    arriving = [step.id for step in sequence.steps if _settled((step,), False)]
    return any(moving <= {sequence.after.get(name)} for name in arriving) or (at_lr and not moving)


def _check_names(steps: tuple[Node, ...], seen: dict[str, str]) -> None:
    """Names are unique, except that alternatives of one choice may hold the same operator in another place."""
    for node in steps:
        if node.id in seen:
            raise ValueError(f"the id {node.id!r} is used twice; every step needs its own, it names its random draws")
        seen[node.id] = node.op
        if isinstance(node, Sequence):
            _check_names(node.steps, seen)
        elif isinstance(node, Choice):
            _check_options(node, seen)


def _check_options(choice: Choice, seen: dict[str, str]) -> None:
    merged: dict[str, str] = {}
    for option in choice.options.values():
        inside = dict(seen)
        _check_names(option.steps, inside)
        for name, op in inside.items():
            if merged.setdefault(name, op) != op:
                raise ValueError(
                    f"the id {name!r} is a {merged[name]} in one option of {choice.id!r} and a {op} in another"
                )
    seen.update(merged)
