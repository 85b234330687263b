"""The ladder of policies, changes of the published record, and receivers that ignore it."""

from __future__ import annotations

from typing import Any

from dmarckit.demo.flows import Domain, between, spf
from dmarckit.demo.reporters import INBOX, MAIL, NEXT_MAIL
from dmarckit.reports.model import Reason
from tests.scenarios.people import DECLARED_SALESDESK, FIVE, FOUR, office, sales, service, spoofed
from tests.scenarios.scenario import END, Absent, Expect, Scenario, before_end, domain, scenario
from tests.support.reporters import FREE_MAIL

SALES_KNOWN = {"senders": [DECLARED_SALESDESK]}


def rung(step: str, **tags: Any) -> Scenario:
    """A healthy domain at one rung; `step` is the next."""
    name = " ".join(f"{k}={v}" for k, v in tags.items())
    return scenario(
        f"ready for the step after {name}",
        "nothing legitimate fails: one step further",
        office(),
        service(),
        domains=[domain(**tags)],
        reporters=FIVE,
        expected=[Expect("policy_ready", step, "quiet")],
        absent=[Absent("policy_ready", other) for other in STEPS if other != step],
    )


def unready(name: str, why: str, *flows: Any, **more: Any) -> Scenario:
    """A domain that must stay where it is."""
    more.setdefault("absent", ["policy_ready"])
    return scenario(f"not ready: {name}", why, *flows, **more)


def failing(share: float, **changes: Any) -> Any:
    """An unaligned service with about this share of 1000 messages a day."""
    return sales(messages=1000 * share, noise=0.0, **changes)


STEPS = ("p=quarantine; t=y", "p=quarantine", "p=reject; t=y", "p=reject")
UNALIGNED = Expect("unaligned_sender", "Salesdesk", "alert")
STEADY = office(messages=1000, noise=0.02)
PUBLISHED = domain("example.com", (before_end(4), {"p": "quarantine"}), p="none", sp="none")


def _silent_reject(**tags: Any) -> Domain:
    return domain(**{"p": "reject", "sp": "reject", **tags})


POLICIES = (
    rung("p=quarantine; t=y", p="none"),
    rung("p=quarantine", p="quarantine", testing="y"),
    rung("p=reject; t=y", p="quarantine"),
    rung("p=reject", p="reject", testing="y"),
    scenario(
        "the ladder's end",
        "p=reject without t has no next step",
        office(),
        domains=[domain(p="reject")],
        absent=["policy_ready"],
    ),
    scenario(
        "1.5 % fail at p=none",
        "enough for the first step",
        STEADY,
        failing(0.015),
        settings=SALES_KNOWN,
        expected=[UNALIGNED, Expect("policy_ready", "p=quarantine; t=y", "quiet")],
    ),
    unready(
        "1.5 % fail at p=quarantine",
        "too much for the third step",
        STEADY,
        failing(0.015),
        settings=SALES_KNOWN,
        domains=[domain(p="quarantine")],
        expected=[UNALIGNED],
    ),
    unready(
        "3 % fail at p=quarantine; t=y",
        "too much for the second step",
        STEADY,
        failing(0.03),
        settings=SALES_KNOWN,
        domains=[domain(p="quarantine", testing="y")],
        expected=[UNALIGNED],
    ),
    unready(
        "0.8 % fail at p=reject; t=y",
        "too much for the last step",
        STEADY,
        failing(0.008),
        settings=SALES_KNOWN,
        domains=[domain(p="reject", testing="y")],
        expected=[UNALIGNED],
    ),
    unready(
        "12 % fail at p=none",
        "a service of our own fails",
        STEADY,
        failing(0.14),
        settings=SALES_KNOWN,
        expected=[UNALIGNED],
    ),
    unready(
        "60 messages",
        "no failure among 60 messages proves little: up to 6 % may fail",
        office(messages=2, noise=0.0),
        days=60,
    ),
    unready(
        "150 messages at p=quarantine; t=y",
        "enough for the first step, not for the second",
        office(messages=5, noise=0.0),
        domains=[domain(p="quarantine", testing="y")],
        reporters=FIVE,
        days=60,
    ),
    scenario(
        "150 messages at p=none",
        "no failure among 150 messages: at most 2.5 % fail",
        office(messages=5, noise=0.0),
        reporters=(MAIL, INBOX),
        expected=[Expect("policy_ready", "p=quarantine; t=y", "quiet")],
        days=60,
    ),
    unready("one reporter", "a single receiver is one opinion", office(), reporters=(MAIL,)),
    unready("ten days", "two weeks of data are the least", office(), service(), days=10),
    unready(
        "an open broken key",
        "few messages fail yet, but the key is broken",
        office(messages=1000),
        service(broken=between(before_end(3), END, 0.3), expected_broken="broken_dkim"),
        expected=[Expect("broken_dkim", "example.com/pw1", "alert")],
    ),
    scenario(
        "spoofing does not keep from the next step",
        "a third of all messages is spoofed, none of ours fails",
        office(),
        service(),
        spoofed(messages=90, noise=0.05),
        expected=[Expect("policy_ready", "p=quarantine; t=y", "quiet")],
        absent=["spoofing"],
    ),
    scenario(
        "a policy change in mid-window",
        "since four days the reporters quote p=quarantine",
        office(),
        service(),
        domains=[PUBLISHED],
        expected=[Expect("policy_changed", "p")],
        absent=[Absent("policy_changed", tag) for tag in ("sp", "pct", "adkim", "testing")],
        whole_way=True,
        days=30,
    ),
    scenario(
        "a policy change a month ago",
        "old news",
        office(),
        domains=[domain("example.com", (before_end(33), {"p": "quarantine"}), p="none", sp="none")],
        absent=["policy_changed"],
        days=60,
    ),
    scenario(
        "reporters quote in their own ways",
        "absent tags, defaults written out, tags that only some know: no change",
        office(),
        domains=[domain(p="quarantine", testing="y", np="reject")],
        reporters=FIVE,
        absent=["policy_changed"],
        whole_way=True,
        days=25,
    ),
    scenario(
        "a receiver does not honour p=reject",
        "21 spoofed messages delivered without a reason",
        office(),
        spoofed(messages=3, noise=0.0, disposition="none", reporters={INBOX.org_name: 1.0}),
        domains=[_silent_reject()],
        expected=[Expect("policy_not_honoured", INBOX.org_name)],
        absent=["spoofing"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "a receiver lets 7 messages through",
        "fewer than ten",
        office(),
        spoofed(messages=1, noise=0.0, disposition="none", reporters={INBOX.org_name: 1.0}),
        domains=[_silent_reject()],
        absent=["policy_not_honoured"],
    ),
    scenario(
        "a receiver says why it delivers",
        "a reason is an answer",
        office(),
        spoofed(
            messages=5,
            disposition="none",
            reporters={INBOX.org_name: 1.0},
            reasons=(Reason("other", "recipient asked for it"),),
        ),
        domains=[_silent_reject()],
        absent=["policy_not_honoured"],
    ),
    scenario(
        "delivered in test mode",
        "t=y asks not to reject",
        office(),
        spoofed(messages=5, disposition="none", reporters={NEXT_MAIL.org_name: 1.0}),
        domains=[_silent_reject(testing="y")],
        reporters=(NEXT_MAIL, MAIL, INBOX, FREE_MAIL),
        absent=["policy_not_honoured"],
    ),
    scenario(
        "delivered at p=quarantine",
        "the finding is about p=reject",
        office(),
        spoofed(messages=5, disposition="none", spf=spf("example.com", "none")),
        domains=[domain(p="quarantine")],
        reporters=FOUR,
        absent=["policy_not_honoured"],
    ),
)
