"""Typed sections of a spec through pydantic, with its errors as located problems.

Validation is strict and from JSON: text is never read as a number, while a list is good for a tuple and a
whole number for a float. A null where nothing is allowed means "not given": that is how a layer deletes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
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

_OWN_WORDS = ("value_error", "assertion_error")
"""Errors that a validator of the stage words itself."""


def validate(
    model: type[M], node: MapNode, place: Location, path: str, problems: Problems, holes: Collection[str] = ()
) -> M | None:
    """`node` as a `model`, or None after noting everything that is wrong.

    `place` is where the section is named. `holes` are full names of fields that had to be left out: about them,
    and about the section as a whole, nothing is said.
    """
    try:
        return model.model_validate_json(json.dumps(plain(node)), strict=True)
    except pydantic.ValidationError as error:
        found = [(_descend(node, place, item["loc"]), item) for item in _errors(error)]
        nulls = [reached.path for reached, item in found if _is_deletion(reached, item)]
        if nulls:
            pruned = node
            for entry in nulls:
                pruned = _without(pruned, entry)
            return validate(model, pruned, place, path, problems, holes)
        _Report(model, path, problems, holes).note(found)
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


def _is_deletion(reached: _Found, item: Any) -> bool:
    """Whether this is a null in a mapping, where the field cannot be null."""
    is_null = isinstance(reached.node, Leaf) and reached.node.value is None
    return is_null and item["type"] not in _OWN_WORDS and isinstance(reached.path[-1], str)


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
    if isinstance(child, MapNode):
        items[index] = _without(child, path[1:])
    elif isinstance(child, ListNode):
        items[index] = _without_in_list(child, path[1:])
    return ListNode(items, node.where)


class _Report:
    """Turns the errors of one section into problems."""

    def __init__(self, model: type[pydantic.BaseModel], path: str, problems: Problems, holes: Collection[str]) -> None:
        self.model, self.path, self.problems, self.holes = model, path, problems, holes

    def note(self, errors: list[tuple[_Found, Any]]) -> None:
        meant = {self._meant(found) for found, item in errors if item["type"] == "extra_forbidden"}
        values: dict[tuple[Loc, bool], list[tuple[_Found, Any]]] = {}
        for found, item in errors:
            if item["type"] == "missing" and found.missing is not None:
                if (*found.path, found.missing) not in meant:  # else it is there, misspelt, and that is noted
                    self._missing(found, found.missing)
            elif item["type"] == "extra_forbidden":
                self._unknown(found)
            elif item["type"] not in _OWN_WORDS or not self.holes:
                # Every option of a union complains by itself: what they expect is joined.
                values.setdefault((found.path, item["type"] in _OWN_WORDS), []).append((found, item))
        for several in values.values():
            self._value(several[0][0], [item for _, item in several])

    def _missing(self, found: _Found, name: str | int) -> None:
        full = _full(self.path, (*found.path, name))
        if full not in self.holes:
            field = fields_at(self.model, found.path).get(str(name))
            doc = f"  ({field.description})" if field and field.description else ""
            self.problems.add(found.where, full, "a required field is missing", expected=f"{name}: …{doc}")

    def _meant(self, found: _Found) -> Loc | None:
        """The field that an unknown one was most likely meant to be."""
        close = nearest(str(found.path[-1]), fields_at(self.model, found.path[:-1])) if found.path else None
        return (*found.path[:-1], close) if close else None

    def _unknown(self, found: _Found) -> None:
        names = list(fields_at(self.model, found.path[:-1]))
        close = nearest(str(found.path[-1]), names) if found.path else None
        expected = listed(names, 20) if names else "no fields"
        self.problems.add(found.where, _full(self.path, found.path), "unknown field", expected=expected, nearest=close)

    def _value(self, found: _Found, items: list[Any]) -> None:
        node = found.node
        came = f"got {describe(node)}{_source(node)}"
        wanted = [explain(item, node) for item in items]
        message = "; ".join(dict.fromkeys(w.message or came for w in wanted))
        kinds = " or ".join(dict.fromkeys(w.expected for w in wanted if w.expected))
        close = next((w.nearest for w in wanted if w.nearest), None)
        where = found.where if isinstance(node, MapNode) else node.where
        self.problems.add(where, _full(self.path, found.path), message, expected=kinds or None, nearest=close)


def _full(path: str, loc: Loc) -> str:
    for part in loc:
        path = dotted(path, part)
    return path


def _source(node: Node) -> str:
    """Where an inserted value was written, when that is somewhere else."""
    return f", written at {node.origin}" if isinstance(node, Leaf) and node.origin != node.where else ""
