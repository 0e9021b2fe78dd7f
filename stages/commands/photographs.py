"""Finding a photograph by the sha256 of its bytes, wherever it lies: files, folders, tars of images."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UsageError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Photograph:
    """Bytes that are known to have the digest that was asked for, and where they were found."""

    data: bytes
    place: str


def find_photograph(digest: str, places: Sequence[Path]) -> Photograph | None:
    """The photograph with sha256 `digest` in `places` (files, folders with all below them, tars), or None.

    What is named after the digest is looked at first: packs of an `images` artifact are. Raises UsageError for a place
    that is not there or a tar that cannot be read.
    """
    for named in (True, False):
        for place, data in (found for path in places for found in _candidates(path, digest, named)):
            photo = checked(digest, data, place)
            if photo is not None:
                return photo
    return None


def checked(digest: str, data: bytes, place: str) -> Photograph | None:
    """`data` as a photograph where it has the sha256 `digest`, else None."""
    return Photograph(data, place) if hashlib.sha256(data).hexdigest() == digest else None


def _candidates(path: Path, digest: str, named: bool) -> Iterator[tuple[str, bytes]]:
    """Place and bytes of everything that is (or is not, `named`) called by the digest."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix.lower() in SUFFIXES | {".tar"}:
                yield from _candidates(file, digest, named)
    elif path.suffix == ".tar":
        yield from _members(path, digest, named)
    else:
        try:
            if path.name.startswith(digest) == named:
                yield str(path), path.read_bytes()
        except OSError as error:
            raise UsageError(f"--images {path}: cannot be read: {error.strerror or error}") from error


def _members(path: Path, digest: str, named: bool) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = Path(member.name)
                if not member.isreg() or name.suffix.lower() not in SUFFIXES or name.name.startswith(digest) != named:
                    continue
                stream = tar.extractfile(member)
                if stream is not None:
                    yield f"{path}:{member.name}", stream.read()
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"--images {path}: cannot be read as a plain tar: {error}") from error
