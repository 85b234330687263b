"""Mail that passes and is not like ours: names taken over, keys stolen, messages replayed."""

from __future__ import annotations

from typing import Any

import pytest

from dmarckit.facts.frames import Facts
from tests.support.finding_facts import (
    ALL,
    MESSAGES,
    SIGNATURE,
    SPF,
    daily,
    day,
    facts,
    found,
    messages,
    only,
)

SHOP = {"header_from": "old-shop.example.com", "sender": "example.com"}
NEW = [f"203.0.{n}.7" for n in range(5)]


def seen_at(sender: str, addresses: list[str], ago: int) -> list[dict[str, Any]]:
    """Rows of `Facts.sources`: addresses that the sender has sent from since some days ago."""
    base = {
        "domain": "example.com",
        "sender": sender,
        "messages": 9,
        "last_day": day(1),
        "failed": 0,
    }
    return [{**base, "source_ip": ip, "first_day": day(ago)} for ip in addresses]


def taken_over(days: Any = (1, 2), addresses: Any = NEW, ago: int = 2, **fields: Any) -> Facts:
    rows = messages(days, **{**SHOP, "messages": 10, **fields})
    name = fields.get("sender", "example.com")
    sources = seen_at(name, list(addresses), ago) + seen_at("example.com", ["192.0.2.1"], 60)
    return facts(messages=messages() + rows, sources=sources)


def test_a_subdomain_that_was_taken_over() -> None:
    finding = only(taken_over(), "passing_abuse")
    assert (finding.subject, finding.severity, finding.messages) == (
        "old-shop.example.com", "warning", 80,
    )  # fmt: skip
    assert "a name that never sent before" in finding.summary
    assert "from 5 networks never seen before" in finding.summary
    assert "CNAME" in finding.action
    assert only(taken_over(messages=100), "passing_abuse").severity == "critical"


def test_what_lasts_stays_open_for_weeks() -> None:
    for some in (taken_over(days=range(1, 21), ago=20), forwarded(50, 2, weeks=3)):
        finding = only(some, "passing_abuse")
        assert f"{finding.since}" == ("2026-11-04" if "shop" in finding.subject else "2026-11-03")


@pytest.mark.parametrize(
    "some",
    [
        taken_over(addresses=NEW[:3]),
        taken_over(ago=40),
        taken_over(addresses=[f"192.0.2.{n}" for n in range(5)]),
        taken_over(days=[2], messages=20),
        taken_over(messages=5),
        taken_over(days=[1, 2, 40]),
        taken_over(sender="Postwagon", sender_kind="marketing"),
    ],
    ids=[
        "three networks",
        "known addresses",
        "our own network",
        "one day",
        "40 messages",
        "it sent before",
        "a known service",
    ],
)
def test_a_subdomain_of_our_own(some: Facts) -> None:
    assert not found(some, "passing_abuse")


def signed(networks: int = 5, selector: str = "s9", result: str = "fail", **fields: Any) -> Facts:
    """Messages that pass with a signature of the last two days, each from a network."""
    rows, signatures, sources, spf = [], [], [], []
    for n in range(networks):
        name = f"203.0.{n}.0/24"
        who = {"sender": name, **fields}
        rows += daily({**MESSAGES, "sender_kind": "unknown", "sa": False, "class": "dkim_only",
                       "messages": 3, **who}, [1, 2])  # fmt: skip
        signatures += daily({**SIGNATURE, "selector": selector, "messages": 3, **who}, [1, 2])
        spf += daily({**SPF, **who, "spf_domain": "mx.example", "result": result}, [1, 2])
        sources += seen_at(name, [f"203.0.{n}.7"], 2)
    return facts(
        messages=messages() + rows,
        signatures=daily(SIGNATURE) + signatures,
        spf=spf,
        sources=sources,
    )


def test_a_key_that_was_stolen() -> None:
    finding = only(signed(), "passing_abuse")
    assert (finding.subject, finding.messages) == ("example.com/s9", 5 * 3 * 4 * 2)
    assert "whose selector was never seen before" in finding.summary


@pytest.mark.parametrize(
    "some",
    [signed(networks=3), signed(selector="s1"), signed(result="pass")],
    ids=["three networks", "a selector in use", "SPF passes for its senders"],
)
def test_a_key_of_our_own(some: Facts) -> None:
    assert not found(some, "passing_abuse")


OWNER = {"domain": "example.com", "sender": "example.com", "declared": False}


def forwarded(now: int, before: int, weeks: int = 1) -> Facts:
    """Mail signed by the office that another delivers: messages a day and reporter."""
    relay = {**SIGNATURE, "sender": "pills.example"}
    rows = daily({**relay, "messages": now}, range(1, 7 * weeks + 1))
    rows += daily({**relay, "messages": before}, range(7 * weeks + 1, 61))
    return facts(
        messages=messages(),
        signatures=daily(SIGNATURE, ALL) + rows,
        inventory=[{**OWNER, "owns": (("example.com", "s1"),)}],
    )


def test_a_signed_message_that_is_sent_again() -> None:
    finding = only(forwarded(50, 2), "passing_abuse")
    assert (finding.subject, finding.severity) == ("example.com/s1", "critical")
    assert "of which 1,400 were delivered by others than its owner (pills.example)" in (
        finding.summary
    )
    assert "only 560 by the owner; usual are 56 a week" in finding.summary


@pytest.mark.parametrize(("now", "before"), [(50, 50), (39, 2)], ids=["as usual", "below twice"])
def test_mail_that_many_forward(now: int, before: int) -> None:
    assert not found(forwarded(now, before), "passing_abuse")
