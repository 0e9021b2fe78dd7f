"""sha256 of every listed file, several at a time; the members of a tar one by one."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from pipelines.stage import ListedFile, Listing, SourceFile, StageError
from stages.ingest.listing import extension, wanted

_CHUNK = 1 << 20


def hash_images(listing: Listing, extensions: Collection[str]) -> Sequence[SourceFile]:
    """Hash the files of `listing` in threads (hashing and reading release the interpreter), in name order.

    Raises StageError for a file that cannot be read and for a tar that is damaged or compressed.
    """

    def hashed(file: ListedFile) -> list[SourceFile]:
        try:
            if extension(file.name) == "tar":
                return _hash_members(file, extensions)
            with open(file.location, "rb") as stream:
                return [
                    SourceFile(file.name, file.size, hashlib.file_digest(stream, "sha256").hexdigest(), file.location)
                ]
        except OSError as error:
            raise StageError(f"source file {file.location} could not be read: {error.strerror or error}") from error

    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        return [found for group in pool.map(hashed, listing.files) for found in group]


def _hash_members(file: ListedFile, extensions: Collection[str]) -> list[SourceFile]:
    members: dict[str, SourceFile] = {}  # a tar may hold a name twice: as when unpacking, the last one counts
    try:
        with tarfile.open(file.location, "r:") as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isreg() and not member.issparse() else None
                name = os.path.normpath(member.name)
                if stream is not None and wanted(name, extensions):
                    digest = _digest(stream)
                    members[name] = SourceFile(name, member.size, digest, file.location, member.offset_data)
    except tarfile.TarError as error:
        raise StageError(
            f"source {file.location} cannot be read as a plain tar: {error}; "
            "a compressed tar has no byte ranges: unpack it, or recompress it to .tar"
        ) from error
    return [members[name] for name in sorted(members)]


def _digest(stream: IO[bytes]) -> str:
    hasher = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        hasher.update(chunk)
    return hasher.hexdigest()
