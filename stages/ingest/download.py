"""Downloads that end whole, with the promised bytes, or not at all.

Tested against a local server: truncated answers, redirects, a server without ranges, a file that changes. No test
speaks to the internet.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO, TypeAlias

from pipelines.stage import StageError
from stages.ingest.web import BROKEN, Address, open_url, told

TRIES = 5
"""Attempts in a row that bring no new byte, after which a download is given up."""

PAUSE = 1.0
"""Seconds before the second attempt; each further one waits twice as long."""

Progress: TypeAlias = Callable[[int, int], None]

_CHUNK = 1 << 20
_PASSING = {408, 429, 500, 502, 503, 504}


def download(address: Address, path: Path, progress: Progress | None = None) -> str:
    """Write the file at `address` to `path` and return its sha256. `progress` is told bytes done and in all.

    A connection that breaks, or ends before the announced size, is taken up where it ended when the server can and
    still has the same version, else from the start. That is so within one call: what a killed process had
    fetched is fetched again. Raises StageError, leaving no file, when it cannot be had whole or its bytes are not
    those that `address` promises.
    """
    state = _Partial(address, path, progress)
    try:
        state.fetch()
        return state.check()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class _Partial:
    """A download under way: what is there, and under which version it was sent."""

    def __init__(self, address: Address, path: Path, progress: Progress | None) -> None:
        self.address, self.path, self.progress = address, path, progress
        self.have, self.total = 0, address.size
        self.version = ""

    def fetch(self) -> None:
        """Ask again until all bytes are there. Raises StageError when `TRIES` attempts in a row brought none."""
        self.path.write_bytes(b"")
        idle = 0
        while True:
            before = self.have
            try:
                if self._attempt():
                    return
                reason = f"the answer ended after {self.have} of {self.total} bytes"
            except urllib.error.HTTPError as error:
                reason = f"the server answered {error.code} {error.reason}"
                if error.code == 416:  # there is nothing from here on: the file is another one
                    self.version = ""
                elif error.code not in _PASSING:
                    raise StageError(f"{self.address.shown}: {reason}{_hint(error.code)}") from error
            except BROKEN as error:
                reason = told(error)
            idle = 0 if self.have > before else idle + 1
            if idle >= TRIES:
                raise StageError(f"{self.address.shown} could not be downloaded: {reason} ({TRIES} attempts)")
            time.sleep(PAUSE * 2 ** max(idle - 1, 0))

    def check(self) -> str:
        """sha256 of the whole file. Raises StageError when it is not the promised one."""
        with self.path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if self.address.sha256 and found != self.address.sha256:
            raise StageError(
                f"{self.address.shown}: expected sha256 {self.address.sha256}, got {found} ({self.have} bytes); "
                "the file is not the one that was pinned: look why, and only then change `sha256`"
            )
        return found

    def _attempt(self) -> bool:
        """One connection; whether the file is whole afterwards."""
        resume = self.have > 0 and self.version != ""
        wanted = {"Range": f"bytes={self.have}-", "If-Range": self.version} if resume else {}
        with open_url(self.address, "GET", wanted) as answer:
            if not (resume and answer.status == 206 and _starts_at(answer.headers, self.have)):
                self.have = 0
                if answer.status != 200:
                    raise http.client.HTTPException(f"the server sent another part than {wanted}")
            self._announced(answer.headers)
            self._take(answer)
        return self.total is None or self.have == self.total

    def _announced(self, headers: Message) -> None:
        version = headers.get("ETag", "")
        self.version = "" if version.startswith("W/") else version  # a weak one does not promise equal bytes
        length = headers.get("Content-Length", "")
        total = self.have + int(length) if length.isdigit() else None
        if self.address.size is not None and total is not None and total != self.address.size:
            raise StageError(
                f"{self.address.shown}: expected {self.address.size} bytes as listed, the server sends {total}; "
                "the file has changed: run again to list it anew"
            )
        self.total = self.address.size if total is None else total

    def _take(self, answer: IO[bytes]) -> None:
        with self.path.open("r+b") as file:
            file.seek(self.have)
            file.truncate()
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                self.have += len(chunk)
                if self.progress is not None:
                    self.progress(self.have, self.total or self.have)


def _starts_at(headers: Message, offset: int) -> bool:
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == offset


def _hint(code: int) -> str:
    return "; it wants credentials that were not given, or are not enough" if code in (401, 403) else ""
