"""Reporters whose reports cannot be taken as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dmarckit.core.settings import load_settings
from dmarckit.facts.lake import open_lake
from dmarckit.findings.analysis import analyse
from dmarckit.findings.model import Finding
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import failing_messages, records_table, report_row, report_uid
from dmarckit.lake.schema import REPORTS
from dmarckit.reports.model import AggregateReport
from tests.support.lakes import NOW, report
from tests.support.model_builders import make_failing, make_record


def stored(home: Path, *mails: tuple[AggregateReport, str]) -> Lake:
    """A lake of reports, each with the From domain of its mail."""
    lake = Lake(f"{home}/lake")
    pairs = [(report_uid(r), r) for r, _ in mails]
    rows = [
        report_row(r, uid, f"m/{uid}", failing_messages(r.records), sender)
        for (uid, r), (_, sender) in zip(pairs, mails, strict=True)
    ]
    lake.write.append_new("records", records_table(pairs))
    lake.write.append_new("reports", pa.Table.from_pylist(rows, schema=REPORTS.schema))
    return lake


def found(home: Path, kind: str = "reporter_odd", **settings: Any) -> list[Finding]:
    made = load_settings(home=str(home), **settings)
    seen = analyse(made, now=NOW)
    lake = open_lake(made)
    for entry in seen.findings:
        if entry.finding.kind == kind:
            query = entry.finding.evidence["query"]
            assert lake.sql(query).iloc[0, 0] == entry.finding.evidence["number"]
    return [entry.finding for entry in seen.findings if entry.finding.kind == kind]


def steady(days: range = range(1, 41), name: str = "Acme", **other: Any) -> list[AggregateReport]:
    return [
        report(make_record(messages=20), days_ago=d, reporter=name, report_id=f"{name}{d}", **other)
        for d in days
    ]


def from_(host: str, made: list[AggregateReport]) -> list[tuple[AggregateReport, str]]:
    return [(replace(r, contact=f"dmarc@{host}"), host) for r in made]


DAYS = range(1, 20)
OTHERS = from_("one.example", steady(name="One")) + from_("two.example", steady(name="Two"))


def test_one_that_renames_itself_is_the_same_and_not_odd(tmp_path: Path) -> None:
    made = from_("acme.example", [*steady(range(8, 41)), *steady(range(1, 8), "Acme Inc.")])
    stored(tmp_path, *made, *OTHERS)
    assert found(tmp_path) == found(tmp_path, "reporter_silent") == []
    seen = analyse(load_settings(home=str(tmp_path)), now=NOW).facts
    assert sorted(seen.reports["reporter"].unique()) == ["Acme Inc.", "One", "Two"]
    assert set(seen.messages["reporter"].astype(str)) == {"Acme Inc.", "One", "Two"}


@pytest.mark.parametrize("overlap", [0, 5])
def test_one_that_writes_from_a_new_domain_is_asked_about(tmp_path: Path, overlap: int) -> None:
    old = from_("acme.example", steady(range(6 - overlap, 41)))
    new = from_("acme-mail.example", steady(range(1, 6)))
    new = [(replace(r, report_id=f"new{r.report_id}"), host) for r, host in new]
    stored(tmp_path, *old, *new, *OTHERS)
    (odd,) = found(tmp_path)
    assert (odd.subject, odd.severity) == ("Acme", "warning")
    assert "acme-mail.example since" in odd.summary
    assert '"Acme" = ["acme.example", "acme-mail.example"]' in odd.action
    assert found(tmp_path, "reporter_silent") == []
    assert found(tmp_path, reporters={"Acme": ["acme.example", "acme-mail.example"]}) == []


def test_two_companies_with_one_service_are_two(tmp_path: Path) -> None:
    made = [
        (replace(r, contact=f"post@{host}", report_id=f"{host}{r.report_id}"), "service.example")
        for host in ("a.example", "b.example")
        for r in steady(name="Service")
    ]
    stored(tmp_path, *made, *OTHERS)
    seen = analyse(load_settings(home=str(tmp_path)), now=NOW).facts
    assert set(seen.messages["reporter"].astype(str)) == {
        "Service (a.example)", "Service (b.example)", "One", "Two",
    }  # fmt: skip
    assert found(tmp_path) == []


def test_what_is_sent_twice_counts_once(tmp_path: Path) -> None:
    once = from_("acme.example", steady(range(1, 15)))
    again = [(replace(r, report_id=f"again{r.report_id}"), host) for r, host in once]
    stored(tmp_path, *once, *again, *OTHERS)
    (odd,) = found(tmp_path)
    assert (odd.subject, odd.severity, odd.evidence["number"]) == ("Acme", "info", 7)
    assert "twice under different ids" in odd.summary
    seen = analyse(load_settings(home=str(tmp_path)), now=NOW).facts
    sums = seen.messages.groupby("reporter", observed=True)["messages"].sum()
    assert sums["Acme"] == 14 * 20


def test_twice_in_two_periods_only_is_no_habit(tmp_path: Path) -> None:
    once = from_("acme.example", steady(range(1, 15)))
    again = [(replace(r, report_id=f"again{r.report_id}"), host) for r, host in once[:2]]
    stored(tmp_path, *once, *again, *OTHERS)
    assert found(tmp_path) == []


def test_a_policy_domain_without_record_is_the_parent_s(tmp_path: Path) -> None:
    author = make_failing("203.0.113.9", 30, header_from="news.example.com", dkim=(), spf=())
    right = [(replace(r, records=(*r.records, author)), host) for r, host in [*OTHERS]]
    wrong = from_(
        "odd.example",
        [report(author, days_ago=d, domain="news.example.com", reporter="Odd", report_id=f"o{d}")
         for d in range(1, 20)],
    )  # fmt: skip
    stored(tmp_path, *right, *wrong)
    (odd,) = found(tmp_path)
    assert (odd.subject, odd.domain, odd.evidence["number"]) == ("Odd", "example.com", 7)
    assert "names news.example.com as policy domain" in odd.summary
    seen = analyse(load_settings(home=str(tmp_path)), now=NOW)
    assert set(seen.facts.messages["domain"].astype(str)) == {"example.com"}
    assert {e.finding.domain for e in seen.findings} <= {"", "example.com"}


def test_a_subdomain_with_a_record_that_most_quote_stays(tmp_path: Path) -> None:
    author = make_record("203.0.113.9", 30, header_from="news.example.com")
    about = {"domain": "news.example.com"}
    made = [
        *from_("three.example", [report(author, days_ago=d, reporter="3", **about) for d in DAYS]),
        *from_("four.example", [report(author, days_ago=d, reporter="4", **about) for d in DAYS]),
    ]
    late = [(replace(r, records=(*r.records, author)), h) for r, h in OTHERS if h == "one.example"]
    stored(tmp_path, *made, *late)
    assert found(tmp_path) == []


def test_a_reporter_that_contradicts_itself_makes_no_strangers(tmp_path: Path) -> None:
    lie = make_record("203.0.113.9", 60)
    lie = replace(lie, dkim_aligned=False, spf_aligned=False, spf=())
    odd_reports = [report(lie, days_ago=d, reporter="Odd", report_id=f"o{d}") for d in range(1, 20)]
    stored(tmp_path, *from_("odd.example", odd_reports), *OTHERS)
    (odd,) = found(tmp_path)
    assert (odd.subject, odd.domain, odd.messages) == ("Odd", "example.com", 420)
    assert "contradicts itself" in odd.summary
    assert "DKIM signature passes" in odd.summary
    seen = analyse(load_settings(home=str(tmp_path)), now=NOW)
    assert not {"spoofing", "subdomain_exposed"} & {e.finding.kind for e in seen.findings}
