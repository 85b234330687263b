"""A small HTTP server that a stranger cannot keep busy: GET only, few threads, short waits."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit

MOST = 8
"""requests under way at once; further ones are told to come back"""
REQUEST_SECONDS = 5.0
"""that a client has for sending its whole request"""
ANSWER_SECONDS = 10.0
"""that one write of the answer may wait for the client"""
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets."""

    status: int
    kind: str
    """its Content-Type"""
    body: bytes


class HealthServer(ThreadingMixIn, TCPServer):
    """Answers GET by `answer(path)`; listens once it is made. Raises OSError when it cannot."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], answer: Callable[[str], Answer]) -> None:
        self.answer = answer
        self._places = threading.BoundedSemaphore(MOST)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serves from a thread until the block ends."""
        thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            self.server_close()
            thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the request, if there is room."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.setblocking(False)
        with contextlib.suppress(OSError):
            request.sendall(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread's work; its place is free afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's fault; anything else belongs into the log."""
        log.debug("a request was not answered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: HealthServer
    server_version = "dmarckit"
    sys_version = ""
    timeout = ANSWER_SECONDS
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def setup(self) -> None:
        """A whole request must be there in time, however slowly its bytes drip in."""
        super().setup()
        self._limit = threading.Timer(REQUEST_SECONDS, self._too_slow)
        self._limit.daemon = True
        self._limit.start()

    def finish(self) -> None:
        """The end of the connection."""
        self._limit.cancel()
        super().finish()

    def _too_slow(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def parse_request(self) -> bool:
        """As the library's, but with one method only; the wait for the request is over."""
        whole = super().parse_request()
        self._limit.cancel()
        if whole and self.command != "GET":
            self._send(Answer(405, "text/plain; charset=utf-8", b"only GET\n"))
            return False
        return whole

    def do_GET(self) -> None:
        """The server's answer to the path, without its query."""
        self._send(self.server.answer(urlsplit(self.path).path))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if answer.status == 405:
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, *_arguments: object) -> None:
        """What clients ask is of no interest to the log, and outside text."""
