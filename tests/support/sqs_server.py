"""A local HTTP server that answers as a standard SQS queue does, fast with 10,000 messages.

Moto's SQS is what most tests use; it looks at every message for each request, which takes an
hour for 10,000. This one knows the requests that the watcher and `TestQueue` make.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class _Message:
    body: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    received: int = 0


@dataclass
class _Queue:
    """Messages that are visible, and those that somebody has, by receipt and until when."""

    attributes: dict[str, str]
    visible: OrderedDict[str, _Message] = field(default_factory=OrderedDict)
    hidden: dict[str, tuple[float, _Message]] = field(default_factory=dict)

    def receive(self, at_most: int) -> list[dict[str, Any]]:
        self._return_late_ones()
        taken = []
        while self.visible and len(taken) < at_most:
            _, message = self.visible.popitem(last=False)
            message.received += 1
            receipt = f"{message.id}#{message.received}"
            until = time.monotonic() + int(self.attributes.get("VisibilityTimeout", 30))
            self.hidden[receipt] = (until, message)
            taken.append({"MessageId": message.id, "ReceiptHandle": receipt, "Body": message.body})
        return taken

    def _return_late_ones(self) -> None:
        now = time.monotonic()
        for receipt in [r for r, (until, _) in self.hidden.items() if until < now]:
            message = self.hidden.pop(receipt)[1]
            self.visible[message.id] = message


class _Service:
    def __init__(self) -> None:
        self.queues: dict[str, _Queue] = {}
        self.lock = threading.Lock()
        self.address = ""

    def answer(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        until = time.monotonic() + request.get("WaitTimeSeconds", 0)
        while True:
            with self.lock:
                result: dict[str, Any] = getattr(self, action)(request)
            if action != "ReceiveMessage" or result["Messages"] or time.monotonic() >= until:
                return result
            time.sleep(0.02)

    def _queue(self, request: dict[str, Any]) -> _Queue:
        return self.queues[request["QueueUrl"].rpartition("/")[2]]

    def CreateQueue(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["QueueName"]
        self.queues[name] = _Queue(request.get("Attributes", {}))
        return {"QueueUrl": f"{self.address}/123456789012/{name}"}

    def GetQueueAttributes(self, request: dict[str, Any]) -> dict[str, Any]:
        queue = self._queue(request)
        queue._return_late_ones()
        known = {
            **queue.attributes,
            "QueueArn": "arn:aws:sqs:us-east-1:123456789012:queue",
            "ApproximateNumberOfMessages": str(len(queue.visible)),
            "ApproximateNumberOfMessagesNotVisible": str(len(queue.hidden)),
        }
        return {"Attributes": {n: known[n] for n in request["AttributeNames"] if n in known}}

    def SendMessageBatch(self, request: dict[str, Any]) -> dict[str, Any]:
        queue = self._queue(request)
        done = []
        for entry in request["Entries"]:
            message = _Message(entry["MessageBody"])
            queue.visible[message.id] = message
            done.append({"Id": entry["Id"], "MessageId": message.id, "MD5OfMessageBody": ""})
        return {"Successful": done, "Failed": []}

    def ReceiveMessage(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"Messages": self._queue(request).receive(request["MaxNumberOfMessages"])}

    def DeleteMessageBatch(self, request: dict[str, Any]) -> dict[str, Any]:
        queue = self._queue(request)
        for entry in request["Entries"]:
            queue.hidden.pop(entry["ReceiptHandle"], None)
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]], "Failed": []}

    def ChangeMessageVisibilityBatch(self, request: dict[str, Any]) -> dict[str, Any]:
        queue = self._queue(request)
        for entry in request["Entries"]:
            if entry["ReceiptHandle"] in queue.hidden:
                until = time.monotonic() + entry["VisibilityTimeout"]
                message = queue.hidden[entry["ReceiptHandle"]][1]
                queue.hidden[entry["ReceiptHandle"]] = (until, message)
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]], "Failed": []}


@contextmanager
def fast_sqs_server() -> Iterator[str]:
    """The address of a running server; it ends with the block."""
    service = _Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            action = self.headers["X-Amz-Target"].rpartition(".")[2]
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            data = json.dumps(service.answer(action, request)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            """Tests need no access log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True  # clients keep their connections
        block_on_close = False

    server = Server(("127.0.0.1", 0), Handler)
    service.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service.address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
