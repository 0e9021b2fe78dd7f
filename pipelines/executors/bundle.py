"""The code that a run ships to a cluster: our three packages and the spec's ``code:`` as one deterministic zip.

Equal code gives equal bytes, so Ray's cache by content recognises it, and the workers run exactly what the
driver fingerprinted.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = ("pipelines", "degrade", "stages")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can state
SKIPPED = frozenset({"__pycache__", ".git", ".venv", ".sharpline", "node_modules"})


def code_bundle(code: Sequence[Path]) -> Path:
    """Write the zip below the temporary folder, named by its content; returns its path."""
    root = Path(__file__).resolve().parents[2]
    members = dict(_members(root, [root / name for name in PACKAGES]))
    for package in code:
        for name, path in _members(package.absolute().parent, [package.absolute()]):
            members.setdefault(name, path)
    hasher = hashlib.sha256()
    for name in sorted(members):
        hasher.update(name.encode() + b"\0" + members[name].read_bytes() + b"\0")
    target = Path(tempfile.gettempdir()) / f"sharpline-code-{hasher.hexdigest()[:16]}.zip"
    if not target.exists():
        partial = target.with_suffix(".part")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name in sorted(members):
                bundle.writestr(zipfile.ZipInfo(name, EPOCH), members[name].read_bytes())
        partial.replace(target)
    return target


def _members(base: Path, folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            relative = path.relative_to(base)
            if path.is_file() and not SKIPPED & set(relative.parts) and path.suffix != ".pyc":
                yield relative.as_posix(), path
