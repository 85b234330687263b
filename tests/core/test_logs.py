"""Log lines: JSON with a run id on each when piped, text on a terminal, never a secret."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pty
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from dmarckit.core import logs
from dmarckit.core.settings import Settings
from dmarckit.core.storage import open_storage
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing

SECRET = "a-secret-of-forty-characters-aaaaaaaaaaa"
TOKEN = "xoxb-1-not-known-to-anyone"
LINK = f"https://bucket.example/page.html?X-Amz-Signature={'ab' * 32}&X-Amz-Credential=AKID"
log = logging.getLogger("dmarckit.test")


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Any:
    """What was logged since, each line as the object it must be."""
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def start(**settings: Any) -> str:
    run = logs.start_logging(
        Settings(log_format="json", slack_token=TOKEN, **settings), job="daily"
    )
    root = logging.getLogger()  # without what pytest itself has put there
    root.handlers[:] = [h for h in root.handlers if type(h).__module__ == logs.__name__]
    return run


def test_a_line_is_one_json_object_with_time_level_run_job_message_and_module(lines: Any) -> None:
    run = start()
    log.info("read %d mails", 3, extra={"mails": 3, "where": "s3://b/mail"})
    (line,) = lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "run": run,
        "job": "daily",
        "message": "read 3 mails",
        "module": "dmarckit.test",
        "mails": 3,
        "where": "s3://b/mail",
    }


def test_libraries_speak_from_warning_on_and_carry_the_run_id(lines: Any) -> None:
    run = start()
    other = logging.getLogger("some.library")
    other.info("nobody wants to know")
    other.warning("but this")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        warnings.warn("and this", stacklevel=1)
    found = lines()
    assert [(line["run"], line["module"]) for line in found] == [
        (run, "some.library"),
        (run, "py.warnings"),
    ]


def test_secrets_links_and_line_breaks_do_not_reach_a_line(
    lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    start()
    log.warning("key %s, token %s", SECRET, TOKEN, extra={"page": LINK})
    log.warning('forged\n{"level": "info"}\x1b[2J')
    try:
        raise ValueError(f"GET {LINK} as {SECRET} with xoxb-999-other-token")
    except ValueError:
        log.exception("it broke")
    found = lines()
    text = json.dumps(found)
    for secret in (SECRET, TOKEN, "abab", "AKID", "xoxb-999", "\\u001b"):
        assert secret not in text
    assert found[0]["message"] == "key •••, token •••"
    assert found[0]["page"] == "https://bucket.example/page.html?•••"
    assert found[1]["message"].startswith("forged\\x0a")
    assert "ValueError: GET https://bucket.example/page.html?•••" in found[2]["exception"]
    assert "Traceback" in found[2]["exception"]


def test_a_line_that_cannot_be_written_costs_only_itself(lines: Any) -> None:
    start()
    log.info("%d mails", "many")
    (line,) = lines()
    assert (line["level"], "many" in line["message"]) == ("error", False)


def test_people_get_text_with_time_job_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = logs.start_logging(Settings(log_format="text"), job="daily")
    log.warning("the page is late", extra={"minutes": 5})
    said = capsys.readouterr().err
    assert said[8:] == f" warning daily [{run}] the page is late minutes=5\n"


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, its stderr piped."""
    return subprocess.run(
        [sys.executable, "-m", "dmarckit", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def json_lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stderr.splitlines()]


def put_mail(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "1.eml").write_bytes(make_mail(gz(report_xml(make_report(make_record())))))


def test_ingest_with_stderr_piped_logs_json_with_the_run_id_of_the_lake() -> None:
    put_mail(Path("dmarckit-data/mail"))
    done = command("ingest")
    assert done.returncode == 0
    found = json_lines(done)
    assert len({line["run"] for line in found}) == 1
    assert found[-1]["stored"] == found[-1]["reports"] == 1
    from dmarckit.lake.lake import open_lake

    assert open_lake().mails()["run"].tolist() == [found[0]["run"]]


def test_what_ends_a_command_is_a_line_too() -> None:
    done = command("page", "overviu")
    (step, line) = json_lines(done)
    assert done.returncode == 2
    assert (step["level"], line["level"], line["run"]) == ("info", "error", step["run"])
    assert "overviu is not known; did you mean overview?" in line["message"]


def test_wrong_settings_are_said_in_json_as_well() -> None:
    done = command("ingest", DMARCKIT_WORKERS="many")
    (line,) = json_lines(done)
    assert (done.returncode, line["level"]) == (2, "error")
    assert "workers" in line["message"]


def test_on_a_terminal_lines_are_text() -> None:
    put_mail(Path("dmarckit-data/mail"))
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "wb") as terminal:
            command_line = [sys.executable, "-m", "dmarckit", "ingest"]
            subprocess.run(
                command_line, stderr=terminal, stdout=subprocess.DEVNULL, timeout=120, check=True
            )
            said = until_its_end(ours).decode()
    finally:
        os.close(ours)
    assert "Reading new mails in" in said
    assert '{"time"' not in said


def until_its_end(terminal: int) -> bytes:
    """All that was written; one read may give less."""
    said = b""
    os.set_blocking(terminal, False)
    with contextlib.suppress(OSError):  # so a terminal ends that nobody has open any more
        while more := os.read(terminal, 65536):
            said += more
    return said


@pytest.mark.s3
def test_a_run_against_broken_services_names_no_secret(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    done = command(
        "run",
        "alerts",
        DMARCKIT_HOME=bucket,
        DMARCKIT_SLACK_TOKEN=TOKEN,
        DMARCKIT_SLACK_CHANNEL="C0DMARC",
        DMARCKIT_SLACK_URL="http://127.0.0.1:9/api/",
        DMARCKIT_HEALTH_PORT="0",
    )
    assert done.returncode == 2
    found = json_lines(done)
    assert found[-1]["level"] == "error"
    assert all(line["run"] == found[0]["run"] for line in found)
    for secret in (SECRET, TOKEN, SECRET[:16]):
        assert secret not in done.stderr + done.stdout


@pytest.mark.s3
def test_a_run_in_a_pipe_signs_no_link_in_its_output(bucket: str) -> None:
    mail = make_mail(gz(report_xml(make_report(make_failing()))))
    open_storage(f"{bucket}/mail").put("1.eml", mail, content_type="message/rfc822")
    done = command("run", "alerts", DMARCKIT_HOME=bucket)
    assert done.returncode == 0
    assert "Saved as JSON in s3://" in done.stdout
    assert "X-Amz-" not in done.stdout + done.stderr
