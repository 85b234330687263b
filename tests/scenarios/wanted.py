"""Wanted mail that fails: services nobody declared, dead keys, moved servers, small senders."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dmarckit.demo.flows import DemoSender, Flow, between, block, scattered, spf, valid
from tests.scenarios.people import (
    ANYWHERE,
    DECLARED_SALESDESK,
    MAILCOURIER,
    POSTWAGON,
    failed,
    forwarded,
    office,
    sales,
    service,
    spoofed,
)
from tests.scenarios.scenario import END, NOW, UNTOLD, Expect, before_end, domain, run, scenario

HERE = "example.com"
BROKEN = ("broken_dkim", "spoofing", "policy_ready")


def ago(days: int) -> datetime:
    """09:00 UTC, `days` days before the last look."""
    return NOW - timedelta(days)


def unlisted(**changes: Any) -> Flow:
    """A service that no table knows and nobody declared: it authenticates as itself."""
    usual: dict[str, Any] = {
        "name": "tickets",
        "messages": 30,
        "dkim": (valid("postwagon.example", "k1"),),
        "expected": UNTOLD,
    }
    return service(**{**usual, **changes})


def cron(**changes: Any) -> Flow:
    """Unsigned mail of a server that is not in SPF."""
    usual: dict[str, Any] = {
        "name": "cron",
        "sender": DemoSender("203.0.113.0/24", "unknown"),
        "addresses": block("203.0.113.0/24", 50, 2),
        "messages": 6,
        "dkim": (),
        "spf": spf(HERE, "fail"),
        "expected": UNTOLD,
    }
    return office(**{**usual, **changes})


YOURS = {"kind": "unidentified_sender", "subject": "postwagon.example"}
DECLARE = "dmarckit senders declare postwagon.example --domain example.com --spf postwagon.example"
SCANNER = {"senders": [{"name": "Scanner", "networks": ["203.0.113.50/31"]}]}

_UNKNOWN = (
    scenario(
        "a service that nobody declared",
        "it authenticates as itself, for months: nobody but its owner knows whether it is ours",
        office(),
        unlisted(),
        expected=[Expect(**YOURS, severity="warning", says=DECLARE)],
        absent=[*BROKEN, "unaligned_sender", "mail_lost"],
    ),
    scenario(
        "a service that nobody declared, and the policy blocks it",
        "a warning until somebody decides, however much is lost",
        office(),
        unlisted(),
        domains=[domain(p="reject")],
        expected=[Expect(**YOURS, severity="warning", says="rejected", never=("quarantined",))],
        absent=[*BROKEN, "mail_lost"],
    ),
    scenario(
        "a service that was denied",
        "somebody said that it is not ours: nothing is asked any more",
        office(),
        unlisted(),
        settings={"senders": [{"name": "postwagon.example", "domain": HERE, "denied": True}]},
        absent=["unidentified_sender", "unaligned_sender", "mail_lost"],
        allowed=["spoofing"],
    ),
    scenario(
        "a spammer of three days that authenticates as itself",
        "too few days for a sender of ours",
        office(),
        unlisted(since=before_end(3), messages=15),
        absent=["unidentified_sender", "mail_lost", "spoofing"],
    ),
    scenario(
        "cron mail of two web servers",
        "neither in SPF nor signed, every day from the same two addresses",
        office(),
        cron(),
        expected=[
            Expect("unidentified_sender", "203.0.113.0/24", "warning", says="--network 203.0.113")
        ],
        absent=BROKEN,
    ),
    scenario(
        "a botnet of steady size",
        "as much a day as cron mail, from everywhere: forged, and no sender of ours",
        office(),
        spoofed(messages=10, noise=0.05),
        absent=["unidentified_sender", "mail_lost", "broken_dkim"],
    ),
)

NEVER = {"kind": "broken_dkim", "severity": "alert"}
_DEAD_KEYS = (
    scenario(
        "a service whose key nobody published",
        "it signs as us, and no receiver has ever verified it",
        office(),
        unlisted(dkim=(failed(HERE, "pw1"), valid("postwagon.example", "k1"))),
        expected=[
            Expect(
                **NEVER, subject="example.com/pw1", says="nobody has verified", never=("Put back",)
            )
        ],
        absent=["policy_ready", "unidentified_sender", "spoofing", "unaligned_sender"],
    ),
    scenario(
        "a rotation to a key that nobody published",
        "s1 verified until the change, s2 never",
        office(until=before_end(6)),
        office(
            name="office, s2",
            since=before_end(6),
            dkim=(failed(HERE, "s2"),),
            expected="spf_only",
        ),
        expected=[
            Expect(**NEVER, subject="example.com/s2", says="selector s1", never=("Put back",))
        ],
        absent=["policy_ready", "sender_stopped", "new_sender"],
    ),
    scenario(
        "forgers invent a selector",
        "a signature that never verified says nothing of who sent it",
        office(),
        spoofed(since=before_end(3), dkim=(failed(HERE, "x1"),)),
        expected=[Expect("spoofing", HERE, "alert")],
        absent=["broken_dkim", "new_sender", "unidentified_sender"],
    ),
    scenario(
        "two algorithms side by side",
        "half of the world cannot check Ed25519; the RSA signature proves the same message",
        office(dkim=(valid(HERE, "s1"), failed(HERE, "ed1", "permerror"))),
        absent=["broken_dkim"],
    ),
    scenario(
        "eight messages with a key that nobody published",
        "below ten it may be a test",
        office(),
        office(
            name="test",
            messages=4,
            noise=0.0,
            since=before_end(2),
            dkim=(failed(HERE, "test"),),
            expected="spf_only",
        ),
        absent=["broken_dkim"],
    ),
)

_LASTING = (
    scenario(
        "broken for forty days",
        "what lasts is not usual: it stays open, and grows older",
        office(),
        service(broken=between(before_end(40), END, 0.9), expected_broken="broken_dkim"),
        days=85,
        runs=[
            run(ago(20), Expect("broken_dkim", "example.com/pw1", "alert", status="NEW")),
            run(ago(0), Expect("broken_dkim", "example.com/pw1", "alert", says="since 15 Oct")),
        ],
    ),
    scenario(
        "broken for a week, then mended",
        "three complete days as before: it has ended, and says so",
        office(),
        service(broken=between(before_end(12), before_end(5), 0.8), expected_broken="broken_dkim"),
        days=60,
        runs=[
            run(ago(6), Expect("broken_dkim", "example.com/pw1", "alert", status="NEW")),
            run(ago(0), Expect("broken_dkim", "example.com/pw1", status="RESOLVED", says="verify")),
        ],
    ),
    scenario(
        "an unaligned service with less to send",
        "below the threshold of the window, and not mended",
        office(),
        sales(messages=lambda day: 1.0 if day >= before_end(8) else 20.0, noise=0.0),
        settings={"senders": [DECLARED_SALESDESK]},
        runs=[
            run(ago(8), Expect("unaligned_sender", "Salesdesk", "alert", status="NEW")),
            run(ago(0), Expect("unaligned_sender", "Salesdesk", "alert", status="SAME")),
        ],
    ),
    scenario(
        "stopped three weeks ago",
        "silence that lasts is still a stop",
        office(),
        service(until=before_end(21)),
        days=80,
        runs=[
            run(ago(14), Expect("sender_stopped", "postwagon.example", status="NEW")),
            run(ago(0), Expect("sender_stopped", "postwagon.example", status="SAME")),
        ],
    ),
    scenario(
        "stopped, and sends again",
        "it says since when",
        office(),
        service(until=before_end(12)),
        service(name="again", since=before_end(2)),
        days=60,
        runs=[
            run(ago(6), Expect("sender_stopped", "postwagon.example", status="NEW")),
            run(
                ago(0),
                Expect("sender_stopped", "postwagon.example", status="RESOLVED", says="again"),
            ),
        ],
    ),
    scenario(
        "a sender of work days stops",
        "14 of the last 20 work days are enough; a weekend is no silence",
        office(),
        service(
            week=(1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0),
            until=before_end(6),
            noise=0.0,
        ),
        expected=[Expect("sender_stopped", "postwagon.example", "alert")],
    ),
    scenario(
        "a sender of work days over the weekend",
        "on Monday morning its last day is Friday",
        office(),
        service(week=(1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0), until=before_end(3), noise=0.0),
        now=ago(1),
        absent=["sender_stopped"],
    ),
)

MOVED = {
    "name": "office, moved",
    "sender": DemoSender("203.0.113.0/24", "unknown"),
    "addresses": block("203.0.113.0/24", 60, 1),
    "dkim": (),
    "spf": spf(HERE, "fail"),
    "since": before_end(5),
    "expected": UNTOLD,
}
_OWN = (
    scenario(
        "a server moved and is not in SPF yet",
        "the mail of the office comes from another address, and is lost",
        office(until=before_end(5)),
        service(),
        office(**MOVED),
        domains=[domain(p="quarantine")],
        expected=[Expect("mail_lost", HERE, "critical", says="203.0.113.60", never=("rejected",))],
        absent=["spoofing", "sender_stopped", "policy_ready"],
    ),
    scenario(
        "a server moved, and the policy asks for nothing",
        "nothing is lost: the old place has stopped, the new one is asked about later",
        office(until=before_end(5)),
        service(),
        office(**MOVED),
        expected=[Expect("sender_stopped", HERE)],
        absent=["mail_lost"],
        allowed=["spoofing"],
    ),
    scenario(
        "one of three servers is no longer in SPF",
        "only its address is named: the others are fine",
        office(),
        office(
            name="erp",
            addresses=("198.51.100.200",),
            messages=30,
            dkim=(),
            until=before_end(6),
            expected="spf_only",
        ),
        office(
            name="erp since",
            addresses=("198.51.100.200",),
            messages=30,
            dkim=(),
            since=before_end(6),
            spf=spf(HERE, "softfail"),
            expected=UNTOLD,
        ),
        domains=[domain(p="reject")],
        expected=[
            Expect("mail_lost", HERE, "critical", says="198.51.100.200", never=("192.0.2.10",))
        ],
        allowed=["spf_only"],
        senders=False,
    ),
    scenario(
        "forged mail in the volume of the office",
        "the office goes on: nothing moved",
        office(),
        spoofed(messages=120, since=before_end(5)),
        domains=[domain(p="quarantine")],
        absent=["mail_lost", "unidentified_sender", "sender_stopped"],
        allowed=["spoofing"],
    ),
    scenario(
        "forged mail from everywhere after the office stopped",
        "addresses of a botnet are no new server",
        office(until=before_end(5)),
        service(),
        spoofed(messages=120, addresses=scattered(ANYWHERE, 40), since=before_end(5)),
        domains=[domain(p="quarantine")],
        expected=[Expect("sender_stopped", HERE)],
        absent=["mail_lost", "unidentified_sender"],
        allowed=["spoofing"],
    ),
)


def scanner(**changes: Any) -> Flow:
    """The office scanner, declared by its address: neither in SPF nor signed."""
    usual: dict[str, Any] = {
        "name": "scanner",
        "sender": DemoSender("Scanner", "own"),
        "addresses": block("203.0.113.50/31", 0, 1),
        "messages": 3,
        "noise": 0.0,
    }
    return cron(**{**usual, **changes})


_SMALL = (
    scenario(
        "a scanner loses everything",
        "three messages a day are below every threshold, and all of its mail",
        office(),
        scanner(),
        settings=SCANNER,
        domains=[domain(p="reject")],
        expected=[Expect("mail_lost", "Scanner", "critical", says="rejected 2")],
        absent=["policy_ready", "unidentified_sender", "spoofing"],
    ),
    scenario(
        "a scanner that is delivered",
        "nothing is lost under p=none",
        office(),
        scanner(),
        settings=SCANNER,
        absent=["mail_lost", "unidentified_sender"],
    ),
    scenario(
        "a scanner on one day",
        "lost on one day alone it is an accident",
        office(),
        scanner(since=before_end(1), messages=8),
        settings=SCANNER,
        domains=[domain(p="reject")],
        absent=["mail_lost"],
    ),
    scenario(
        "a small service that nobody set up loses everything",
        "two a day, but all of them",
        office(),
        sales(messages=2, noise=0.0),
        domains=[domain(p="reject")],
        settings={"senders": [DECLARED_SALESDESK]},
        expected=[Expect("unaligned_sender", "Salesdesk", "critical", says="rejected")],
        absent=["mail_lost", "policy_ready"],
    ),
)


def forwarders(n: int, **changes: Any) -> list[Flow]:
    """New forwarders of the office's mail, each with a return path of its own."""
    return [
        forwarded(
            name=f"forwarder {number}",
            sender=DemoSender(f"alumni{number}.example", "unknown"),
            addresses=(f"198.51.100.{100 + number}",),
            spf=spf(f"srs.alumni{number}.example"),
            messages=6,
            since=before_end(5),
            **changes,
        )
        for number in range(n)
    ]


def unlisted_service(number: int) -> Flow:
    """One of many services that nobody declared."""
    return unlisted(
        name=f"service {number}",
        sender=DemoSender(f"service{number}.example", "unknown"),
        addresses=(f"198.51.100.{100 + number}",),
        dkim=(valid(f"service{number}.example", "k1"),),
        spf=spf(f"bounce.service{number}.example"),
        messages=4,
    )


_FLOODS = (
    scenario(
        "thirty new forwarders",
        "people have their mail forwarded: one finding, and nothing is due",
        office(),
        *forwarders(30),
        expected=[
            Expect("new_sender", "*", "info", says="30 new forwarders", never=("somebody else",))
        ],
    ),
    scenario(
        "one new forwarder of the domain's own mail",
        "the signature that survives is ours",
        office(),
        *forwarders(1),
        expected=[Expect("new_sender", "alumni0.example", "info", never=("somebody else",))],
    ),
    scenario(
        "twelve services that nobody declared",
        "more than ten of a kind are one finding with a list",
        office(),
        *(unlisted_service(number) for number in range(12)),
        expected=[Expect("unidentified_sender", "*", says="service11.example")],
        absent=["policy_ready", "unaligned_sender"],
    ),
    scenario(
        "three services that nobody declared",
        "few are told apart",
        office(),
        *(unlisted_service(number) for number in range(3)),
        expected=[Expect("unidentified_sender", f"service{number}.example") for number in range(3)],
        absent=["policy_ready"],
    ),
)

_STRICT = {
    "sender": MAILCOURIER,
    "dkim": (valid("mail.example.com", "mc"), valid("mailcourier.example", "k1")),
    "spf": spf("rp.mailcourier.example"),
    "expected": UNTOLD,
}
_CAUSES = (
    scenario(
        "alignment has always been strict",
        "the mail proves a name below the domain: the tag mends it, or the exact name",
        office(),
        service(**_STRICT),
        domains=[domain(adkim="s")],
        settings={"senders": [{"name": "Mailcourier", "spf_domains": ["mailcourier.example"]}]},
        expected=[
            Expect(
                "unaligned_sender",
                "Mailcourier",
                "alert",
                says="adkim=r",
                never=("return path below", "domain authentication"),
            )
        ],
    ),
    scenario(
        "from an own server to a service that nobody set up",
        "stop, start and failing mail are one change",
        office(),
        service(until=before_end(6), sender=POSTWAGON),
        sales(messages=60, since=before_end(6)),
        settings={"senders": [DECLARED_SALESDESK]},
        expected=[Expect("unaligned_sender", "Salesdesk", "alert", says="postwagon.example")],
        absent=["sender_stopped"],
    ),
    scenario(
        "a stop and a start that have nothing to do with each other",
        "one is ten times the other: two findings",
        office(),
        service(until=before_end(6)),
        office(
            name="orders",
            sender=MAILCOURIER,
            addresses=block("198.51.100.0/24", 130, 4),
            messages=6,
            since=before_end(5),
            dkim=(valid(HERE, "mc1"), valid("mailcourier.example", "mc")),
            spf=spf("rp.example.com"),
        ),
        settings={"senders": [{"name": "Mailcourier", "dkim_domains": ["mailcourier.example"]}]},
        expected=[
            Expect("sender_stopped", "postwagon.example", "alert", never=("took over",)),
            Expect("new_sender", "Mailcourier"),
        ],
    ),
    scenario(
        "signing broke when the mail moved",
        "the new host does not have the key: the record is right",
        office(until=before_end(4)),
        office(
            name="office, moved",
            addresses=block("192.0.2.0/24", 90, 2),
            since=before_end(4),
            dkim=(replace(valid(HERE, "s1"), result="fail"),),
            expected="spf_only",
        ),
        expected=[
            Expect("broken_dkim", "example.com/s1", "alert", says="moved", never=("Put back",))
        ],
        absent=["sender_stopped", "new_sender", "policy_ready"],
    ),
    scenario(
        "one of five hosts signs wrongly",
        "the others verify with the same key",
        office(messages=200, addresses=block("192.0.2.0/24", 10, 4)),
        office(
            name="fifth host",
            addresses=("192.0.2.44",),
            messages=40,
            broken=between(before_end(5), END, 1.0),
            expected_broken="spf_only",
        ),
        expected=[
            Expect("broken_dkim", "example.com/s1", "alert", says="192.0.2.44", never=("every",))
        ],
    ),
)

WANTED = (*_UNKNOWN, *_DEAD_KEYS, *_LASTING, *_OWN, *_SMALL, *_FLOODS, *_CAUSES)
