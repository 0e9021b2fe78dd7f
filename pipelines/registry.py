"""From the text after ``uses:`` to a stage class.

Built-in and installed stages are entry points in the group ``sharpline.stages``: listing their names
imports nothing, and loading one imports only its own light module. A user's own stage is written
``package.module:Class`` and is found on the path (``code:`` in the spec puts folders there).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import sys
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.stage import Stage

GROUP = "sharpline.stages"


class UnknownStage(UsageError):
    """``uses:`` names nothing that can be loaded. `nearest` is the closest known name, if any."""

    def __init__(self, message: str, nearest: str | None = None) -> None:
        super().__init__(message)
        self.nearest = nearest


@lru_cache(maxsize=1)
def _entry_points() -> dict[str, str]:
    return {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}


def known_stages() -> dict[str, str]:
    """Names that ``uses:`` accepts without a colon, with the ``module:Class`` behind each, in name order."""
    return dict(sorted(_entry_points().items()))


def load_stage(uses: str) -> type[Stage]:
    """The class behind `uses`. Raises :class:`UnknownStage` that says what was looked for and the nearest name."""
    target = uses if ":" in uses else _entry_points().get(uses)
    if target is None:
        nearest = next(iter(difflib.get_close_matches(uses, known_stages(), n=1)), None)
        hint = f"; did you mean {nearest!r}?" if nearest else "; `sharpline stages` lists what there is"
        raise UnknownStage(f"no stage is called {uses!r}{hint}", nearest)
    return _load_target(uses, target)


@cache
def _load_target(uses: str, target: str) -> type[Stage]:
    module_name, _, class_name = target.partition(":")
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UnknownStage(
                f"{uses}: no module {module_name!r} on the path; add its folder to `code:` in the spec"
            ) from error
        raise UnknownStage(f"{uses}: importing {module_name!r} failed: no module named {error.name!r}") from error
    except Exception as error:
        raise UnknownStage(f"{uses}: importing {module_name!r} failed: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Stage)):
        stages = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Stage) and v is not Stage]
        nearest = next(iter(difflib.get_close_matches(class_name, stages, n=1)), None)
        have = ", ".join(sorted(stages)) or "none"
        raise UnknownStage(f"{uses}: {module_name} has no stage class {class_name!r}; it has: {have}", nearest)
    return found


def add_code(packages: Iterable[str | Path]) -> None:
    """Make the user's ``code:`` packages (folders or single files) importable, after our own packages."""
    for package in packages:
        parent = str(Path(package).absolute().parent)
        if parent not in sys.path:
            sys.path.append(parent)
    importlib.invalidate_caches()
