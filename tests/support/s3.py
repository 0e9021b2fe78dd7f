"""An S3 for tests: moto's server in its own process, behind a proxy that misbehaves on request.

moto looks for an existing object and stores a new one in two steps, so two concurrent ``If-None-Match: *`` can
both succeed; real S3 lets one win. The proxy therefore passes conditional writes on one at a time. Everything
goes through the proxy, so its answer is the truth for the clients under test. moto keeps objects in memory: tests
that restart "S3" restart the proxy.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

BUCKET = "sharpline-test"
REGION = "us-east-1"


@dataclass
class Faults:
    """Chances of each fault a request (0 to 1), drawn from one seeded generator. All zero: a plain proxy.

    `refused`: 503 or 500 and the request is not passed on. `lost`: passed on, then the connection is cut
    without an answer. `cut`: the answer's body ends in the middle. `delay`: up to `delay_seconds` before it.
    `late`: once, a creation's connection is cut and the request passed on `delay_seconds` later.
    """

    refused: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    delay: float = 0.0
    late: float = 0.0
    delay_seconds: float = 0.02
    seed: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def draw(self, fault: str) -> bool:
        with self._lock:
            hit = self._random.random() < getattr(self, fault)
            if hit:
                self.counts[fault] = self.counts.get(fault, 0) + 1
            return hit

    def choose(self, *options: Any) -> Any:
        with self._lock:
            return self._random.choice(options)


class FaultProxy:
    """Forwards to `upstream` ("host:port") from a local port that stays the same over `stop` and `start`."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []
        self.conditional = threading.Lock()
        self._server: _Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), _Handler, self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_all()
        self._server = None

    @contextlib.contextmanager
    def misbehaving(self, **chances: float) -> Iterator[Faults]:
        """Faults while the context is open."""
        self.faults = Faults(**chances)  # type: ignore[arg-type]
        try:
            yield self.faults
        finally:
            self.faults = Faults()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], proxy: FaultProxy) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is business as usual here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # one packet an answer: two would wait for an acknowledgement (40 ms)
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""

    def _forward(self) -> None:
        proxy, faults = self.server.proxy, self.server.proxy.faults
        body = self._body()
        proxy.requests.append((self.command, self.path))
        if faults.draw("delay"):
            time.sleep(faults.delay_seconds * random.random())
        if faults.draw("refused"):
            self._answer(faults.choose(500, 503), {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        if "If-None-Match" in self.headers and faults.draw("late"):
            faults.late = 0.0
            self._cut()
            time.sleep(faults.delay_seconds)
        guard = proxy.conditional if "If-None-Match" in self.headers else contextlib.nullcontext()
        with guard:
            status, headers, data = self._upstream(proxy.upstream, body)
        if faults.draw("lost"):
            self._cut()
            return
        self._answer(status, headers, data, cut=len(data) > 1 and faults.draw("cut"))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _upstream(self, upstream: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(upstream, timeout=30)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.wfile.flush()
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def s3_server() -> Iterator[FaultProxy]:
    """moto with an empty bucket :data:`BUCKET`, behind a running proxy; the environment points to it meanwhile."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    upstream = f"127.0.0.1:{port}"
    proxy = FaultProxy(upstream)
    try:
        _create_bucket(upstream, process)
        proxy.start()
        with environment(s3_environment(proxy)):
            yield proxy
        proxy.stop()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def s3_environment(proxy: FaultProxy) -> dict[str, str]:
    """The variables with which a process reaches the test bucket."""
    return {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
    }


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _create_bucket(upstream: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "moto's server ended at once; is moto[server] installed?"
        connection = http.client.HTTPConnection(upstream, timeout=5)
        try:
            connection.request("PUT", f"/{BUCKET}", headers={"Authorization": _AUTHORIZATION})
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise TimeoutError("moto's server did not answer within 60 s")


_AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential=test/20200101/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=0"
