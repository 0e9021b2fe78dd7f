"""``inputs:`` — from text to edges.

``stage``, ``stage.output``, ``stage@axis=value``, ``stage@axis=value.output``, ``artifact:<digest>``; in a
slot that takes many, a list of these, or a matrix stage's name for all of its cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pipelines.spec.matrix import Cell
from pipelines.spec.model import InputRef
from pipelines.spec.problems import Problems, listed, nearest
from pipelines.spec.scalars import render
from pipelines.spec.tree import Leaf, ListNode, MapNode, Node, describe, dotted

ARTIFACT = "artifact:"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_FORM = "a stage, stage.output, stage@axis=value, or artifact:<64 hex digits>"

Cells = Mapping[str, Sequence[Cell]]
"""The cells of every stage of the spec by its base name; none where the matrix itself is broken."""


def read_inputs(
    node: MapNode, path: str, many: Mapping[str, bool] | None, cells: Cells, problems: Problems
) -> dict[str, tuple[InputRef, ...]]:
    """The edges of one stage by slot. `many` says which slots take several (None: the class is not known).

    A slot whose edges could not be read is there with none; its problems have been noted.
    """
    return {slot: _slot(slot, item, path, many, cells, problems) for slot, item in node.items.items()}


def _slot(
    slot: str, node: Node, path: str, many: Mapping[str, bool] | None, cells: Cells, problems: Problems
) -> tuple[InputRef, ...]:
    path = dotted(path, slot)
    takes_many = True if many is None else many.get(slot, True)
    if isinstance(node, ListNode):
        if not takes_many:
            problems.add(node.where, path, "a list in a slot that takes one artifact", expected=_FORM)
            return ()
        if not node.items:
            problems.add(node.where, path, "an empty list", expected="what the stage works on, or no such slot")
        entries = [(item, dotted(path, index)) for index, item in enumerate(node.items)]
    else:
        entries = [(node, path)]
    refs = [ref for item, where in entries for ref in _entry(item, where, takes_many, cells, problems)]
    seen: set[str] = set()
    for ref in refs:
        if ref.label in seen:
            problems.add(ref.where, path, f"{ref.label} is here twice", expected="each input once")
        seen.add(ref.label)
    return tuple(refs)


def _entry(node: Node, path: str, takes_many: bool, cells: Cells, problems: Problems) -> list[InputRef]:
    if not isinstance(node, Leaf) or not isinstance(node.value, str):
        problems.add(node.where, path, f"got {describe(node)}", expected=_FORM)
        return []
    text = node.value.strip()
    if text.startswith(ARTIFACT):
        return _artifact(text, node, path, problems)
    base = re.split(r"[@.]", text, maxsplit=1)[0]
    if base not in cells:
        if _SCHEME.match(text):
            problems.add(node.where, path, f"{text!r} is no artifact of a store", expected=_FORM)
        else:
            known = listed(cells)
            problems.add(
                node.where,
                path,
                f"no stage is called {base!r}",
                expected=f"one of: {known}",
                nearest=nearest(base, cells),
            )
        return []
    if not cells[base]:
        return []
    chosen, output = _choose(text, base, cells[base])
    if not chosen:
        names = [cell.name for cell in cells[base]]
        has = f"one of: {listed(names)}" if cells[base][0].axes else f"{base}, which has no matrix"
        problems.add(node.where, path, f"no cell is called {text!r}", expected=has, nearest=nearest(text, names))
        return []
    if len(chosen) > 1 and not takes_many:
        problems.add(
            node.where, path, f"{text!r} means {len(chosen)} cells, and this slot takes one",
            expected=f"one of: {listed(cell.name for cell in chosen)}; $(matrix.AXIS) follows this stage's own cell",
        )  # fmt: skip
        return []
    return [_ref(cell, output, node) for cell in chosen]


def _artifact(text: str, node: Leaf, path: str, problems: Problems) -> list[InputRef]:
    digest = text.removeprefix(ARTIFACT)
    if not _DIGEST.fullmatch(digest):
        problems.add(node.where, path, f"{digest!r} is no digest", expected="artifact: and its 64 hexadecimal digits")
        return []
    return [InputRef(None, None, text, f"{ARTIFACT}{digest[:12]}", node.where)]


def _ref(cell: Cell, output: str | None, node: Leaf) -> InputRef:
    label = f"{cell.name}.{output}" if output else cell.name
    return InputRef(cell.name, output, None, label, node.where)


def _choose(text: str, base: str, cells: Sequence[Cell]) -> tuple[list[Cell], str | None]:
    """The cells that `text` means, and its output. Values may hold dots, so the longest reading is tried first."""
    rest = text[len(base) :]
    if not rest.startswith("@"):
        return list(cells), rest[1:] or None if rest else None
    for wanted, output in ((rest[1:], None), *(((rest[1:].rpartition(".")[0]), rest.rpartition(".")[2]),)):
        chosen = matching(cells, wanted) if wanted else []
        if chosen:
            return chosen, output
    return [], None


def matching(cells: Sequence[Cell], wanted: str) -> list[Cell]:
    """The cells whose axes have the values of ``axis=value,axis=value``; axes that are not named are free."""
    pairs = [part.partition("=") for part in wanted.split(",")]
    if not all(equals for _, equals, _ in pairs):
        return []
    return [
        cell
        for cell in cells
        if all(axis in cell.axes and render(cell.axes[axis].value) == value for axis, _, value in pairs)
    ]
