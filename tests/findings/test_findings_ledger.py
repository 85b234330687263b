"""NEW, WORSE, SAME, RESOLVED: what changed since the run before, written down exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dmarckit.findings.ledger import LedgerEntry, record_findings
from dmarckit.findings.model import Finding
from dmarckit.lake.lake import Lake

START = datetime(2026, 11, 1, 9, tzinfo=UTC)
FINDING = Finding(
    kind="unaligned_sender",
    domain="example.com",
    subject="Salesdesk",
    severity="warning",
    messages=100,
    first_day=date(2026, 10, 25),
    last_day=None,
    reporters=3,
    summary="100 messages fail.",
    action="Switch on DKIM.",
    evidence={"number": 100},
)


class Runs:
    """A job that runs once a day."""

    def __init__(self, lake: Lake, job: str = "daily") -> None:
        self.lake, self.job, self.day = lake, job, 0

    def judged(self, *findings: Finding, again: bool = False) -> list[LedgerEntry]:
        self.day += not again
        now = START + timedelta(days=self.day)
        run = f"{self.job}-{self.day}"
        return record_findings(self.lake, findings, run=run, job=self.job, now=now)

    def statuses(self, *findings: Finding) -> list[str]:
        return [item.status for item in self.judged(*findings)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def runs(lake: Lake) -> Runs:
    return Runs(lake)


def of(messages: int, **changes: Any) -> Finding:
    return replace(FINDING, messages=messages, **changes)


def told(runs: Runs, series: Sequence[Finding]) -> list[str]:
    return [status for finding in series for status in runs.statuses(finding)]


def test_new_then_the_same_then_resolved_once(runs: Runs) -> None:
    assert runs.statuses(FINDING) == ["NEW"]
    assert runs.statuses(FINDING) == ["SAME"]
    assert runs.statuses() == ["RESOLVED"]
    assert runs.statuses() == []
    assert runs.statuses(FINDING) == ["NEW"]


def test_twice_the_messages_and_fifty_more_are_worse(runs: Runs) -> None:
    assert told(runs, [of(100), of(199), of(398), of(400)]) == ["NEW", "SAME", "WORSE", "SAME"]


def test_small_numbers_double_easily(runs: Runs) -> None:
    assert told(runs, [of(10), of(59), of(118)]) == ["NEW", "SAME", "WORSE"]


def test_up_and_down_by_turns_is_worse_once(runs: Runs) -> None:
    series = [of(100), of(300), of(100), of(300), of(90), of(310)]
    assert told(runs, series) == ["NEW", "WORSE", "SAME", "SAME", "SAME", "SAME"]


def test_a_severity_that_rises_is_worse_once(runs: Runs) -> None:
    calm, bad = of(100), of(100, severity="critical")
    assert told(runs, [calm, bad, calm, bad]) == ["NEW", "WORSE", "SAME", "SAME"]


def test_the_marks_are_forgotten_when_it_is_resolved(runs: Runs) -> None:
    assert told(runs, [of(100), of(300)]) == ["NEW", "WORSE"]
    assert runs.statuses() == ["RESOLVED"]
    assert told(runs, [of(100), of(300)]) == ["NEW", "WORSE"]


def test_more_of_a_good_thing_is_not_worse(runs: Runs) -> None:
    assert told(runs, [of(100, severity="good"), of(900, severity="good")]) == ["NEW", "SAME"]


def test_a_mute_that_ends_makes_it_new(runs: Runs) -> None:
    muted = of(100, mute_reason="known")
    assert told(runs, [of(100), muted, muted, of(100)]) == ["NEW", "SAME", "SAME", "NEW"]


def test_a_muted_finding_that_ends_is_not_told(runs: Runs) -> None:
    assert runs.statuses(of(100, mute_reason="known")) == ["NEW"]
    assert runs.statuses() == []


def test_a_resolved_finding_says_what_it_was(runs: Runs) -> None:
    runs.judged(FINDING)
    (item,) = runs.judged()
    assert replace(item.finding, title="") == replace(FINDING, action=item.finding.action)
    assert item.finding.fingerprint == "unaligned_sender|example.com|Salesdesk"


def test_a_run_is_written_once(runs: Runs, lake: Lake) -> None:
    runs.judged(FINDING)
    runs.judged(of(300))
    again = runs.judged(of(300), again=True)
    assert [item.status for item in again] == ["WORSE"]
    assert lake.sql("SELECT count(*) AS n FROM findings")["n"].item() == 2


def test_runs_at_once_are_written_once(lake: Lake) -> None:
    def run(_: int) -> list[str]:
        return [
            item.status
            for item in record_findings(
                Lake(lake.location.url), [FINDING], run="r1", job="daily", now=START
            )
        ]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [["NEW"]] * 4
    assert lake.sql("SELECT count(*) AS n FROM findings")["n"].item() == 1


def test_jobs_do_not_see_each_other(lake: Lake) -> None:
    assert Runs(lake, "daily").statuses(FINDING) == ["NEW"]
    assert Runs(lake, "weekly").statuses(FINDING) == ["NEW"]


def test_a_look_at_the_past_sees_only_what_was_before(lake: Lake) -> None:
    record_findings(lake, [FINDING], run="later", job="", now=START)
    earlier = record_findings(lake, [FINDING], run="earlier", job="", now=START - timedelta(days=5))
    assert [item.status for item in earlier] == ["NEW"]


def test_the_row_of_a_finding(runs: Runs, lake: Lake) -> None:
    runs.judged(FINDING)
    row = lake.sql("SELECT * FROM findings").iloc[0]
    assert row["fingerprint"] == FINDING.fingerprint
    assert (row["status"], row["high_water"], row["high_severity"]) == ("NEW", 100, "warning")
    assert row["evidence"] == '{"number": 100}'
    assert f"{row['first_day']:%Y-%m-%d}" == "2026-10-25"
    assert (row["run"], row["job"], row["month"]) == ("daily-1", "daily", "2026-11")
