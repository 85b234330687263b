"""A local HTTP server that answers `chat.postMessage` as Slack's Web API does.

It knows one token and one channel, refuses blocks that are beyond Slack's limits, and can
be told what to answer first: `server.will_answer(429, retry_after=2)`.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "xoxb-1-known-to-this-server"
CHANNEL = "C0DMARC"


@dataclass
class Answer:
    """What the server says to one request."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class SlackServer:
    """The server as a test sees it."""

    url: str = ""
    planned: deque[Answer] = field(default_factory=deque)
    requests: list[dict[str, Any]] = field(default_factory=list)
    """the body of every request, in order"""
    posted: list[dict[str, Any]] = field(default_factory=list)
    """the bodies of those that were taken"""

    def will_answer(
        self, status: int, body: str = "", retry_after: int | None = None, times: int = 1
    ) -> None:
        """Queues an answer that comes before the usual ones."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.planned.extend(Answer(status, body, headers) for _ in range(times))

    def answer(self, path: str, authorization: str | None, body: dict[str, Any]) -> Answer:
        self.requests.append(body)
        if self.planned:
            return self.planned.popleft()
        if path != "/api/chat.postMessage":
            return _error("unknown_method")
        if authorization is None:
            return _error("not_authed")
        if authorization != f"Bearer {TOKEN}":
            return _error("invalid_auth")
        if body.get("channel") != CHANNEL:
            return _error("channel_not_found")
        faults = list(block_faults(body["blocks"]))
        if faults:
            return _error("invalid_blocks", response_metadata={"messages": faults})
        self.posted.append(body)
        ts = f"1790000000.{len(self.posted):06d}"
        return Answer(body=json.dumps({"ok": True, "channel": CHANNEL, "ts": ts}))


def _error(name: str, **more: Any) -> Answer:
    return Answer(body=json.dumps({"ok": False, "error": name, **more}))


def block_faults(blocks: list[dict[str, Any]]) -> Iterator[str]:
    """What Slack would not take: the limits of the Block Kit reference."""
    if not 1 <= len(blocks) <= 50:
        yield f"{len(blocks)} blocks"
    for number, block in enumerate(blocks):
        limits = {"header": 150, "section": 3000, "context": 3000}
        texts = [block["text"]] if "text" in block else []
        for text in [*texts, *block.get("elements", [])]:
            if not 1 <= len(text["text"]) <= limits[block["type"]]:
                yield f"blocks/{number}: text of {len(text['text'])} characters"
        if len(block.get("fields", [])) > 10:
            yield f"blocks/{number}: too many fields"
        for text in block.get("fields", []):
            if not 1 <= len(text["text"]) <= 2000:
                yield f"blocks/{number}: field of {len(text['text'])} characters"
        if block["type"] == "image" and not (
            1 <= len(block["alt_text"]) <= 2000
            and len(block["image_url"]) <= 3000
            and block["image_url"].startswith("http")
        ):
            yield f"blocks/{number}: image"


@contextmanager
def slack_server() -> Iterator[SlackServer]:
    """Runs the server on a free port of 127.0.0.1 for the length of a ``with``."""
    slack = SlackServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            answer = slack.answer(self.path, self.headers["Authorization"], json.loads(raw))
            data = answer.body.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            """Tests need no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    slack.url = f"http://127.0.0.1:{server.server_port}/api/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield slack
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
