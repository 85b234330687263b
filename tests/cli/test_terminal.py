"""What S3 answers is outside text: no escape and no control character of it reaches a terminal."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dmarckit.cli.doctor import places
from dmarckit.cli.doctor.command import Check, CheckContext, run_checks
from dmarckit.cli.main import main
from dmarckit.core.settings import Settings

EVIL = "\x9b31mEVIL\x85\u202e\u2028"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]")
LISTING = (
    "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>mail/%1B[31m%9B%0A</Key>"
    "<LastModified>2026-11-01T00:00:00.000Z</LastModified><ETag>{0}</ETag><Size>5</Size>"
    "</Contents></ListBucketResult>"
)
ERROR = "<Error><Code>{0}</Code><Message>{1}</Message><StorageClass>{1}</StorageClass></Error>"
ANSWERS = {
    "an unknown code": lambda path: (400, ERROR.format(EVIL, EVIL)),
    "a denial": lambda path: (403, ERROR.format("AccessDenied", EVIL)),
    "an archived object": lambda path: objects(path, "InvalidObjectState"),
    "a forbidden object": lambda path: objects(path, "AccessDenied"),
    "an object's key": lambda path: objects(path, f"KMS.{EVIL}"),
    "no etag": lambda path: (200, LISTING.format(EVIL).replace("ETag", "Other")),
    "no XML": lambda path: (200, f"\x1b[31m{EVIL}"),
}


def objects(path: str, code: str) -> tuple[int, str]:
    listed = "list-type" in path
    return (200, LISTING.format(EVIL)) if listed else (403, ERROR.format(code, EVIL))


@pytest.fixture(params=ANSWERS)
def home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket whose server answers with escapes, in status line and headers as well."""

    class Evil(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = ANSWERS[request.param](self.path)
            body = text.encode()
            head = f"HTTP/1.1 {status} \x1b[31mEVIL\r\nContent-Length: {len(body)}\r\n"
            head += "x-amz-bucket-region: \x1b[31mEVIL\r\nDate: \x1b[31mEVIL\r\n\r\n"
            self.wfile.write(head.encode() + (b"" if self.command == "HEAD" else body))

        do_GET = do_PUT = do_HEAD = do_DELETE = answer

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    yield "s3://bucket"
    server.shutdown()
    server.server_close()


def test_an_ingest_and_its_errors_are_clean(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", home)
    monkeypatch.setenv("DMARCKIT_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("DMARCKIT_LOG_FORMAT", "text")
    monkeypatch.setattr("sys.argv", ["dmarckit", "ingest"])
    with pytest.raises(SystemExit) as end:
        main()
    said = "".join(capfd.readouterr())
    assert end.value.code == 2
    assert not CONTROL.search(said), ascii(said)
    assert "dmarckit: cannot" in said


def test_the_doctors_lines_are_clean(home: str) -> None:
    checks = [
        Check(name, getattr(places, name))
        for name in ("reachable", "region", "clock", "mails", "verdicts", "writable")
    ]
    for line in run_checks(checks, CheckContext(Settings(home=home))):
        assert not CONTROL.search(line.message + line.fix), ascii(line)
