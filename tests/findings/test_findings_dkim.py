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
    day,
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
        "DKIM failed for 240 messages of 240 signed example.com/s1 (100%) on 21–23 Nov; in the "
        "28 days before: 0%."
    )
    assert "DNS admin: check the TXT record (or CNAME) s1._domainkey.example.com" in (
        finding.action
    )


def test_one_finding_for_a_key_of_two_senders() -> None:
    both = broken_since(3) + broken_since(3, sender="Gateway")
    assert only(with_signatures(both), "broken_dkim").evidence["cause"] == "key"


def test_one_of_two_senders_is_the_signer() -> None:
    finding = only(with_signatures(signed() + broken_since(3, sender="Gateway")), "broken_dkim")
    assert finding.evidence["cause"] == "signer"
    assert "Only mail signed by Gateway" in finding.summary
    assert finding.evidence["senders_failing"] == {"Gateway": 240}


def test_a_part_of_the_only_sender_is_the_signer() -> None:
    partly = signed() + signed(range(1, 4), passed=False)
    finding = only(with_signatures(partly), "broken_dkim")
    assert finding.evidence["cause"] == "signer"
    assert "Some example.com mail signed with the same key still verifies" in finding.summary


def test_one_reporter_alone_is_wrong_itself() -> None:
    alone = broken_since(3, reporters=FOUR[:1]) + signed(reporters=FOUR[1:])
    finding = only(with_signatures(alone), "broken_dkim")
    assert (finding.evidence["cause"], finding.severity) == ("reporter", "info")
    assert "Only Receiver One reports it" in finding.summary


def test_blocked_mail_makes_it_critical() -> None:
    blocked = messages([1, 2], disposition="reject", da=False, sa=False, **{"class": "broken_dkim"})
    broken = broken_since(3, disposition="reject")
    finding = only(with_signatures(broken, messages=messages() + blocked), "broken_dkim")
    assert (finding.severity, finding.lost) == ("critical", 240)
    assert "In the last 7 days receivers rejected 240 messages of example.com." in finding.summary


@pytest.mark.parametrize(
    "signatures",
    [
        signed() + signed(messages=1, passed=False),
        signed() + signed(range(1, 4), messages=1, passed=False),
        signed() + broken_since(3, messages=1, reporters=FOUR[:3], sender="Gateway", selector="s2"),
        broken_since(3, in_inventory=False, ours=False),
        broken_since(3, aligned=False),
        signed(range(1, 3), passed=False, living=False),
        broken_since(3, covered=True),
    ],
    ids=[
        "always some",
        "under five points",
        "9 messages",
        "not our sender",
        "not our signature",
        "never verified, on two days",
        "another signature proves it",
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


def test_a_key_that_was_never_published() -> None:
    never = signed(range(1, 4), passed=False, living=False)
    finding = only(with_signatures(never), "broken_dkim")
    assert (finding.evidence["cause"], finding.severity) == ("unpublished", "warning")
    assert "nobody has verified this signature in 90 days" in finding.summary
    assert "publish the record s1._domainkey.example.com" in finding.action
    assert "Put back" not in finding.action


def test_a_new_selector_that_was_never_published_names_the_old_one() -> None:
    rotated = signed(range(5, 61)) + signed(range(1, 5), selector="s2", passed=False, living=False)
    finding = only(with_signatures(rotated), "broken_dkim")
    assert finding.subject == "example.com/s2"
    assert "signed with the selector s1, which verified" in finding.summary


@pytest.mark.parametrize("days", [3, 10, 40])
def test_what_lasts_stays_open(days: int) -> None:
    finding = only(with_signatures(broken_since(days)), "broken_dkim")
    assert finding.since == day(days).date()
    assert finding.evidence["share_before"] == 0


def test_what_was_mended_is_not_broken() -> None:
    mended = signed(range(10, 61)) + signed(range(4, 10), passed=False) + signed(range(1, 4))
    assert not found(with_signatures(mended), "broken_dkim")


def test_it_broke_again_since_three_days() -> None:
    again = signed(range(20, 61)) + signed(range(12, 20), passed=False) + signed(range(4, 12))
    finding = only(with_signatures(again + signed(range(1, 4), passed=False)), "broken_dkim")
    assert finding.since == day(3).date()


def host(ip: str, failed: int, passed: int) -> dict[str, Any]:
    row = {"domain": "example.com", "dkim_domain": "example.com", "selector": "s1"}
    return row | {"source_ip": ip, "failed": failed, "passed": passed, "hosts": 2}


def source(ip: str, first: int) -> dict[str, Any]:
    row = {"domain": "example.com", "sender": "example.com", "source_ip": ip, "messages": 50}
    return row | {"failed": 0, "first_day": day(first), "last_day": day(1)}


def test_one_host_of_two_is_named_alone() -> None:
    partly = signed() + signed(range(1, 4), passed=False)
    finding = only(
        with_signatures(
            partly,
            failing_hosts=[host("192.0.2.1", 240, 0), host("192.0.2.2", 0, 240)],
            sources=[source("192.0.2.1", 60), source("192.0.2.2", 60)],
        ),
        "broken_dkim",
    )
    assert finding.evidence["cause"] == "host"
    assert "Only the host 192.0.2.1 is affected" in finding.summary
    assert "on the host 192.0.2.1 only" in finding.action


def test_mail_that_moved_needs_no_other_record() -> None:
    finding = only(
        with_signatures(
            broken_since(3),
            failing_hosts=[host("203.0.113.9", 240, 0)],
            sources=[source("192.0.2.1", 60), source("203.0.113.9", 3)],
        ),
        "broken_dkim",
    )
    assert finding.evidence["cause"] == "moved"
    assert "Put back" not in finding.action
    assert "needs no change" in finding.action


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
        "SPF of example.com could not be evaluated for 40 messages of 80 (50.0%) on "
        "22–23 Nov: 40 permerror, 0 temperror."
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
