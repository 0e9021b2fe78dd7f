"""A web server for tests that misbehaves on request: cut answers, no ranges, redirects, files that change."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What a server holds and how it behaves; `asked` records every request as (method, path, headers)."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    refuses: dict[str, int] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers to GET end, one after the other."""
    headers: dict[str, str] = field(default_factory=dict)
    """More headers of every file."""
    ranges: bool = True
    stamps: bool = True
    asked: list[tuple[str, str, Message]] = field(default_factory=list)

    def sent(self, name: str) -> list[str | None]:
        """One header of every GET."""
        return [headers.get(name) for method, _, headers in self.asked if method == "GET"]


@contextmanager
def serve() -> Iterator[Site]:
    """A running server on this machine."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = self.path.partition("?")[0]
            site.asked.append((self.command, self.path, self.headers))
            if path in site.redirects:
                self.head(302, {"Location": site.redirects[path], "Content-Length": "0"})
            elif path in site.refuses or path not in site.files:
                self.head(site.refuses.get(path, 404), {"Content-Length": "0"})
            else:
                self.file(site.files[path])

        def file(self, data: bytes) -> None:
            etag = '"' + hashlib.md5(data).hexdigest() + '"'
            start, code, extra = 0, 200, {"ETag": etag} if site.stamps else {}
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and site.ranges and self.headers.get("If-Range", etag) == etag:
                start, code = int(wanted[1]), 206
                extra["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.head(code, {**site.headers, **extra, "Content-Length": str(len(data) - start)})
            if self.command == "GET":
                body = data[start:]
                with suppress(ConnectionError):  # a client may have heard enough
                    self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)

        def head(self, code: int, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *given: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
