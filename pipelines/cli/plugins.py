"""Commands that other distributions add to ``sharpline``: entry points of the group ``sharpline.commands``.

A package states one entry point a command. Its name is the command's name, and it points at a table like the one in
``pipelines.cli.main`` (``{"name": ("package.module", "The help line.")}``) in a module that imports next to nothing,
because ``sharpline --help`` imports it::

    [project.entry-points."sharpline.commands"]
    sharpen = "my_package.commands:COMMANDS"

The module named in the table is imported when the command is called. It has a function ``command`` (typer reads its
signature) or, for a group of commands, a `typer.Typer` called ``app``. A package that cannot be imported breaks its
own commands only, and they say so.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pipelines.errors import UsageError

GROUP: Final = "sharpline.commands"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One command of another distribution. `broken` says why it cannot be used, in words; "" when it can."""

    name: str
    module: str
    help: str
    distribution: str
    broken: str = ""

    def load(self) -> Any:
        """Its module. Raises UsageError that names the distribution at fault."""
        if self.broken:
            raise self.unusable(self.broken)
        try:
            return importlib.import_module(self.module)
        except Exception as error:
            raise self.unusable(f"importing {self.module} failed: {_words(error)}") from error

    def unusable(self, why: str) -> UsageError:
        """The error to raise when the command cannot be used."""
        return UsageError(
            f"the command {self.name!r} comes with {self.distribution} and cannot be used: {why}; "
            "repair or uninstall that distribution (all other commands work)"
        )


def find_plugins(taken: Collection[str]) -> dict[str, Plugin]:
    """Commands of installed distributions by name, in name order. Names in `taken` are ours and stay ours."""
    found: dict[str, Plugin] = {}
    for point in _entry_points():
        if point.name in taken:
            continue
        plugin = _read(point)
        twin = found.get(point.name)
        if twin is not None and twin.distribution != plugin.distribution:
            both = f"{twin.distribution} and {plugin.distribution}"
            why = "both bring a command of this name"
            plugin = Plugin(point.name, "", f"(two distributions bring it: {both})", both, why)
        found[point.name] = plugin
    return dict(sorted(found.items()))


@lru_cache(maxsize=1)
def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=GROUP))


def _read(point: importlib.metadata.EntryPoint) -> Plugin:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unnamed distribution"
    try:
        module, line = point.load()[point.name]
        return Plugin(point.name, str(module), str(line), distribution)
    except KeyError:
        why = f"the table {point.value} has no entry {point.name!r}"
    except Exception as error:
        why = f"loading {point.value} failed: {_words(error)}"
    return Plugin(point.name, "", f"(cannot be loaded; from {distribution})", distribution, why)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
