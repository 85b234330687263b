"""Who sends and who reports in the scenarios: documentation names and addresses only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dmarckit.demo.flows import DemoSender, Flow, Reporter, block, scattered, spf, valid
from dmarckit.demo.reporters import ENTERPRISE_POST, INBOX, MAIL, NEXT_MAIL
from dmarckit.reports.model import DkimResult
from tests.support.reporters import FREE_MAIL

FOUR = (MAIL, ENTERPRISE_POST, INBOX, NEXT_MAIL)
FIVE = (*FOUR, FREE_MAIL)
"""their reports of a day are all there at 09:00 UTC of the next"""

OWN = DemoSender("example.com", "own")
POSTWAGON = DemoSender("postwagon.example", "unknown")
"""a service that no table knows"""
SPOOFERS = DemoSender("?", "unknown")
"""the name does not matter: networks, or spammers' own domains"""
ALUMNI = DemoSender("alumni.example", "unknown")
LISTS = DemoSender("lists.example", "unknown")
SALESDESK = DemoSender("Salesdesk", "crm")
MAILCOURIER = DemoSender("Mailcourier", "email service")

DECLARED_SALESDESK = {
    "name": "Salesdesk",
    "kind": "crm",
    "dkim_domains": ["salesdesk.example"],
    "spf_domains": ["salesdesk.example"],
}
DECLARED_MAILCOURIER = {
    "name": "Mailcourier",
    "kind": "email service",
    "dkim_domains": ["mailcourier.example"],
    "spf_domains": ["mailcourier.example"],
}

ANYWHERE = ("192.0.2.128/25", "203.0.113.128/25", "2001:db8:4000::/36", "2001:db8:9000::/36")


def failed(domain: str, selector: str, result: str = "fail") -> DkimResult:
    """A signature that does not verify."""
    return DkimResult(domain, selector, result)


def office(**changes: Any) -> Flow:
    """The company's own mail, signed and from its own hosts."""
    usual = Flow(
        name="office",
        header_from="example.com",
        sender=OWN,
        addresses=block("192.0.2.0/24", 10, 2),
        messages=120,
        expected="aligned",
        dkim=(valid("example.com", "s1"),),
        spf=spf("example.com"),
    )
    return replace(usual, **changes)


def service(**changes: Any) -> Flow:
    """A newsletter service with a selector of its own and its own return path."""
    usual = Flow(
        name="newsletter",
        header_from="example.com",
        sender=POSTWAGON,
        addresses=block("198.51.100.0/24", 17, 3),
        messages=60,
        expected="dkim_only",
        dkim=(valid("example.com", "pw1"), valid("postwagon.example", "k1")),
        spf=spf("bounce.postwagon.example"),
    )
    return replace(usual, **changes)


def sales(**changes: Any) -> Flow:
    """A service that nobody set up for the domain: it signs and sends as itself."""
    usual = Flow(
        name="sales",
        header_from="example.com",
        sender=SALESDESK,
        addresses=block("198.51.100.0/24", 65, 2),
        messages=20,
        expected="unaligned_sender",
        dkim=(valid("salesdesk.example", "sd"),),
        spf=spf("bounces.salesdesk.example"),
    )
    return replace(usual, **changes)


def forwarded(**changes: Any) -> Flow:
    """The office's mail, sent on by an alumni server with a return path of its own."""
    usual = Flow(
        name="forwarded",
        header_from="example.com",
        sender=ALUMNI,
        addresses=block("203.0.113.0/24", 20, 2),
        messages=8,
        expected="forwarded",
        dkim=(valid("example.com", "s1"),),
        spf=spf("srs.alumni.example"),
    )
    return replace(usual, **changes)


def spoofed(**changes: Any) -> Flow:
    """Somebody else in the domain's name, from anywhere."""
    usual = Flow(
        name="spoofed",
        header_from="example.com",
        sender=SPOOFERS,
        addresses=scattered(ANYWHERE, 12),
        messages=300,
        expected="unauthenticated",
        spf=spf("example.com", "fail"),
    )
    return replace(usual, **changes)


def late(reporter: Reporter, hours: float) -> Reporter:
    """The same reporter, delivering `hours` after a period's end."""
    return replace(reporter, delivered=hours)
