"""What could not be read, so that one lost object costs one line of a page and not the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Problems:
    """Collects a line for everything that could not be read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def guard(self, what: str, default: T, read: Callable[..., T], *args: object) -> T:
        """The value of ``read(*args)``, or `default` after noting why not."""
        try:
            return read(*args)
        except Exception as error:
            self.lines.append(f"{what}: {type(error).__name__}: {error}"[:300])
            return default
