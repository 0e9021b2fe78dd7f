"""Files of weights wherever they lie: a local file or folder, a web address, or the hub. No tensor is read here.

A remote file whose sha256 is known (pinned in the spec, or told by the hub) is listed by it: then a plan needs no
server (a pin), and nothing is downloaded to be hashed. Any other remote file is read twice, to be hashed
and to be imported.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from pipelines.stage import ListedFile, Listing, SourceFile, StageError
from stages.ingest.download import Progress, download
from stages.ingest.hub import SCHEME, HubId
from stages.ingest.web import Address, head

WeightFormat: TypeAlias = Literal["auto", "safetensors", "torch"]
Pin: TypeAlias = "str | Mapping[str, str] | None"
"""The sha256 of the one file, or of every file by name, or None."""

SUFFIXES: Final[dict[str, tuple[str, ...]]] = {
    "safetensors": (".safetensors",),
    "torch": (".pth", ".pt", ".ckpt", ".bin"),
}
_KNOWN: Final = "sha256:"  # a stamp of this form is the digest itself
_EXPECTED: Final = "expected a file, a folder, http(s)://…, or hf://owner/name[@revision][/file]"


def list_weights(source: str, form: WeightFormat, pin: Pin) -> Listing:
    """The files of `source`. Of a folder, local or on the hub, those that lie in it and hold weights by their suffix:
    safetensors where there are any, else torch's, unless `form` says which. Raises StageError."""
    if source.startswith(SCHEME):
        return Listing(tuple(_on_hub(HubId.parse(source), form, pin)))
    if source.startswith(("http://", "https://")):
        return Listing((_on_web(source, pin),))
    if "://" in source:
        instead = (
            "; give an https address of the file (presigned, through $(env.NAME)), or copy it"
            * source.startswith("s3:")
        )
        raise StageError(f"source {source!r} is not understood; {_EXPECTED}{instead}")
    return Listing(tuple(_on_disk(Path(os.path.abspath(source)), form)))


def hash_weights(listing: Listing) -> list[SourceFile]:
    """The digest of every listed file, in name order. Reads local files, and remote ones of unknown digest."""
    return [SourceFile(file.name, file.size, _digest(file), file.location) for file in listing.files]


def refuse_other(files: Sequence[SourceFile], pin: Pin) -> None:
    """Raise StageError unless `files` are what `pin` names, all of it and nothing else."""
    if pin is None:
        return
    if isinstance(pin, str):
        if len(files) != 1:
            names = ", ".join(file.name for file in files)
            raise StageError(
                f"sha256 pins one file and the source holds {len(files)} ({names}); give one sha256 by name"
            )
        pin = {files[0].name: pin}
    found = {file.name: file.sha256 for file in files}
    for name in sorted({*pin, *found}):
        if pin.get(name) != found.get(name):
            raise StageError(
                f"{name}: expected sha256 {pin.get(name, 'none (it is not pinned)')}, "
                f"got {found.get(name, 'no such file')}; "
                "the source is not what was pinned: look why, and only then change `sha256`"
            )


def fetch(name: str, sha256: str, location: str, folder: Path, progress: Progress) -> Path:
    """A local file with the bytes of a hashed file, downloaded into `folder` if need be.

    Raises StageError when it cannot be had, or its bytes are others now.
    """
    address = _address(location, sha256)
    if address is not None:
        path = folder / sha256
        download(address, path, progress)
        return path
    if _file_digest(Path(location)) != sha256:
        raise StageError(
            f"{name} changed since it was listed (expected sha256 {sha256[:12]}…); run again to list it anew"
        )
    return Path(location)


# ---------------------------------------------------------------- listing


def _on_disk(path: Path, form: WeightFormat) -> list[ListedFile]:
    if not path.exists():
        raise StageError(f"source {path}: there is nothing; {_EXPECTED}")
    names = [entry.name for entry in path.iterdir() if entry.is_file()] if path.is_dir() else [path.name]
    chosen = _chosen(names, form, str(path)) if path.is_dir() else names
    folder = path if path.is_dir() else path.parent
    infos = {name: (folder / name).stat() for name in chosen}
    return [ListedFile(name, infos[name].st_size, str(infos[name].st_mtime_ns), str(folder / name)) for name in chosen]


def _on_web(url: str, pin: Pin) -> ListedFile:
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise StageError("source: user and password in an address are not used; what is secret comes from $(env.NAME)")
    name = unquote(parts.path.rpartition("/")[2])
    if not name:
        raise StageError(f"source {Address(url).shown}: expected the address of a file")
    known = pin.get(name) if isinstance(pin, Mapping) else pin
    if known:
        return ListedFile(name, 0, _KNOWN + known, url)
    seen = head(Address(url))
    return ListedFile(name, seen.size, seen.stamp, url)


def _on_hub(hub: HubId, form: WeightFormat, pin: Pin) -> list[ListedFile]:
    place = f"{SCHEME}{hub.repository}@{hub.revision}"
    if isinstance(pin, str) and hub.path:
        return [ListedFile(hub.path.rpartition("/")[2], 0, _KNOWN + pin, f"{place}/{hub.path}")]
    if isinstance(pin, Mapping):
        inside = f"{place}/{hub.path}" if hub.path else place
        whole = len(pin) == 1 and hub.path.rpartition("/")[2] in pin
        return [ListedFile(name, 0, _KNOWN + pin[name], inside if whole else f"{inside}/{name}") for name in pin]
    files = {file.path.rpartition("/")[2]: file for file in hub.files()}
    named = [name for name, file in files.items() if file.path == hub.path]
    return [
        ListedFile(name, file.size, _KNOWN + file.sha256 if file.sha256 else file.oid, f"{place}/{file.path}")
        for name, file in files.items()
        if name in (named or _chosen(list(files), form, f"{place}/{hub.path}"))
    ]


def _chosen(names: Sequence[str], form: WeightFormat, place: str) -> list[str]:
    for kind, suffixes in SUFFIXES.items():
        found = [name for name in names if name.endswith(suffixes) and not name.startswith(".")]
        if found and form in ("auto", kind):
            return found
    wanted = [suffix for kind, found in SUFFIXES.items() if form in ("auto", kind) for suffix in found]
    raise StageError(
        f"source {place}: none of its {len(names)} files ends in {', '.join(wanted)}; name a file, or `format`"
    )


# ---------------------------------------------------------------- bytes


def _digest(file: ListedFile) -> str:
    if file.stamp.startswith(_KNOWN):
        return file.stamp.removeprefix(_KNOWN)
    address = _address(file.location, "", file.size)
    if address is None:
        return _file_digest(Path(file.location))
    with tempfile.TemporaryDirectory() as folder:
        return download(address, Path(folder) / "file")


def _address(location: str, sha256: str, size: int | None = None) -> Address | None:
    if location.startswith(SCHEME):
        hub = HubId.parse(location)
        return hub.address(hub.path, sha256, size)
    return Address(location, sha256, size) if "://" in location else None


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StageError(f"source file {path} could not be read: {error.strerror or error}") from error
