"""Typed sections of a spec through pydantic, with its errors as located problems.

Validation is strict and from JSON: text is never read as a number, while a list is good for a tuple and a
whole number for a float. A null where nothing is allowed means "not given": that is how a layer deletes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic

from pipelines.spec.expectations import explain
from pipelines.spec.location import Location
from pipelines.spec.problems import Problems, listed, nearest
from pipelines.spec.roles import fields_at
from pipelines.spec.tree import Leaf, ListNode, MapNode, Node, describe, dotted, plain

M = TypeVar("M", bound=pydantic.BaseModel)
Loc = tuple[str | int, ...]


def validate(model: type[M], node: MapNode, place: Location, path: str, problems: Problems) -> M | None:
    """`node` as a `model`, or None after noting everything that is wrong. `place` is where the section is named."""
    try:
        return model.model_validate_json(json.dumps(plain(node)), strict=True)
    except pydantic.ValidationError as error:
        nulls = [found for found in _errors(error) if _is_null(_descend(node, place, found["loc"]).node)]
        if nulls:
            pruned = node
            for found in nulls:
                pruned = _without(pruned, _descend(node, place, found["loc"]).path)
            return validate(model, pruned, place, path, problems)
        _note(model, error, node, place, path, problems)
    except Exception as error:  # validators are the stage author's code
        message = f"checking this section failed: {type(error).__name__}: {error}"
        problems.add(place, path, message, expected="a validator that raises ValueError for what it refuses")
    return None


@dataclass(slots=True)
class _Found:
    """How far a pydantic location leads into the tree: tags of unions have no node and are skipped."""

    node: Node
    path: Loc
    where: Location
    missing: str | int | None


def _descend(root: Node, place: Location, loc: Loc) -> _Found:
    found = _Found(root, (), place, None)
    for part in loc:
        node = found.node
        if isinstance(node, MapNode) and part in node.items:
            found = _Found(node.items[str(part)], (*found.path, part), node.key(str(part)), None)
        elif isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
            found = _Found(node.items[part], (*found.path, part), node.items[part].where, None)
        else:
            found.missing = part
    return found


def _errors(error: pydantic.ValidationError) -> list[Any]:
    return list(error.errors(include_url=False, include_input=False))


def _is_null(node: Node) -> bool:
    return isinstance(node, Leaf) and node.value is None


def _without(node: MapNode, path: Loc) -> MapNode:
    """`node` without the entry at `path`."""
    items: dict[str, Node] = dict(node.items)
    head = str(path[0])
    child = items.get(head)
    if len(path) == 1:
        items.pop(head, None)
    elif isinstance(child, MapNode):
        items[head] = _without(child, path[1:])
    elif isinstance(child, ListNode):
        items[head] = _without_in_list(child, path[1:])
    return MapNode(items, node.where, node.keys)


def _without_in_list(node: ListNode, path: Loc) -> ListNode:
    items = list(node.items)
    index = int(path[0])
    child = items[index]
    if len(path) == 1:
        del items[index]
    elif isinstance(child, MapNode):
        items[index] = _without(child, path[1:])
    elif isinstance(child, ListNode):
        items[index] = _without_in_list(child, path[1:])
    return ListNode(items, node.where)


def _note(
    model: type[pydantic.BaseModel],
    error: pydantic.ValidationError,
    node: MapNode,
    place: Location,
    path: str,
    problems: Problems,
) -> None:
    grouped: dict[tuple[Loc, str], list[tuple[_Found, Any]]] = {}
    for item in _errors(error):
        found = _descend(node, place, item["loc"])
        if item["type"] == "missing" and found.missing is not None:
            full = _full(path, (*found.path, found.missing))
            field = fields_at(model, found.path).get(str(found.missing))
            hint = f"{found.missing}: …" + (f"  ({field.description})" if field and field.description else "")
            problems.add(found.where, full, "a required field is missing", expected=hint)
        elif item["type"] == "extra_forbidden":
            names = list(fields_at(model, found.path[:-1]))
            key = str(found.path[-1]) if found.path else ""
            expected = listed(names, 20) if names else "no fields"
            problems.add(
                found.where, _full(path, found.path), "unknown field", expected=expected, nearest=nearest(key, names)
            )
        else:
            kind = "value" if item["type"] in ("value_error", "assertion_error") else "type"
            grouped.setdefault((found.path, kind), []).append((found, item))
    for (loc, _), several in grouped.items():
        found = several[0][0]
        wanted = [explain(item, found.node) for _, item in several]
        where = found.node.where if isinstance(found.node, (Leaf, ListNode)) else found.where
        message = "; ".join(
            dict.fromkeys(w.message or f"got {describe(found.node)}{_source(found.node)}" for w in wanted)
        )
        kinds = " or ".join(dict.fromkeys(w.expected for w in wanted if w.expected))
        close = next((w.nearest for w in wanted if w.nearest), None)
        problems.add(where, _full(path, loc), message, expected=kinds or None, nearest=close)


def _full(path: str, loc: Loc) -> str:
    for part in loc:
        path = dotted(path, part)
    return path


def _source(node: Node) -> str:
    """Where an inserted value was written, when that is somewhere else."""
    return f", written at {node.origin}" if isinstance(node, Leaf) and node.origin != node.where else ""
