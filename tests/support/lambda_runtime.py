"""AWS Lambda on loopback: its runtime API, and the real runtime client in a function's process.

A call gets a deadline; a process that is not done by then is killed, one that dies is started
anew with the next call. The process may write below its own `/tmp` alone and has no `/dev/shm`,
where the machine lets a test arrange that.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
HANDLER = "dmarckit.jobs.serverless.handler"
TMP = "/mnt"  # stands for the function's /tmp: the test itself needs the real one
LOCKED = (
    "mount --make-rprivate /",
    "mount -o remount,ro,bind /",
    "mount -t tmpfs -o ro none /dev/shm",
    f"mount -t tmpfs none {TMP}",
)
HOMES = ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "TMPDIR")


@dataclass
class Call:
    """One event, and what became of it: a result, an error, or the end of the process."""

    event: Mapping[str, Any]
    deadline: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    result: Any = None
    error: dict[str, Any] | None = None
    outcome: str = ""
    """result, error, killed (at the deadline), or died"""
    left: float = 0.0
    """seconds until the deadline when the answer came"""


class Function:
    """A function that is called one event after the other."""

    def __init__(self, variables: Mapping[str, str], handler: str, memory: int) -> None:
        self._handler, self._memory = handler, memory
        self._variables = dict(variables)
        self._next: queue.Queue[Call] = queue.Queue()
        self._answered = threading.Condition()
        self._calls: dict[str, Call] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.log = Path(os.environ.get("TMPDIR", "/tmp")) / f"function-{uuid.uuid4().hex[:8]}.log"
        self.starts = 0
        self.init_error: dict[str, Any] | None = None

    def call(self, event: Mapping[str, Any], seconds: float = 120.0) -> Call:
        """Make a call with that much time, and wait for its end."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        call = Call(event, time.time() + seconds)
        self._calls[call.id] = call
        self._next.put(call)
        with self._answered:
            while not call.outcome:
                self._answered.wait(0.05)
                assert self._process is not None
                if not call.outcome and self._process.poll() is not None:
                    call.outcome = "died"
                elif not call.outcome and time.time() > call.deadline:
                    self.stop()
                    call.outcome = "killed"
        return call

    def lines(self, start: int = 0) -> str:
        """What it has logged."""
        return self.log.read_text("utf-8", "replace")[start:] if self.log.exists() else ""

    def cpu_seconds(self) -> float:
        """Processor time that the process has taken, with its children that have ended."""
        assert self._process is not None
        ticks = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, ticks[11:15])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes that it had at most."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def kill(self) -> None:
        """Let it die as one does that takes too much memory."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the process with all that it has started."""
        if self._process is not None:
            if self._process.poll() is None:
                self.kill()
            self._process.wait()

    def _start(self) -> None:
        self.starts += 1
        variables = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST")}
        variables |= {name: TMP if is_locked() else str(self.log.parent) for name in HOMES}
        variables |= self._variables | {
            "AWS_LAMBDA_RUNTIME_API": self.address,
            "AWS_LAMBDA_FUNCTION_NAME": "dmarckit",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self._memory),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        client = [sys.executable, "-m", "awslambdaric", self._handler]
        command = ["sh", "-c", f"exec {shlex.join(client)}"]
        if is_locked():
            steps = " && ".join((*LOCKED, "cd /", command[-1]))
            command = ["unshare", "-m", "sh", "-c", steps]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=variables, stdout=log, stderr=log, start_new_session=True
            )

    def _answer(self, method: str, path: list[str], body: bytes) -> tuple[int, bytes, Call | None]:
        if method == "GET":
            while True:
                call = self._next.get()
                if not call.outcome:
                    return 200, json.dumps(call.event).encode(), call
        answer = json.loads(body) if body else None
        if path[0] == "init":
            self.init_error = answer
            return 202, b"{}", None
        call = self._calls[path[1]]
        with self._answered:
            call.left = call.deadline - time.time()
            call.result, call.error = (answer, None) if path[2] == "response" else (None, answer)
            call.outcome = "result" if path[2] == "response" else "error"
            self._answered.notify_all()
        return 202, b"{}", None


@contextmanager
def function(
    variables: Mapping[str, str], *, handler: str = HANDLER, memory: int = 2048
) -> Iterator[Function]:
    """A function with these variables; it is gone at the end of the block."""
    made = Function(variables, handler, memory)

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

        def _reply(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.removeprefix("/2018-06-01/runtime/").split("/")
            status, data, call = made._answer(method, path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if call is not None:
                self.send_header("Lambda-Runtime-Aws-Request-Id", call.id)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int(call.deadline * 1000)))
                arn = "arn:aws:lambda:eu-west-1:111122223333:function:dmarckit"
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Tests need no access log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True  # one waits for the next event
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """A process that was killed has not closed its connection."""

    server = Server(("127.0.0.1", 0), Api)
    made.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        server.shutdown()
        server.server_close()
        thread.join()
        made.log.unlink(missing_ok=True)


_locked: bool | None = None


def is_locked() -> bool:
    """Whether this machine lets a process have mounts of its own."""
    global _locked
    if _locked is None:
        nothing = (f"! touch {place}/x 2>/dev/null" for place in (ROOT, "/tmp", "/dev/shm"))
        steps = " && ".join((*LOCKED, *nothing))
        found = shutil.which("unshare") is not None
        _locked = found and not subprocess.run(["unshare", "-m", "sh", "-c", steps]).returncode
    return _locked
