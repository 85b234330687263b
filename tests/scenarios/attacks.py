"""Spoofing: waves, background, subdomains, parked domains."""

from __future__ import annotations

from typing import Any

from dmarckit.demo.flows import Flow, spf
from dmarckit.demo.reporters import MAIL
from tests.scenarios.people import FIVE, office, service, spoofed
from tests.scenarios.scenario import Absent, Expect, Scenario, before_end, domain, scenario
from tests.support.reporters import WEEKLY

BACKGROUND = spoofed(name="background", messages=6, noise=0.3)
WAVE = spoofed(since=before_end(4), until=before_end(2), noise=0.05)


def wave(p: str, severity: str | None) -> Scenario:
    """The same two days of attack under another policy."""
    return scenario(
        f"a spoofing wave at p={p}",
        "600 messages in two days, where 6 a day are usual",
        office(),
        service(),
        BACKGROUND,
        WAVE,
        domains=[domain(p=p, sp=p)],
        expected=[Expect("spoofing", "example.com", severity, messages=(300, 720))],
        absent=["new_sender", "policy_not_honoured"],
        whole_way=p == "none",
        days=40,
    )


def fake_bills(**changes: Any) -> Flow:
    """Mail from a subdomain that does not exist."""
    usual: dict[str, Any] = {
        "name": "fake bills",
        "header_from": "billing.example.com",
        "messages": 5,
        "noise": 0.0,
        "expected": "spoofed_subdomain",
        "spf": spf("billing.example.com", "none"),
    }
    return spoofed(**{**usual, **changes})


def at_one_reporter(messages: int) -> Flow:
    """A day of attack that one reporter alone has seen."""
    return spoofed(
        messages=messages,
        since=before_end(3),
        until=before_end(2),
        noise=0.0,
        reporters={MAIL.org_name: 1.0},
    )


ATTACKS = (
    wave("none", "alert"),
    wave("quarantine", None),
    wave("reject", "quiet"),
    scenario(
        "40 spoofed messages in a day",
        "far above the median, but fewer than 50",
        office(),
        BACKGROUND,
        spoofed(messages=30, since=before_end(3), until=before_end(2), noise=0.0),
        absent=["spoofing"],
    ),
    scenario(
        "a wave at a single reporter",
        "one reporter alone may be mistaken",
        office(),
        at_one_reporter(150),
        absent=["spoofing"],
    ),
    scenario(
        "a large wave at a single reporter",
        "from 200 messages on one reporter is enough",
        office(),
        at_one_reporter(300),
        expected=[Expect("spoofing", "example.com", "alert", says="1 reporter")],
    ),
    scenario(
        "much spoofing every day",
        "200 a day for weeks are no wave",
        office(),
        spoofed(messages=200, noise=0.1),
        absent=["spoofing"],
    ),
    scenario(
        "a weekly report full of spoofing",
        "140 messages in a report of seven days are 20 a day, not 140 on Monday",
        office(),
        spoofed(messages=22, noise=0.0, reporters={WEEKLY.org_name: 10.0, MAIL.org_name: 1.0}),
        reporters=(*FIVE, WEEKLY),
        absent=["spoofing", "reporter_silent"],
        whole_way=True,
        days=43,
    ),
    scenario(
        "a subdomain that nobody uses",
        "fake bills from a name that never passed: np or sp would stop them",
        office(),
        fake_bills(),
        expected=[Expect("subdomain_exposed", "billing.example.com")],
        absent=["spoofing", "new_sender"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "seven messages from a subdomain",
        "fewer than ten",
        office(),
        fake_bills(messages=1),
        absent=["subdomain_exposed"],
    ),
    scenario(
        "failures from a subdomain in use",
        "support.example.com passes, too: its failures are not those of a made-up name",
        office(),
        office(
            name="support",
            header_from="support.example.com",
            spf=spf("support.example.com"),
            messages=10,
        ),
        fake_bills(header_from="support.example.com", expected="unauthenticated"),
        absent=["subdomain_exposed", "spoofing"],
    ),
    scenario(
        "a subdomain with its own record",
        "two records, two domains; each has its own step",
        office(),
        office(
            name="support",
            header_from="support.example.com",
            spf=spf("support.example.com"),
            messages=40,
        ),
        domains=[domain(p="reject"), domain("support.example.com", p="none")],
        expected=[
            Expect("policy_ready", "p=quarantine; t=y", "quiet", domain="support.example.com")
        ],
        absent=["subdomain_exposed", Absent("policy_ready", "p=reject"), "policy_changed"],
        whole_way=True,
        days=25,
    ),
    scenario(
        "a parked domain",
        "nothing is ever sent, a little is spoofed",
        office(),
        spoofed(
            name="parked", header_from="example.net", messages=6, spf=spf("example.net", "fail")
        ),
        domains=[domain(p="reject"), domain("example.net", p="none")],
        absent=["new_sender", "sender_stopped", "spoofing", "subdomain_exposed"],
    ),
    scenario(
        "a parked domain is attacked",
        "no sender of its own, and 300 messages a day",
        office(),
        spoofed(
            name="parked",
            header_from="example.net",
            messages=4,
            spf=spf("example.net", "fail"),
        ),
        spoofed(
            name="attack",
            header_from="example.net",
            since=before_end(4),
            until=before_end(2),
            spf=spf("example.net", "fail"),
        ),
        domains=[domain(p="reject"), domain("example.net", p="none")],
        expected=[Expect("spoofing", "example.net", "alert", domain="example.net")],
    ),
)
