"""Findings of the outside together: one alarm for one cause, and none without rows."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from dmarckit.checks.dns import Outside
from dmarckit.checks.requirements import COMPLIANCE
from dmarckit.checks.rules import RULES
from dmarckit.core import language
from dmarckit.facts.frames import Facts
from dmarckit.findings.find import find, title
from dmarckit.findings.model import Finding
from tests.checks.test_requirements import compliance, facts, healthy, mail, outside, spam
from tests.findings.test_findings_dns import snapshot
from tests.support.finding_cases import CASES, required, signatures
from tests.support.finding_facts import ALL, NOW, SPF, daily, messages, reported

KIND = "requirement_not_met"


def told(some: Facts, out: Outside, kind: str = KIND) -> list[Finding]:
    return [finding for finding in find(some, now=NOW, outside=out) if finding.kind == kind]


def rules(some: Facts, out: Outside) -> list[str]:
    return [finding.subject for finding in told(some, out)]


def needs_work(*requirements: str, domain: str = "example.com") -> Outside:
    rows = [compliance(r, "NEEDS_WORK") | {"domain": domain} for r in requirements]
    return outside(rows)


def with_dns(*rows: pd.DataFrame) -> Outside:
    return Outside(dns=pd.concat(rows, ignore_index=True))


@pytest.mark.parametrize("kind", CASES)
def test_without_rows_findings_are_as_before(kind: str) -> None:
    some = CASES[kind][0]()
    assert find(some, now=NOW, outside=Outside()) == find(some, now=NOW)


def test_a_rule_for_all_is_a_warning() -> None:
    (finding,) = told(healthy(), needs_work("ENCRYPTION"))
    assert finding.fingerprint == "requirement_not_met|example.com|tls"
    assert finding.severity == "warning"
    assert finding.action == "Sender admin: enable TLS for outgoing mail."
    assert finding.evidence == {
        "providers": ["Google"],
        "views": {"postmaster": "not met"},
        "source": ["https://support.google.com/a/answer/81126"],
    }


@pytest.mark.parametrize(("a_day", "severity"), [(4999, "info"), (5000, "warning")])
def test_a_rule_for_bulk_senders_binds_from_their_line(a_day: int, severity: str) -> None:
    seen = healthy(messages=mail(messages=a_day))
    (finding,) = told(seen, needs_work("ONE_CLICK_UNSUBSCRIBE"))
    assert finding.severity == severity
    assert ("Applies to bulk senders only" in finding.summary) == (severity == "info")


def test_several_providers_are_one_finding() -> None:
    spf = daily(SPF, range(1, 11), ["google.com"], result="softfail", messages=5000)
    key = snapshot("dkim", name="s1._domainkey.example.com", values={"bits": 2048})
    (finding,) = told(healthy(messages=mail(messages=5000), spf=spf), with_dns(key))
    assert (finding.subject, finding.evidence["providers"]) == ("spf", ["Google"])
    assert finding.reporters == 1


def test_a_small_sender_is_judged_by_the_rules_for_small_senders() -> None:
    spf = daily(SPF, range(1, 11), ["google.com"], result="softfail")
    key = snapshot("dkim", name="s1._domainkey.example.com", values={"bits": 2048})
    assert told(healthy(spf=spf), with_dns(key)) == []  # DKIM passes: one of the two is enough


@pytest.mark.parametrize(
    ("some", "requirement"),
    [
        (lambda: required("5.7.29"), "ENCRYPTION"),
        (lambda: facts(messages=messages(), signatures=signatures()), "DKIM"),
        (CASES["spf_only"][0], "DKIM"),
        (CASES["spf_errors"][0], "SPF"),
    ],
    ids=["gmail_requirement", "broken_dkim", "spf_only", "spf_errors"],
)
def test_what_reports_tell_is_not_told_again(some: Any, requirement: str) -> None:
    assert rules(some(), needs_work(requirement)) == []
    assert rules(facts(messages=messages()), needs_work(requirement)) != []


def test_what_a_record_tells_is_not_told_again() -> None:
    missing = snapshot("ptr", "missing", name="192.0.2.1", state="missing", found=[])
    many = snapshot("spf", "lookups", values={"lookups": 12})
    out = with_dns(missing, many)
    assert len(told(healthy(), out, "dns_record")) == 2
    assert rules(healthy(), out) == []


def test_a_spam_rate_is_told_by_its_own_finding_or_not_at_all() -> None:
    quiet = [spam(0.0001, n) for n in range(3, 8)]
    high = outside([*quiet, spam(0.0035, 1), spam(0.0035, 2)])
    assert [f.severity for f in told(healthy(), high, "spam_rate")] == ["critical"]
    assert rules(healthy(), high) == []
    one_day_of_little_mail = outside([*quiet, spam(0.05, 1)])
    assert told(healthy(), one_day_of_little_mail, "spam_rate") == []
    assert rules(healthy(), one_day_of_little_mail) == []
    assert rules(healthy(), needs_work("USER_REPORTED_SPAM_RATE")) == ["spam_rate"]


def test_what_google_says_of_the_organisation_is_told_once() -> None:
    seen = facts(
        messages=[],
        reports=reported() + reported(ALL, domain="a.example.com"),
        policies=[],
    )
    found = told(seen, needs_work("ENCRYPTION"))
    assert [(f.domain, f.subject) for f in found] == [("example.com", "tls")]


def test_domains_that_nobody_asked_about_have_no_findings() -> None:
    out = needs_work("ENCRYPTION", domain="other.example")
    assert [f.domain for f in told(healthy(), out)] == ["other.example"]
    only = Outside(out.postmaster, out.dns, domains=("example.com",))
    assert told(healthy(), only) == []


def test_the_title_names_the_rule_in_the_language_in_use() -> None:
    (finding,) = told(healthy(), needs_work("ENCRYPTION"))
    assert title(finding) == "Sender requirement not met: TLS"
    language.use("ja")
    try:
        (japanese,) = told(healthy(), needs_work("ENCRYPTION"))
        assert japanese.evidence == finding.evidence
        assert "TLS" in title(japanese)
        assert "requirement" not in title(japanese)
        assert japanese.summary != finding.summary
    finally:
        language.use("en")


def test_every_rule_is_told_when_google_says_so() -> None:
    found = rules(healthy(), needs_work(*COMPLIANCE.values()))
    assert (
        set(found) == set(COMPLIANCE) == set(RULES) - {"authentication", "dkim_key", "spf_lookups"}
    )
