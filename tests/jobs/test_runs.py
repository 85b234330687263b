"""Runs of a job: each is one row, a slot is run once, and a run that dies is found."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_notebook

from dmarckit.core.errors import JobBusy, NotebookFailed
from dmarckit.core.lease import new_holder, take_lease
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.jobs.record import TRIES, Run, bad_since, last_runs, record_run, runs_of_slot
from dmarckit.jobs.run import JobResult, run_job
from dmarckit.jobs.schedule import Schedule
from dmarckit.jobs.timeout import time_limit
from dmarckit.lake.lake import Lake
from dmarckit.pages import build
from dmarckit.pages.build import BuiltPage
from dmarckit.pages.fleet import FleetPage
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing

SLOT = datetime.now(UTC).replace(hour=7, minute=0, second=0, microsecond=0)
NOW = SLOT + timedelta(seconds=2)
DAILY = Schedule(name="daily", cron="0 7 * * *", notebook="overview", parameters={"days": 7})
ALERTS = Schedule(name="alerts", cron="*/15 * * * *", slack={"when": "failing"})
PAGE = BuiltPage(
    "overview", "overview/2026-11-24.html", "DMARC overview", b"<p>page", new_notebook(), ()
)


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "build_page", lambda *_, **__: PAGE)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=str(tmp_path / "home"), trust="pass")


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake(settings.lake_url)


def store_mail(
    settings: Settings, name: str, *, failing: int = 0, raw: bytes | None = None
) -> None:
    begin = SLOT.replace(hour=0) - timedelta(days=1)
    records = [make_record(messages=10), *([make_failing(messages=failing)] if failing else [])]
    report = make_report(*records, report_id=name, begin=begin, end=begin + timedelta(days=1))
    content = raw or make_mail(gz(report_xml(report)))
    open_storage(settings.mail_url).put(name, content, content_type="message/rfc822")


def run(
    settings: Settings, schedule: Schedule = DAILY, slot: datetime | None = SLOT, at: datetime = NOW
) -> JobResult | None:
    return run_job(settings, schedule, slot=slot, clock=lambda: at)


def rows(settings: Settings) -> list[Run]:
    found = Lake(settings.lake_url).sql("SELECT job, slot FROM runs GROUP BY ALL")
    return [
        run
        for name, slot in zip(found["job"], found["slot"], strict=True)
        for run in runs_of_slot(Lake(settings.lake_url), name, slot.to_pydatetime())
    ]


def test_a_run_is_one_row_with_what_it_did(settings: Settings) -> None:
    store_mail(settings, "a")
    store_mail(settings, "b", failing=2)
    result = run(settings)
    assert result is not None
    (row,) = rows(settings)
    assert row == result.run
    assert (row.job, row.slot, row.started, row.result) == ("daily", SLOT, NOW, "ok")
    assert (row.page, row.mails, row.stored) == ("overview/2026-11-24.html", 2, 2)
    assert (row.told, row.waiting, row.error) == (2, 0, None)
    assert result.ingest.run == row.run
    assert set(Lake(settings.lake_url).mails()["run"]) == {row.run}


def test_a_slot_is_run_once_and_the_next_one_again(settings: Settings) -> None:
    store_mail(settings, "a")
    assert run(settings) is not None
    assert run(settings) is None
    assert run(settings, slot=SLOT + timedelta(days=1), at=NOW + timedelta(days=1)) is not None
    assert len(rows(settings)) == 2


def test_a_run_by_hand_is_its_own(settings: Settings) -> None:
    store_mail(settings, "a")
    assert run(settings) is not None
    by_hand = run(settings, slot=None)
    assert by_hand is not None
    assert by_hand.run is not None
    assert by_hand.run.slot is None


def test_a_job_that_runs_is_not_run_beside_that(settings: Settings) -> None:
    store_mail(settings, "a")
    take_lease(open_storage(settings.home), new_holder("daily", "other", SLOT, NOW))
    with pytest.raises(JobBusy, match=r"daily runs since .*run other"):
        run(settings, slot=None)
    assert run(settings, ALERTS) is not None


def test_a_schedule_without_a_notebook_makes_no_page(settings: Settings) -> None:
    store_mail(settings, "a")
    result = run(settings, ALERTS)
    assert result is not None
    assert result.published is None
    assert rows(settings)[0].page is None


def test_mails_that_cannot_be_read_are_problems(settings: Settings) -> None:
    store_mail(settings, "bad", raw=make_mail(b"\x1f\x8b\x08broken"))
    run(settings)
    (row,) = rows(settings)
    assert (row.result, row.unreadable) == ("problems", 1)


def test_pages_of_the_domains_come_before_the_page_that_links_to_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def fleet(_: Settings, domains: list[str], **given: Any) -> list[FleetPage]:
        assert given["parameters"] == {"job": "daily"}
        built.extend(domains)
        return [FleetPage("example.com", "domain/k.html", "failed", "", "a cell raised")]

    def page(*_: object, **__: object) -> BuiltPage:
        built.append("page")
        return PAGE

    monkeypatch.setattr("dmarckit.pages.publish_fleet", fleet)
    monkeypatch.setattr(build, "build_page", page)
    store_mail(settings, "a")
    run(settings, DAILY.model_copy(update={"fleet": True}))
    assert built == ["example.com", "page"]
    (row,) = rows(settings)
    assert row.result == "problems"
    assert row.warnings == ("A page failed, domain/k.html: a cell raised",)


def failing_page(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fails(*_: object, **__: object) -> BuiltPage:
        raise error

    monkeypatch.setattr("dmarckit.pages.store_notebook", fails)


def test_a_run_that_fails_is_recorded_told_and_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_mail(settings, "a", failing=3)
    with monkeypatch.context() as broken:
        failing_page(broken, NotebookFailed("notebook overview failed: KeyError", "pages/failed/x"))
        with pytest.raises(NotebookFailed):
            run(settings)
    (row,) = rows(settings)
    assert (row.result, row.stored, row.page, row.told) == ("failed", 1, None, 1)
    assert row.error == "notebook overview failed: KeyError (kept: pages/failed/x)"
    assert row.notebook == "pages/failed/x"
    later = NOW + timedelta(minutes=5)
    again = run(settings, at=later)
    assert again is not None
    assert again.ingest.outcomes == {}  # what was stored stays
    assert [r.result for r in rows(settings)] == ["failed", "ok"]
    assert run(settings, at=later) is None


def test_each_run_says_in_one_event_how_it_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="dmarckit")
    store_mail(settings, "a")
    with monkeypatch.context() as broken:
        failing_page(broken, NotebookFailed("notebook overview failed: KeyError", "pages/failed/x"))
        with pytest.raises(NotebookFailed):
            run(settings)
    run(settings, at=NOW + timedelta(minutes=5))
    events = [vars(r) for r in caplog.records if getattr(r, "event", None) == "run ended"]
    assert [event["result"] for event in events] == ["failed", "ok"]


def test_a_slot_that_keeps_failing_is_given_up_for_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_mail(settings, "a")
    failing_page(monkeypatch, ZeroDivisionError("a fault of ours"))
    for minutes in range(TRIES):
        with pytest.raises(ZeroDivisionError):
            run(settings, at=NOW + timedelta(minutes=minutes))
    assert run(settings, at=NOW + timedelta(minutes=9)) is None
    assert {r.error for r in rows(settings)} == {"ZeroDivisionError: a fault of ours"}
    assert bad_since(Lake(settings.lake_url), "daily", NOW) == (NOW, TRIES)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143)])
def test_a_run_that_is_stopped_says_that_it_was_interrupted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    store_mail(settings, "a")
    with monkeypatch.context() as stopped:
        failing_page(stopped, end)
        with pytest.raises(type(end)):
            run(settings)
    (row,) = rows(settings)
    assert (row.result, row.error, row.stored) == ("interrupted", None, 1)
    assert run(settings) is not None


def test_an_end_that_a_library_hides_is_recorded_as_what_it_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB makes a RuntimeError of what ends a query: that is no fault of the query."""
    store_mail(settings, "a")

    def hides(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        except BaseException:
            raise RuntimeError("Query interrupted") from None

    monkeypatch.setattr("dmarckit.pages.store_notebook", hides)
    with pytest.raises(SystemExit) as end, time_limit(60, "daily"):
        run(settings)
    assert end.value.code == 128 + signal.SIGTERM
    (row,) = rows(settings)
    assert (row.result, row.error) == ("interrupted", None)


def test_a_run_that_died_is_recorded_by_the_next_which_runs_its_slot(settings: Settings) -> None:
    store_mail(settings, "a")
    dead = replace(new_holder("daily", "died", SLOT, NOW), machine="another", host="host-b")
    take_lease(open_storage(settings.home), dead)
    assert run(settings, at=NOW + timedelta(minutes=10)) is not None
    first, second = rows(settings)
    assert (first.run, first.result, first.host) == ("died", "interrupted", "host-b")
    assert second.result == "ok"


def test_what_a_secret_is_stands_in_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(home=str(tmp_path / "h"), trust="any", presign_secret="secret-value")
    store_mail(settings, "a")
    failing_page(monkeypatch, ValueError("no key secret-value\nsecond line"))
    with pytest.raises(ValueError, match="no key"):
        run(settings)
    (row,) = rows(settings)
    assert row.error is not None
    assert "secret-value" not in row.error
    assert "\n" not in row.error


def test_the_last_run_of_each_job(lake: Lake) -> None:
    for hours in (1, 3, 2):
        started = NOW - timedelta(hours=hours)
        record_run(lake, Run(f"d{hours}", "daily", None, started, started, "ok"))
    record_run(lake, Run("w", "weekly", SLOT, NOW, NOW, "failed", error="it broke"))
    assert {name: last.run for name, last in last_runs(lake.location, NOW).items()} == {
        "daily": "d1",
        "weekly": "w",
    }


def test_since_when_a_job_is_bad_is_since_its_last_good_run(lake: Lake) -> None:
    for number, result in enumerate(["failed", "ok", "interrupted", "failed"]):
        started = NOW + timedelta(hours=number)
        record_run(lake, Run(f"r{number}", "daily", None, started, started, result))  # type: ignore[arg-type]
    assert bad_since(lake, "daily", NOW) == (NOW + timedelta(hours=2), 2)
    assert bad_since(lake, "weekly", NOW) == (None, 0)


def _run_in_a_process(home: str, slot: datetime, ready: Any, go_on: Any) -> None:
    """Run the slot, and wait in the middle of it, its mails stored and its page not.

    The slot is passed: `SLOT` is another one in a process that starts after midnight.
    """

    def waits(*_: object, **__: object) -> BuiltPage:
        ready.set()
        go_on.wait()
        return PAGE

    build.build_page = waits
    settings = load_settings(home=home, trust="pass")
    run_job(settings, DAILY, slot=slot)


@pytest.fixture
def process(home: str) -> Iterator[Any]:
    context = multiprocessing.get_context("spawn")
    started = []

    def start() -> tuple[Any, Any, Any]:
        ready, go_on = context.Event(), context.Event()
        child = context.Process(target=_run_in_a_process, args=(home, SLOT, ready, go_on))
        child.start()
        started.append(child)
        return child, ready, go_on

    yield start
    for child in started:
        child.kill()
        child.join()


@pytest.mark.s3
def test_kill_9_in_the_middle_loses_nothing(home: str, process: Any) -> None:
    settings = load_settings(home=home, trust="pass")
    store_mail(settings, "a", failing=1)
    child, ready, _ = process()
    assert ready.wait(100)
    with pytest.raises(JobBusy):
        run_job(settings, DAILY, slot=SLOT)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    result = run_job(settings, DAILY, slot=SLOT)
    assert result is not None
    assert [r.result for r in rows(settings)] == ["interrupted", "ok"]
    assert len(Lake(settings.lake_url).reports()) == 1


@pytest.mark.s3
def test_two_processes_that_start_together_run_a_slot_once(home: str, tmp_path: Path) -> None:
    settings = load_settings(home=home, trust="pass")
    store_mail(settings, "a", failing=1)
    environment = {**os.environ, "DMARCKIT_HOME": home, "DMARCKIT_TRUST": "pass"}
    command = [sys.executable, "-m", "dmarckit", "run", "alerts", "--slot", SLOT.isoformat()]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        for _ in range(2)
    ]
    said = sorted(process.communicate(timeout=120)[0] for process in started)
    assert [process.returncode for process in started] == [0, 0]
    assert "Nothing to do: alerts " in said[0]
    assert "1 mail in" in said[1]
    (row,) = rows(settings)
    assert (row.slot, row.result, row.told) == (SLOT, "ok", 1)
