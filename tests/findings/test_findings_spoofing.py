"""Waves of spoofing, and subdomains that invite it."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest

from tests.support.finding_facts import (
    ALL,
    FOUR,
    SPF,
    STRANGER,
    daily,
    facts,
    found,
    messages,
    only,
    policies,
    reported,
)

BACKGROUND = messages(ALL, **STRANGER, messages=2)
SUBDOMAIN = {**STRANGER, "class": "spoofed_subdomain", "header_from": "billing.example.com"}


def wave(days: Any = (2, 3), **fields: Any) -> list[dict[str, Any]]:
    return messages(days, **{**STRANGER, "messages": 50, **fields})


def attacked(*rows: list[dict[str, Any]], **frames: Any) -> Any:
    return facts(messages=[*messages(), *BACKGROUND, *chain.from_iterable(rows)], **frames)


def test_a_wave_says_how_much_was_delivered() -> None:
    some = attacked(wave(), wave(messages=20, disposition="quarantine"))
    finding = only(some, "spoofing")
    assert (finding.subject, finding.severity) == ("example.com", "warning")
    assert finding.summary == (
        "576 messages from 1 network used example.com without authentication on 21–22 Nov "
        "(usual before: 8 per day): 416 delivered, 160 quarantined, 0 rejected; 4 "
        "reporters."
    )
    assert f"{finding.since}" == "2026-11-21"


@pytest.mark.parametrize(
    ("disposition", "messages_a_row", "severity"),
    [
        ("none", 50, "warning"),
        ("none", 500, "critical"),
        ("quarantine", 500, "info"),
        ("reject", 500, "info"),
    ],
)
def test_what_got_through_decides_how_bad_a_wave_is(
    disposition: str, messages_a_row: int, severity: str
) -> None:
    some = attacked(wave(messages=messages_a_row, disposition=disposition))
    assert only(some, "spoofing").severity == severity


@pytest.mark.parametrize(
    "rows",
    [
        wave(messages=10),
        wave(messages=150, reporters=FOUR[:1], days=[2]),
        wave(in_inventory=True, ours=True, sender="Printers"),
        wave([20, 21]),
        wave(ALL),
    ],
    ids=["48 a day", "150 at one reporter", "our own host", "before the window", "every day"],
)
def test_no_wave(rows: list[dict[str, Any]]) -> None:
    assert not found(facts(messages=messages() + rows), "spoofing")


def test_one_reporter_is_enough_for_many_messages() -> None:
    assert found(attacked(wave(messages=250, reporters=FOUR[:1], days=[2])), "spoofing")


def test_what_authenticates_as_itself_from_few_networks_is_no_spoofing() -> None:
    spf = daily({**SPF, "sender": STRANGER["sender"], "spf_domain": "spam.example"}, [2, 3])
    few = [{"domain": "example.com", "sender": STRANGER["sender"], "source_ip": "203.0.113.9"}]
    many = [{**few[0], "source_ip": f"203.0.{n}.9"} for n in range(4)]
    for sources, waves in ((few, 0), (many, 1)):
        rows = [{**row, "messages": 9} for row in sources]
        assert len(found(attacked(wave(), spf=spf, sources=rows), "spoofing")) == waves


@pytest.mark.parametrize(("n", "waves"), [(50, 1), (15, 0)], ids=["half of all", "few"])
def test_a_new_installation_judges_by_the_share_of_all_mail(n: int, waves: int) -> None:
    young = range(1, 11)
    some = facts(messages=messages(young) + wave(messages=n), reports=reported(young))
    assert len(found(some, "spoofing")) == waves


def test_a_wave_that_lasts_stays_open_and_grows_older() -> None:
    finding = only(attacked(wave(range(1, 31))), "spoofing")
    assert (finding.severity, f"{finding.since}") == ("critical", "2026-10-25")
    assert "It has been going on since 25 Oct." in finding.summary


def test_a_wave_that_is_over_is_info_until_it_leaves_the_window() -> None:
    finding = only(attacked(wave([4, 5, 6], messages=500)), "spoofing")
    assert (finding.severity, "It is over" in finding.summary) == ("info", True)
    assert not found(attacked(wave([8, 9], messages=500)), "spoofing")


def test_nothing_can_be_done_in_dns_about_what_is_delivered_at_reject() -> None:
    finding = only(attacked(wave(), policies=policies(p="reject")), "spoofing")
    assert finding.action.startswith("Nothing can be done in DNS")
    below = {"header_from": "billing.example.com"}
    some = attacked(wave(**below), policies=policies(p="reject", sp="none"))
    assert "The policy is p=reject; sp=none" in only(some, "spoofing").action


def test_the_second_wave_counts_as_well() -> None:
    finding = only(attacked(wave([12, 13]), wave([1, 2])), "spoofing")
    assert f"{finding.first_day}" == "2026-11-22"


def test_a_subdomain_that_strangers_use() -> None:
    finding = only(attacked(messages([1, 2], **SUBDOMAIN, messages=3)), "subdomain_exposed")
    assert (finding.subject, finding.severity) == ("billing.example.com", "warning")
    assert "24 messages used billing.example.com" in finding.summary
    assert "set sp=reject; leave the rest" in finding.action


def test_sp_is_not_proposed_while_subdomains_fail_legitimately() -> None:
    failing = messages(
        [1, 2], header_from="crm.example.com", da=False, sa=False, **{"class": "broken_dkim"}
    )
    finding = only(attacked(messages([1, 2], **SUBDOMAIN), failing), "subdomain_exposed")
    assert "First settle who sends crm.example.com:" in finding.action
    passing = messages([20], header_from="crm.example.com")
    finding = only(attacked(messages([1, 2], **SUBDOMAIN), failing, passing), "subdomain_exposed")
    assert "set np=reject; leave the rest" in finding.action
    assert "sp=reject would block 160 messages" in finding.action


@pytest.mark.parametrize(
    ("tags", "severity"),
    [
        ({"p": "quarantine"}, "info"),
        ({"p": "reject", "sp": "none"}, "warning"),
        ({"p": "reject", "sp": "reject", "np": "none"}, "warning"),
        ({"p": "reject", "sp": "none", "np": "reject"}, "info"),
    ],
)
def test_exposed_is_what_the_policy_for_subdomains_lets_through(
    tags: dict[str, str], severity: str
) -> None:
    some = attacked(messages([1, 2], **SUBDOMAIN), policies=policies(**tags))
    assert only(some, "subdomain_exposed").severity == severity


def test_nothing_is_due_at_reject() -> None:
    some = attacked(messages([1, 2], **SUBDOMAIN), policies=policies(p="reject"))
    finding = only(some, "subdomain_exposed")
    assert finding.severity == "info"
    assert finding.action.startswith("No action needed")


def test_nine_messages_expose_nothing() -> None:
    rows = messages([1], **SUBDOMAIN, messages=3, reporters=FOUR[:3])
    assert not found(attacked(rows), "subdomain_exposed")


def names(n: int, each: int) -> list[dict[str, Any]]:
    rows = [messages([1], **{**SUBDOMAIN, "header_from": f"x{i}.example.com"}) for i in range(n)]
    return [{**row, "messages": each} for part in rows for row in part[:1]]


@pytest.mark.parametrize(
    ("rows", "subjects"),
    [
        (names(3, 40), ["x0.example.com", "x1.example.com", "x2.example.com"]),
        (names(5, 40), ["*.example.com"]),
        (names(60, 1), ["*.example.com"]),
        (names(40, 1), []),
        (names(1, 500) + names(9, 3)[1:], ["x0.example.com"]),
    ],
    ids=["a few", "many", "many with one message each", "too few", "one, and strays"],
)
def test_many_names_are_one_finding(rows: list[dict[str, Any]], subjects: list[str]) -> None:
    some = attacked(rows)
    assert sorted(f.subject for f in found(some, "subdomain_exposed")) == subjects
