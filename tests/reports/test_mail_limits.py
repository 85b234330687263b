"""What a mail as a whole may hold; beyond it nothing of it counts, just within it all does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dmarckit.core.thresholds import Limits
from dmarckit.reports.export import report_csv
from dmarckit.reports.model import AggregateReport, Report, TlsReport, Unreadable
from dmarckit.reports.read import read_object, read_reports
from tests.support.builders import read_one, report_xml
from tests.support.model_builders import make_record, make_report

BEGIN = datetime(2020, 1, 15, tzinfo=UTC)


def several(number: int, days: int = 0, records: int = 1) -> bytes:
    """Reports in one document, one after the other, so many days apart."""
    made = [make_record(f"192.0.2.{i}") for i in range(records)]
    return b"".join(
        report_xml(
            make_report(
                *made,
                report_id=f"r-{i}",
                begin=BEGIN + timedelta(days=days * i),
                end=BEGIN + timedelta(days=days * i + 1),
            )
        )
        for i in range(number)
    )


def tls(policies: int, details: int = 0) -> bytes:
    detail = {"result-type": "starttls-not-supported", "failed-session-count": 1}
    counts = {"total-successful-session-count": 1, "total-failure-session-count": details}
    policy: dict[str, Any] = {
        "policy": {"policy-type": "sts", "policy-domain": "example.com"},
        "summary": counts,
        "failure-details": [detail] * details,
    }
    period = {"start-datetime": "2026-11-01T00:00:00Z", "end-datetime": "2026-11-02T00:00:00Z"}
    head = {"organization-name": "Example", "report-id": "t-1", "date-range": period}
    return json.dumps({**head, "policies": [policy] * policies}).encode()


def found(raw: bytes, limits: Limits) -> tuple[list[Report], list[Unreadable]]:
    outcomes = list(read_reports(read_object(raw, "report", limits), limits))
    refused = [each for each in outcomes if isinstance(each, Unreadable)]
    return [each for each in outcomes if isinstance(each, Report)], refused


@pytest.mark.parametrize(
    ("limits", "within", "beyond", "reason"),
    [
        (Limits(reports=5), several(5), several(6), "more than 5 reports (limit 'reports')"),
        (
            Limits(records=12),
            several(4, records=3),
            several(5, records=3),
            "more than 12 records (limit 'records')",
        ),
        (
            Limits(months=3),
            several(9, days=9),
            several(4, days=31),
            "more than 3 months (limit 'months')",
        ),
        (
            Limits(tls_policies=12),
            tls(12),
            tls(13),
            "more than 12 TLS policies (limit 'tls_policies')",
        ),
        (
            Limits(tls_policies=12),
            tls(3, details=3),
            tls(1, details=12),
            "more than 12 TLS policies (limit 'tls_policies')",
        ),
    ],
)
def test_a_mail_with_more_than_a_limit_is_refused_as_a_whole(
    limits: Limits, within: bytes, beyond: bytes, reason: str
) -> None:
    reports, refused = found(within, limits)
    assert reports
    assert not refused
    _, (last,) = found(beyond, limits)
    assert last.reason == reason
    assert last.whole


@pytest.mark.parametrize("damage", [b"", b"&"])
def test_a_mail_has_so_much_processor_time(damage: bytes) -> None:
    """Well-formed and repaired."""
    xml = several(1, records=50).replace(b"</feedback>", damage + b"</feedback>")
    assert found(xml, Limits())[0]
    _, (last,) = found(xml, Limits(seconds=0))
    assert "more than 0 s of processor time (limit 'seconds')" in last.reason
    assert last.whole


def test_fields_of_a_head_are_cut() -> None:
    long = make_report(make_record(), reporter="x" * 1_001, report_id="y" * 1_000)
    report = read_one(report_xml(long))
    assert isinstance(report, AggregateReport)
    assert (report.reporter, report.report_id) == ("x" * 1_000, "y" * 1_000)
    assert "report_metadata/org_name: 1,001 characters, cut to 1,000" in report.warnings


def test_fields_of_a_record_are_cut() -> None:
    long = make_report(make_record(header_from="x" * 1_100, envelope_from="y" * 1_000))
    report = read_one(report_xml(long))
    assert isinstance(report, AggregateReport)
    assert len(report.records[0].header_from or "") == 1_000
    assert report.records[0].envelope_from == "y" * 1_000
    assert "header_from: 1,100 characters, cut to 1,000" in str(report.warnings)


def test_errors_of_a_head_are_bounded() -> None:
    report = read_one(report_xml(make_report(make_record(), errors=("x",) * 101)))
    assert isinstance(report, AggregateReport)
    assert len(report.errors) == 100
    assert report.warnings == ("report_metadata/error stands 101 times, first taken",)


def test_fields_of_a_tls_report_are_cut() -> None:
    text = tls(1).replace(b"t-1", b"t" * 5_000).replace(b'"sts"', b'"%s"' % (b"s" * 5_000))
    report = read_one(text)
    assert isinstance(report, TlsReport)
    assert (report.report_id, report.policies[0].policy_type) == ("t" * 1_000, "s" * 1_000)
    assert report.warnings == ("report-id: 5,000 characters, cut to 1,000",)


def test_csv_repeats_no_long_name() -> None:
    records = [make_record(f"192.0.2.{i}") for i in range(50)]
    short, long = (report_csv(make_report(*records, reporter="x" * n)) for n in (60, 900_000))
    assert short == long
