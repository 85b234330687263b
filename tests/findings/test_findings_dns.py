"""Findings of DNS: wrong records, changes, and a policy that reporters see otherwise."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from dmarckit.checks.dns import Outside
from dmarckit.core.thresholds import Thresholds
from dmarckit.findings.context import Context
from dmarckit.findings.dns import dns_changed, dns_record, passing_messages, policy_differs
from dmarckit.findings.find import find
from dmarckit.findings.model import Finding, Record
from tests.support.finding_facts import FOUR, NOW, UNALIGNED, day, facts, messages, policies

LOOK = Context(NOW, 7, Thresholds())
RECORD = "v=DMARC1; p=reject; rua=mailto:d@example.com"


def snapshot(record: str, *faults: str, **fields: Any) -> pd.DataFrame:
    """One row of `dns.snapshot`."""
    values = fields.pop("values", {})
    row = {
        "domain": "example.com",
        "day": day(0),
        "record": record,
        "name": "example.com",
        "state": "invalid" if faults else "ok",
        "found": ["the record"],
        "problems": [f"It is {fault}." for fault in faults],
        "proposal": None,
        "values": json.dumps({"faults": faults} | values),
        "checked": NOW,
        "run": "r",
        "since": day(3),
    } | fields
    return pd.DataFrame([row])


def wrong(record: str, *faults: str, sent: int = 100, **fields: Any) -> Finding:
    (finding,) = dns_record(snapshot(record, *faults, **fields), {"example.com": sent}, LOOK)
    return finding


def test_a_wrong_record_says_what_to_publish() -> None:
    finding = wrong("spf", "syntax", "long", proposal="v=spf1 -all")
    assert (finding.kind, finding.domain, finding.subject) == (
        "dns_record", "example.com", "spf example.com",
    )  # fmt: skip
    assert finding.summary == "It is syntax. It is long."
    assert finding.action.startswith("DNS admin: publish at example.com (TXT) the record")
    assert finding.record == (Record("example.com", "TXT", "v=spf1 -all", "the record"),)
    assert (finding.severity, finding.messages) == ("critical", 100)
    assert (finding.first_day, finding.last_day) == (day(3).date(), day(0).date())
    assert finding.evidence["found"] == ["the record"]


@pytest.mark.parametrize(
    ("record", "fault", "sent", "severity"),
    [
        ("spf", "lookups", 5, "critical"),
        ("spf", "lookups", 0, "warning"),
        ("spf", "plus_all", 0, "critical"),
        ("spf", "lookups_many", 5, "warning"),
        ("spf", "missing", 5, "warning"),
        ("spf", "missing_unused", 0, "info"),
        ("dmarc", "several", 5, "critical"),
        ("dmarc", "missing", 5, "warning"),
        ("dmarc", "obsolete_tags", 5, "info"),
        ("dmarc", "no_rua", 5, "warning"),
        ("tls_rpt", "missing", 5, "info"),
        ("mta_sts", "missing", 5, "info"),
        ("report_authorisation", "missing", 5, "warning"),
        ("ptr", "missing", 5, "warning"),
    ],
)
def test_severity_is_what_it_breaks(record: str, fault: str, sent: int, severity: str) -> None:
    assert wrong(record, fault, sent=sent).severity == severity


@pytest.mark.parametrize(
    ("fault", "last_day", "severity"),
    [
        ("missing", "2026-11-22", "critical"),
        ("revoked", "2026-11-22", "critical"),
        ("missing", "2026-11-10", "info"),
        ("short", "2026-11-22", "critical"),
        ("weak_key", "2026-11-22", "warning"),
    ],
)
def test_a_lost_key_is_critical_while_reports_show_it(
    fault: str, last_day: str, severity: str
) -> None:
    used = {"messages": 40, "last_day": last_day}
    finding = wrong("dkim", fault, values=used, name="s1._domainkey.example.com")
    assert (finding.severity, finding.messages) == (severity, 40)


@pytest.mark.parametrize("state", ["ok", "unknown"])
def test_silence_and_order_are_no_finding(state: str) -> None:
    assert dns_record(snapshot("spf", "unanswered", state=state), {}, LOOK) == []


def test_a_policy_of_none_alone_is_left_to_the_ladder() -> None:
    assert dns_record(snapshot("dmarc", "p_none", state="weak"), {}, LOOK) == []


def test_a_domain_sends_what_passes_in_the_window() -> None:
    failing = messages([1], da=False, sa=False, domain="parked.example")
    some = facts(messages=messages([1, 2, 30]) + failing)
    assert passing_messages(some.messages, LOOK) == {"example.com": 2 * 4 * 20}


def change(before: list[str], after: list[str], **fields: Any) -> Finding:
    row = {
        "domain": "example.com",
        "record": "dmarc",
        "name": "_dmarc.example.com",
        "day": day(1),
        "day_before": day(2),
        "before": before,
        "after": after,
        "state_before": "ok",
        "state_after": "ok",
    } | fields
    rows = fields.pop("messages", [])
    row.pop("messages", None)
    (finding,) = dns_changed(pd.DataFrame([row]), facts(messages=rows).messages, LOOK)
    return finding


@pytest.mark.parametrize(
    ("before", "after", "fields", "severity"),
    [
        ([RECORD], ["v=DMARC1; p=none"], {}, "warning"),
        ([RECORD], [RECORD + "; sp=none"], {}, "warning"),
        ([RECORD], [RECORD + "; fo=1"], {}, "info"),
        (["v=DMARC1; p=none"], [RECORD], {}, "info"),
        ([RECORD], [], {"state_after": "missing"}, "warning"),
        (["v=spf1 -all"], ["v=spf1 +all"], {"record": "spf", "state_after": "invalid"}, "warning"),
        (["10 a.example"], ["10 b.example"], {"record": "mx"}, "info"),
        (["x"], ["y"], {"record": "spf", "state_before": "invalid"}, "info"),
    ],
)
def test_a_change_is_a_warning_when_protection_went(
    before: list[str], after: list[str], fields: dict[str, Any], severity: str
) -> None:
    assert change(before, after, **fields).severity == severity


def test_what_a_change_tells() -> None:
    finding = change([RECORD], ["v=DMARC1; p=none"])
    assert (finding.kind, finding.subject) == ("dns_changed", "dmarc _dmarc.example.com")
    assert finding.summary == (
        "The record at _dmarc.example.com (dmarc) was weakened between 22 Nov and "
        f"23 Nov: before {RECORD}, now v=DMARC1; p=none."
    )
    assert f"restore {RECORD}" in finding.action
    assert finding.evidence["after"] == ["v=DMARC1; p=none"]
    assert finding.record == (Record("_dmarc.example.com", "TXT", RECORD, "v=DMARC1; p=none"),)


def test_a_record_that_would_block_wanted_mail_is_not_to_be_put_back() -> None:
    failing = messages() + messages(messages=2, **UNALIGNED)
    finding = change([RECORD], ["v=DMARC1; p=none"], messages=failing)
    assert "it would block their mail" in finding.action
    assert finding.record == ()


def test_of_several_changes_the_last_counts() -> None:
    rows = [
        {"domain": "example.com", "record": "spf", "name": "example.com", "day": day(d),
         "day_before": day(d + 1), "before": [f"v{d}"], "after": [f"v{d - 1}"],
         "state_before": "ok", "state_after": "ok"}
        for d in (3, 1)
    ]  # fmt: skip
    mail = facts().messages
    (finding,) = dns_changed(pd.DataFrame(rows), mail, LOOK)
    assert finding.evidence["after"] == ["v0"]
    assert dns_changed(pd.DataFrame(rows).iloc[:0], mail, LOOK) == []


def differs(quoted: list[dict[str, Any]], text: str = RECORD, **fields: Any) -> list[Finding]:
    tags = dict(part.strip().split("=", 1) for part in text.split(";"))
    fields = {"since": day(6), "found": [text], "values": {"tags": tags, "ttl": 3600}} | fields
    row = snapshot("dmarc", name="_dmarc.example.com", **fields)
    return policy_differs(facts(policies=quoted).policies, row, LOOK)


def test_reporters_that_see_another_policy_than_dns_shows() -> None:
    (finding,) = differs(policies([2], p="none"))
    assert (finding.kind, finding.subject, finding.severity) == (
        "policy_changed", "p", "warning",
    )  # fmt: skip
    assert finding.summary == (
        "4 reporters quote p=none for example.com, but DNS has shown p=reject since 18 Nov."
    )
    assert RECORD in finding.action
    assert finding.reporters == 4


@pytest.mark.parametrize(
    "quoted",
    [
        policies([2], p="reject"),
        policies([2], FOUR[:1], p="none"),  # one reporter alone
        policies([2], p="reject", adkim=""),  # a default left out
        policies([5], p="none"),  # begins less than TTL and a day after the record was seen
        policies([5], p="none") + policies([2], p="reject"),  # they have seen it since
    ],
)
def test_what_is_no_difference(quoted: list[dict[str, Any]]) -> None:
    assert differs(quoted) == []


def test_dns_of_today_proves_nothing_about_the_reports_of_before() -> None:
    assert differs(policies([1, 2], p="none"), since=NOW - timedelta(hours=1)) == []
    assert differs(policies([2], p="none"), since=pd.NaT) == []
    assert differs(policies([2], p="none"), found=[], state="missing") == []


def test_each_tag_is_compared_by_itself() -> None:
    text = "v=DMARC1; p=reject; sp=reject; t=y; adkim=s; rua=mailto:d@example.com"
    quoted = policies([2], p="reject", sp="none", adkim="s", testing="n")
    assert [f.subject for f in differs(quoted, text)] == ["sp", "t"]


def test_a_change_that_reporters_quote_and_dns_denies_is_told_once() -> None:
    quoted = policies([12, 11, 10], p="reject") + policies([2], p="none")
    some = facts(policies=quoted)
    (change,) = [f for f in find(some, now=NOW) if f.kind == "policy_changed"]
    tags = {"tags": {"v": "DMARC1", "p": "reject"}, "ttl": 3600}
    row = snapshot("dmarc", name="_dmarc.example.com", since=day(6), values=tags)
    told = find(some, now=NOW, outside=Outside(dns=row))
    (differs,) = [f for f in told if f.kind == "policy_changed"]
    assert (change.fingerprint, differs.fingerprint) == ("policy_changed|example.com|p",) * 2
    assert "DNS has shown p=reject" in differs.summary
