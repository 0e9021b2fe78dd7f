"""From module names to files, for first-party packages only, importing nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.syntax import Import

OWN_PACKAGES: Final = ("stages", "degrade")
"""Our packages whose code decides bytes. `pipelines` counts as one contract version instead."""


@dataclass(frozen=True, slots=True)
class Module:
    """A first-party module. `label` is its file relative to the folder on the path: ``degrade/noise.py``."""

    name: str
    file: Path
    label: str

    @property
    def package(self) -> str:
        """The package that a relative import of one dot means."""
        return self.name if self.file.name == "__init__.py" else self.name.rpartition(".")[0]


class Modules:
    """Finds modules below named roots (a package's folder, or one file); everything else is third-party."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = dict(roots)
        self._found: dict[str, Module | None] = {}

    def find(self, name: str) -> Module | None:
        """The module called `name`, None when it is third-party, missing, or a folder without ``__init__.py``."""
        if name not in self._found:
            self._found[name] = self._look_up(name)
        return self._found[name]

    def _look_up(self, name: str) -> Module | None:
        top, *rest = name.split(".")
        root = self._roots.get(top)
        if root is None:
            return None
        if root.suffix == ".py":
            return None if rest else Module(name, root, root.name)
        place = root.joinpath(*rest)
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py") if rest else None):
            if file is not None and file.is_file():
                return Module(name, file, f"{root.name}/{file.relative_to(root).as_posix()}")
        return None

    def reached(self, module: Module, found: Import) -> Iterator[Module]:
        """The first-party modules that run when `module` meets `found`: the target and every package above it."""
        if found.level:
            above = module.package.split(".")
            above = above[: max(0, len(above) - found.level + 1)]
            target = ".".join([*above, found.module] if found.module else above)
        else:
            target = found.module
        if found.guess and target.endswith("."):
            yield from self._members(target[:-1])
            return
        if found.guess and all(self.find(prefix) is None for prefix in list(_prefixes(target))[1:]):
            return  # a string like "degrade.pairs" that names no module of ours
        for name in (target, *(f"{target}.{name}" for name in found.names)):
            for prefix in _prefixes(name):
                one = self.find(prefix)
                if one is not None:
                    yield one

    def _members(self, package: str) -> Iterator[Module]:
        top, *rest = package.split(".")
        root = self._roots.get(top)
        folder = root.joinpath(*rest) if root is not None else None
        if folder is None or not folder.is_dir():
            return
        names = sorted(path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir())
        for name in names:
            for prefix in _prefixes(f"{package}.{name}" if name != "__init__" else package):
                one = self.find(prefix)
                if one is not None:
                    yield one


def roots_of(code_roots: Sequence[Path], more: Sequence[str] = ()) -> dict[str, Path]:
    """First-party roots by top-level name: our packages, then the user's ``code:``, then `more` by name."""
    roots: dict[str, Path] = {}
    for name in OWN_PACKAGES:
        _add_installed(roots, name)
    for path in code_roots:
        roots.setdefault(path.stem if path.suffix == ".py" else path.name, path.absolute())
    for name in more:
        _add_installed(roots, name)
    return roots


def _add_installed(roots: dict[str, Path], name: str) -> None:
    if name in roots or name == "pipelines":
        return
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # ValueError: ``__main__`` has no spec
        return
    if spec is not None and spec.submodule_search_locations:
        roots[name] = Path(next(iter(spec.submodule_search_locations)))
    elif spec is not None and spec.has_location and spec.origin and spec.origin.endswith(".py"):
        roots[name] = Path(spec.origin)


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])
