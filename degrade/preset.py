"""The typed form of a preset: how a pair is cropped, augmented, sharpened, and through which operators it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from degrade.operators.base import Identifier, Probability, Record, Weight
from degrade.operators.imresize import Imresize
from degrade.operators.registry import AnyOperator
from degrade.operators.resize import Resize


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


class Augment(Record):
    """Probabilities of mirroring left-right, top-bottom, and of transposing, drawn independently."""

    hflip: Probability = 0.0
    vflip: Probability = 0.0
    transpose: Probability = 0.0


class Sharpen(Record):
    """Unsharp masking before the operators: `radius` in pixels (taps are the odd number above), code values."""

    weight: float = Field(ge=0, le=4)
    radius: int = Field(ge=2, le=200)
    threshold: float = Field(ge=0, le=255)


class Sequence(Record):
    """A list of steps that is applied as a whole with probability `p`, in order or in a random order."""

    op: Literal["sequence"] = "sequence"
    id: Identifier
    p: Probability = 1.0
    order: Literal["fixed", "shuffled"] = "fixed"
    steps: tuple[Node, ...] = Field(min_length=1)


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
    the LR image is always made of the sharpened one when there is `sharpen`.
    """

    preset: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)
    crop: Crop = Crop()
    augment: Augment = Augment()
    sharpen: Sharpen | None = None
    hr: Literal["raw", "sharpened"] = "raw"
    steps: tuple[Node, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.hr == "sharpened" and self.sharpen is None:
            raise ValueError("hr: sharpened needs a sharpen section; add one or say hr: raw")
        _check_names(self.steps, {})
        resizes = any(isinstance(op, Resize | Imresize) for op in self.operators())
        if resizes and not _settled(self.steps, False):
            raise ValueError(
                "the steps may end at another size than the LR image; end with an imresize, or with a resize that has "
                "of: lr, keep: 1 and neither up nor down, applied in every case (p: 1)"
            )
        return self

    def operators(self) -> Iterator[AnyOperator]:
        """All operators in the order of the file, those of every alternative too."""
        for node in walk(self.steps):
            if not isinstance(node, Sequence | Choice):
                yield node

    def columns(self) -> dict[str, str]:
        """Name -> ``int | float | str | bool`` of every column that recipes of this preset have."""
        from degrade.columns import preset_columns

        return preset_columns(self)


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
            inside = _settled(node.steps, before) if node.order == "fixed" else _settled_shuffled(node.steps, before)
            at_lr = inside and (node.p == 1 or before)
        else:
            at_lr = node.settles(before) and (node.p == 1 or before)
    return at_lr


def _settled_shuffled(steps: tuple[Node, ...], at_lr: bool) -> bool:
    """The same for any order of `steps`: none may leave the LR size, and it must be there before or come from one."""
    return all(_settled((step,), True) for step in steps) and (at_lr or any(_settled((step,), False) for step in steps))


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
