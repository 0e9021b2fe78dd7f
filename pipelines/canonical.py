"""Canonical JSON and digests: one byte string for one meaning.

Keys and artifact digests are sha256 over this form, so it must never depend on the machine, the order in
which a mapping was built, the hash seed, or how a number or a string happened to be spelled:

* mappings are sorted by code point, separators carry no space, text is UTF-8 in Unicode form NFC;
* floats use the shortest text that reads back to the same double; ``-0.0`` is ``0.0``;
* NaN, infinities, sets, bytes, callables and objects have no canonical form and raise :class:`NotCanonical`.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"


class NotCanonical(TypeError):
    """A value that has no canonical JSON form; the message names its place and what to use instead."""


def normalise(value: object, path: str = "$") -> Json:
    """Return `value` as plain JSON types in canonical spelling.

    Tuples become lists. Raises :class:`NotCanonical` for anything whose JSON form would be a guess,
    and for two mapping keys that are one string after Unicode normalisation.
    """
    if type(value) is str:
        return value if value.isascii() else _text(value, path)
    if value is None or type(value) is bool or type(value) is int:
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise NotCanonical(f"{path}: {value!r} has no canonical form; use null or a finite number")
        return value + 0.0  # -0.0 + 0.0 is 0.0
    if isinstance(value, (list, tuple)):
        return [normalise(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return _normalise_mapping(value, path)
    raise NotCanonical(
        f"{path}: {type(value).__name__} has no canonical form; "
        "use null, a boolean, a number, a string, a list or a mapping"
    )


def _normalise_mapping(value: Mapping[object, object], path: str) -> JsonObject:
    result: JsonObject = {}
    for key, item in value.items():
        if type(key) is not str:
            raise NotCanonical(f"{path}: mapping key {key!r} is {type(key).__name__}; keys are strings")
        name = _text(key, path)
        if name in result:
            raise NotCanonical(f"{path}: two keys are the same text {name!r} in Unicode form NFC")
        result[name] = normalise(item, f"{path}.{name}")
    return result


def _text(value: str, path: str) -> str:
    if value.isascii():
        return value
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise NotCanonical(f"{path}: {value!r} holds a surrogate, which no UTF-8 text can; rename or re-encode it")
    return unicodedata.normalize("NFC", value)


def canonical_bytes(value: object) -> bytes:
    """Encode `value` as canonical JSON (UTF-8, sorted, no spaces)."""
    return json.dumps(
        normalise(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_hex(data: bytes) -> str:
    """The lower-case hexadecimal sha256 of `data` (64 characters)."""
    return hashlib.sha256(data).hexdigest()


def digest(value: object) -> str:
    """sha256 of the canonical JSON of `value`, as 64 hexadecimal characters."""
    return sha256_hex(canonical_bytes(value))


def digest_lines(lines: Sequence[str]) -> str:
    """sha256 over newline-terminated lines: for long listings that are never held as one JSON value.

    File names may hold any character, so backslashes and newlines inside a line are escaped, and bytes that
    were no UTF-8 (the surrogates of :func:`os.fsdecode`) count as themselves.
    """
    hasher = hashlib.sha256()
    for line in lines:
        escaped = line.replace("\\", "\\\\").replace("\n", "\\n")
        hasher.update(unicodedata.normalize("NFC", escaped).encode("utf-8", "surrogateescape") + b"\n")
    return hasher.hexdigest()
