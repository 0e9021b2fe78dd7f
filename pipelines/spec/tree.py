"""The located tree: what a spec says, with the place of every key and value.

Nodes are immutable by convention and shared: an alias, an inherited section and every cell of a matrix
point at the same node. Whoever changes something builds new nodes around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from pipelines.canonical import Json, JsonObject
from pipelines.spec.location import Location

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(slots=True, eq=False)
class Leaf:
    """A scalar.

    `where` is the place that uses the value, `origin` the place that wrote it (they differ for
    ``$(params.x)``). `shown` replaces the value in everything that is recorded or printed, so that the value
    of an environment variable is used but never stored.
    """

    value: Scalar
    where: Location
    origin: Location
    shown: str | None = None

    @property
    def recorded(self) -> Scalar:
        """The value as it may be stored and printed."""
        return self.value if self.shown is None else self.shown


@dataclass(slots=True, eq=False)
class ListNode:
    """A sequence; `where` is its beginning."""

    items: list[Node]
    where: Location


@dataclass(slots=True, eq=False)
class MapNode:
    """A mapping in written order; `keys` holds the place of every key."""

    items: dict[str, Node]
    where: Location
    keys: dict[str, Location] = field(default_factory=dict)

    def key(self, name: str) -> Location:
        """The place of key `name`, or of the mapping when the key is not there."""
        return self.keys.get(name, self.where)


Node: TypeAlias = Leaf | ListNode | MapNode


def plain(node: Node) -> Json:
    """The value of `node` as plain JSON types: what a stage's config is made from."""
    if isinstance(node, Leaf):
        return node.value
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return {key: plain(item) for key, item in node.items.items()}


def recordable(node: Node) -> Json:
    """Like :func:`plain`, with environment variables by name instead of by value."""
    if isinstance(node, Leaf):
        return node.recorded
    if isinstance(node, ListNode):
        return [recordable(item) for item in node.items]
    return {key: recordable(item) for key, item in node.items.items()}


def recordable_map(node: MapNode) -> JsonObject:
    """:func:`recordable` of a mapping."""
    return {key: recordable(item) for key, item in node.items.items()}


def node_at(node: Node, path: tuple[str | int, ...]) -> Node | None:
    """The node below `node` at `path`, or None."""
    for part in path:
        if isinstance(node, MapNode) and part in node.items:
            node = node.items[str(part)]
        elif isinstance(node, ListNode) and str(part).isdigit() and int(part) < len(node.items):
            node = node.items[int(part)]
        else:
            return None
    return node


def map_leaves(node: Node, change: Callable[[Leaf], Node]) -> Node:
    """`node` with `change` applied to every leaf; parts that do not change are shared, not copied."""
    if isinstance(node, Leaf):
        return change(node)
    if isinstance(node, ListNode):
        items = [map_leaves(item, change) for item in node.items]
        same = all(new is old for new, old in zip(items, node.items, strict=True))
        return node if same else ListNode(items, node.where)
    entries = {key: map_leaves(item, change) for key, item in node.items.items()}
    same = all(new is old for new, old in zip(entries.values(), node.items.values(), strict=True))
    return node if same else MapNode(entries, node.where, node.keys)


def leaves(node: Node, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Leaf]]:
    """Every leaf below `node` with its path."""
    if isinstance(node, Leaf):
        yield path, node
    elif isinstance(node, ListNode):
        for index, item in enumerate(node.items):
            yield from leaves(item, (*path, index))
    else:
        for key, item in node.items.items():
            yield from leaves(item, (*path, key))


def describe(node: Node) -> str:
    """A value for messages: ``'5' (text)``, ``a list``, ``true``."""
    if isinstance(node, ListNode):
        return "a list" if node.items else "an empty list"
    if isinstance(node, MapNode):
        return "a mapping" if node.items else "an empty mapping"
    value = node.recorded
    if isinstance(value, str):
        short = value if len(value) <= 60 else value[:57] + "…"
        return f"{short!r} (text)"
    if value is None:
        return "nothing (null)"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def dotted(parent: str, part: str | int) -> str:
    """``a.b`` or ``a[3]``."""
    if isinstance(part, int):
        return f"{parent}[{part}]"
    return f"{parent}.{part}" if parent else part
