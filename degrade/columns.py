"""Recipes as flat columns: the same names and types for every recipe of one preset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import UnionType
from typing import TYPE_CHECKING, Final, Literal, get_args, get_origin

from degrade.operators.base import Draw
from degrade.preset import CROP, SYMMETRY, Choice, Node, Preset, Sequence, walk

if TYPE_CHECKING:
    from degrade.recipe import Recipe

Value = int | float | str | bool | None
COMMON = {
    "preset": "str",
    "scale": "int",
    "hr_height": "int",
    "hr_width": "int",
    "box_y": "int",
    "box_x": "int",
    "box_height": "int",
    "box_width": "int",
    "symmetry": "str",
}
RESERVED: Final = {
    **dict.fromkeys(COMMON, "every recipe has a column of this name"),
    **dict.fromkeys((CROP, SYMMETRY), "the draws of where and how a crop is taken have this name"),
}
"""Ids that no step may have, and why."""


def preset_columns(preset: Preset) -> dict[str, str]:
    """Name -> ``int | float | str | bool`` for every column of the preset's recipes, in a fixed order."""
    columns = dict(COMMON)
    for node in walk(preset.steps):
        columns.update(node_columns(node))
    return columns


def node_columns(node: Node) -> dict[str, str]:
    """Name -> type of the columns that one step of a preset states."""
    if isinstance(node, Choice | Sequence):
        return {node.id: "str"}
    drawn = draw_columns(type(node).draws)
    return {f"{node.id}_applied": "bool", **{f"{node.id}_{name}": kind for name, kind in drawn.items()}}


def check_columns(nodes: Iterable[Node]) -> None:
    """Raise ValueError for an id that recipes use for themselves, and for two steps that state the same column."""
    owners: dict[str, Node] = {}
    for node in nodes:
        if node.id in RESERVED:
            raise ValueError(f"the id {node.id!r} of a {node.op} is taken: {RESERVED[node.id]}; choose another one")
        for name in node_columns(node):
            owner = owners.setdefault(name, node)
            if owner.id != node.id:  # the same id is the same step, in another option of a choice
                raise ValueError(
                    f"the {owner.op} {owner.id!r} and the {node.op} {node.id!r} both give recipes a column {name!r}; "
                    "give one of them another id"
                )


@lru_cache(maxsize=256)  # asked for every operator of every pair
def draw_columns(draws: type[Draw]) -> Mapping[str, str]:
    """Column name -> type for the parameters of one kind of draw."""
    return {
        name: _kind(field.annotation) for name, field in draws.model_fields.items() if name not in draws.not_columns
    }


def recipe_columns(recipe: Recipe) -> dict[str, Value]:
    """The values of one recipe; null where an operator was not applied or its parameter not used."""
    from degrade.recipe import DRAWS

    y, x, height, width = recipe.box
    values: dict[str, Value] = {
        "preset": recipe.preset,
        "scale": recipe.scale,
        "hr_height": recipe.hr_shape[0],
        "hr_width": recipe.hr_shape[1],
        "box_y": y,
        "box_x": x,
        "box_height": height,
        "box_width": width,
        "symmetry": recipe.symmetry,
    }
    values.update(recipe.choices)
    for name, order in recipe.sequences.items():
        values[name] = None if order is None else ",".join(order)
    for step in recipe.steps:
        values[f"{step.id}_applied"] = True
        values.update({f"{step.id}_{name}": getattr(step, name) for name in draw_columns(type(step))})
    for skipped in recipe.skipped:
        values[f"{skipped.id}_applied"] = False
        values.update({f"{skipped.id}_{name}": None for name in draw_columns(DRAWS[skipped.op])})
    return values


def _kind(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return _kind(type(get_args(annotation)[0]))
    if isinstance(annotation, UnionType):
        return _kind(next(part for part in get_args(annotation) if part is not type(None)))
    names: dict[object, str] = {int: "int", float: "float", str: "str", bool: "bool"}
    return names[annotation]
