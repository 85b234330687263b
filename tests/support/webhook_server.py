"""A local HTTP server that takes what is posted to it, and checks the signatures.

It can be told what to answer first: `server.will_answer(429, retry_after=2)`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "a secret of the receiver"
PATH = "/workflows/0123456789?sig=known-to-few"


@dataclass
class WebhookServer:
    """The server as a test sees it."""

    url: str = ""
    planned: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    tries: list[str] = field(default_factory=list)
    """the paths of all requests"""
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """headers (lower case) and body of what was taken"""

    def will_answer(self, status: int, times: int = 1, **headers: object) -> None:
        """Queues an answer that comes before the usual one."""
        named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        self.planned.extend([(status, named)] * times)

    def body(self, number: int = -1) -> Any:
        """What was posted."""
        return json.loads(self.taken[number][1])

    def is_signed(self, number: int = -1, secret: str = SECRET) -> bool:
        """Whether the signature is that of time and body, as a receiver checks it."""
        headers, body = self.taken[number]
        text = headers["x-dmarckit-timestamp"].encode() + b"." + body
        made = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
        return hmac.compare_digest(f"sha256={made}", headers["x-dmarckit-signature"])


@contextmanager
def webhook_server() -> Iterator[WebhookServer]:
    """Runs the server on a free port of 127.0.0.1 for the length of a ``with``."""
    hook = WebhookServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.tries.append(self.path)
            status, headers = hook.planned.popleft() if hook.planned else (202, {})
            if status == 202:
                named = {name.lower(): value for name, value in self.headers.items()}
                hook.taken.append((named, body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Tests need no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_port}{PATH}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
