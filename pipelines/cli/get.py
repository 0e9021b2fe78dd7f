"""``sharpline get``: the files of a finished artifact in a folder of one's own."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipelines.errors import UsageError, writing

if TYPE_CHECKING:
    from pipelines.inputs import StoredArtifact

MANIFEST: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"
REFERRED: Final = "refs"


def command(
    spec: Annotated[Path, typer.Argument(help="The spec.", show_default=False)],
    output: Annotated[str, typer.Argument(metavar="STAGE[.OUTPUT]", help="What to copy.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder, or one to complete.", show_default=False)],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="As in `run`.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another store than the spec's.")] = None,
) -> None:
    """Copy the files of a finished artifact into a folder: pairs become plain WebDataset shards, models weights.

    Beside them lie manifest.json (kind, facets, digests) and SHA256SUMS, for `sha256sum -c SHA256SUMS`; artifacts that
    it refers to are below refs/. Every file is checked while it is copied. The same command completes a copy that was
    interrupted, and refuses a folder that holds anything else.
    """
    from pipelines.lookup import find_built
    from pipelines.report.words import size

    built = find_built(spec, output, set_ or [], store)
    files = list(_files(built.artifact, ""))
    label = f"{built.stage}.{built.slot}"
    total = sum(file.size for file in files)
    with writing(folder, "the folder"):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; name a new or empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        had = _check_folder(folder, files)
        for file in _with_bar([file for file in files if file.name not in had], label):
            file.write(folder / file.name)
        _write(folder / SUMS, "".join(f"{file.sha256}  {file.name}\n" for file in files).encode())
    there = f", {len(had)} of them there already" if had else ""
    typer.echo(f"{label}: {len(files):,} files, {size(total)}, in {folder}{there}; `sha256sum -c {SUMS}` checks them")


def _with_bar(files: list[_File], label: str) -> Iterator[_File]:
    """The files, one after the other, under a progress bar where somebody sees it."""
    if not sys.stderr.isatty():
        yield from files
        return
    with typer.progressbar(length=sum(file.size for file in files), label=label, file=sys.stderr) as bar:
        for file in files:
            yield file
            bar.update(file.size)


@dataclass(frozen=True, slots=True)
class _File:
    """A file to be: entry `entry` of `artifact`, or the bytes `data`."""

    name: str
    sha256: str
    size: int
    artifact: StoredArtifact | None = None
    entry: str = ""
    data: bytes = b""

    def write(self, path: Path) -> None:
        """Make the file; under its name there is nothing or all of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.artifact is None:
            _write(path, self.data)
            return
        partial = _partial(path)
        partial.unlink(missing_ok=True)
        try:
            self.artifact.copy(self.entry, partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _files(artifact: StoredArtifact, below: str) -> Iterator[_File]:
    """The artifact's entries and manifest, then those of what it refers to."""
    from pipelines.canonical import sha256_hex

    manifest = artifact.manifest
    taken = [e.name for e in manifest.entries if e.name in (MANIFEST, SUMS) or e.name.startswith(f"{REFERRED}/")]
    if taken:
        raise UsageError(
            f"{artifact.label} has an entry called {taken[0]}, a name that `get` needs; use open_artifact()"
        )
    for entry in manifest.entries:
        yield _File(below + entry.name, entry.sha256, entry.size, artifact, entry.name)
    about = {"digest": artifact.digest, **manifest.to_json()}
    text = jsonlib.dumps(about, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    yield _File(below + MANIFEST, sha256_hex(text), len(text), data=text)
    for role in sorted(manifest.refs):
        yield from _files(artifact.ref(role), f"{below}{REFERRED}/{role}/")


def _check_folder(folder: Path, files: list[_File]) -> set[str]:
    """Names of files that are there and right. Raises UsageError for anything that a copy would not have put there."""
    from pipelines.store.blobs import hash_file

    wanted = {file.name: file for file in files}
    partials = {str(_partial(Path(name))) for name in [*wanted, SUMS]}
    had = set()
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        name = path.relative_to(folder).as_posix()
        if name in partials or name == SUMS:
            continue
        file = wanted.get(name)
        if file is None or path.stat().st_size != file.size or hash_file(path)[0] != file.sha256:
            said = "is no file of this artifact" if file is None else "has other bytes than this artifact's"
            raise UsageError(f"{folder} is in use: {name} {said}; name a new or empty folder, or remove it")
        had.add(name)
    return had


def _write(path: Path, data: bytes) -> None:
    partial = _partial(path)
    partial.write_bytes(data)
    os.replace(partial, path)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
