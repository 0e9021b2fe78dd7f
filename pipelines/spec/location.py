"""Where in a spec something was written."""

from __future__ import annotations

from typing import NamedTuple

OVERRIDE = "--set #"
"""Prefix of the `file` of what ``--set`` wrote: ``--set #1`` is the first one of the command line."""


class Location(NamedTuple):
    """A place in a file; `line` and `column` count from 1, columns in characters."""

    file: str
    line: int
    column: int

    @property
    def is_override(self) -> bool:
        """Whether this was written by ``--set`` and not by a file."""
        return self.file.startswith(OVERRIDE)

    def __str__(self) -> str:
        return self.file if self.is_override else f"{self.file}:{self.line}:{self.column}"
