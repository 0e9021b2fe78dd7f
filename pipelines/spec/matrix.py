"""``matrix:`` — one stage written once, in as many cells as there are combinations of its axes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.spec.interpolate import Scope, Unresolved, interpolate, interpolate_tree
from pipelines.spec.problems import Problems
from pipelines.spec.scalars import render
from pipelines.spec.tree import Leaf, ListNode, MapNode, Node, describe, dotted

MOST_CELLS = 2_000

_AXIS = re.compile(r"[a-z_][a-z0-9_]*")
_VALUE = re.compile(r"[A-Za-z0-9_.+-]+")


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of axis values; `axes` are sorted by name and empty for a stage without a matrix."""

    name: str
    axes: dict[str, Leaf]


def cell_name(base: str, axes: dict[str, str]) -> str:
    """``unet@mode=hr,seed=1``, axes sorted; `base` itself when there are none."""
    text = ",".join(f"{axis}={axes[axis]}" for axis in sorted(axes))
    return f"{base}@{text}" if text else base


def expand(base: str, matrix: Node | None, scope: Scope) -> list[Cell]:
    """The cells of stage `base`, in the order in which its axes list their values.

    Empty after problems were noted: then nothing can be said about the stage.
    """
    if matrix is None:
        return [Cell(base, {})]
    path = f"stages.{base}.matrix"
    problems = scope.problems
    if not isinstance(matrix, MapNode) or not matrix.items:
        problems.add(
            matrix.where, path, f"the matrix is {describe(matrix)}", expected="axes with their values: {seed: [1, 2]}"
        )
        return []
    before = len(problems.found)
    axes = {axis: _values(node, matrix, axis, path, scope) for axis, node in sorted(matrix.items.items())}
    if len(problems.found) > before or not all(axes.values()):
        return []
    count = math.prod(len(values) for values in axes.values())
    if count > MOST_CELLS:
        problems.add(matrix.where, path, f"{count:,} cells", expected=f"at most {MOST_CELLS:,}")
        return []
    return [_cell(base, tuple(axes), values) for values in itertools.product(*axes.values())]


def _cell(base: str, names: tuple[str, ...], values: tuple[Leaf, ...]) -> Cell:
    axes = dict(zip(names, values, strict=True))
    return Cell(cell_name(base, {axis: render(leaf.value) for axis, leaf in axes.items()}), axes)


def _values(node: Node, matrix: MapNode, axis: str, path: str, scope: Scope) -> list[Leaf]:
    problems, where = scope.problems, f"{path}.{axis}"
    if not _AXIS.fullmatch(axis):
        problems.add(matrix.key(axis), where, f"the axis {axis!r}", expected="lower-case letters, digits and _")
    try:
        resolved = interpolate(node, where, scope) if isinstance(node, Leaf) else interpolate_tree(node, where, scope)
    except Unresolved:
        return []
    if not isinstance(resolved, ListNode) or not resolved.items:
        problems.add(node.where, where, f"the axis is {describe(resolved)}", expected="a list of its values: [1, 2]")
        return []
    return list(_checked(resolved, where, problems))


def _checked(values: ListNode, path: str, problems: Problems) -> Iterator[Leaf]:
    seen: dict[str, Leaf] = {}
    for index, item in enumerate(values.items):
        if not isinstance(item, Leaf) or item.value is None or not _VALUE.fullmatch(render(item.value)):
            problems.add(
                item.where, dotted(path, index), f"the value is {describe(item)}",
                expected="a number, true, false, or text of letters, digits and _.+- (it names the cell)",
            )  # fmt: skip
            continue
        name = render(item.value)
        if name in seen:
            problems.add(item.where, dotted(path, index), f"the value {name} is here twice", expected="each value once")
            continue
        seen[name] = item
        yield item
