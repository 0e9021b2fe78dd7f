"""The code behind a stage as one digest: everything first-party that its module can reach by imports.

The closure starts at the module that defines the stage class (and those of its base classes) and follows
imports at module level and inside functions through `stages`, `degrade`, the user's ``code:`` and the package
that the stage itself lives in. `pipelines` counts as one integer, raised by hand when the contract changes.
Third-party code counts by version, where a stage declares it (`Stage.libraries`). Data files that a package
reads are not code: presets are resolved into values before a key is taken.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from pipelines.canonical import digest
from pipelines.errors import UsageError
from pipelines.modules import Module, Modules, roots_of
from pipelines.stage import CONTRACT_VERSION, Stage
from pipelines.syntax import Syntax, read_syntax

_SETTLED_SECONDS: Final = 2.0
"""A file changed more recently may change again within one tick of its mtime, so it is not remembered."""


class UnreadableCode(UsageError):
    """First-party code that cannot be read or parsed; the message names file and line."""


@dataclass(frozen=True, slots=True)
class CodeFingerprint:
    """`digest` (64 hex characters) is what a key holds; `files` (label -> digest) says later which file changed.

    A payload carries the digest alone; the files belong in the `meta` of the commit, where a plan finds them.
    """

    digest: str
    files: dict[str, str]


def fingerprint(stage: type[Stage], code_roots: Sequence[Path]) -> CodeFingerprint:
    """Fingerprint the code of `stage`. `code_roots` are the folders (or files) of the spec's ``code:``.

    Raises :class:`UnreadableCode` for a class without a source file and for files that do not parse.
    """
    origins = _origins(stage)
    modules = Modules(roots_of(code_roots, [name.partition(".")[0] for name in origins]))
    files: dict[str, str] = {}
    waiting = [module for name, file in origins.items() for module in _start(modules, name, file)]
    while waiting:
        module = waiting.pop()
        if module.label in files:
            continue
        syntax = _syntax(module.file)
        files[module.label] = syntax.digest
        waiting += [reached for found in syntax.imports for reached in modules.reached(module, found)]
    files = dict(sorted(files.items()))
    return CodeFingerprint(digest({"code": 1, "contract": CONTRACT_VERSION, "files": files}), files)


def code_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The files that differ between two :attr:`CodeFingerprint.files`, in name order, as a person would say it."""
    changes = []
    for label in sorted({*old, *new}):
        if label not in old:
            changes.append(f"{label} (new)")
        elif label not in new:
            changes.append(f"{label} (gone)")
        elif old[label] != new[label]:
            changes.append(label)
    return changes


@cache
def package_fingerprint() -> str:
    """64 hex characters over the code of the installed pipelines, degrade and stages: driver and worker must agree."""
    files = {}
    for name in ("degrade", "pipelines", "stages"):
        root = Path(__file__).parents[1] / name
        for file in sorted(root.rglob("*.py")):
            files[f"{name}/{file.relative_to(root).as_posix()}"] = _syntax(file).digest
    return digest({"packages": 1, "files": files})


def _origins(stage: type[Stage]) -> dict[str, Path]:
    """Name and file of each module that defines `stage` or a base class of it."""
    origins = {}
    for cls in stage.__mro__:
        if not issubclass(cls, Stage) or cls.__module__.partition(".")[0] == "pipelines":
            continue
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if file is None:
            raise UnreadableCode(
                f"stage {cls.__qualname__}: its module {cls.__module__!r} has no source file to fingerprint; "
                "define the class in a .py file"
            )
        origins[cls.__module__] = Path(file)
    return origins


def _start(modules: Modules, name: str, file: Path) -> Iterable[Module]:
    """The defining module with the packages above it, or its bare file when it lies outside every root."""
    found = modules.find(name)
    if found is None or not found.file.samefile(file):
        return [Module(name, file, file.name)]
    parts = name.split(".")
    above = (modules.find(".".join(parts[:length])) for length in range(1, len(parts)))
    return [found, *(package for package in above if package is not None)]


_remembered: dict[Path, tuple[tuple[int, int, int], Syntax]] = {}


def _syntax(file: Path) -> Syntax:
    """:func:`read_syntax` of a file, remembered while inode, mtime and size stay the same."""
    try:
        stat = file.stat()
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        known = _remembered.get(file)
        if known is not None and known[0] == stamp:
            return known[1]
        syntax = read_syntax(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise UnreadableCode(f"{file}:{error.lineno or 1}: cannot fingerprint: {error.msg}") from error
    except (OSError, ValueError) as error:
        raise UnreadableCode(f"{file}: cannot fingerprint: {error}") from error
    if time.time() - stat.st_mtime > _SETTLED_SECONDS:
        _remembered[file] = (stamp, syntax)
    return syntax
