"""``$(params.x)``, ``$(matrix.x)`` and ``$(env.X)`` in the values of a spec.

Parentheses, because ``${}`` is broken by YAML's flow collections. A value that is nothing but one insertion
keeps the type of what is inserted; within other text it is rendered as text. ``$$(`` writes ``$(``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipelines.spec.location import Location
from pipelines.spec.parse import MAX_DEPTH
from pipelines.spec.problems import Problems, listed, nearest
from pipelines.spec.scalars import render
from pipelines.spec.tree import Leaf, ListNode, MapNode, Node, describe, dotted, leaves

_TOKEN = re.compile(r"\$\$(?=[({])|\$\(([^()]*)\)|\$[({]")
_FORM = "$(params.NAME), $(matrix.AXIS) or, in locations, $(env.NAME)"
_LONGEST_TEXT = 100_000
_MOST_VALUES = 200_000
_LONGEST_CHAIN = 50


class Unresolved(Exception):
    """An insertion could not be made; the problem has been noted."""


@dataclass(slots=True)
class Budget:
    """How many values insertions may still copy, over the whole spec: nested lists of lists grow fast."""

    values: int = _MOST_VALUES


@dataclass(frozen=True, slots=True)
class Scope:
    """What insertions may name at one place of the spec.

    `env` holds the environment where locations stand, and `is_location` tells by a field's full name whether
    it is one (None: all are). `holes`, where given, collects the full names of fields that could not be resolved
    and were left out, so that the rest of a section can be checked all the same.
    """

    params: Params
    problems: Problems
    matrix: Mapping[str, Leaf] | None = None
    env: Mapping[str, str] | None = None
    is_location: Callable[[str], bool] | None = None
    budget: Budget = field(default_factory=Budget)
    holes: set[str] | None = None


def interpolate(leaf: Leaf, path: str, scope: Scope) -> Node:
    """`leaf` with its insertions made. Raises :class:`Unresolved` after noting what is wrong."""
    text = leaf.value
    if not isinstance(text, str) or "$" not in text:
        return leaf
    tokens = list(_TOKEN.finditer(text))
    if not tokens:
        return leaf
    bad = next((token for token in tokens if token.group() in ("$(", "${")), None)
    if bad is not None:
        _refuse_syntax(leaf, path, bad, scope)
    if tokens[0].group() == text:
        return _at(_lookup(leaf, path, tokens[0].group(1), scope), leaf.where, scope)
    return _render(leaf, path, text, tokens, scope)


def interpolate_tree(node: Node, path: str, scope: Scope) -> Node:
    """Every leaf of `node` interpolated.

    Raises :class:`Unresolved` after noting all that is wrong, except where a field can become one of `scope.holes`.
    """
    if isinstance(node, Leaf):
        return interpolate(node, path, scope)
    if not any(isinstance(leaf.value, str) and "$" in leaf.value for _, leaf in leaves(node)):
        return node
    parts = node.items.items() if isinstance(node, MapNode) else enumerate(node.items)
    done: dict[str | int, Node] = {}
    failed = False
    for part, item in parts:
        name = dotted(path, part)
        try:
            done[part] = interpolate_tree(item, name, scope)
        except Unresolved:
            if scope.holes is None or isinstance(node, ListNode):
                failed = True
            else:
                scope.holes.add(name)
    if failed:
        raise Unresolved
    if isinstance(node, ListNode):
        return ListNode(list(done.values()), node.where)
    return MapNode({str(key): item for key, item in done.items()}, node.where, node.keys)


def _refuse_syntax(leaf: Leaf, path: str, bad: re.Match[str], scope: Scope) -> None:
    where = leaf.where
    if bad.group() == "${":
        scope.problems.add(
            where, path, "`${…}` is not how a value is inserted", expected=f"parentheses: {_FORM}; $${{ for the text"
        )
    else:
        scope.problems.add(where, path, "`$(` without its `)`", expected=f"{_FORM}; $$( for the text `$(`")
    raise Unresolved


def _render(leaf: Leaf, path: str, text: str, tokens: list[re.Match[str]], scope: Scope) -> Leaf:
    real, shown, end = [], [], 0
    origin, hidden = leaf.origin, False
    for token in tokens:
        literal = text[end : token.start()]
        end = token.end()
        real.append(literal)
        shown.append(literal)
        if token.group() == "$$":
            real.append("$")
            shown.append("$")
            continue
        node = _lookup(leaf, path, token.group(1), scope)
        if not isinstance(node, Leaf) or node.value is None:
            scope.problems.add(
                leaf.where,
                path,
                f"{token.group()} is {describe(node)}",
                expected="a value that has a text, or nothing around it",
            )
            raise Unresolved
        if token.start() == 0:
            origin = node.origin
        real.append(render(node.value))
        shown.append(render(node.recorded))
        hidden = hidden or node.shown is not None
    real.append(text[end:])
    shown.append(text[end:])
    whole = "".join(real)
    if len(whole) > _LONGEST_TEXT:
        scope.problems.add(
            leaf.where, path, f"the text grows beyond {_LONGEST_TEXT:,} characters", expected="a shorter text"
        )
        raise Unresolved
    return Leaf(whole, leaf.where, origin, "".join(shown) if hidden else None)


def _lookup(leaf: Leaf, path: str, expression: str, scope: Scope) -> Node:
    space, dot, name = expression.strip().partition(".")
    written = f"$({expression})"
    names: Mapping[str, object]
    if space == "params" and dot:
        names = scope.params.written
        if name in names:
            return scope.params.value(name)
    elif space == "matrix" and dot:
        if scope.matrix is None:
            scope.problems.add(
                leaf.where, path, f"{written} outside of a stage with a `matrix:`", expected="$(params.NAME)"
            )
            raise Unresolved
        names = scope.matrix
        if name in scope.matrix:
            return scope.matrix[name]
    elif space == "env" and dot:
        return _environment(leaf, path, name, scope)
    else:
        guess = nearest(space, ("params", "matrix", "env"))
        near = f"$({guess}.{name})" if guess and name else None
        if not dot and space in scope.params.written:
            near = f"$(params.{space})"
        scope.problems.add(leaf.where, path, f"{written} names nothing", expected=_FORM, nearest=near)
        raise Unresolved
    close = nearest(name, names)
    scope.problems.add(
        leaf.where, path, f"{written}: no {space} entry {name!r}",
        expected=f"one of: {listed(names)}", nearest=f"$({space}.{close})" if close else None,
    )  # fmt: skip
    raise Unresolved


def _environment(leaf: Leaf, path: str, name: str, scope: Scope) -> Leaf:
    allowed = scope.is_location is None or scope.is_location(path)
    if scope.env is None or not allowed:
        scope.problems.add(
            leaf.where, path, f"$(env.{name}) in a field that is no location",
            expected="environment variables in locations only (store, sources); anything else through params and --set",
        )  # fmt: skip
        raise Unresolved
    if name not in scope.env:
        scope.problems.add(
            leaf.where, path, f"the environment variable {name!r} is not set",
            expected=f"export {name}=…", nearest=nearest(name, scope.env),
        )  # fmt: skip
        raise Unresolved
    return Leaf(scope.env[name], leaf.where, leaf.origin, f"$(env.{name})")


def _at(node: Node, where: Location, scope: Scope, depth: int = 0) -> Node:
    """`node` as used at `where`; its leaves remember who wrote them."""
    scope.budget.values -= 1
    if scope.budget.values < 0 or depth > MAX_DEPTH:
        message = f"insertions make more than {_MOST_VALUES:,} values, or lists nested too deep"
        scope.problems.add(where, "", message, expected="a smaller spec")
        raise Unresolved
    if isinstance(node, Leaf):
        return Leaf(node.value, where, node.origin, node.shown)
    if isinstance(node, ListNode):
        return ListNode([_at(item, where, scope, depth + 1) for item in node.items], where)
    items = {key: _at(item, where, scope, depth + 1) for key, item in node.items.items()}
    return MapNode(items, where, dict.fromkeys(items, where))


class Params:
    """The parameters of a spec, each interpolated with the others when it is first asked for."""

    def __init__(self, written: MapNode | None, problems: Problems) -> None:
        self.written: Mapping[str, Node] = written.items if written is not None else {}
        self.problems = problems
        self._scope = Scope(self, problems)
        self._done: dict[str, Node | None] = {}
        self._open: list[str] = []

    def resolved(self) -> dict[str, Node]:
        """All parameters but those that cannot be resolved, whose problems have been noted."""
        for name in self.written:
            with contextlib.suppress(Unresolved):
                self.value(name)
        return {name: node for name in self.written if (node := self._done[name]) is not None}

    def value(self, name: str) -> Node:
        """The value of a parameter that exists. Raises :class:`Unresolved`, with one problem noted for all uses."""
        if name not in self._done:
            self._done[name] = self._resolve(name)
        node = self._done[name]
        if node is None:
            raise Unresolved
        return node

    def _resolve(self, name: str) -> Node | None:
        node, path = self.written[name], f"params.{name}"
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            self.problems.add(node.where, path, f"a circle: {circle}", expected="parameters that end in values")
            return None
        if len(self._open) >= _LONGEST_CHAIN:
            message = f"refers through more than {_LONGEST_CHAIN} parameters"
            self.problems.add(node.where, path, message, expected="a shorter chain")
            return None
        self._open.append(name)
        try:
            return interpolate_tree(node, path, self._scope)
        except Unresolved:
            return None
        finally:
            self._open.pop()
