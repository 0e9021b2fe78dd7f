"""YAML as specs read it: the core schema of version 1.2, with the place of everything."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.spec.parse import parse
from pipelines.spec.problems import Problems
from pipelines.spec.scalars import render, resolve
from pipelines.spec.tree import Leaf, MapNode, Node, leaves, plain


def read(text: str) -> Node:
    problems = Problems()
    node = parse(text, "spec.yaml", problems)
    assert problems.found == []
    assert node is not None
    return node


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("5E3", 5000.0), (".5", 0.5), ("1.", 1.0), ("-0.0", 0.0),
        ("010", 10), ("+7", 7), ("0o17", 15), ("0xff", 255), ("-3", -3),
        ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("on", "on"), ("No", "No"), ("yes", "yes"), ("y", "y"),
        ("12:30:45", "12:30:45"), ("2026-01-01", "2026-01-01"), ("1_000", "1_000"), ("0b11", "0b11"), ("1e", "1e"),
        ("-", "-"), (".", "."), ("nan", "nan"), ("inf", "inf"), ("tRUE", "tRUE"),
    ],
)  # fmt: skip
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@given(st.one_of(st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_rendered_value_reads_back(value: bool | int | float | None) -> None:
    assert resolve(render(value)) == value
    assert type(resolve(render(value))) is type(value)


def test_a_quoted_scalar_is_text() -> None:
    assert plain(read("""[1, '1', "true", !!str 2, 'null', ~]""")) == [1, "1", "true", "2", "null", None]


def test_every_key_and_value_knows_its_place() -> None:
    node = read("# a comment\na:\n  b: [1, 'two']\n  é: {c: x}\n")
    places = {path: (leaf.where.line, leaf.where.column) for path, leaf in leaves(node)}
    assert places == {("a", "b", 0): (3, 7), ("a", "b", 1): (3, 10), ("a", "é", "c"): (4, 10)}
    assert isinstance(node, MapNode)
    inner = node.items["a"]
    assert isinstance(inner, MapNode)
    assert str(inner.key("é")) == "spec.yaml:4:3"


def test_an_alias_repeats_the_anchored_value() -> None:
    node = read("base: &b {x: [1, 2]}\none: *b\ntwo: [*b, &c 5, *c]\n")
    assert plain(node) == {"base": {"x": [1, 2]}, "one": {"x": [1, 2]}, "two": [{"x": [1, 2]}, 5, 5]}


TEXT = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="\ufeff"))
JSON = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT.filter("<<".__ne__), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_json_is_yaml(value: object) -> None:
    assert plain(read(json.dumps(value, ensure_ascii=False))) == value


def test_a_scalar_of_the_longest_kind_is_refused() -> None:
    problems = Problems()
    parse("9" * 5000, "spec.yaml", problems)
    assert "a number of 5000 characters" in problems.found[0].message


def test_a_lone_leaf_is_a_document() -> None:
    node = read("text")
    assert isinstance(node, Leaf)
