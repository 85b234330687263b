"""Who is ours: signatures that never verified, servers nobody wrote down, and those who pretend.

The classes of these are the truth that matters, and who is asked about; what else is found
about them is in others' files.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from dmarckit.demo.flows import DemoSender, Flow, between, block, scattered, spf, valid
from dmarckit.reports.model import DkimResult
from tests.scenarios.people import (
    ANYWHERE,
    LISTS,
    failed,
    forwarded,
    office,
    sales,
    service,
    spoofed,
)
from tests.scenarios.scenario import END, Absent, Expect, Scenario, before_end, domain, scenario

ANYTHING = tuple(
    Absent(kind)
    for kind in (
        "broken_dkim",
        "unaligned_sender",
        "mail_lost",
        "spoofing",
        "spf_only",
    )
)
"""what may be found besides"""
QUOTEWORKS = DemoSender("quoteworks.example", "unknown")
WEB = DemoSender("198.51.100.0/24", "unknown")


def weekday(first: date, *, every: int) -> Any:
    """Twelve messages on every so many days, counted from `first`."""
    return lambda day: 12.0 if day >= first and (day - first).days % every == 0 else 0.0


def quotes(**changes: Any) -> Flow:
    """A service that no table knows, and that nobody set up: it authenticates as itself."""
    usual: dict[str, Any] = {
        "name": "quotes",
        "sender": QUOTEWORKS,
        "addresses": block("198.51.100.0/24", 33, 2),
        "messages": 12,
        "expected": "unidentified",
        "dkim": (valid("quoteworks.example", "q1"),),
        "spf": spf("bounce.quoteworks.example"),
    }
    return sales(**{**usual, **changes})


def tickets(**changes: Any) -> Flow:
    """A service that the table knows, and that nobody set up for the domain."""
    usual: dict[str, Any] = {
        "name": "tickets",
        "sender": DemoSender("Zendesk", "ticketing"),
        "addresses": block("198.51.100.0/24", 65, 2),
        "dkim": (valid("zendesk.com", "z1"),),
        "spf": spf("mail.zendesk.com"),
    }
    return sales(**{**usual, **changes})


def cron(hosts: int = 3, **changes: Any) -> Flow:
    """Unsigned mail of web servers that the SPF record does not have."""
    usual: dict[str, Any] = {
        "name": "cron",
        "sender": WEB,
        "addresses": block("198.51.100.0/24", 80, hosts),
        "messages": 30,
        "expected": "unidentified",
        "dkim": (),
        "spf": spf("example.com", "fail"),
    }
    return sales(**{**usual, **changes})


def invented(day: int) -> tuple[DkimResult, ...]:
    """A signature of the domain with a selector that forgers made up."""
    return (failed("example.com", f"x{day}"),)


def classes(name: str, why: str, *flows: Flow, key: str = "", **more: Any) -> Scenario:
    """Who is unidentified is asked about, and nobody else; or else a key explains all."""
    asked = {flow.sender.name for flow in flows if flow.expected == "unidentified"}
    explained = [Expect("broken_dkim", key, "alert")] if key else []
    wanted = [Expect("unidentified_sender", sender) for sender in sorted(asked)]
    return scenario(
        name,
        why,
        office(),
        *flows,
        expected=explained or wanted,
        absent=["unidentified_sender"] if key or not asked else ["broken_dkim"],
        allowed=ANYTHING,
        **more,
    )


IDENTITY = (
    # a service that no table knows
    classes("an unlisted service", "it authenticates as itself, every day", quotes()),
    classes(
        "an unlisted service that only signs",
        "SPF does not pass; its own signature does, from a pool of addresses",
        quotes(
            sender=WEB, spf=spf("example.com", "fail"), addresses=block("198.51.100.0/24", 33, 9)
        ),
    ),
    classes(
        "an unlisted service once a week",
        "five Mondays span more than two weeks",
        quotes(messages=weekday(END - timedelta(29), every=7), noise=0.0),
    ),
    classes(
        "an unlisted service on nine days",
        "nine days in a row are neither ten days nor two weeks",
        quotes(since=before_end(9), noise=0.0, expected="unauthenticated"),
    ),
    classes(
        "an unlisted service on ten days",
        "ten days are enough",
        quotes(since=before_end(10), noise=0.0, messages=40),
    ),
    classes(
        "an unlisted service that stopped",
        "nothing in the last 30 days: what it sent is old",
        quotes(until=before_end(31), expected="unauthenticated"),
        days=80,
    ),
    classes(
        "an unlisted service from four networks",
        "three networks are somebody's own; four may be anybody's",
        *(
            quotes(
                name=f"quotes {net}",
                messages=20,
                addresses=block(f"{net}.0/24", 33, 2),
                expected="unauthenticated",
            )
            for net in ("192.0.2", "198.51.100", "203.0.113")
        ),
        quotes(
            name="quotes 6",
            addresses=block("2001:db8:7::/48", 1, 2),
            messages=20,
            expected="unauthenticated",
        ),
    ),
    classes(
        "an unlisted service from three networks",
        "the same from three",
        *(
            quotes(name=f"quotes {net}", messages=20, addresses=block(f"{net}.0/24", 33, 2))
            for net in ("192.0.2", "198.51.100", "203.0.113")
        ),
    ),
    classes(
        "an unlisted service was denied",
        "the owner said that it is not ours",
        quotes(expected="unauthenticated"),
        settings={
            "senders": [{"name": "quoteworks.example", "domain": "example.com", "denied": True}]
        },
    ),
    classes(
        "an unlisted service was declared",
        "the owner said that it is ours: it is in the inventory",
        quotes(expected="unaligned_sender"),
        settings={"senders": [{"name": "quoteworks.example", "domain": "example.com"}]},
    ),
    classes(
        "a known service was denied",
        "its mail is not ours, whatever the table says",
        tickets(expected="unauthenticated"),
        settings={"senders": [{"name": "Zendesk", "denied": True, "kind": "ticketing"}]},
    ),
    classes(
        "an unlisted service sends for a made-up subdomain",
        "a subdomain that never passed, of somebody who sends every day",
        quotes(header_from="quotes.example.com"),
    ),
    scenario(
        "a parked domain that somebody abuses every day",
        "nothing of it ever passed, and its policy says that it sends nothing",
        quotes(header_from="parked.example", expected="unauthenticated"),
        cron(
            header_from="parked.example",
            spf=spf("parked.example", "fail"),
            expected="unauthenticated",
        ),
        domains=[domain("parked.example", p="reject")],
        allowed=ANYTHING,
    ),
    scenario(
        "a domain whose only mail comes from an unlisted service",
        "nothing ever passed, but it asks only for reports, and the service is somebody",
        quotes(),
        expected=[Expect("unidentified_sender", "quoteworks.example")],
        allowed=ANYTHING,
    ),
    # own sources: the server that moved, cron mail, the scanner
    classes("cron mail of three web servers", "three steady addresses in one network", cron()),
    classes("cron mail of four web servers", "four are still few", cron(4)),
    classes(
        "mail of five addresses",
        "five addresses that prove nothing may be anybody's",
        cron(5, messages=60, expected="unauthenticated"),
    ),
    classes(
        "the office's scanner",
        "one address, on work days, without SPF or DKIM",
        cron(1, messages=6, week=(1, 1, 1, 1, 1, 0, 0), spf=spf("scanner.example.com", "none")),
    ),
    classes(
        "the company's server moved",
        "its new address is not in SPF yet; the key moved with it",
        office(
            name="moved",
            sender=WEB,
            addresses=block("198.51.100.0/24", 10, 1),
            expected="forwarded",
            spf=spf("example.com", "fail"),
            since=before_end(20),
        ),
    ),
    classes(
        "the company's unsigned server moved",
        "its new address is not in SPF yet, and it never signed",
        cron(1, messages=60, since=before_end(15)),
    ),
    classes(
        "unsigned mail of the company's own server",
        "the address is known: it is ours, whatever it forgot",
        office(
            name="cron",
            messages=5,
            dkim=(),
            spf=spf("host7.invalid", "none"),
            expected="unauthenticated",
        ),
    ),
    classes(
        "two networks that prove nothing",
        "two addresses of one host company, each in its own network, are two senders",
        cron(1, name="here"),
        cron(
            1,
            name="there",
            sender=DemoSender("203.0.113.0/24", "unknown"),
            addresses=block("203.0.113.0/24", 4, 1),
        ),
    ),
    # forgers
    classes(
        "a botnet of twenty-one networks",
        "each is steady, and all of them together are nobody's",
        *(
            cron(
                1,
                name=f"bot {n}",
                messages=6,
                sender=DemoSender(f"2001:db8:{n:x}::/48", "unknown"),
                addresses=block(f"2001:db8:{n:x}::/48", 5, 1),
                expected="unauthenticated",
            )
            for n in range(1, 22)
        ),
        days=30,
    ),
    classes(
        "forgers who invent selectors",
        "a signature that never verified is none: they forge, nobody forwards",
        *(
            spoofed(
                name=f"spoofed {n}",
                messages=80,
                addresses=scattered(ANYWHERE, 12),
                dkim=invented(n),
            )
            for n in range(4)
        ),
    ),
    classes(
        "forgers who use the real selector",
        "the key lives: from the report alone they look like a list that changes mail",
        spoofed(dkim=(failed("example.com", "s1"),), expected="modified"),
    ),
    # keys
    classes(
        "a service whose key was never published",
        "its signature never verified: it is the service that is not set up",
        tickets(dkim=(failed("example.com", "zendesk1", "permerror"),)),
        key="example.com/zendesk1",
    ),
    classes(
        "an unlisted service whose key was never published",
        "its signature proves nothing, its return path says who it is",
        quotes(dkim=(failed("example.com", "qw", "permerror"),)),
        key="example.com/qw",
    ),
    classes(
        "the office rotates to a key that nobody published",
        "the old selector lives, the new one never did: the office fails under both names",
        office(
            name="rotated",
            messages=40,
            dkim=(failed("example.com", "s2", "permerror"),),
            spf=spf("example.com"),
            expected="spf_only",
            since=before_end(5),
        ),
        key="example.com/s2",
    ),
    classes(
        "a service rotates to a key that nobody published",
        "it has no aligned SPF: as the owner of its first key it is in the inventory",
        service(until=before_end(6)),
        service(
            name="rotated",
            since=before_end(6),
            dkim=(failed("example.com", "pw2"), valid("postwagon.example", "k1")),
            expected="unaligned_sender",
        ),
        key="example.com/pw2",
    ),
    classes(
        "one of two algorithms never verifies",
        "the second signature never verifies where the first does",
        office(
            name="both",
            sender=office().sender,
            dkim=(valid("example.com", "s1"), failed("example.com", "ed1", "neutral")),
        ),
    ),
    classes(
        "a list changes what a new key signed",
        "the key lives since it passed elsewhere: the list broke it",
        forwarded(
            name="list",
            messages=9,
            addresses=block("203.0.113.0/24", 40, 1),
            sender=LISTS,
            dkim=(failed("example.com", "s1"),),
            spf=spf("lists.example"),
            expected="modified",
        ),
        forwarded(broken=between(before_end(3), END, 0.2), expected_broken="modified"),
    ),
)
