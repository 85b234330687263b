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
from dmarckit.pages.page import Page
from tests.support import frames
from tests.support.pages import HOSTILE, UNSAFE, markup, page_about, text

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


def tls(*rows: dict[str, Any]) -> Page:
    made = pd.DataFrame([SESSIONS | row for row in rows], columns=list(SESSIONS))
    return page_about(empty_facts(WINDOW.end, WINDOW.start, tls=made), window=WINDOW)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """Two reports, the older one with failures and with a reason."""
    failing = frames.FAILS | {"report_uid": "old", "position": 1, "messages": 3}
    failing |= {"reasons": [{"type": "local_policy", "comment": "arc=fail"}]}
    passing = {"report_uid": "old", "envelope_to": "one.example"}
    old = {"report_uid": "old", "report_id": "7", "failing": 3, "warnings": ["pct was empty"]}
    old |= {"begin": DAY - timedelta(days=1)}
    reports = frames.reports({"report_uid": "new"}, old)
    frames.fill(tmp_path, frames.records(passing, failing), reports, frames.mails())
    return page_about(lake=Lake(str(tmp_path / "lake")))


def test_the_newest_report_with_failures_comes_first(page: Page) -> None:
    report = page.report()
    assert report.data["report_uid"].tolist() == ["old"]
    assert page.report_records().data["position"].tolist() == [0, 1]
    shown = text(report)
    for part in ("Receiver One", "p=none; pct=100; adkim=r; aspf=r", "pct was empty"):
        assert part in shown


def test_records_show_raw_results_and_the_failing_ones_first(page: Page) -> None:
    shown = text(page.report_records("old"))
    assert shown.index("fail: example.com (mfrom)") < shown.index("pass: d=example.com, s=s1")
    for part in ("local_policy: arc=fail", "return path example.com, to one.example"):
        assert part in shown


def test_a_report_that_is_not_there_gives_a_sentence(page: Page) -> None:
    assert "There is no such report" in text(page.report("no' OR 1=1"))
    assert "holds no records" in text(page.report_records("no' OR 1=1"))


def test_sessions_by_day_policy_and_failure() -> None:
    made = tls({}, {"successful": 0, "failed": 0, "result_type": "other", "failed_sessions": 2})
    daily = made.tls_sessions()
    assert daily.data["successful"].tolist() == [0, 90]
    assert daily.data["failed"].tolist() == [0, 10]
    assert daily.figure is not None
    assert daily.figure.layout.title.text == "10.0% of 100 sessions failed"
    found = made.tls_policies().data.to_dict("records")
    assert [(r["policy_domain"], r["sessions"], r["failed_share"]) for r in found] == [
        ("example.com", 100, 0.1)
    ]
    failures = made.tls_failures()
    assert failures.data["failed_sessions"].tolist() == [10, 2]


def test_without_tls_reports_the_page_says_so() -> None:
    figure = tls().tls_sessions().figure
    assert figure is not None
    assert figure.data == ()
    assert "dk-empty" in markup(tls().tls_policies())
    assert "dk-empty" in markup(tls().tls_failures())


@pytest.mark.parametrize("evil", HOSTILE)
def test_outside_text_is_escaped(evil: str, tmp_path: Path) -> None:
    names = ["source_ip", "header_from", "envelope_from", "envelope_to", "disposition"]
    result = {"domain": evil, "selector": evil, "result": evil, "human_result": evil}
    record: dict[str, Any] = dict.fromkeys(names, evil)
    record |= {"reasons": [{"type": evil, "comment": evil}], "dkim": [result]}
    record |= {"spf": [{"domain": evil, "scope": evil, "result": evil, "human_result": evil}]}
    head = dict.fromkeys(["reporter", "domain", "report_id", "contact", "p", "mail_key"], evil)
    made = tls(dict.fromkeys(["policy_domain", "policy_type", "reporter", "result_type"], evil))
    head |= {"report_uid": "evil", "failing": 1, "warnings": [evil]}
    rows = frames.records(record | {"report_uid": "evil"})
    frames.fill(tmp_path, rows, frames.reports(head), frames.mails())
    page = page_about(lake=Lake(str(tmp_path / "lake")))
    sections = (page.report(), page.report_records(), made.tls_policies(), made.tls_failures())
    assert [len(section.data) for section in sections] == [1] * 4
    for unsafe in UNSAFE:
        assert unsafe not in markup(*sections)
