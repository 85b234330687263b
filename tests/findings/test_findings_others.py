"""Gmail's requirements, TLS, refused and unreadable mails; and what holds for all findings."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import date, timedelta
from typing import Any

import pytest

from dmarckit.core.settings import Mute, load_settings
from dmarckit.core.thresholds import Thresholds
from dmarckit.facts.frames import COLUMNS, Facts
from dmarckit.findings.find import find, title
from dmarckit.findings.titles import part_label
from dmarckit.findings.tls import tls_policy, tls_result
from tests.support.finding_cases import dead_letters
from tests.support.finding_facts import (
    FOUR,
    MESSAGES,
    NOW,
    STRANGER,
    UNALIGNED,
    daily,
    day,
    facts,
    found,
    messages,
    only,
    policies,
    reported,
)

INVENTORY = {"domain": "example.com", "sender": "Gateway", "sender_kind": "own", "declared": True}
INVENTORY |= {"sa_messages": 9, "owns": (), "messages": 9, "first_day": day(9), "last_day": day(1)}


def marked(code: str, smtp: str = "550", **row: Any) -> list[dict[str, Any]]:
    base = {"domain": "example.com", "sender": "Gateway", "messages": 8}
    return daily(base, [1, 2], ["google.com"], code=code, smtp=smtp, **row)


def with_codes(rows: list[dict[str, Any]]) -> Facts:
    return facts(
        messages=messages() + messages([1], sender="Gateway") + messages([1], **STRANGER),
        requirements=rows,
        inventory=[INVENTORY],
    )


@pytest.mark.parametrize(
    ("code", "means"),
    [
        ("5.7.27", "SPF does not pass"),
        ("5.7.30", "DKIM does not pass"),
        ("4.7.31", "no DMARC record"),
        ("4.7.40", "no DMARC record"),
        ("5.7.32", "aligned with neither SPF nor DKIM"),
        ("5.7.25", "PTR"),
        ("5.7.29", "not encrypted"),
        ("5.7.99", "a requirement for senders is not met"),
    ],
)
def test_each_code_is_decoded(code: str, means: str) -> None:
    finding = only(with_codes(marked(code)), "gmail_requirement")
    assert finding.subject == code
    assert means in finding.summary


def test_a_refusal_of_our_own_mail_is_critical_and_names_the_sender() -> None:
    finding = only(with_codes(marked("5.7.30")), "gmail_requirement")
    assert finding.severity == "critical"
    assert "16 from your own senders or known services: Gateway" in finding.summary
    assert finding.action.startswith("Gateway admin: sign every message with DKIM")


@pytest.mark.parametrize(
    ("row", "severity"),
    [
        ({"smtp": "421"}, "warning"),
        ({"messages": 3}, "info"),
        ({"sender": STRANGER["sender"]}, "info"),
    ],
    ids=["delayed", "six messages", "a stranger's"],
)
def test_how_bad_a_requirement_is(row: dict[str, Any], severity: str) -> None:
    assert only(with_codes(marked("5.7.30", **row)), "gmail_requirement").severity == severity


def tls(result: str = "", failures: int = 0, successful: int = 900, ago: int = 1) -> dict[str, Any]:
    row = {"policy_domain": "example.com", "begin": day(ago), "end": day(ago - 1)}
    row |= {"reporter": "google.com", "policy_type": "sts", "successful": successful}
    return row | {"failed": failures, "result_type": result, "failed_sessions": failures}


@pytest.mark.parametrize(
    ("row", "severity"),
    [
        (tls("starttls-not-supported", 20), "warning"),
        (tls("starttls-not-supported", 200), "critical"),
        (tls("starttls-not-supported", 9), None),
        (tls("starttls-not-supported", 20, 9000), None),
        (tls("starttls-not-supported", 20, ago=20), None),
        (tls("certificate-expired", 1), "warning"),
        (tls("tlsa-invalid", 1), "warning"),
        (tls("sts-policy-fetch-error", 1), "warning"),
        (tls(), None),
    ],
)
def test_when_tls_failures_matter(row: dict[str, Any], severity: str | None) -> None:
    severities = [f.severity for f in found(facts(tls=[row]), "tls_failures")]
    assert severities == ([severity] if severity else [])


def test_failures_without_details_are_told_as_such() -> None:
    row = tls("", 30) | {"failed_sessions": 0}
    finding = only(facts(tls=[row]), "tls_failures")
    assert (finding.subject, finding.messages) == ("unspecified", 30)
    assert title(finding) == "TLS failing: no reason given"


def test_results_of_tls_are_said_in_words() -> None:
    finding = only(facts(tls=[tls("certificate-expired", 1)]), "tls_failures")
    assert finding.subject == "certificate-expired", "the fingerprint is that of the tag"
    assert title(finding) == "TLS failing: the certificate has expired"
    assert finding.evidence["policy_types"] == ["MTA-STS"]
    assert tls_result("some-new-type\x1b") == "some-new-type\\x1b"
    assert [tls_policy(kind) for kind in ("tlsa", "no-policy-found", "x")] == [
        "DANE",
        "no policy",
        "x",
    ]


def mail(
    outcome: str, ago: float = 1, sender: str = "inbox.example", error: str = "cut off"
) -> dict[str, Any]:
    received = NOW - timedelta(days=ago)
    return {"received": received, "from_domain": sender, "outcome": outcome, "error": error}


FAIL = "dmarc=fail for inbox.example"
FORGED = "claims to be google.com, sent by evil.example"


def test_a_refused_report_is_only_worth_knowing() -> None:
    finding = only(
        facts(mails=[mail("untrusted", error=FAIL), mail("stored")]), "untrusted_reports"
    )
    assert (finding.subject, finding.domain, finding.severity) == ("", "", "info")
    assert finding.summary == (
        "1 report email was rejected as not trusted on 23 Nov (From: inbox.example). Reason: "
        "dmarc=fail for inbox.example"
    )
    assert "not-fail" not in finding.action


def test_forged_names_are_called_forged_and_never_let_in() -> None:
    mails = [
        mail("untrusted", sender="evil.example", error=FORGED),
        mail("untrusted", sender="google.com", error="dmarc=fail for google.com"),
    ]
    finding = only(facts(mails=mails), "untrusted_reports")
    assert "2 are forged: they claim to be from Google and google.com." in finding.summary
    assert "not-fail" not in finding.action


def test_without_dmarc_the_setting_is_named_for_these_alone() -> None:
    mails = [
        mail("untrusted", sender="evil.example", error=FORGED),
        mail("untrusted", sender="old.example", error="no DMARC result by amazonses.com"),
    ]
    finding = only(facts(mails=mails), "untrusted_reports")
    assert 'If old.example is a reporter you know, check the reason; trust = "not-fail"' in (
        finding.action
    )
    assert finding.reporters == 2


def test_ten_thousand_are_one_line() -> None:
    mails = [mail("untrusted", sender=f"spam{i}.example", error=FAIL) for i in range(10_000)]
    finding = only(facts(mails=mails), "untrusted_reports")
    assert (finding.messages, finding.subject) == (10_000, "")
    assert len(finding.summary) < 600


def test_a_reporter_that_is_refused_since_now_is_being_lost() -> None:
    mails = [mail("stored", 20), mail("untrusted", 2), mail("untrusted", 1)]
    assert only(facts(mails=mails), "untrusted_reports").severity == "warning"


def test_one_unreadable_mail_is_nothing_to_act_on() -> None:
    some = facts(mails=[mail("unreadable"), mail("stored"), mail("not_a_report")])
    assert only(some, "unreadable_reports").severity == "info"


def test_most_mails_unreadable_is() -> None:
    some = facts(mails=[mail("stored"), *[mail("unreadable")] * 6])
    assert only(some, "unreadable_reports").severity == "warning"


def test_bare_files_have_no_sender() -> None:
    finding = only(facts(mails=[mail("unreadable", sender="")]), "unreadable_reports")
    assert finding.subject == ""
    assert "an unknown sender" in finding.summary


def test_a_message_that_could_not_be_taken_is_told_for_seven_days() -> None:
    rows = [*dead_letters("cut off", days=6), *dead_letters("no event", days=2)]
    finding = only(facts(dead_letters=rows), "dead_letters", days=2)
    assert (finding.subject, finding.severity) == ("arrivals", "warning")
    assert finding.summary == (
        "2 messages of the queue arrivals could not be processed on 18–22 Nov. Reasons: cut off; "
        "no event"
    )
    assert "dmarckit ingest" in finding.action
    assert not found(facts(dead_letters=dead_letters("cut off", days=7.1)), "dead_letters")


FINGERPRINT = "unaligned_sender|example.com|Salesdesk"


@pytest.mark.parametrize(("until", "muted"), [(NOW.date(), True), (date(2026, 11, 23), False)])
def test_a_muted_finding_is_shown_last_until_its_day(until: date, muted: bool) -> None:
    some = facts(messages=messages() + messages([1], **UNALIGNED))
    mute = Mute(fingerprint=FINGERPRINT, reason="asked the sales team", until=until)
    result = find(some, now=NOW, mute=[mute])
    finding = next(f for f in result if f.fingerprint == FINGERPRINT)
    assert finding.muted is muted
    assert finding.mute_reason == ("asked the sales team" if muted else None)
    assert (result[-1] is finding) is muted


def test_thresholds_may_be_set() -> None:
    some = facts(messages=messages() + messages([1], **UNALIGNED))
    high = load_settings(thresholds={"unaligned_messages": 81}).thresholds
    assert not found(some, "unaligned_sender", thresholds=high)
    assert high == replace(Thresholds(), unaligned_messages=81)


@pytest.mark.parametrize("days", [1, 7, 400])
def test_nothing_comes_of_nothing(days: int) -> None:
    assert find(facts(reports=[], policies=[]), now=NOW, days=days) == []


def test_one_report_with_one_message() -> None:
    some = facts(
        messages=messages([1], reporters=FOUR[:1], messages=1),
        reports=reported([1], FOUR[:1]),
        policies=policies([1], FOUR[:1]),
    )
    assert find(some, now=NOW) == []


def eventful() -> Facts:
    return facts(
        messages=[*messages(), *messages([1, 2], **UNALIGNED), *messages([3, 4], **STRANGER)],
        requirements=marked("5.7.30"),
        tls=[tls("certificate-expired", 1)],
        mails=[mail("untrusted")],
    )


def test_facts_are_not_changed() -> None:
    some = eventful()
    before = {f.name: getattr(some, f.name).copy() for f in fields(some) if f.name in COLUMNS}
    assert find(some, now=NOW)
    for name, frame in before.items():
        assert frame.equals(getattr(some, name)), name


def test_evidence_is_fit_for_json_and_names_a_query() -> None:
    for finding in find(eventful(), now=NOW):
        evidence = json.loads(json.dumps(dict(finding.evidence)))
        assert evidence["query"].startswith("SELECT")
        assert isinstance(evidence["number"], int)
        assert evidence["thresholds"]
        words = [part_label("thresholds", name) for name in evidence["thresholds"]]
        assert not [word for word in words if word in evidence["thresholds"]], "in words"


def test_outside_names_cannot_steer_a_terminal_or_a_query() -> None:
    nasty = "x'; DROP TABLE records; --\x1b[2J\n"
    some = facts(messages=messages() + messages([1], **{**UNALIGNED, "sender": nasty}))
    finding = only(some, "unaligned_sender")
    shown = finding.summary + finding.action + json.dumps(dict(finding.evidence))
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert finding.subject == nasty
    assert MESSAGES["domain"] in finding.summary


def test_a_report_that_claims_a_year_is_no_history() -> None:
    year = reported([1], ["Liar"])[0] | {"begin": day(365)}
    young = range(1, 6)
    some = facts(
        messages=messages(young) + messages([1, 2], **{**STRANGER, "messages": 20}),
        reports=[year, *reported(young)],
        policies=policies(young),
    )
    assert [f.kind for f in find(some, now=NOW)] == []
