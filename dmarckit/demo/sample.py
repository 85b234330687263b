"""The demo's own data: two months of reports about a small company, with the usual troubles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, time, timedelta

from dmarckit.demo.company import DECLARED, demo_domains, demo_flows
from dmarckit.demo.mails import (
    GeneratedMail,
    broken,
    duplicate,
    forged,
    mails,
    newsletter,
    tls_mail,
)
from dmarckit.demo.reporters import (
    CLOUD_SENDING,
    ENTERPRISE_POST,
    GATEWAY,
    INBOX,
    LATE_POST,
    MAIL,
    MOBILE,
    NEXT_MAIL,
)
from dmarckit.demo.traffic import GeneratedReport, reports
from dmarckit.reports.models import TlsFailure, TlsPolicy

REPORTERS = (
    MAIL,
    ENTERPRISE_POST,
    INBOX,
    NEXT_MAIL,
    CLOUD_SENDING,
    GATEWAY,
    LATE_POST,
    MOBILE,
)
_CUT_OFF = time(9, tzinfo=UTC)


def demo_mails(end: date, days: int = 60, seed: int = 7) -> list[GeneratedMail]:
    """The objects in the demo's bucket, by time of arrival.

    The reports cover the `days` days before `end`, and what had arrived by 09:00 UTC on
    `end`: the report of a reporter that is always a day late is not there yet.
    """
    start = end - timedelta(days)
    made = reports(demo_domains(end), demo_flows(end), REPORTERS, start, days, seed)
    now = datetime.combine(end, _CUT_OFF)
    arrived = [r for r in made if r.sent < now]
    everything = [*_with_trouble(arrived, end, seed), *_tls(start, end, seed)]
    return sorted((m for m in everything if m.received < now), key=lambda m: (m.received, m.key))


def demo_settings() -> str:
    """The company's own part of ``dmarckit.toml``: the services that it knows it uses."""
    lines: list[str] = []
    for sender in DECLARED:
        lines.append("[[senders]]")
        # A JSON string or list of strings is the same in TOML.
        lines += [f"{name} = {json.dumps(value)}" for name, value in asdict(sender).items()]
    return "\n".join(lines) + "\n"


def _with_trouble(made: Sequence[GeneratedReport], end: date, seed: int) -> list[GeneratedMail]:
    """The honest mails, and among them: one cut off, two forged, one twice, one no report."""

    def last(reporter: str, domain: str, days_ago: int) -> GeneratedReport | None:
        before = datetime.combine(end - timedelta(days_ago), time(), UTC)
        found = (
            r
            for r in reversed(made)
            if r.reporter.org_name == reporter
            and r.report.policy.domain == domain
            and r.report.begin < before
        )
        return next(found, None)

    cut = last(INBOX.org_name, "example.com", 3)
    twice = last(MAIL.org_name, "shop.example", 2)
    result = []
    for mail in mails((r for r in made if r is not cut), seed):
        result.append(mail)
        if mail.truth is twice:
            result.append(duplicate(mail, seed, later=timedelta(hours=2)))
    if cut:
        result.append(broken(cut, seed))
    for days_ago, claims_pass in ((5, False), (9, True)):
        if genuine := last(MAIL.org_name, "example.com", days_ago):
            fake = replace(genuine.report, report_id=f"{genuine.report.report_id}0")
            result.append(forged(replace(genuine, report=fake), seed, claims_pass=claims_pass))
    noon = time(12, 17, tzinfo=UTC)
    result.append(newsletter(datetime.combine(end - timedelta(6), noon), seed))
    return result


def _tls(start: date, end: date, seed: int) -> list[GeneratedMail]:
    """TLS reports of the last two weeks; a certificate of one server has just expired."""
    found = []
    for days_ago in range(1, 15):
        day = end - timedelta(days_ago)
        if day < start:
            break
        expired = days_ago <= 2
        failure = TlsFailure(
            result_type="certificate-expired",
            sessions=21,
            sending_mta_ip="203.0.113.9",
            receiving_mx_hostname="mx2.example.com",
            receiving_ip="192.0.2.22",
        )
        policy = TlsPolicy(
            policy_type="sts",
            policy_domain="example.com",
            policy_string=(
                "version: STSv1",
                "mode: testing",
                "mx: *.example.com",
                "max_age: 604800",
            ),
            mx_host=("*.example.com",),
            successful=640 - 13 * days_ago,
            failed=21 if expired else 0,
            details=(failure,) if expired else (),
        )
        found.append(tls_mail(MAIL, day, (policy,), seed))
    return found
