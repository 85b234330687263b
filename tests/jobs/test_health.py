"""`/health` and `/metrics` over HTTP, from a lake with runs, mails, findings and an outbox."""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dmarckit.core.errors import SettingsError
from dmarckit.core.settings import Settings
from dmarckit.demo.server import free_ports
from dmarckit.jobs import health
from dmarckit.jobs.health import serve
from dmarckit.jobs.metrics import MailMetrics
from dmarckit.jobs.record import LakeStatus, LastRun, RunnerState, job_states
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake.lake import Lake
from dmarckit.lake.schema import TABLES

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ALERTS = Schedule(name="alerts", cron="*/15 * * * *", timeout=660)
DAILY = Schedule(name="daily", cron="0 7 * * *", timezone="Europe/Berlin", timeout=3600)


def ran(minutes_ago: float, result: str = "ok", **more: Any) -> LastRun:
    started = NOON - timedelta(minutes=minutes_ago)
    done = {"slot": None, "success": started if result in ("ok", "problems") else None} | more
    return LastRun(result, started, started + timedelta(seconds=30), **done)


def state(*schedules: Schedule, days_ago: float = 30) -> RunnerState:
    return RunnerState(schedules, NOON - timedelta(days=days_ago))


def overdue(schedule: Schedule, last: LastRun | None, **more: Any) -> bool:
    status = LakeStatus(last={schedule.name: last} if last else {})
    return job_states(state(schedule, **more), status.last, NOON)[0].overdue


def test_a_job_is_overdue_when_timeout_and_grace_have_passed_since_its_slot() -> None:
    assert not overdue(ALERTS, ran(29))  # 11:45 may still run until 12:01
    assert overdue(ALERTS, ran(46))  # nothing ran for 11:30 or later
    assert not overdue(DAILY, ran(6 * 60))  # 06:00 UTC is 07:00 in Berlin
    assert overdue(DAILY, ran(6 * 60 + 1))


def test_a_run_covers_the_slot_it_was_for_whenever_it_started() -> None:
    slot = NOON - timedelta(hours=6)
    assert not overdue(DAILY, ran(6 * 60 + 1, slot=slot))


def test_a_job_that_never_ran_is_overdue_from_its_first_slot_on() -> None:
    assert not overdue(DAILY, None, days_ago=0.1)
    assert overdue(DAILY, None, days_ago=1)


def test_a_job_without_cron_is_never_overdue() -> None:
    assert not overdue(Schedule(name="byhand"), None)


def run_row(job: str, minutes_ago: float, result: str = "ok", **more: Any) -> dict[str, Any]:
    started = NOON - timedelta(minutes=minutes_ago)
    row = dict.fromkeys(TABLES["runs"].schema.names)
    number = {n: 0 for n in row if TABLES["runs"].schema.field(n).type == pa.int64()}
    about = {
        "run": f"{job}{minutes_ago}",
        "job": job,
        "started": started,
        "ended": started + timedelta(seconds=90),
        "result": result,
        "month": f"{started:%Y-%m}",
        "warnings": [],
    }
    return row | number | about | more


def add(lake: Lake, table: str, *rows: dict[str, Any]) -> None:
    schema = TABLES[table].schema
    whole = [dict.fromkeys(schema.names) | row for row in rows]
    lake.write.append_new(table, pa.Table.from_pylist(whole, schema=schema))


def mail_row(number: int, outcome: str) -> dict[str, Any]:
    key = f"mail-{number}"
    return {"key": key, "etag": "1", "outcome": outcome, "received": NOON, "month": "2026-11"}


@contextmanager
def served(home: Path | str, *schedules: Schedule, **more: Any) -> Iterator[str]:
    """The address of a server whose clock stands at `NOON`."""
    with free_ports((0,)) as port:
        settings = Settings(home=str(home), health_port=port)
        with serve(settings, state(*schedules), clock=more.get("clock", lambda: NOON)) as url:
            assert url == f"http://127.0.0.1:{port}"
            yield url


def get(url: str, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metrics(url: str) -> dict[str, float]:
    """``name{label=value}`` → number."""
    status, text = get(url, "/metrics")
    assert status == 200
    return {
        s.name + "".join(f"[{v}]" for v in s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_health_tells_of_each_job_and_fails_with_the_worst(home: str) -> None:
    lake = Lake(f"{home}/lake")
    add(lake, "runs", run_row("alerts", 10), run_row("daily", 360), run_row("daily", 30, "failed"))
    with served(home, ALERTS) as url:
        status, body = get(url, "/health")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        assert json.loads(body)["jobs"]["alerts"] == {
            "result": "ok",
            "ended": "2026-11-24T11:51:30+00:00",
            "last_success": "2026-11-24T11:51:30+00:00",
            "age_seconds": 510,
            "overdue": False,
        }
    with served(home, ALERTS, DAILY) as url:
        status, body = get(url, "/health")
        daily = json.loads(body)["jobs"]["daily"]
        assert (status, json.loads(body)["status"]) == (503, "failing")
        assert (daily["result"], daily["overdue"]) == ("failed", False)
        assert daily["last_success"] == "2026-11-24T06:01:30+00:00"


def test_metrics_are_what_the_tables_say(tmp_path: Path) -> None:
    lake = Lake(f"{tmp_path}/lake")
    add(lake, "runs", run_row("daily", 1800), run_row("daily", 360, "problems"))
    add(lake, "runs", run_row("daily", 30, "failed"), run_row("alerts", 90))
    add(lake, "mails", *(mail_row(n, "stored") for n in range(3)), mail_row(9, "unreadable"))
    waiting = {"made": NOON, "position": 0, "channel": "C0", "message": "{}", "month": "2026-11"}
    add(lake, "outbox", {"subject": "run:1", **waiting}, {"subject": "run:2", **waiting})
    add(lake, "alerts", {"subject": "run:1", "told": NOON, "month": "2026-11"})
    with served(tmp_path, ALERTS, DAILY) as url:
        found = metrics(url)
    assert (
        found["dmarckit_job_last_success_timestamp_seconds[daily]"]
        == (NOON - timedelta(minutes=358.5)).timestamp()
    )
    assert found["dmarckit_job_runs_total[daily][ok]"] == 1
    assert found["dmarckit_job_runs_total[daily][failed]"] == 1
    assert found["dmarckit_job_runs_total[daily][interrupted]"] == 0
    assert found["dmarckit_job_overdue[alerts]"] == 1
    assert found["dmarckit_job_overdue[daily]"] == 0
    assert found["dmarckit_run_duration_seconds[daily]"] == 90
    assert found["dmarckit_mails_total[stored]"] == 3
    assert found["dmarckit_mails_total[unreadable]"] == 1
    assert found["dmarckit_mails_total[untrusted]"] == 0
    assert found["dmarckit_job_failing[daily]"] == found["dmarckit_job_failing[alerts]"] == 1
    assert found["dmarckit_outbox_messages"] == 1
    assert found["dmarckit_lake_readable"] == 1


def test_what_the_last_run_kept_about_mail_is_served_until_it_is_damaged(tmp_path: Path) -> None:
    kept = MailMetrics(
        as_of=NOON - timedelta(hours=5),
        samples=(
            ("messages", ("example.com", "aligned"), 7),
            ("messages", ("other", "aligned"), 2),
            ("findings", ("spoofing", "critical"), 1),
        ),
    )
    file = tmp_path / "metrics.json"
    file.write_text(kept.model_dump_json())
    moment = [NOON]
    with served(tmp_path, clock=lambda: moment[0]) as url:
        found = metrics(url)
        assert found["dmarckit_messages[aligned][example.com]"] == 7
        assert found["dmarckit_messages[aligned][other]"] == 2
        assert found["dmarckit_findings[spoofing][critical]"] == 1
        assert found["dmarckit_analysis_timestamp_seconds"] == kept.as_of.timestamp()
        file.write_text("{")
        assert metrics(url) == found, "read once in a while"
        moment[0] += timedelta(minutes=1)
        left = metrics(url)
    assert left["dmarckit_lake_readable"] == 1
    assert {name for name in found if name not in left} == {
        "dmarckit_messages[aligned][example.com]",
        "dmarckit_messages[aligned][other]",
        "dmarckit_findings[spoofing][critical]",
        "dmarckit_analysis_timestamp_seconds",
    }


def test_an_empty_lake_gives_zeros_and_is_healthy(tmp_path: Path) -> None:
    with served(tmp_path, Schedule(name="byhand")) as url:
        assert get(url, "/health")[0] == 200
        found = metrics(url)
    assert found["dmarckit_outbox_messages"] == found["dmarckit_mails_total[stored]"] == 0


def test_an_unreadable_lake_is_said_without_failing_the_scrape(tmp_path: Path) -> None:
    log = tmp_path / "lake/runs/_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("no json")
    with served(tmp_path, DAILY) as url:
        status, body = get(url, "/health")
        assert status == 503
        assert "cannot read table runs" in json.loads(body)["error"]
        assert metrics(url)["dmarckit_lake_readable"] == 0


def test_the_lake_is_asked_once_in_a_while_however_often_somebody_scrapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment, reads = [NOON], [0]

    def counted(_lake: Lake) -> LakeStatus:
        reads[0] += 1
        return LakeStatus()

    monkeypatch.setattr(health, "read_status", counted)
    with served(tmp_path, clock=lambda: moment[0]) as url:
        for path in ("/metrics", "/health", "/metrics"):
            get(url, path)
        assert reads == [1]
        moment[0] += timedelta(minutes=1)
        get(url, "/metrics")
        assert reads == [2]


def test_only_get_on_two_paths_and_nothing_of_the_request_comes_back(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        assert get(url, "/health?verbose=1")[0] == 200
        status, text = get(url, "/%3Cscript%3E/../metrics")
        assert (status, "script" in text) == (404, False)
        assert get(url, "/health", "POST")[0] == get(url, "/health", "HEAD")[0] == 405
        port = int(url.rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.putrequest("<b>X</b>", "/health")
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, b"<" in answer.read()) == (405, False)
        connection.close()


def test_slow_clients_are_cut_off_and_do_not_keep_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REQUEST_SECONDS", 300)  # none is cut off before we look
    with served(tmp_path) as url, slow_clients(url):
        assert get(url, "/health")[0] == 503  # all places are taken
    monkeypatch.setattr(health, "REQUEST_SECONDS", 0.5)
    with served(tmp_path) as url, slow_clients(url) as slow:
        for each in slow:
            each.settimeout(60)
            assert each.recv(1) == b""  # cut off
        deadline = time.monotonic() + 60
        while get(url, "/health")[0] != 200:
            assert time.monotonic() < deadline


@contextmanager
def slow_clients(url: str) -> Iterator[list[socket.socket]]:
    """As many as the server has places, and none of them says a word."""
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(address))
            for _ in range(health.MAX_REQUESTS)
        ]


def test_port_zero_means_off() -> None:
    with serve(Settings(health_port=0), state()) as url:
        assert url is None


def test_a_port_in_use_is_named_with_the_fix(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(home=str(tmp_path), health_port=port)
        said = rf"127.0.0.1:{port}.*set health_port"
        with pytest.raises(SettingsError, match=said), serve(settings, state()):
            pass
