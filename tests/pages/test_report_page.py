"""One report as it was sent, and the page of TLS reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmarckit.core.window import last_days
from dmarckit.facts.frames import empty_facts
from dmarckit.lake.lake import Lake
from dmarckit.pages.sections import report as report_page, tls as tls_page
from tests.pages.test_tables import HOSTILE, text
from tests.support import frames

DAY = datetime(2026, 11, 23, tzinfo=UTC)
WINDOW = last_days(2, "2026-11-23")
SESSIONS: dict[str, Any] = {
    "policy_domain": "example.com",
    "begin": DAY,
    "end": DAY + timedelta(days=1),
    "reporter": "Receiver One",
    "policy_type": "sts",
    "successful": 90,
    "failed": 10,
    "result_type": "certificate-expired",
    "failed_sessions": 10,
}


def tls(*rows: dict[str, Any]) -> pd.DataFrame:
    made = pd.DataFrame([SESSIONS | row for row in rows], columns=list(SESSIONS))
    return empty_facts(WINDOW.end, WINDOW.start, tls=made).tls


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two reports, the older one with failures and with a reason."""
    failing = frames.FAILS | {"report_uid": "old", "position": 1, "messages": 3}
    failing |= {"reasons": [{"type": "local_policy", "comment": "arc=fail"}]}
    passing = {"report_uid": "old", "envelope_to": "one.example"}
    old = {"report_uid": "old", "report_id": "7", "failing": 3, "warnings": ["pct was empty"]}
    old |= {"begin": DAY - timedelta(days=1)}
    reports = frames.reports({"report_uid": "new"}, old)
    frames.fill(tmp_path, frames.records(passing, failing), reports, frames.mails())
    return Lake(str(tmp_path / "lake"))


def test_the_newest_report_with_failures_comes_first(lake: Lake) -> None:
    report, records = report_page.load(lake)
    assert report["report_uid"].tolist() == ["old"]
    assert records["position"].tolist() == [0, 1]
    shown = text(report_page.about(report))
    for part in ("Receiver One", "p=none; pct=100; adkim=r; aspf=r", "pct was empty"):
        assert part in shown


def test_records_show_raw_results_and_the_failing_ones_first(lake: Lake) -> None:
    shown = text(report_page.records(report_page.load(lake, "old")[1]))
    assert shown.index("fail: example.com (mfrom)") < shown.index("pass: d=example.com, s=s1")
    for part in ("local_policy: arc=fail", "return path example.com, to one.example"):
        assert part in shown


def test_a_report_that_is_not_there_gives_a_sentence(lake: Lake) -> None:
    report, records = report_page.load(lake, "no' OR 1=1")
    assert "There is no such report" in report_page.about(report).markup
    assert "holds no records" in report_page.records(records).markup


def test_sessions_by_day_policy_and_failure() -> None:
    made = tls({}, {"successful": 0, "failed": 0, "result_type": "other", "failed_sessions": 2})
    daily = tls_page.by_day(made, WINDOW)
    assert daily["successful"].tolist() == [0, 90]
    assert daily["failed"].tolist() == [0, 10]
    assert tls_page.chart(daily).layout.title.text == "10.0 % of 100 sessions failed"
    found = tls_page.by_policy(made).to_dict("records")
    assert [(r["policy_domain"], r["sessions"], r["failed_share"]) for r in found] == [
        ("example.com", 100, 0.1)
    ]
    failures = tls_page.by_failure(made)
    assert failures["failed_sessions"].tolist() == [10, 2]


def test_without_tls_reports_the_page_says_so() -> None:
    assert tls_page.chart(tls_page.by_day(tls(), WINDOW)).data == ()
    assert "dk-empty" in tls_page.policies(tls_page.by_policy(tls())).markup
    assert "dk-empty" in tls_page.failures(tls_page.by_failure(tls())).markup


@pytest.mark.parametrize("evil", HOSTILE)
def test_outside_text_is_escaped(evil: str) -> None:
    names = ["source_ip", "header_from", "envelope_from", "envelope_to", "disposition"]
    result = {"domain": evil, "selector": evil, "result": evil, "human_result": evil}
    record: dict[str, Any] = dict.fromkeys(names, evil)
    record |= {"reasons": [{"type": evil, "comment": evil}], "dkim": [result]}
    record |= {"spf": [{"domain": evil, "scope": evil, "result": evil, "human_result": evil}]}
    head = dict.fromkeys(["reporter", "domain", "report_id", "contact", "p", "mail_key"], evil)
    made = tls(dict.fromkeys(["policy_domain", "policy_type", "reporter", "result_type"], evil))
    parts = [
        report_page.about(frames.reports(head | {"warnings": [evil]})),
        report_page.records(frames.records(record)),
        tls_page.policies(tls_page.by_policy(made)),
        tls_page.failures(tls_page.by_failure(made)),
    ]
    markup = "".join(part.markup for part in parts)
    for unsafe in ("<script", "<img", "\u202e", "\x1b"):
        assert unsafe not in markup
