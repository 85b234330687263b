"""A proxy in front of an S3 server that spoils some of its answers."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

Fault = Literal["truncate", "refuse", "forbid", "lose", "delay", ""]
"""the body ends half-way, the server says 500 or 403, the answer is lost, or late, or is good"""
LATE = 0.3  # seconds


class S3Proxy(ThreadingHTTPServer):
    """Hands requests on to `endpoint`; `fault` says what happens to the answer to which."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(endpoint).netloc
        self.fault: Callable[[str, str], Fault] = lambda _method, _path: ""
        self.spoilt = 0  # answers
        self.listed: tuple[str, ...] = ()
        """prefixes; answer as Amazon does where a policy lets one list just these: another listing
        is forbidden, and so is an object that is missing"""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up; that is nobody's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Proxy

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = http.client.HTTPConnection(self.server.behind, timeout=120)
        with contextlib.closing(server):
            # with the Host that the client has signed
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                server.putheader(name, value)
            server.endheaders(body)
            answer = server.getresponse()
            content = answer.read()
        fault = self.server.fault(self.command, self.path)
        self.server.spoilt += bool(fault)
        if fault == "lose":
            self.close_connection = True
            return
        if fault == "delay":
            time.sleep(LATE)
        status, headers = answer.status, answer.getheaders()
        if self.server.listed and self._is_hidden(status):
            fault = "forbid"
        if code := {"refuse": "InternalError", "forbid": "AccessDenied"}.get(fault):
            status, headers = 500 if fault == "refuse" else 403, []
            content = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "truncate":
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    def _is_hidden(self, status: int) -> bool:
        place = urlsplit(self.path)
        if "/" in place.path.strip("/"):
            return status == 404
        (prefix,) = parse_qs(place.query, True).get("prefix", [None])
        return self.command == "GET" and not (prefix and prefix.startswith(self.server.listed))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def s3_proxy(endpoint: str) -> Iterator[S3Proxy]:
    """Yield a proxy in front of the server at `endpoint`."""
    with S3Proxy(endpoint) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()


def truncated(share: float, seed: int = 1) -> Callable[[str, str], Fault]:
    """Every so many answers to GET are cut off half-way."""
    chance, lock = random.Random(seed), threading.Lock()

    def fault(method: str, _path: str) -> Fault:
        with lock:
            return "truncate" if method == "GET" and chance.random() < share else ""

    return fault
