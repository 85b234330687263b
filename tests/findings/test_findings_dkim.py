"""Signatures and SPF records that no longer work: whose fault it is, and when it is nobody's."""

from __future__ import annotations

from typing import Any

import pytest

from dmarckit.facts.frames import Facts
from tests.support.finding_facts import (
    ALL,
    FOUR,
    SIGNATURE,
    SPF,
    daily,
    facts,
    found,
    messages,
    only,
    policies,
    reported,
)


def signed(days: Any = ALL, **fields: Any) -> list[dict[str, Any]]:
    reporters = fields.pop("reporters", FOUR)
    return daily(SIGNATURE, days, reporters, **fields)


def broken_since(days: int, **fields: Any) -> list[dict[str, Any]]:
    """Signatures that verify, and none of them in the last days."""
    return signed(range(days + 1, 61), **fields) + signed(
        range(1, days + 1), **{**fields, "passed": False}
    )


def with_signatures(signatures: list[dict[str, Any]], **frames: Any) -> Facts:
    return facts(**{"messages": messages(), "signatures": signatures, **frames})


def test_a_key_that_breaks_for_its_only_sender() -> None:
    finding = only(with_signatures(broken_since(3)), "broken_dkim")
    assert (finding.subject, finding.severity) == ("example.com/s1", "warning")
    assert finding.evidence["cause"] == "key"
    assert finding.summary.startswith(
        "240 messages of 240 signed example.com/s1 (100 %) did not verify from 2026-11-21 to "
        "2026-11-23; in the 28 days before it was 0 %."
    )
    assert "DNS admin: look at the TXT record (or CNAME) s1._domainkey.example.com" in (
        finding.action
    )


def test_one_finding_for_a_key_of_two_senders() -> None:
    both = broken_since(3) + broken_since(3, sender="Gateway")
    assert only(with_signatures(both), "broken_dkim").evidence["cause"] == "key"


def test_one_of_two_senders_is_the_signer() -> None:
    finding = only(with_signatures(signed() + broken_since(3, sender="Gateway")), "broken_dkim")
    assert finding.evidence["cause"] == "signer"
    assert "Only mail that Gateway signs" in finding.summary
    assert finding.evidence["senders_failing"] == {"Gateway": 240}


def test_a_part_of_the_only_sender_is_the_signer() -> None:
    partly = signed() + signed(range(1, 4), passed=False)
    finding = only(with_signatures(partly), "broken_dkim")
    assert finding.evidence["cause"] == "signer"
    assert "Part of what example.com signs with the same key still verifies" in finding.summary


def test_one_reporter_alone_is_wrong_itself() -> None:
    alone = broken_since(3, reporters=FOUR[:1]) + signed(reporters=FOUR[1:])
    finding = only(with_signatures(alone), "broken_dkim")
    assert (finding.evidence["cause"], finding.severity) == ("reporter", "info")
    assert "Only Receiver One sees it" in finding.summary


def test_blocked_mail_makes_it_critical() -> None:
    blocked = messages([1, 2], disposition="reject", da=False, sa=False, **{"class": "broken_dkim"})
    finding = only(with_signatures(broken_since(3), messages=messages() + blocked), "broken_dkim")
    assert finding.severity == "critical"
    assert "160 messages were blocked." in finding.summary


@pytest.mark.parametrize(
    "signatures",
    [
        signed() + signed(messages=1, passed=False),
        signed() + signed(range(1, 4), messages=1, passed=False),
        broken_since(3, messages=4),
        broken_since(3, in_inventory=False),
        broken_since(3, aligned=False),
        signed(range(1, 4), passed=False),
    ],
    ids=[
        "always some",
        "under five points",
        "48 messages",
        "not our sender",
        "not our signature",
        "never seen before",
    ],
)
def test_no_broken_key(signatures: list[dict[str, Any]]) -> None:
    assert not found(with_signatures(signatures), "broken_dkim")


def test_a_break_on_an_incomplete_day_waits() -> None:
    reports = reported(range(2, 61)) + reported([1], FOUR[:1])
    assert not found(with_signatures(broken_since(1), reports=reports), "broken_dkim")


def test_a_selector_that_a_reporter_leaves_out_is_no_key_of_its_own() -> None:
    both = signed() + broken_since(3, selector="")
    assert not found(with_signatures(both), "broken_dkim")


def test_a_new_installation_has_nothing_to_compare_with() -> None:
    young = [r for r in broken_since(3) if r in signed(range(1, 12)) or not r["passed"]]
    some = with_signatures(young, messages=messages(range(1, 12)), reports=reported(range(1, 12)))
    assert not found(some, "broken_dkim")


def spf(result: str, messages: int, days: Any = (1, 2), **fields: Any) -> list[dict[str, Any]]:
    return daily(
        SPF, days, fields.pop("reporters", FOUR), result=result, messages=messages, **fields
    )


def test_a_record_with_a_mistake() -> None:
    finding = only(
        facts(messages=messages(), spf=spf("permerror", 5) + spf("pass", 5)), "spf_errors"
    )
    assert (finding.subject, finding.severity, finding.messages) == ("example.com", "warning", 40)
    assert finding.summary == (
        "SPF of example.com could not be evaluated for 40 messages of 80 (50.0 %) from 2026-11-22 "
        "to 2026-11-23: 40 permerror, 0 temperror."
    )
    assert "at most 10 lookups" in finding.action


def test_a_slow_nameserver_is_only_worth_knowing() -> None:
    some = facts(messages=messages(), spf=spf("temperror", 1) + spf("pass", 50))
    assert only(some, "spf_errors").severity == "info"


@pytest.mark.parametrize(
    "rows",
    [
        spf("permerror", 1, [1], reporters=FOUR[:1]) + spf("pass", 50),
        spf("permerror", 5, [1]),
        spf("permerror", 50, spf_domain="stranger.example", sender="stranger.example"),
        spf("fail", 50),
        spf("permerror", 50, spf_domain=""),
    ],
    ids=["one in 400", "20 messages", "a stranger's record", "fail is an answer", "no domain"],
)
def test_no_spf_error(rows: list[dict[str, Any]]) -> None:
    assert not found(facts(messages=messages(), spf=rows), "spf_errors")


ALONE = {"class": "spf_only", "da": False, "sender": "Gateway", "header_from": "a.example.com"}


def test_a_sender_without_dkim() -> None:
    finding = only(facts(messages=messages() + messages([1, 2], **ALONE)), "spf_only")
    assert (finding.subject, finding.severity) == ("Gateway / a.example.com", "info")
    assert finding.messages == 160
    assert "sign with DKIM as d=a.example.com" in finding.action


def test_where_the_policy_blocks_somebody_must_act() -> None:
    some = facts(messages=messages() + messages([1, 2], **ALONE), policies=policies(p="quarantine"))
    assert only(some, "spf_only").severity == "warning"


def test_one_of_ten_signed_is_enough_to_be_left_alone() -> None:
    rows = messages([1, 2], **ALONE) + messages([1, 2], messages=2, **{**ALONE, "class": "aligned"})
    assert not found(facts(messages=messages() + rows), "spf_only")


def test_48_messages_without_dkim_ask_for_no_work() -> None:
    assert not found(facts(messages=messages() + messages([1, 2], messages=6, **ALONE)), "spf_only")
