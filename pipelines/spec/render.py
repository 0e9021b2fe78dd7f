"""One source line with carets under the place that is meant."""

from __future__ import annotations

import re
import unicodedata

_WIDEST = 110
_TOKEN = re.compile(
    r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|\$\([^()]*\)|\$\{[^{}]*\}|[^\s,\[\]{}]+?(?=:?(?:[\s,\[\]{}]|$))"""
)


def excerpt(line: str, number: int, column: int) -> str:
    """`line` with its number, and below it carets under the token at `column` (1-based).

    Long lines are cut to a window around the column; tabs and control characters become one space, so
    that the carets stand where the reader sees the token.
    """
    index = min(max(column - 1, 0), len(line))
    token = _TOKEN.match(line, index)
    width = len(token.group()) if token else 1
    start = 0
    if len(line) > _WIDEST:
        start = max(0, min(index - _WIDEST // 3, len(line) - _WIDEST))
    window = _printable(line[start : start + _WIDEST])
    head = "…" if start else ""
    tail = "…" if start + _WIDEST < len(line) else ""
    before = _columns(head + window[: index - start])
    marked = max(1, _columns(window[index - start : index - start + width]))
    return f"{number:>5} | {head}{window}{tail}\n      | {' ' * before}{'^' * marked}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _columns(text: str) -> int:
    """Terminal columns of `text`: wide East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
