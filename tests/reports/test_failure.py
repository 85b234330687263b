"""Failure reports (RFC 6591, RFC 9991): auth-failure feedback, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dmarckit.reports.model import FailureReport, Unreadable
from tests.support.builders import gz, make_mail, make_report, read, read_one, report_xml

FEEDBACK = """\
Feedback-Type: auth-failure
User-Agent: ExampleFilter/1.2
Version: 1
Original-Mail-From: bounce@example.com
Original-Rcpt-To: someone@mail.example
Arrival-Date: Sun, 8 Nov 2026 17:03:21 -0600
Source-IP: 192.0.2.55
Authentication-Results: mx.mail.example;
  dkim=fail header.d=example.com
Auth-Failure: dkim
Auth-Failure: spf
Delivery-Result: reject
Identity-Alignment: none
DKIM-Domain: example.com
DKIM-Selector: s1
Reported-Domain: Example.com
"""
ORIGINAL = """\
From: Someone <someone@example.com>
Subject: Your
 invoice
Message-ID: <m-1@example.com>

The original body.
"""
REPORT = FailureReport(
    reporter="ExampleFilter/1.2",
    feedback_type="auth-failure",
    source_ip="192.0.2.55",
    domain="example.com",
    arrival=datetime(2026, 11, 8, 23, 3, 21, tzinfo=UTC),
    auth_failure="dkim, spf",
    delivery_result="reject",
    identity_alignment="none",
    dkim_domain="example.com",
    dkim_selector="s1",
    original_mail_from="bounce@example.com",
    original_rcpt_to="someone@mail.example",
    authentication_results="mx.mail.example; dkim=fail header.d=example.com",
    header_from="Someone <someone@example.com>",
    subject="Your invoice",
    message_id="<m-1@example.com>",
    body="The original body.",
)


def arf(feedback: str = FEEDBACK, original: str = ORIGINAL, kind: str = "message/rfc822") -> bytes:
    """A failure report as a mail; without its original message when that is empty."""
    parts = [
        "Content-Type: text/plain\n\nThis is an authentication failure report.\n",
        f"Content-Type: message/feedback-report\n\n{feedback}",
    ]
    parts += [f"Content-Type: {kind}\n\n{original}"] if original else []
    head = (
        "From: DMARC filter <dmarc@mail.example>\nTo: ruf@example.com\nSubject: FW: Your invoice\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n'
    )
    return (head + "".join(f"\n--b\n{part}" for part in parts) + "\n--b--\n").encode()


def unreadable(raw: bytes) -> Unreadable:
    (found,) = read(raw)
    assert isinstance(found, Unreadable)
    return found


@pytest.mark.parametrize("kind", ["message/rfc822", "text/rfc822-headers", "message/global"])
def test_a_report_is_read_whole(kind: str) -> None:
    assert read_one(arf(kind=kind)) == REPORT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\n", "\r\n"),
        ("\n\n", "\n \n"),
        ("Feedback-Type: auth-failure", "feedback-type:  Auth-Failure "),
        ("-0600", "-0600 (CST)"),
        ("\nFeedback-Type", "\n\nFeedback-Type"),
        ("message/feedback-report", "text/plain"),
    ],
)
def test_a_malformed_report_is_read(before: str, after: str) -> None:
    raw = arf()
    assert before.encode() in raw
    assert read_one(raw.replace(before.encode(), after.encode())) == REPORT


def test_what_is_absent_is_none() -> None:
    report = read_one(arf("Feedback-Type: auth-failure\nSource-IP: 192.0.2.1\n", original=""))
    assert isinstance(report, FailureReport)
    assert report.reporter == "mail.example"
    names = ("domain", "arrival", "auth_failure", "subject", "body", "message_id", "header_from")
    assert [getattr(report, name) for name in names] == [None] * len(names)


def test_a_date_or_address_that_is_none_leaves_a_warning() -> None:
    feedback = FEEDBACK.replace("Sun, 8 Nov 2026 17:03:21 -0600", "now").replace("192.0.2.55", "?")
    report = read_one(arf(feedback))
    assert isinstance(report, FailureReport)
    assert (report.arrival, report.source_ip) == (None, "?")
    assert report.warnings == (
        "Source-IP: '?' is not an IP address, kept as sent",
        "Arrival-Date: 'now' is not a time, passed over",
    )


@pytest.mark.parametrize("kind", ["abuse", "fraud", "not-spam", "virus", "other", "dmarc", ""])
def test_other_feedback_is_no_failure_report(kind: str) -> None:
    found = unreadable(arf(FEEDBACK.replace("auth-failure", kind)))
    assert not found.is_report
    assert "feedback of type" in found.reason


def test_feedback_that_says_nothing_is_unreadable() -> None:
    found = unreadable(arf("Feedback-Type: auth-failure\nVersion: 1\n"))
    assert found.reason == "Source-IP, Reported-Domain and Arrival-Date are missing"
    assert found.is_report


def test_a_report_within_the_original_message_is_not_read() -> None:
    inner = make_mail(gz(report_xml(make_report()))).decode()
    assert [type(each) for each in read(arf(original=inner))] == [FailureReport]


def test_the_text_that_exim_writes_is_read() -> None:
    text = """\
A message claiming to be from you has failed the published DMARC policy for your domain.

  Sender Domain: example.com
  Sender IP Address: 192.0.2.55
  Received date: Sun, 8 Nov 2026 17:03:21 -0600
  SPF Alignment: no

------ This is a copy of the headers that were received before the error was detected.

"""
    report = read_one(make_mail(b"x", body=text + ORIGINAL))
    assert isinstance(report, FailureReport)
    assert (report.source_ip, report.domain) == ("192.0.2.55", "example.com")
    assert (report.arrival, report.subject) == (REPORT.arrival, "Your invoice")
    assert report.warnings == ("no feedback-report part: read from the text",)


def test_a_mail_about_dmarc_is_no_failure_report() -> None:
    text = "Our mail failed the published DMARC policy. What now?\nSender Domain: example.com"
    raw = make_mail(b"x", "notes.txt", "text/plain", body=text)
    assert not unreadable(raw.replace(b"Report domain:", b"About")).is_report


@pytest.mark.parametrize(
    "lines",
    [
        ("Source-IP: 192.0.2.61 (a8-61.smtp-out.example.net)", "Reported-Domain: example.com"),
        ("Source-IP: (from) 192.0.2.61", "Reported-Domain: example.com (the policy's (not From))"),
        ("Source-IP: 192.0.2.61\n (folded)", "Reported-Domain: example.com (an open one"),
    ],
)
def test_fields_are_read_without_their_comments(lines: tuple[str, str]) -> None:
    fields = [
        "Feedback-Type: auth-failure (DMARC)",
        *lines,
        "Arrival-Date: Wed, 04 Nov 2026 10:20:30 +0900 (JST)",
        "Auth-Failure: dmarc (p=reject)",
        "Delivery-Result: delivered (to the inbox)",
    ]
    report = read_one(arf("\n".join(fields)))
    assert isinstance(report, FailureReport)
    assert (report.source_ip, report.domain) == ("192.0.2.61", "example.com")
    assert (report.auth_failure, report.delivery_result) == ("dmarc", "delivered")
    assert report.arrival == datetime(2026, 11, 4, 1, 20, 30, tzinfo=UTC)
    assert report.warnings == ()
