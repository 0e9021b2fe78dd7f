"""Canonical JSON: one byte string for one meaning, and no byte string for a guess."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.canonical import NotCanonical, canonical_bytes, digest, digest_lines, normalise

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(text.map(lambda t: unicodedata.normalize("NFC", t)), inner)
    ),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    """The same value with every mapping built in the opposite order and every list a tuple."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return tuple(map(shuffled, value)) if isinstance(value, list) else value


@given(values)
@settings(max_examples=100, deadline=None)
def test_order_of_mappings_and_kind_of_sequence_do_not_matter(value: Any) -> None:
    assert canonical_bytes(shuffled(value)) == canonical_bytes(value)


@given(values)
@settings(max_examples=100, deadline=None)
def test_reading_the_bytes_back_gives_the_same_bytes(value: Any) -> None:
    assert canonical_bytes(json.loads(canonical_bytes(value))) == canonical_bytes(value)


@given(text)
@settings(max_examples=50, deadline=None)
def test_unicode_normal_forms_are_one_text(value: str) -> None:
    forms = {digest({unicodedata.normalize(form, value): 1}) for form in ("NFC", "NFD")}
    assert len(forms) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (1, True), (0, False), ("1", 1), (None, "null"), ([], {}), ([1, 2], [2, 1]), ("", None)],
)
def test_values_of_different_type_or_order_differ(one: object, other: object) -> None:
    assert digest(one) != digest(other)


def test_spelling_is_fixed() -> None:
    value = {"b": [1e-4, 1e16, -0.0, 1.0, 5e-324], "a": {"é": "\u212b\n"}, "Z": 10**30}
    expected = '{"Z":1000000000000000000000000000000,"a":{"é":"Å\\n"},"b":[0.0001,1e+16,0.0,1.0,5e-324]}'
    assert canonical_bytes(value) == expected.encode()


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        {1, 2},
        b"x",
        print,
        object(),
        1j,
        numpy.float64(1),
        {1: "a"},
        "\ud800",
        {"\udfff": 1},
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(NotCanonical, match=r"\$\.with\.items\[1\]"):
        normalise({"with": {"items": [0, value]}})


def test_two_keys_that_are_one_text_are_refused() -> None:
    with pytest.raises(NotCanonical, match="same text"):
        normalise({"é": 1, "e\u0301": 2})


def test_lines_with_newlines_cannot_imitate_two_lines() -> None:
    assert digest_lines(["a\nb"]) != digest_lines(["a", "b"])
    assert digest_lines(["a\\nb"]) != digest_lines(["a\nb"])
    assert digest_lines(["caf\udce9"]) != digest_lines(["café"])  # a Latin-1 file name, as os.fsdecode gives it
