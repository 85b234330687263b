"""SMTP TLS reports (RFC 8460): as the RFC writes them, and as reporters do."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from dmarckit.reports.model import TlsFailure, TlsPolicy, TlsReport, Unreadable
from tests.support.builders import WRAPPINGS, gz, make_mail, read, read_one

REPORT = TlsReport(
    reporter="Example Mail",
    contact="tls@mail.example",
    report_id="2026-11-01T00:00:00Z_example.com",
    begin=datetime(2026, 11, 1, tzinfo=UTC),
    end=datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC),
    policies=(
        TlsPolicy(
            policy_type="sts",
            policy_domain="example.com",
            policy_string=("version: STSv1", "mode: enforce"),
            mx_host=("*.example.com",),
            successful=90,
            failed=10,
            details=(
                TlsFailure(
                    "certificate-expired",
                    7,
                    "192.0.2.1",
                    "mx.example.com",
                    "mx1.example.com",
                    "2001:db8::25",
                    "https://mail.example/42",
                    "X509_V_ERR",
                ),
                TlsFailure("starttls-not-supported", 3),
            ),
        ),
    ),
)


def tls_json() -> dict[str, Any]:
    """`REPORT` as its reporter would write it."""
    return {
        "organization-name": "Example Mail",
        "date-range": {
            "start-datetime": "2026-11-01T00:00:00Z",
            "end-datetime": "2026-11-01T23:59:59Z",
        },
        "contact-info": "tls@mail.example",
        "report-id": "2026-11-01T00:00:00Z_example.com",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: enforce"],
                    "policy-domain": "example.com",
                    "mx-host": ["*.example.com"],
                },
                "summary": {
                    "total-successful-session-count": 90,
                    "total-failure-session-count": 10,
                },
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "failed-session-count": 7,
                        "sending-mta-ip": "192.0.2.1",
                        "receiving-mx-hostname": "mx.example.com",
                        "receiving-mx-helo": "mx1.example.com",
                        "receiving-ip": "2001:db8::25",
                        "additional-information": "https://mail.example/42",
                        "failure-reason-code": "X509_V_ERR",
                    },
                    {"result-type": "starttls-not-supported", "failed-session-count": 3},
                ],
            }
        ],
    }


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The JSON of `REPORT` after `change`."""
    document = tls_json()
    change(document)
    return json.dumps(document).encode()


def read_tls(raw: bytes) -> TlsReport:
    report = read_one(raw, "report.json")
    assert isinstance(report, TlsReport)
    return report


def unreadable(raw: bytes) -> Unreadable:
    (found,) = read(raw, "report.json")
    assert isinstance(found, Unreadable)
    return found


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_report_is_read_in_any_packing(wrapping: str) -> None:
    assert read_tls(WRAPPINGS[wrapping](json.dumps(tls_json()).encode())) == REPORT


@pytest.mark.parametrize(
    ("content_type", "packed"),
    [("application/tlsrpt+gzip", True), ("application/tlsrpt+json", False), ("text/plain", False)],
)
def test_a_report_in_a_mail_is_read(content_type: str, packed: bool) -> None:
    document = json.dumps(tls_json(), indent=1).encode()
    raw = make_mail(gz(document) if packed else document, "x!y!1!2!3.json.gz", content_type)
    assert read_tls(raw) == REPORT


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_any_unicode_encoding_is_read(encoding: str) -> None:
    assert read_tls(json.dumps(tls_json()).encode(encoding)) == REPORT


def test_what_is_absent_is_none() -> None:
    def strip(document: dict[str, Any]) -> None:
        document["contact-info"] = None
        del document["report-id"]
        (entry,) = document["policies"]
        entry["policy"] = {"policy-type": "no-policy-found"}
        entry["failure-details"] = [{"failed-session-count": 1, "receiving-ip": ""}, None, {}]

    report = read_tls(changed(strip))
    assert (report.contact, report.report_id) == (None, None)
    expected = TlsPolicy("no-policy-found", None, (), (), 90, 10, (TlsFailure(None, 1),))
    assert report.policies == (expected,)
    assert report.warnings == ()


def test_a_detail_without_count_is_kept_with_a_warning() -> None:
    def strip(document: dict[str, Any]) -> None:
        del document["policies"][0]["failure-details"][1]["failed-session-count"]

    report = read_tls(changed(strip))
    assert report.policies[0].details[1] == TlsFailure("starttls-not-supported", 0)
    assert report.warnings == ("policy 1: failed-session-count is missing, taken as 0",)


@pytest.mark.parametrize(
    ("sent", "taken"), [("90", 90), ("1,234", 1234), (90.0, 90), ("90.0", 90), (0, 0)]
)
def test_a_count_may_be_text(sent: object, taken: int) -> None:
    def change(document: dict[str, Any]) -> None:
        document["policies"][0]["summary"]["total-successful-session-count"] = sent

    assert read_tls(changed(change)).policies[0].successful == taken


def test_underscores_in_names_are_read() -> None:
    document = json.dumps(tls_json()).replace("organization-name", "organization_name")
    assert read_tls(document.replace("policy-type", "Policy_Type").encode()) == REPORT


def test_of_a_repeated_name_the_last_counts() -> None:
    document = json.dumps(tls_json()).replace(
        '{"organization-name"', '{"report-id": "x", "organization-name"'
    )
    assert read_tls(document.encode()) == REPORT


def test_half_a_character_does_not_reach_the_tables() -> None:
    """Only JSON can write one, and nothing that stores text takes it: every ingest would end."""

    def change(found: dict[str, Any]) -> None:
        found["organization-name"] = "\ud83d\ude00 \ud800 \\ud800 \udc00\ud800\ud83d\ude00"

    report = read_tls(changed(change))
    assert report.reporter == "\U0001f600 \ufffd \\ud800 \ufffd\ufffd\U0001f600"
    assert report.warnings == ("lone surrogates replaced by U+FFFD: 3",)


def test_what_follows_the_report_is_passed_over_with_a_warning() -> None:
    document = json.dumps(tls_json()).encode()
    assert read_tls(document + b"\r\n\0\0") == REPORT
    report = read_tls(document + b"\n-- \nfooter")
    assert report.policies == REPORT.policies
    assert report.warnings == ("10 characters after the report passed over: '-- \\x0afooter'",)


def test_other_dates_and_addresses_leave_a_warning() -> None:
    def change(document: dict[str, Any]) -> None:
        document["date-range"]["start-datetime"] = 1793491200
        document["policies"][0]["failure-details"][0]["sending-mta-ip"] = "mx.example"

    report = read_tls(changed(change))
    assert report.begin == REPORT.begin
    assert report.warnings == (
        "date-range/start-datetime: '1793491200' read as '2026-11-01T00:00:00+00:00'",
        "policy 1: sending-mta-ip: 'mx.example' is not an IP address, kept as sent",
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (changed(lambda d: d["date-range"].pop("end-datetime")), "end-datetime is missing"),
        (changed(lambda d: d.pop("date-range")), "start-datetime is missing"),
        (changed(lambda d: d["policies"][0].pop("summary")), "session-count is missing"),
        (changed(lambda d: d.update(policies="x")), "session-count is missing"),
        (json.dumps(tls_json()).replace("90", "NaN").encode(), "no JSON number"),
        (json.dumps(tls_json()).replace("90", "1e999").encode(), "not a whole number"),
        (json.dumps(tls_json()).replace("90", "9" * 5000).encode(), "session-count is not a whole"),
        (json.dumps(tls_json()).replace("90", str(2**63)).encode(), "session-count is not a whole"),
        (json.dumps(tls_json()).replace("90", str(2**63 - 1)).encode(), "summary: more than 9,223"),
        (json.dumps(tls_json()).replace("90", "-1").encode(), "not a whole number"),
        (json.dumps(tls_json()).replace("90", "true").encode(), "is missing"),
        (json.dumps(tls_json()).encode()[:-20], "no valid JSON"),
        (b'{"organization-name": 1, "policies": ' + b"[" * 100_000, "nested too deep"),
    ],
)
def test_what_cannot_be_read_is_unreadable_with_a_reason(raw: bytes, reason: str) -> None:
    found = unreadable(raw)
    assert reason in found.reason
    assert found.is_report


@pytest.mark.parametrize(
    "raw", [b"{}", b"[]", b'{"policies": []}', b'["policies"]', b'{"feedback": [{"policies": 1}]}']
)
def test_other_json_is_no_report(raw: bytes) -> None:
    assert not unreadable(raw).is_report


@pytest.mark.parametrize(
    ("head", "name", "expected"),
    [
        ("TLS-Report-Domain: Example.COM (ours)\nSubject: x", "r.json", "example.com"),
        ("Subject: Report Domain: example.net Submitter: mail.example", "r.json", "example.net"),
        ("Subject: x", "mail.example!example.org!1!2!001.json", "example.org"),
        ("Subject: x", "r.json", None),
    ],
)
def test_a_policy_without_domain_takes_it_from_the_mail(
    head: str, name: str, expected: str | None
) -> None:
    text = json.dumps(
        {
            "organization-name": "mail.example",
            "date-range": {
                "start-datetime": "2026-11-01T00:00:00Z",
                "end-datetime": "2026-11-01T23:59:59Z",
            },
            "policies": [
                {
                    "policy": {"policy-type": kind, **named},
                    "summary": {
                        "total-successful-session-count": 1,
                        "total-failure-session-count": 0,
                    },
                }
                for kind, named in (("sts", {}), ("tlsa", {"policy-domain": "own.example"}))
            ],
        }
    )
    raw = (
        f"From: a@mail.example\n{head}\nContent-Type: application/tlsrpt+json\n"
        f'Content-Disposition: attachment; filename="{name}"\n\n{text}'
    )
    report = read_one(raw.encode())
    assert isinstance(report, TlsReport)
    assert [p.policy_domain for p in report.policies] == [expected, "own.example"]
    assert len(report.warnings) == (expected is not None)
