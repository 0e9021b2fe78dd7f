"""Recipes in words: what was drawn, with units, for people who look at pictures.

No stage reaches this module, so that another wording rebuilds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import resources

from degrade.operators.base import Draw, Size
from degrade.recipe import Recipe

UNITS: dict[str | tuple[str, str], str] = {
    "length": "px", "omega": "rad/px", "overshoot": "of 255", "quality": "of 100", "radius": "px", "sigma_x": "px",
    "sigma_y": "px", "size": "taps", "softness": "px", "theta": "rad", "threshold": "of 255",
    ("decimate", "sigma"): "px", ("gaussian", "sigma"): "of 255", ("halo", "sigma"): "px",
}  # fmt: skip
"""Unit of a drawn parameter, by (op, name) or by name; none for what has no unit."""

SYMMETRIES = {
    "e": "as it is", "h": "mirrored left-right", "v": "mirrored top-bottom", "r180": "turned by 180°",
    "t": "transposed", "r90": "turned by 90° counter-clockwise", "r270": "turned by 90° clockwise",
    "hvt": "transposed along the other diagonal",
}  # fmt: skip
"""The elements of D4 in words."""


def preset_summary(name: str) -> str:
    """What a bundled preset says of itself in the first line of its file, a comment."""
    text = (resources.files("degrade") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return text.partition("\n")[0].removeprefix("#").strip(" :;")


def values(draw: Draw) -> list[tuple[str, str]]:
    """(name, value with its unit) of everything that `draw` used, in the order of its fields."""
    found = []
    for name in type(draw).model_fields:
        value = getattr(draw, name)
        if name not in ("op", "id") and value is not None:
            found.append((name, quantity(_op(draw), name, value)))
    return found


def quantity(op: str, name: str, value: object) -> str:
    """A value as people read it: three significant digits, its unit, angles in degrees too."""
    unit = UNITS.get((op, name), UNITS.get(name, ""))
    text = number(value) if isinstance(value, int | float) and not isinstance(value, bool) else _plain(value)
    if unit == "rad" and isinstance(value, int | float):
        return f"{text} rad ({math.degrees(value):.0f}°)"
    return f"{text} {unit}".rstrip()


def number(value: float) -> str:
    """Three significant digits, whole numbers as they are."""
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def brief(draw: Draw) -> str:
    """One step in a few characters for captions: ``resize ×0.61 area``, ``gaussian 12.3 gray``, ``jpeg 57``."""
    held = {name: value for name, value in draw if value is not None and name not in draw.not_columns}
    words = [_op(draw)]
    height, width = held.pop("height", None), held.pop("width", None)
    if "factor" in held:
        held.pop("direction", None)
        words.append(f"×{number(held.pop('factor'))}")
    elif height is not None:
        words.append(f"{width}×{height}")
    for name, value in held.items():
        if isinstance(value, bool):
            words += [name] if value else []
        elif isinstance(value, str) or len(held) == 1 or name == _MAIN.get(_op(draw)):
            words.append(value.replace("_", " ") if isinstance(value, str) else number(value))
        elif isinstance(value, int | float) and value != 0:
            words.append(f"{_SHORT.get(name, name.replace('_', ' '))} {number(value)}")
    return " ".join(words)


_MAIN = {"gaussian": "sigma", "poisson": "scale", "blur": "size", "sinc": "size"}
"""The parameter that a caption shows without its name."""

_SHORT = {"sigma_x": "σ", "sigma_y": "/", "theta": "θ", "omega": "ω", "beta": "β"}


def lines(recipe: Recipe) -> Iterator[str]:
    """The whole recipe, a line a fact: photograph, framing, every step in order, what was left out."""
    y, x, height, width = recipe.box
    yield f"preset     {recipe.preset}, seed {recipe.seed}, crop {recipe.crop}"
    yield f"photograph {recipe.image}, {_size(recipe.source)} px"
    yield f"context    {_size((height, width))} px at x {x}, y {y}" + (
        f", resized to {_size(recipe.rescaled)} px" if recipe.rescaled else ""
    )
    yield f"symmetry   {SYMMETRIES[recipe.symmetry]}"
    if recipe.sharpen is not None:
        usm = recipe.sharpen
        yield f"sharpen    weight {usm.weight:g}, radius {usm.radius} px, threshold {usm.threshold:g} of 255"
    top, left = recipe.inner
    yield f"hr         {_size(recipe.hr_shape)} px at x {left}, y {top} of the context, {recipe.hr}"
    yield f"lr         {_size(recipe.lr_shape)} px (scale {recipe.scale})"
    for name, option in recipe.choices.items():
        yield f"choice     {name}: {option or 'not met'}"
    for name, order in recipe.sequences.items():
        yield f"sequence   {name}: {', '.join(order) if order else 'left out'}"
    width_of_ids = max((len(step.id) for step in recipe.steps), default=0)
    for at, step in enumerate(recipe.steps, 1):
        said = ", ".join(f"{name} {value}" for name, value in values(step))
        yield f"step {at:>2}    {step.id:<{width_of_ids}}  {_op(step)}: {said}"
    if recipe.skipped:
        yield f"left out   {', '.join(skipped.id for skipped in recipe.skipped)}"


def _op(draw: Draw) -> str:
    return str(type(draw).model_fields["op"].default)


def _size(size: Size) -> str:
    return f"{size[1]} × {size[0]}"


def _plain(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
