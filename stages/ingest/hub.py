"""``hf://owner/name[@revision][/path]``: files of a model repository on the Hugging Face hub, over plain HTTPS.

The hub's tree listing gives name, size and, for large files, sha256, so a plan reads no weights. Where the
environment names them, ``HF_TOKEN`` is sent to the hub (and to no server that it sends us on to), and ``HF_ENDPOINT``
stands for another server with the same interface. Written from the hub's documentation and tested against a local
server that answers in the same way; it has not been run against the hub itself.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from pipelines.stage import StageError
from stages.ingest.web import BROKEN, Address, get, told

SCHEME: Final = "hf://"
_ID: Final = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.+))?")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository. `oid` changes with its bytes; `sha256` is "" for small files, where the hub has none."""

    path: str
    size: int
    oid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class HubId:
    """A parsed hub id; `path` is "" for the whole repository, `revision` a branch, tag or commit."""

    repository: str
    revision: str
    path: str

    @classmethod
    def parse(cls, text: str) -> HubId:
        """Raises StageError for what is no hub id. A slash in a revision is written %2F."""
        match = _ID.fullmatch(text.rstrip("/"))
        if match is None:
            raise StageError(
                f"{text!r} is no hub id; expected hf://owner/name[@revision][/file], as hf://org/model@main"
            )
        return cls(match[1], match[2] or "main", match[3] or "")

    def address(self, path: str, sha256: str = "", size: int | None = None) -> Address:
        """Where one of its files lies."""
        return _address(f"{self.repository}/resolve/{_revision(self)}/{quote(path)}", sha256, size)

    def files(self) -> list[HubFile]:
        """`path` itself, or the files of that folder (not of folders in it). Raises StageError."""
        beside = self._tree(self.path.rpartition("/")[0])
        if not self.path:
            return beside
        found = [file for file in beside if file.path == self.path]
        return found or self._tree(self.path)

    def _tree(self, folder: str) -> list[HubFile]:
        place = f"api/models/{self.repository}/tree/{_revision(self)}" + (f"/{quote(folder)}" if folder else "")
        address = _address(place)
        try:
            document, headers = get(address)
            entries = json.loads(document)
        except urllib.error.HTTPError as error:
            raise StageError(
                f"{address.shown}: the hub answered {error.code} {error.reason}; {_advice(self)}"
            ) from error
        except (*BROKEN, ValueError) as error:
            raise StageError(
                f"{address.shown} could not be asked: {told(error)}; with `sha256` set for every file by name, the hub "
                "is asked for nothing but the files"
            ) from error
        if "next" in headers.get("Link", ""):
            raise StageError(f"{address.shown} lists more files than one answer holds; name a file or a smaller folder")
        return [_file(entry) for entry in entries if entry["type"] == "file"]


def _file(entry: dict[str, Any]) -> HubFile:
    large = entry.get("lfs") or {}
    return HubFile(entry["path"], entry["size"], entry["oid"], large.get("oid", "").removeprefix("sha256:"))


def _revision(hub: HubId) -> str:
    return quote(hub.revision, safe="%")


def _address(path: str, sha256: str = "", size: int | None = None) -> Address:
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return Address(f"{endpoint.rstrip('/')}/{path}", sha256, size, os.environ.get("HF_TOKEN", ""))


def _advice(hub: HubId) -> str:
    token = "with that HF_TOKEN" if os.environ.get("HF_TOKEN") else "without HF_TOKEN in the environment"
    return f"check owner, name, revision ({hub.revision}) and path, and whether it may be read {token}"
