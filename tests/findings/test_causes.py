"""What findings mean together: one a cause, none against another, no floods, frames cut late."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmarckit.core.settings import load_settings
from dmarckit.core.thresholds import Thresholds
from dmarckit.facts import complete_days, load
from dmarckit.findings import rows as of_rows
from dmarckit.findings.causes import MOST_ALIKE, combine, fingerprints_within
from dmarckit.findings.context import Context, DomainParts
from dmarckit.findings.find import KINDS, find, find_by_domain
from dmarckit.findings.model import Finding
from tests.support.finding_facts import (
    FOUR,
    NOW,
    SERVICE,
    SIGNATURE,
    SPF,
    STRANGER,
    UNALIGNED,
    daily,
    facts,
    found,
    messages,
    only,
    policies,
    reported,
)
from tests.support.lakes import NOW as LAKE_NOW
from tests.support.random_lakes import SENSITIVE, random_lake

DAY = date(2026, 11, 20)


def finding(kind: str, subject: str, severity: Any = "warning", **fields: Any) -> Finding:
    usual = {"messages": 20, "first_day": DAY, "last_day": DAY, "reporters": 2, "since": DAY}
    usual |= {"summary": f"{subject} is seen.", "action": "Act.", "domain": "example.com"}
    return Finding(kind=kind, subject=subject, severity=severity, **(usual | fields))


def combined(*some: Finding) -> list[Finding]:
    return sorted(combine(some, KINDS), key=lambda f: f.rank)


def test_a_cause_has_the_same_text_at_every_domain() -> None:
    here = finding("unaligned_sender", "Mailchimp")
    there = replace(here, domain="example.net")
    assert [f.cause for f in combined(here, there)] == ["unaligned_sender Mailchimp"] * 2


def test_what_is_lost_belongs_to_the_finding_that_says_why() -> None:
    why = finding("unaligned_sender", "Salesdesk", lost=30)
    lost = finding("mail_lost", "Salesdesk", "critical", lost=30)
    (left,) = combined(why, lost)
    assert (left.kind, left.severity, left.lost) == ("unaligned_sender", "critical", 30)
    assert fingerprints_within([left]) == {lost.fingerprint}


def test_a_loss_that_the_other_does_not_explain_stays() -> None:
    why = finding("unaligned_sender", "Salesdesk", lost=3)
    lost = finding("mail_lost", "Salesdesk", "critical", lost=30)
    assert [f.kind for f in combined(why, lost)] == ["mail_lost", "unaligned_sender"]


def test_another_sender_is_another_cause() -> None:
    why = finding("unaligned_sender", "Salesdesk", lost=30)
    assert len(combined(why, finding("mail_lost", "Scanner", lost=30))) == 2


def test_a_provider_that_was_changed_is_one_finding() -> None:
    stopped = finding("sender_stopped", "Postwagon", evidence={"took_over": ["Mailcourier"]})
    (left,) = combined(stopped, finding("new_sender", "Mailcourier", "info"))
    assert left.kind == "sender_stopped"


def test_a_new_sender_that_fails_stays_as_information_of_the_same_cause() -> None:
    fails = finding("unaligned_sender", "Salesdesk")
    left = combined(fails, finding("new_sender", "Salesdesk", "info"))
    assert [(f.kind, f.severity) for f in left] == [
        ("unaligned_sender", "warning"),
        ("new_sender", "info"),
    ]
    assert len({f.cause for f in left}) == 1


def test_a_muted_finding_takes_nothing_in_and_is_not_taken_in() -> None:
    why = finding("unaligned_sender", "Salesdesk", lost=30, mute_reason="known")
    assert len(combined(why, finding("mail_lost", "Salesdesk", lost=30))) == 2


@pytest.mark.parametrize(
    ("other", "ready"),
    [
        (finding("unidentified_sender", "x.example", "info"), False),
        (finding("broken_dkim", "example.com/s1"), False),
        (finding("mail_lost", "Scanner", "critical", lost=60), False),
        (finding("mail_lost", "Scanner", lost=6), True),
        (finding("broken_dkim", "example.net/s1", domain="example.net"), True),
    ],
    ids=["unidentified", "broken", "lost", "a little lost", "another domain"],
)
def test_no_step_forward_while_own_mail_fails(other: Finding, ready: bool) -> None:
    left = combined(finding("policy_ready", "p=reject", "good"), other)
    assert any(f.kind == "policy_ready" for f in left) == ready


def many(n: int, **fields: Any) -> list[Finding]:
    return [finding("unaligned_sender", f"s{number}", lost=2, **fields) for number in range(n)]


def test_eleven_of_a_kind_are_one() -> None:
    (pool,) = combined(*many(MOST_ALIKE + 1))
    assert (pool.subject, pool.messages, pool.lost) == ("*", 220, 22)
    assert pool.evidence["count"] == 11
    assert "11 findings like this" in pool.summary
    assert len(fingerprints_within([pool])) == 11
    assert len(combined(*many(MOST_ALIKE))) == MOST_ALIKE


def test_the_fingerprint_does_not_change_with_the_list() -> None:
    first, second = combined(*many(12)), combined(*many(15))
    assert first[0].fingerprint == second[0].fingerprint == "unaligned_sender|example.com|*"


def test_a_critical_one_is_not_buried() -> None:
    left = combined(*many(12), finding("unaligned_sender", "Payroll", "critical"))
    assert [f.subject for f in left] == ["Payroll", "*"]


def test_the_title_of_many_names_the_first() -> None:
    rows = [messages([1, 2], **{**UNALIGNED, "sender": f"Desk {n:02}"}) for n in range(12)]
    pool = only(facts(messages=sum(rows, messages())), "unaligned_sender")
    assert pool.title == "Desk 00 sends for you without authentication, and 11 more like it"


def test_what_was_open_stays_open_below_the_threshold_of_the_window() -> None:
    sent = messages() + messages(range(1, 20), messages=5, **UNALIGNED)
    before = found(facts(messages=sent), "unaligned_sender")
    fewer = messages() + messages(range(8, 20), messages=5, **UNALIGNED)
    fewer += messages(range(1, 8), messages=1, reporters=FOUR[:1], **UNALIGNED)
    assert not found(facts(messages=fewer), "unaligned_sender")
    (left,) = found(facts(messages=fewer), "unaligned_sender", before=before)
    assert left.summary.startswith(before[0].summary)
    assert "These numbers are from 23 Nov" in left.summary
    assert found(facts(messages=fewer), "unaligned_sender", before=[left]) == [left]


def test_what_was_mended_is_not_open() -> None:
    sent = messages() + messages(range(1, 20), messages=5, **UNALIGNED)
    before = found(facts(messages=sent), "unaligned_sender")
    mended = messages() + messages(range(8, 20), messages=5, **UNALIGNED)
    mended += messages(range(1, 8), **{**SERVICE, "sender": "Salesdesk"})
    assert not found(facts(messages=mended), "unaligned_sender", before=before)


def test_a_domain_with_one_report_costs_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Counter[str]()
    whole = DomainParts.cut

    def counted(self: DomainParts, domain: str) -> Any:
        cut[domain] += 1
        return whole(self, domain)

    monkeypatch.setattr(DomainParts, "cut", counted)
    names = [f"d{n}.example" for n in range(50)]
    here = {name: {"domain": name, "header_from": name, "sender": name} for name in names}
    forged = {**STRANGER, "messages": 3, "disposition": "reject"}
    some = facts(
        messages=[
            row
            for name in names
            for row in messages([1], reporters=FOUR[:1], **here[name])
            + messages([1], reporters=FOUR[:1], **forged, domain=name, header_from=name)
        ],
        reports=[row for name in names for row in reported([1], FOUR[:1], domain=name)],
        policies=[row for name in names for row in policies([1], FOUR[:1], domain=name)],
    )
    context = Context(NOW, 7, Thresholds())
    assert not find_by_domain(some, context, complete_days(some))
    assert not cut


def test_a_domain_in_order_costs_neither_signatures_nor_spf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, columns = of_rows._column, set[str]()

    def seen(values: pd.Series[Any]) -> Any:
        columns.add(str(values.name))
        return whole(values)

    monkeypatch.setattr(of_rows, "_column", seen)
    days = range(1, 41, 4)
    some = facts(
        messages=messages(days, messages=1),
        signatures=daily(SIGNATURE, days, messages=1),
        spf=daily(SPF, days, messages=1),
    )
    find_by_domain(some, Context(NOW, 7, Thresholds()), complete_days(some))
    assert "class" in columns
    assert not columns & {"selector", "spf_domain"}


def _said(f: Finding) -> tuple[Any, ...]:
    return f.fingerprint, f.severity, f.summary, f.action, f.evidence.get("query")


@pytest.mark.parametrize("seed", range(6))
def test_random_findings_keep_the_rules(seed: int, tmp_path: Path) -> None:
    lake = random_lake(tmp_path, seed)
    known = load.load_facts(lake, LAKE_NOW, settings=load_settings(home=str(tmp_path)))
    some = find(known, now=LAKE_NOW, days=7, thresholds=SENSITIVE)
    names = ("messages", "signatures", "spf", "alignments", "sources", "addresses", "requirements")
    mixed = {name: getattr(known, name).sample(frac=1, random_state=seed) for name in names}
    again = find(replace(known, **mixed), now=LAKE_NOW, days=7, thresholds=SENSITIVE)
    assert list(map(_said, again)) == list(map(_said, some))
    alike = Counter((f.kind, f.domain) for f in some if f.severity != "critical")
    assert max(alike.values(), default=0) <= MOST_ALIKE
    urgent = Counter((f.cause, f.domain) for f in some if f.severity in ("critical", "warning"))
    assert max(urgent.values(), default=0) <= 1
    held = {f.domain for f in some if f.kind in ("broken_dkim", "unidentified_sender")}
    assert held.isdisjoint(f.domain for f in some if f.kind == "policy_ready")
    assert len({f.fingerprint for f in some}) == len(some)
    for f in some:
        assert f.severity in KINDS[f.kind].severities
        assert f.title
        assert f.cause
