"""A local HTTP server that answers `chat.postMessage` as Slack's Web API does.

It knows one token and a few channels, refuses blocks that are beyond Slack's limits, and can
be told what to answer first: `server.will_answer(429, retry_after=2)`.
"""

from __future__ import annotations

import html
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from tests.support.slack_limits import block_faults

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
    channels: set[str] = field(default_factory=lambda: {CHANNEL})
    """those that the app may post to"""
    down: set[str] = field(default_factory=set)
    """channels for which the answer is that Slack is overloaded, for an hour"""
    refuses: set[str] = field(default_factory=set)
    """types of blocks that it takes for invalid: image, table"""

    refuse: Callable[[], bool] = lambda: False
    """whether it is overloaded just now"""

    def texts(self, channel: str = CHANNEL) -> list[str]:
        """The one-line texts of what was taken in a channel, as a person reads them."""
        mine = (body["text"] for body in self.posted if body["channel"] == channel)
        return [text.replace("\u2060", "") for text in mine]

    def shown(self, number: int = -1) -> str:
        """A message that was taken as its reader sees it, with the addresses of its links."""
        lines = (line for block in self.posted[number]["blocks"] for line in _shown(block))
        return "\n".join(lines) + "\n"

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
        if self.refuse():
            return Answer(503)
        if path not in ("/api/chat.postMessage", "/api/auth.test"):
            return _error("unknown_method")
        if authorization is None:
            return _error("not_authed")
        if authorization != f"Bearer {TOKEN}":
            return _error("invalid_auth")
        if path == "/api/auth.test":
            return Answer(body=json.dumps({"ok": True, "team": "Example", "user": "dmarckit"}))
        if body.get("channel") in self.down:
            return Answer(429, '{"ok": false, "error": "ratelimited"}', {"Retry-After": "3600"})
        if body.get("channel") not in self.channels:
            return _error("channel_not_found")
        faults = list(block_faults(body["blocks"]))
        faults += [f"{b['type']} refused" for b in body["blocks"] if b["type"] in self.refuses]
        if faults:
            return _error("invalid_blocks", response_metadata={"messages": faults})
        self.posted.append(body)
        ts = f"1790000000.{len(self.posted):06d}"
        return Answer(body=json.dumps({"ok": True, "channel": body["channel"], "ts": ts}))


def _shown(block: dict[str, Any]) -> list[str]:
    if block["type"] == "image":
        return [f"[chart] {block['alt_text']}: {block['image_url']}"]
    if block["type"] == "table":
        rows = [[cell["text"] for cell in row] for row in block["rows"]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    texts = block.get("fields") or block.get("elements") or [block["text"]]
    found = []
    for text in texts:
        plain = re.sub(r"<([^|>]+)\|([^>]+)>", r"\2: \1", text["text"])
        plain = re.sub(r"\*([^*\n]+)\*", r"\1", plain).replace("`", "").replace("\u2060", "")
        found.append(html.unescape(plain))
    return ["  ".join(x.replace("\n", ": ") for x in found)] if "fields" in block else found


def _error(name: str, **more: Any) -> Answer:
    return Answer(body=json.dumps({"ok": False, "error": name, **more}))


@contextmanager
def slack_server() -> Iterator[SlackServer]:
    """Runs the server on a free port of 127.0.0.1 for the length of a ``with``."""
    slack = SlackServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            form = not raw.startswith(b"{")
            body = dict(parse_qsl(raw.decode())) if form else json.loads(raw)
            answer = slack.answer(self.path, self.headers["Authorization"], body)
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
