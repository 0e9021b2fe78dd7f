"""What is wrong with a spec: located, explained, and all of it at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelines.canonical import JsonObject
from pipelines.errors import UsageError
from pipelines.spec.location import Location
from pipelines.spec.render import excerpt

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_MOST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `path` is the field's full name (``stages.teacher.with.steps``), or ``""``."""

    where: Location
    path: str
    message: str
    expected: str | None = None
    nearest: str | None = None
    source_line: str | None = None

    def __str__(self) -> str:
        subject = f"{self.path}: " if self.path else ""
        lines = [f"{self.where}: {subject}{self.message}"]
        if self.source_line is not None:
            lines.append(excerpt(self.source_line, self.where.line, self.where.column))
        if self.expected:
            lines.append(f"      expected: {self.expected}")
        if self.nearest:
            lines.append(f"      did you mean {self.nearest!r}?")
        return "\n".join(lines)

    def to_json(self) -> JsonObject:
        """Flat JSON for ``validate --json``."""
        return {
            "file": self.where.file,
            "line": self.where.line,
            "column": self.where.column,
            "path": self.path,
            "message": self.message,
            "expected": self.expected,
            "nearest": self.nearest,
        }


class SpecErrors(UsageError):
    """The spec cannot be used; `problems` is everything that was found, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unique = dict.fromkeys(problems)
        self.problems: list[Problem] = sorted(unique, key=lambda problem: problem.where)
        super().__init__(self._text())

    def _text(self) -> str:
        shown = [str(problem) for problem in self.problems[:_MOST_SHOWN]]
        count = len(self.problems)
        tail = "1 problem" if count == 1 else f"{count} problems"
        if count > _MOST_SHOWN:
            tail += f", of which the first {_MOST_SHOWN} are shown"
        return "\n".join([*shown, f"{tail}; nothing was started"])


class Problems:
    """Collects problems while the spec is read on, so that all of them are reported together.

    `sources` holds the text behind every file name, for the excerpts.
    """

    def __init__(self, sources: Mapping[str, str] | None = None) -> None:
        self.sources: dict[str, str] = dict(sources or {})
        self.found: list[Problem] = []
        self._lines: dict[str, list[str]] = {}

    def add(
        self, where: Location, path: str, message: str, *, expected: str | None = None, nearest: str | None = None
    ) -> None:
        """Note a problem."""
        self.found.append(Problem(where, path, message, expected, nearest, self._line(where)))

    def raise_if_any(self) -> None:
        """Raise :class:`SpecErrors` with all that was found, if anything was."""
        if self.found:
            raise SpecErrors(self.found)

    def _line(self, where: Location) -> str | None:
        if where.file not in self.sources:
            return None
        if where.file not in self._lines:
            self._lines[where.file] = _LINE_BREAK.split(self.sources[where.file])
        lines = self._lines[where.file]
        return lines[where.line - 1] if 1 <= where.line <= len(lines) else None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was most likely meant to be."""
    candidates = [name for name in known if name != word]
    match = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    if not match:
        match = [name for name in candidates if name.lower() == word.lower()][:1]
    return match[0] if match else None


def listed(names: Iterable[str], most: int = 12) -> str:
    """``a, b, c``, cut after `most` names."""
    every = list(names)
    text = ", ".join(every[:most]) or "none"
    return text if len(every) <= most else f"{text} and {len(every) - most} more"
