"""What a plain YAML scalar means: the core schema of YAML 1.2.2, section 10.3.2.

Unlike PyYAML's YAML 1.1 rules, ``1e-4`` is a float, ``on``, ``no`` and ``12:30`` are text, ``010`` is ten and
``2026-01-01`` is no date. NaN and infinities have no place in a spec: they have no canonical form.
"""

from __future__ import annotations

import math
import re

from pipelines.spec.tree import Scalar

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAY_BE_NUMBER = frozenset("0123456789+-.")
_LONGEST_NUMBER = 400


class NotAScalar(ValueError):
    """A scalar that no spec may hold; the message says why."""


def resolve(text: str) -> Scalar:
    """The value of the plain scalar `text`. Raises :class:`NotAScalar` for NaN, infinities and endless numbers."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _MAY_BE_NUMBER:
        return text
    if _NOT_FINITE.fullmatch(text):
        raise NotAScalar(f"{text} is not a number that a spec can hold")
    if len(text) > _LONGEST_NUMBER and any(form.fullmatch(text) for form in (_FLOAT, _OCTAL, _HEX)):
        raise NotAScalar(f"a number of {len(text)} characters")
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise NotAScalar(f"{text} is too large for a 64-bit float")
        return number
    return text


def render(value: Scalar) -> str:
    """The shortest plain text that :func:`resolve` reads back as `value` (text stands for itself)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else repr(value)
