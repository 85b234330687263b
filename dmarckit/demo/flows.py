"""Values that describe made-up traffic: who sends what, who reports it how; nothing is random."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from dmarckit.reports import DkimResult, Policy, Reason, SpfResult

Daily = float | Callable[[date], float]  # the same every day, or by the day
Addresses = tuple[str, ...] | Callable[[date, random.Random], Sequence[str]]  # fixed, or by the day

# Monday to Sunday, as share of a working day
OFFICE_WEEK = (1.0, 1.05, 1.05, 1.0, 0.9, 0.15, 0.12)
SHOP_WEEK = (1.0, 0.9, 0.95, 1.0, 1.2, 1.1, 0.9)


@dataclass(frozen=True, slots=True)
class DemoSender:
    """Who really delivers the messages: the truth, and what a user would declare."""

    name: str
    kind: str
    networks: tuple[str, ...] = ()
    dkim_domains: tuple[str, ...] = ()
    spf_domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    """Messages of one kind, such as the newsletter of shop.example by an email service."""

    name: str
    header_from: str
    sender: DemoSender
    addresses: Addresses
    messages: Daily  # messages a day, all receivers together, before `week` and `noise`
    expected: str  # class (section "what it means" of the documentation) of the intact messages
    dkim: tuple[DkimResult, ...] = ()
    """signatures with their raw result when the message arrives intact"""
    spf: SpfResult | None = None  # raw result of SPF; the scope is ``mfrom`` or ``helo``
    envelope_from: str | None = None  # else the SPF domain
    week: tuple[float, ...] = (1.0,) * 7
    noise: float = 0.1  # standard deviation of a day's messages, as share of them
    since: date | None = None
    until: date | None = None  # first day, and the day after the last
    broken: Daily = 0.0  # share of the messages whose signatures do not verify
    broken_result: str = "fail"
    expected_broken: str | None = None  # class of the broken messages, where it differs
    reporters: Mapping[str, float] | None = None
    """reporter → share of the messages; else each reporter's own share"""
    reasons: tuple[Reason, ...] = ()
    """shown in every record; what fails is then delivered, unless `disposition` is set"""
    disposition: str | None = None  # what receivers do with the messages; else what the policy says
    keeps_zero: bool = False  # reported with count 0 as well, as some receivers do


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain with a DMARC record; a subdomain with a record of its own is one too."""

    name: str
    policies: tuple[tuple[date, Policy], ...]
    """policy and its first day, in order; the first is in force before that too"""
    existing: tuple[str, ...] = ()  # subdomains that are in DNS: ``np`` is not for them

    def policy(self, day: date) -> Policy:
        """Return the policy in force on `day`."""
        begun = [policy for first, policy in self.policies if first <= day]
        return begun[-1] if begun else self.policies[0][1]


@dataclass(frozen=True, slots=True)
class Style:
    """The dialect of a reporter: how it writes, names and packs its XML."""

    rfc9990: bool = False
    """namespace, ``testing``, ``np``, ``policy_test_mode``, disposition ``pass``; no pct"""
    declaration: str = '<?xml version="1.0" encoding="UTF-8" ?>'
    root: str = ""  # attributes of the root element, for dialects without RFC 9990's namespace
    version: str = "1.0"  # empty: the dialect has no such element
    indent: str = "  "  # ``""`` writes everything on one line
    newline: str = "\n"
    policy: tuple[str, ...] = ("adkim", "aspf", "p", "sp", "pct", "fo")
    """elements of ``policy_published``, in the dialect's order"""
    fills_defaults: bool = True  # writes adkim, aspf, sp and pct where the record has none
    empty_elements: bool = False
    """writes ``<envelope_to></envelope_to>`` and the like where it has nothing to say"""
    envelope_from: bool = False
    envelope_to: bool = False
    scope: bool = True
    selector: bool = True
    human_result: bool = False
    generator: str | None = None
    packing: str = "gz"  # ``gz``, ``zip`` or ``xml``
    content_type: str = "application/gzip"
    mail: str = "multipart"
    """``multipart`` (a text and the file) or ``single`` (the file is the body)"""
    subject: str = "Report Domain: {domain} Submitter: {host} Report-ID: <{report_id}>"
    report_id: str = "{digits}"  # template of digits, hex, begin, end, micro, domain, host, day
    file_name: str = "{host}!{domain}!{begin}!{end}.{ext}"
    last_second: bool = False  # the end is 23:59:59, not the midnight after it


@dataclass(frozen=True, slots=True)
class Reporter:
    """A mailbox provider that sends reports."""

    org_name: str
    host: str  # its domain: From of the mails, file names, SES's verdict
    share: float  # its part of all messages, in proportion to the other reporters
    style: Style
    contact: str = ""
    extra_contact: str | None = None
    recipients: tuple[str, ...] = ()  # domains it receives for, shown in ``envelope_to``
    hours: int = 24  # length of a report's period
    offset: int = 0  # hour (UTC) at which a day's first period begins
    delivered: float = 4.0  # hours from a period's end to the mail, give or take a quarter
    since: date | None = None
    until: date | None = None
    dkim_broken: Daily = 0.0  # share of good signatures that this reporter wrongly finds broken


def on(value: Daily, day: date) -> float:
    """Return the number that holds on `day`."""
    return value(day) if callable(value) else value


def between(first: date, after: date, value: float, otherwise: float = 0.0) -> Daily:
    """Return `value` from `first` on and before `after`, else `otherwise`."""
    return lambda day: value if first <= day < after else otherwise


def valid(domain: str, selector: str) -> DkimResult:
    """Return a signature that verifies."""
    return DkimResult(domain, selector, "pass")


def spf(domain: str, result: str = "pass", scope: str = "mfrom") -> SpfResult:
    """Return an SPF result for the envelope's domain."""
    return SpfResult(domain, scope, result)


def block(network: str, first: int, count: int) -> tuple[str, ...]:
    """Return `count` addresses of `network`, from its `first` on.

    >>> block("192.0.2.0/24", 10, 2)
    ('192.0.2.10', '192.0.2.11')
    """
    start = ipaddress.ip_network(network).network_address + first
    return tuple(str(start + i) for i in range(count))


def scattered(networks: Sequence[str], count: int) -> Addresses:
    """Return `count` addresses anywhere in `networks`, other ones every day."""
    parsed = [ipaddress.ip_network(n) for n in networks]

    def of_day(day: date, rng: random.Random) -> list[str]:
        chosen = (rng.choice(parsed) for _ in range(count))
        return [str(n.network_address + rng.randrange(1, n.num_addresses - 1)) for n in chosen]

    return of_day
