"""Senders that are new, gone, or not aligned."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.finding_facts import (
    ALL,
    FOUR,
    SERVICE,
    STRANGER,
    UNALIGNED,
    day,
    facts,
    found,
    messages,
    only,
    reported,
)


def owned(**fields: Any) -> dict[str, Any]:
    row = {"domain": "example.com", "sender": "Postwagon", "sender_kind": "marketing"}
    row |= {"declared": False, "sa_messages": 0, "owns": (("example.com", "pw1"),)}
    return row | {"messages": 100, "first_day": day(60), "last_day": day(1)} | fields


def source(sender: str, ip: str, last: int = 1) -> dict[str, Any]:
    row = {"domain": "example.com", "sender": sender, "source_ip": ip, "messages": 50}
    return row | {"failed": 0, "first_day": day(60), "last_day": day(last)}


def test_a_sender_first_seen_in_the_window_is_new() -> None:
    some = facts(messages=messages() + messages(range(1, 4), **SERVICE))
    finding = only(some, "new_sender")
    assert (finding.subject, finding.severity, finding.messages) == ("Postwagon", "info", 240)
    assert finding.summary == (
        "Postwagon (marketing) sends as example.com for the first time in 90 days: 240 messages "
        "on 21–23 Nov, and it passes DMARC by DKIM."
    )
    assert "dmarckit senders declare Postwagon --domain example.com" in finding.action


def test_a_declared_new_sender_needs_nothing() -> None:
    some = facts(
        messages=messages() + messages(range(1, 4), **SERVICE), inventory=[owned(declared=True)]
    )
    assert only(some, "new_sender").action.startswith("No action needed")


@pytest.mark.parametrize(
    "rows",
    [
        messages([40, 1, 2], **SERVICE),
        messages([1], reporters=FOUR[:1], **SERVICE),
        messages([1, 2], reporters=FOUR[:1], messages=4, **{"sender": "Postwagon"}),
        messages([1, 2], **STRANGER),
    ],
    ids=["seen before", "one day, one reporter", "8 messages", "unauthenticated"],
)
def test_no_new_sender(rows: list[dict[str, Any]]) -> None:
    assert not found(facts(messages=messages() + rows), "new_sender")


def test_a_new_sender_of_a_large_domain_needs_a_thousandth() -> None:
    office = messages(messages=5000)
    small = messages([1, 2], **{**SERVICE, "messages": 12})
    assert not found(facts(messages=office + small), "new_sender")


def test_nothing_is_new_in_a_new_installation() -> None:
    young = range(1, 20)
    some = facts(
        messages=messages(young) + messages([1, 2], **SERVICE), reports=reported(range(1, 20))
    )
    assert not found(some, "new_sender")


def test_a_sender_that_stops() -> None:
    some = facts(
        messages=messages() + messages(range(5, 61), **SERVICE), inventory=[owned(last_day=day(5))]
    )
    finding = only(some, "sender_stopped")
    assert (finding.subject, finding.severity) == ("Postwagon", "warning")
    assert finding.summary == (
        "No mail from Postwagon as example.com since 19 Nov. Before that: 2,240 messages on "
        "28 of 28 days."
    )
    assert "pw1._domainkey.example.com" in finding.action


def test_a_quiet_sender_that_stops_is_only_worth_knowing() -> None:
    rows = messages(range(5, 61), **{**SERVICE, "messages": 2})
    assert only(facts(messages=messages() + rows), "sender_stopped").severity == "info"


def test_two_days_are_no_stop() -> None:
    some = facts(messages=messages() + messages(range(3, 61), **SERVICE))
    assert not found(some, "sender_stopped")


def test_a_sender_of_few_days_is_not_missed() -> None:
    some = facts(messages=messages() + messages(range(5, 61, 2), **SERVICE))
    assert not found(some, "sender_stopped")


def test_days_that_are_not_complete_are_no_silence() -> None:
    late = reported(range(4, 61)) + reported(range(1, 4), FOUR[:2])
    some = facts(messages=messages() + messages(range(4, 61), **SERVICE), reports=late)
    assert not found(some, "sender_stopped")


def test_a_silent_reporter_is_no_stopped_sender() -> None:
    five = (*FOUR, "Receiver Five")
    reports = reported(ALL, FOUR) + reported(range(4, 61), five[4:])
    rows = messages(range(4, 61), reporters=five[4:], **SERVICE)
    assert not found(facts(messages=messages() + rows, reports=reports), "sender_stopped")


def test_addresses_that_go_on_under_another_name_have_not_stopped() -> None:
    rows = messages(range(5, 61), **SERVICE) + messages(range(1, 5), sender="192.0.2.0/24")
    sources = [source("Postwagon", "192.0.2.7", last=5), source("192.0.2.0/24", "192.0.2.7")]
    assert not found(facts(messages=messages() + rows, sources=sources), "sender_stopped")


def test_a_neighbour_at_the_same_addresses_does_not_hide_a_stop() -> None:
    rows = messages(range(5, 61), **SERVICE) + messages(sender="surveys.example")
    sources = [source("Postwagon", "192.0.2.7", last=5), source("surveys.example", "192.0.2.7")]
    assert found(facts(messages=messages() + rows, sources=sources), "sender_stopped")


def test_a_sender_that_is_not_ours_may_stop() -> None:
    rows = messages(range(5, 61), **{**SERVICE, "in_inventory": False})
    assert not found(facts(messages=messages() + rows), "sender_stopped")


def test_an_unaligned_service_is_named_with_what_it_proves() -> None:
    spf = {"domain": "example.com", "sender": "Salesdesk", "spf_domain": "b.salesdesk.example"}
    spf |= {"result": "pass", "messages": 5, "day": day(1), "reporter": FOUR[0]}
    some = facts(messages=messages() + messages([1, 2], messages=5, **UNALIGNED), spf=[spf])
    finding = only(some, "unaligned_sender")
    assert (finding.severity, finding.messages, finding.reporters) == ("warning", 40, 4)
    assert "passes for b.salesdesk.example, not for example.com (4 reporters)." in finding.summary
    assert "All were delivered." in finding.summary
    assert "d=example.com" in finding.action
    assert finding.evidence["proves_spf"] == {"b.salesdesk.example": 5}


def test_an_unaligned_service_of_ours_that_is_blocked_is_critical() -> None:
    ours = {**UNALIGNED, "in_inventory": True, "disposition": "reject"}
    finding = only(facts(messages=messages() + messages([1, 2], **ours)), "unaligned_sender")
    assert finding.severity == "critical"
    assert "receivers rejected 160 messages of Salesdesk." in finding.summary
    assert (finding.lost, finding.cause) == (160, "unaligned_sender Salesdesk")


def test_nine_unaligned_messages_are_none() -> None:
    few = messages([1], messages=3, reporters=FOUR[:3], **UNALIGNED)
    assert not found(facts(messages=messages() + few), "unaligned_sender")
