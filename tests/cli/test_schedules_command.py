"""`dmarckit run` and `dmarckit schedules` as a person types them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dmarckit.cli.main import main
from dmarckit.core import logs
from dmarckit.core.lease import new_holder, take_lease
from dmarckit.core.settings import load_settings
from dmarckit.core.storage import open_storage
from dmarckit.jobs.record import Run, record_run
from dmarckit.lake.lake import Lake
from dmarckit.pages import build
from tests.jobs.test_runs import PAGE
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml

NOW = datetime.now(UTC)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Run a command line; its exit status, output and errors."""
    monkeypatch.setattr(build, "build_page", lambda *_, **__: PAGE)
    monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(logs, "start_command", lambda *_: load_settings())  # no handlers for a test
    monkeypatch.setattr(logs, "run_info", lambda: logs.RunInfo(logs.new_run()))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dmarckit", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return (end.value.code if isinstance(end.value.code, int) else 0), said.out, said.err

    return run


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    folder = tmp_path / "home/mail"
    folder.mkdir(parents=True)
    (folder / "m1").write_bytes(make_mail(gz(report_xml(make_report(make_record())))))
    return folder


@pytest.mark.usefixtures("mails")
def test_run_does_the_job_and_a_slot_only_once(run: Any) -> None:
    assert run("run", "daily")[0] == 0
    status, out, _ = run("run", "daily", "--slot", "newest")
    assert (status, "Page: " in out) == (0, True)
    status, out, _ = run("run", "daily", "--slot", "newest")
    assert status == 0
    assert out.startswith("Nothing to do: daily has run for ")


@pytest.mark.usefixtures("mails")
def test_the_last_summary_is_sent_again(run: Any) -> None:
    status, _, err = run("run", "daily", "--again")
    assert (status, "daily has made no summary yet" in err) == (2, True)
    first = run("run", "daily")[1]
    status, again, _ = run("run", "daily", "--again")
    assert status == 0
    summary = first[first.index("Slack: ") :].splitlines()[1]
    assert summary in again
    assert "Page: " not in again, "nothing was run"
    assert run("run", "daily", "--again")[:2] == (0, again)
    status, _, err = run("run", "alerts", "--again")
    assert (status, "alerts makes no summary, since it has no notebook" in err) == (2, True)


def test_run_says_by_its_status_that_a_person_should_look(run: Any, mails: Path) -> None:
    (mails / "bad").write_bytes(make_mail(b"\x1f\x8b\x08broken"))
    assert run("run", "alerts")[0] == 1


@pytest.mark.usefixtures("mails")
def test_run_by_hand_is_refused_while_the_job_runs_and_a_slot_has_nothing_to_do(
    run: Any, tmp_path: Path
) -> None:
    # not `NOW`, which may be minutes ago by the time this test runs: that lease would be dead
    holder = new_holder("daily", "other", None, datetime.now(UTC))
    take_lease(open_storage(str(tmp_path / "home")), holder)
    status, _, err = run("run", "daily")
    assert status == 2
    assert "daily runs since" in err
    assert "run other); wait for its end" in err
    status, out, _ = run("run", "daily", "--slot", "newest")
    assert (status, out.startswith("Nothing to do: daily runs since")) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "dayly"), "no schedule 'dayly'; did you mean daily?"),
        (("run", "daily", "--slot", "soon"), "--slot soon: write a time as"),
        (("schedules", "list", "--format", "xml"), "--format xml: formats are table, json"),
        (("schedules", "export", "--to", "at"), "--to at: write one of crontab, systemd, "),
    ],
)
def test_what_is_wrong_is_one_line(run: Any, arguments: tuple[str, ...], said: str) -> None:
    status, _, err = run(*arguments)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1


def test_a_slot_is_rounded_down_to_one_of_the_schedule(run: Any, mails: Path) -> None:
    run("run", "alerts", "--slot", "2026-11-24T07:16:40")
    lake = Lake(load_settings().lake_url)
    (slot,) = lake.sql("SELECT slot FROM runs")["slot"]
    assert slot == datetime(2026, 11, 24, 7, 15, tzinfo=UTC)


def test_list_shows_next_times_and_the_last_result(run: Any, tmp_path: Path) -> None:
    Path("schedules").mkdir()
    Path("schedules/daily.yaml").write_text(
        "cron: 0 7 * * *\ntimezone: Europe/Berlin\nnotebook: overview\nowner: mail team\n"
    )
    Path("schedules/weekly.yaml").write_text("notebook: overview\n")
    started = NOW - timedelta(hours=1)
    last = Run("r1", "daily", None, started, started, "failed", error="it broke")
    record_run(Lake(load_settings().lake_url), last)
    status, out, _ = run("schedules", "list", "--format", "json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    assert list(rows) == ["alerts", "daily", "monthly", "requirements", "weekly"]
    assert rows["daily"]["next"][0][11:16] == "07:00"
    assert (rows["daily"]["owner"], rows["daily"]["last"]["result"]) == ("mail team", "failed")
    assert rows["alerts"]["last"] is None
    assert (rows["weekly"]["cron"], rows["weekly"]["next"]) == (None, [])
    _, out, _ = run("schedules", "list")
    assert run("schedules") == (0, out, "")
    line = next(line for line in out.splitlines() if line.startswith("daily"))
    assert "0 7 * * *" in line
    assert "failed" in line
    assert "mail team" in line


def test_export_prints_or_writes_files(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMARCKIT_SLACK_TOKEN", "xoxb-secret-value")
    status, out, err = run("schedules", "export", "--to", "crontab")
    assert status == 0
    assert "--slot newest" in out
    assert "DMARCKIT_SLACK_TOKEN are secret and not exported" in err.replace(" is ", " are ")
    assert "xoxb" not in out + err
    run("schedules", "export", "--to", "systemd", "--output", "units")
    assert len(list(Path("units").iterdir())) == 10
