"""What a source of images holds, by stat alone: a folder, a glob, one tar, or bundled photographs."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from pipelines.stage import ListedFile, Listing, StageError
from stages.ingest.bundled import SKIMAGE, list_skimage


def list_images(source: str, *, recursive: bool, extensions: Collection[str]) -> Listing:
    """List the files of `source` whose extension is in `extensions` (lower case, no dot); no content is read.

    Names are relative to the folder, or to the part of a glob before its first wildcard. Hidden files and
    folders are skipped. A tar is listed as one file; its members are found when it is hashed.

    Raises StageError, saying what was looked for and where, when there is no such place or no image in it.
    """
    if source == SKIMAGE:
        return list_skimage()
    if ":" in source.split("/", 1)[0] and not Path(source).exists():
        raise StageError(f"source {source!r} is not understood; {_EXPECTED}")
    path = Path(os.path.abspath(source))
    if path.is_dir():
        return _listing(source, path, _walk(path, recursive), extensions)
    if path.suffix.lower() == ".tar" and path.is_file():
        return Listing((_listed(path, path.name),))
    if glob.has_magic(source) or path.is_file():
        base, pattern = _split_glob(path)
        names = [n for n in glob.iglob(pattern, root_dir=base, recursive=True) if (base / n).is_file()]
        if not names:
            raise StageError(f"source {source!r}: no file matches {path}; {_EXPECTED}")
        return _listing(source, base, (base / name for name in names), extensions)
    above = next(parent for parent in path.parents if parent.exists())
    raise StageError(f"source {source!r}: nothing at {path} (only {above} exists); {_EXPECTED}")


_EXPECTED = f"expected a folder, a glob such as photos/**/*.jpg, a .tar file, or {SKIMAGE!r}"


def wanted(name: str, extensions: Collection[str]) -> bool:
    """Whether a relative name is one of an image: right extension, no hidden part."""
    parts = name.split("/")
    return not any(part.startswith(".") for part in parts) and extension(name) in extensions


def extension(name: str) -> str:
    """The part after the last dot in lower case, or an empty string."""
    return os.path.splitext(name)[1][1:].lower()


def _listing(source: str, base: Path, paths: Iterator[Path], extensions: Collection[str]) -> Listing:
    seen = 0
    files: list[ListedFile] = []
    for path in paths:
        name = path.relative_to(base).as_posix()
        seen += 1
        if wanted(name, extensions):
            files.append(_listed(path, name))
    if not files:
        raise StageError(
            f"source {source!r}: no image under {base}: looked at {seen} files for the extensions "
            f"{', '.join(sorted(extensions))}; name the right folder, or set `extensions`"
        )
    return Listing(tuple(files))


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    # A link to a folder above would otherwise never end. Sorted, so that of two ways to a folder one always wins.
    seen: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        here = pending.pop()
        info = here.stat()
        if (info.st_dev, info.st_ino) in seen:
            continue
        seen.add((info.st_dev, info.st_ino))
        try:
            with os.scandir(here) as entries:
                found = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            raise StageError(f"source folder {here} could not be listed: {error.strerror}") from error
        for entry in found:
            if not entry.is_dir():
                yield Path(entry.path)
            elif recursive and not entry.name.startswith("."):
                pending.append(Path(entry.path))


def _listed(path: Path, name: str) -> ListedFile:
    try:
        info = path.stat()
        name.encode()
    except OSError as error:
        raise StageError(f"source file {path} could not be looked at: {error.strerror}; repair or remove it") from error
    except UnicodeEncodeError as error:
        raise StageError(f"source file {name!r}: its name is not UTF-8; rename it") from error
    return ListedFile(name, info.st_size, str(info.st_mtime_ns), str(path))


def _split_glob(path: Path) -> tuple[Path, str]:
    parts = path.parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed]), "/".join(parts[fixed:])
