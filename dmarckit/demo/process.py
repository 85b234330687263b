"""A server of somebody else as our child: free ports for it, and a certain end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from dmarckit.core.errors import DmarckitError

_STOP_SECONDS = 10
# Below the range that systems take outgoing ports from, those 10000 higher included.
_FIRST_PORT, _LAST_PORT = 10_000, 22_000

# A child of its own becomes the server, so that the server dies when we are killed.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@contextlib.contextmanager
def free_ports(offsets: Sequence[int]) -> Iterator[int]:
    """A port P such that nobody listens on P + each of `offsets`.

    P is a multiple of ten, and P + 9 is held until the block ends: the mark by which
    another process that looks at the same moment sees that these ten are taken. Raises
    `DmarckitError` when all are in use.
    """
    choice = random.SystemRandom()
    for _ in range(200):
        base = choice.randrange(_FIRST_PORT, _LAST_PORT, 10)
        with socket.socket() as mark:
            if not _bind(mark, base + 9):
                continue
            mark.listen(1)
            if all(_is_free(base + offset) for offset in offsets):
                yield base
                return
    raise DmarckitError(f"no free ports between {_FIRST_PORT} and {_LAST_PORT}")


def _bind(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        return _bind(sock, port)


@contextlib.contextmanager
def child(
    command: Sequence[str], home: Path, log: Path, *, gently: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """The running program; it is stopped when the block ends.

    It sees none of our environment (no AWS_* variables above all), works in `home` and
    writes to `log`. On Linux it is killed when this process is, or when the thread that
    entered the block ends. `gently` lets it end in order, which may take some seconds.
    """
    guard: list[str] = []
    if sys.platform == "linux":
        guard = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*guard, *command],
            cwd=home,
            env={"HOME": str(home), "TMPDIR": str(home), "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us only, and we stop it
        )
    try:
        yield process
    finally:
        _stop(process, gently=gently)


def _stop(process: subprocess.Popen[bytes], *, gently: bool) -> None:
    if gently:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    process.kill()
    process.wait()


@contextlib.contextmanager
def terminate_as_exit() -> Iterator[None]:
    """SIGTERM ends the block like an exception, unless somebody else handles it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
