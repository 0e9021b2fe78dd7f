"""Asking web servers, with the standard library: addresses, redirects, what a HEAD says, small documents."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

from pipelines.stage import StageError

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as dead."""

BROKEN = (http.client.HTTPException, OSError)
"""What cut connections raise. HTTPError, an answer with a bad status, is among them: it is caught first."""


@dataclass(frozen=True)
class Address:
    """A file on a server. `token` is sent as a bearer token, to the address's own server only.

    `sha256` is what the bytes must have, "" while nobody has said; `size` likewise, None.
    """

    url: str
    sha256: str = ""
    size: int | None = None
    token: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The address without what may be secret (user, password, query), for messages."""
        return shown(self.url)


def shown(url: str) -> str:
    """`url` without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True)
class Head:
    """What a server says of a file without sending it: `stamp` is its ETag, or the time of its last change."""

    size: int
    stamp: str


def head(address: Address) -> Head:
    """Ask for size and stamp of a file. Raises StageError when the server does not say them."""
    advice = "set `sha256`, and no server is asked before the download"
    try:
        with open_url(address, "HEAD", {}) as answer:
            stamp = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            size = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise StageError(f"{address.shown}: the server answered {error.code} {error.reason}; {advice}") from error
    except BROKEN as error:
        raise StageError(f"{address.shown} could not be asked: {told(error)}; {advice}") from error
    if not stamp or size is None or not size.isdigit():
        raise StageError(f"{address.shown}: the server tells neither version nor size of the file; {advice}")
    return Head(int(size), stamp)


def get(address: Address) -> tuple[bytes, Message]:
    """A small document and the headers of the answer. Raises one of :data:`BROKEN`, or StageError."""
    with open_url(address, "GET", {}) as answer:
        return answer.read(), answer.headers


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, keeping the token at its own server and never leaving https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise StageError(f"{shown(req.full_url)}: refused to be sent on from https to {shown(newurl)}")
        onward = super().redirect_request(req, fp, code, msg, headers, newurl)
        if onward is None:
            return None
        onward.method = req.get_method()  # a HEAD stays one
        if (onward.type, onward.host) != (req.type, req.host):
            onward.remove_header("Authorization")
        return onward


def open_url(address: Address, method: str, headers: Mapping[str, str]) -> Any:
    """The open answer to a request. Raises one of :data:`BROKEN`, or StageError for a redirect that is refused."""
    # Compressed answers would have another size and other offsets than the file.
    sent = {"Accept-Encoding": "identity", "User-Agent": "sharpline", **headers}
    if address.token:
        sent["Authorization"] = f"Bearer {address.token}"
    request = urllib.request.Request(address.url, headers=sent, method=method)
    return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)


def told(error: BaseException) -> str:
    """The reason of an error, for messages."""
    reason = getattr(error, "reason", None) or error
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__
