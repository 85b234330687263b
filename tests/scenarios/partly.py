"""Mail that fails in part or now and then, what was mended, and what was decided."""

from __future__ import annotations

from typing import Any

from dmarckit.demo.flows import DemoSender, Flow, spf, valid
from tests.scenarios.people import MAIL, failed, office, sales, service, spoofed
from tests.scenarios.scenario import (
    LONG_AGO,
    NOW,
    UNTOLD,
    Expect,
    before_end,
    domain,
    run,
    scenario,
)
from tests.scenarios.wanted import ago, unlisted

SENDGRID = DemoSender("Twilio SendGrid", "email service")
MONDAYS = (1, 0, 0, 0, 0, 0, 0)
REJECTED = [domain(p="reject")]
ZENDESK: dict[str, Any] = {
    "sender": DemoSender("Zendesk", "ticketing"),
    "dkim": (valid("zendesk.com", "z1"),),
    "spf": spf("mail.zendesk.com"),
    "messages": 40,
}


def default_account(**changes: Any) -> Flow:
    """Mail of SendGrid as it is out of the box."""
    usual: dict[str, Any] = {
        "name": "out of the box",
        "sender": SENDGRID,
        "dkim": (valid("sendgrid.net", "smtpapi"),),
        "spf": spf("u123.wl.sendgrid.net"),
        "messages": 40,
    }
    return sales(**{**usual, **changes})


def own_account(**changes: Any) -> Flow:
    """Mail of SendGrid with the domain set up there."""
    usual: dict[str, Any] = {
        "name": "set up",
        "dkim": (valid("example.com", "s7"), valid("sendgrid.net", "smtpapi")),
        "spf": spf("em1.example.com"),
        "expected": "aligned",
    }
    return default_account(**{**usual, **changes})


PARTLY = (
    scenario(
        "one of two accounts at a service is not set up",
        "what passes is not what the failing mail proves, and need not be set up again",
        office(),
        own_account(messages=60),
        default_account(messages=8, addresses=("198.51.100.80",)),
        domains=REJECTED,
        expected=[
            Expect(
                "unaligned_sender",
                "Twilio SendGrid",
                "critical",
                says="part of it is set up",
                never=("em1.example.com", "add example.com there"),
            )
        ],
        absent=["mail_lost", "sender_stopped"],
    ),
    scenario(
        "a second account that sends every other Monday",
        "the days between, with good mail, do not show that it is over",
        office(),
        own_account(messages=60),
        default_account(
            messages=lambda d: 60 if d.weekday() == 0 and (d - LONG_AGO).days // 7 % 2 == 0 else 0,
            addresses=("198.51.100.80",),
        ),
        domains=REJECTED,
        days=80,
        runs=(
            run(ago(20), Expect("unaligned_sender", "Twilio SendGrid", "critical")),
            run(
                ago(11),
                Expect("unaligned_sender", status="SAME", says="These numbers are from"),
            ),
            run(
                ago(6), Expect("unaligned_sender", status="SAME", never=("These numbers are from",))
            ),
        ),
    ),
    scenario(
        "a service was set up four days ago",
        "what was lost before that is neither news nor open after three good days",
        office(),
        default_account(until=before_end(4)),
        own_account(since=before_end(4)),
        domains=REJECTED,
        runs=(
            run(ago(4), Expect("unaligned_sender", "Twilio SendGrid", "critical")),
            run(
                ago(2),
                Expect("unaligned_sender", says="on all of it passes", never=("CNAME", "part of")),
            ),
            run(
                NOW,
                Expect("unaligned_sender", status="RESOLVED"),
                absent=["mail_lost"],
            ),
        ),
    ),
    scenario(
        "a key was put back two days ago",
        "it fails no more: neither the signer nor a record has to change",
        office(),
        service(until=before_end(12)),
        service(
            name="broken",
            since=before_end(12),
            until=before_end(4),
            dkim=(failed("example.com", "pw1"), valid("postwagon.example", "k1")),
            expected="broken_dkim",
        ),
        service(name="mended", since=before_end(4)),
        domains=REJECTED,
        runs=(
            run(ago(4), Expect("broken_dkim", "example.com/pw1", "critical")),
            run(
                ago(2),
                Expect(
                    "broken_dkim",
                    says="verified again",
                    never=("still verifies", "Put back", "check signing"),
                ),
            ),
            run(NOW, Expect("broken_dkim", status="RESOLVED"), absent=["mail_lost"]),
        ),
    ),
    scenario(
        "key and SPF record went on the same day",
        "who puts the key back alone has mended half of it",
        office(until=before_end(5)),
        office(
            name="zone lost",
            since=before_end(5),
            dkim=(failed("example.com", "s1", "permerror"),),
            spf=spf("example.com", "none"),
            expected="broken_dkim",
        ),
        domains=REJECTED,
        expected=[
            Expect("broken_dkim", "example.com/s1", "critical", says="SPF of example.com does not")
        ],
        absent=["mail_lost"],
    ),
    scenario(
        "a service signs with another dead selector every day",
        "who signs is not told to sign",
        office(),
        service(until=before_end(10)),
        *(
            service(
                name=f"day {n}",
                since=before_end(n),
                until=before_end(n - 1),
                dkim=(failed("example.com", f"r{n}"), valid("postwagon.example", "k1")),
                expected="unaligned_sender",
            )
            for n in range(1, 11)
        ),
        domains=REJECTED,
        expected=[
            Expect(
                "unaligned_sender",
                "postwagon.example",
                "critical",
                says="none verifies",
                never=("switch on",),
            )
        ],
    ),
    scenario(
        "an unlisted service every Monday, looked at every day",
        "30 days hold five Mondays, or four: it goes on either way",
        office(),
        unlisted(week=MONDAYS, messages=20),
        domains=REJECTED,
        days=75,
        runs=(
            run(
                ago(6),
                Expect(
                    "unidentified_sender",
                    says="same day of the week",
                    never=(
                        "weekdays",
                        "working days",
                    ),
                ),
            ),
            run(ago(5), Expect("unidentified_sender", status="SAME"), absent=["policy_ready"]),
            run(ago(1), Expect("unidentified_sender", status="SAME")),
            run(NOW, Expect("unidentified_sender", status="SAME")),
        ),
    ),
    scenario(
        "alignment was relaxed five days ago",
        "what failed by the strict tag passes since: nobody contradicts, nothing is lost",
        office(),
        service(
            dkim=(valid("em.example.com", "pw1"), valid("postwagon.example", "k1")),
            expected=UNTOLD,
        ),
        domains=[domain("example.com", (before_end(5), {"adkim": "r"}), p="reject", adkim="s")],
        expected=[Expect("policy_changed", "adkim", "info")],
        absent=["unaligned_sender", "mail_lost"],
    ),
    scenario(
        "alignment was relaxed two days ago",
        "the tag that blocked it is not strict any more",
        office(),
        service(
            dkim=(valid("em.example.com", "pw1"), valid("postwagon.example", "k1")),
            expected=UNTOLD,
        ),
        domains=[domain("example.com", (before_end(2), {"adkim": "r"}), p="reject", adkim="s")],
        expected=[
            Expect(
                "unaligned_sender",
                "postwagon.example",
                "critical",
                says="was strict",
                never=("contradicts", "set adkim"),
            ),
            Expect("policy_changed", "adkim", "info"),
        ],
    ),
    scenario(
        "bounces that only HELO proves",
        "all receivers see it so: no one of them is wrong, and the mail is lost",
        office(),
        office(
            name="bounces",
            messages=6,
            dkim=(),
            spf=spf("mx.example.com", scope="helo"),
            expected=UNTOLD,
        ),
        domains=REJECTED,
        expected=[
            Expect(
                "unaligned_sender",
                "example.com",
                "warning",
                says="mx.example.com, not for",
                never=("contradict", "No action needed"),
            )
        ],
    ),
    scenario(
        "pct from 0 to 100",
        "a number of the record is a whole one, also in the way back",
        office(),
        sales(**ZENDESK, expected="unaligned_sender"),
        domains=[domain("example.com", (before_end(5), {"pct": 100}), p="quarantine", pct=0)],
        expected=[Expect("policy_changed", "pct", "critical", says="pct=0;", never=("pct=0.0",))],
    ),
    scenario(
        "pct from 100 to 20",
        "back to the default is without the tag",
        office(),
        domains=[domain("example.com", (before_end(4), {"pct": 20}), p="reject", pct=100)],
        expected=[
            Expect("policy_changed", "pct", "warning", says="take out pct", never=("100.0",))
        ],
    ),
    scenario(
        "sp stricter than p, and t=y",
        "the step up for the domain is one down for what is below it",
        office(messages=200),
        domains=[domain(sp="reject")],
        expected=[
            Expect("policy_ready", "p=quarantine; t=y", says="It also lowers sp=reject"),
        ],
    ),
    scenario(
        "sp=none below p=reject, where a reporter never quotes sp",
        "it does what the record asks",
        office(),
        spoofed(header_from="secure.example.com", messages=60, expected="spoofed_subdomain"),
        domains=[domain(p="reject", sp="none")],
        expected=[Expect("subdomain_exposed", "secure.example.com", "warning")],
        absent=["policy_not_honoured"],
        allowed=["spoofing"],
    ),
    scenario(
        "a denied service goes on",
        "what was decided is not asked again before a step",
        office(messages=200),
        default_account(messages=30, expected="unauthenticated"),
        domains=[domain(p="quarantine")],
        settings={"senders": [{"name": "Twilio SendGrid", "denied": True}]},
        expected=[Expect("policy_ready", None, "good", never=("Make sure",))],
        absent=["unaligned_sender", "mail_lost", "unidentified_sender"],
    ),
    scenario(
        "one receiver rejects at p=none",
        "who did it is named",
        office(),
        default_account(messages=30, disposition="reject", reporters={MAIL.org_name: 1.0}),
        expected=[Expect("unaligned_sender", None, "critical", says="mail.example rejected")],
    ),
)
