"""What pydantic expected, in the words of a person who writes YAML."""

from __future__ import annotations

import contextlib
import re
from typing import Any, NamedTuple

from pipelines.spec.problems import nearest
from pipelines.spec.scalars import NotAScalar, render, resolve
from pipelines.spec.tree import Leaf, Node

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
_OLD_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class Expectation(NamedTuple):
    """`message` is None when what came says it all."""

    expected: str | None
    message: str | None = None
    nearest: str | None = None


def explain(error: Any, node: Node) -> Expectation:
    """One pydantic error about the value `node`."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _KINDS:
        return Expectation(_KINDS[kind] + _instead(_KINDS[kind], node))
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return Expectation(f"{words} {context[name]}")
    if kind in ("literal_error", "enum"):
        expected = str(context["expected"])
        value = node.recorded if isinstance(node, Leaf) else None
        options = re.findall(r"'([^']*)'", expected)
        return Expectation(f"one of: {expected}", None, nearest(value, options) if isinstance(value, str) else None)
    if kind == "union_tag_invalid":
        message = f"{context['discriminator']} is {context['tag']!r}"
        options = re.findall(r"'([^']*)'", str(context["expected_tags"]))
        return Expectation(f"one of: {context['expected_tags']}", message, nearest(str(context["tag"]), options))
    if kind == "union_tag_not_found":
        return Expectation(f"the field {context['discriminator']}, which says what this is")
    if kind in ("too_short", "too_long"):
        bound = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return Expectation(f"a list of {bound}", f"the list has {context['actual_length']} values")
    if kind in ("value_error", "assertion_error"):
        return Expectation(None, str(context.get("error") or error["msg"]))
    text = str(error["msg"])
    return Expectation(None, text[:1].lower() + text[1:])


def _instead(kind: str, node: Node) -> str:
    """``: 10000 without the quotes`` — the same value in the form that is expected, if there is one."""
    value = node.recorded if isinstance(node, Leaf) else None
    if isinstance(value, float) and kind == "a whole number" and value.is_integer():
        return f": {int(value)}"
    if kind == "text" and isinstance(value, (bool, int, float)):
        return f": {render(value)!r} in quotes"
    if not isinstance(value, str):
        return ""
    if kind == "true or false" and value.lower() in _OLD_BOOLEANS:
        return f": {_OLD_BOOLEANS[value.lower()]}"
    with contextlib.suppress(NotAScalar):
        meant = resolve(value)
        fits = {"a whole number": (int,), "a number": (int, float), "true or false": (bool,)}.get(kind, ())
        if type(meant) in fits:
            return f": {render(meant)} without quotes"
    return ""
