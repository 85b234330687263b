"""Senders and classes once more, record by record and as slowly as the design is written.

It shows that the scenarios' truth is the design's (sections "senders" and "classes"),
whatever the package makes of them; only the table of services is the package's own. No
host names and no networks' names: the scenarios have none.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from dmarckit.facts import organisation
from dmarckit.facts.senders import load_table, read_rows
from dmarckit.reports.model import AggregateReport, Record

FORWARDING = {"forwarded", "trusted_forwarder", "mailing_list"}
KNOWN = {"email service", "marketing", "crm", "ticketing"}
Declared = Sequence[dict[str, Any]]
Signature = tuple[str | None, str | None]
Place = tuple[str, str]
Row = tuple[AggregateReport, Record]
Pairs = set[tuple[str, str]]
"""policy domain and sender"""


@dataclass(frozen=True, slots=True)
class Classified:
    """A record with what the design makes of it."""

    domain: str
    record: Record
    sender: str
    klass: str


@cache
def _kinds() -> dict[str, str]:
    text = (files("dmarckit.facts") / "data" / "senders.csv").read_text("utf-8")
    return {row["sender"]: row["kind"] for row in read_rows(text.splitlines())}


def _below(domain: str | None, suffixes: Iterable[str]) -> bool:
    return domain is not None and any(domain == s or domain.endswith(f".{s}") for s in suffixes)


def _spf_pass(record: Record) -> str | None:
    passing = sorted((s for s in record.spf if s.result == "pass"), key=lambda s: s.scope == "helo")
    return passing[0].domain if passing else None


def _signatures(record: Record) -> list[Signature]:
    return [(d.domain, d.selector) for d in record.dkim if d.result == "pass"]


def _service(domain: str | None, declared: Declared, names: str) -> str | None:
    """The declared service that has the domain in `names`, else the one in the table."""
    for each in declared:
        if _below(domain, each.get(names, ())):
            return str(each["name"])
    found = load_table().lookup(domain)
    return found.name if found else None


def _signer(record: Record, declared: Declared, relayed: set[Signature]) -> str | None:
    author = organisation(str(record.header_from))
    found = [
        _service(signature[0], declared, "dkim_domains")
        for signature in _signatures(record)
        if signature not in relayed and organisation(str(signature[0])) != author
    ]
    return next((name for name in found if name), None)


def sender_of(
    record: Record, declared: Declared, relayed: set[Signature], at: dict[Place, str]
) -> str:
    """The design's six rules. `relayed`: signatures that their own service also delivers;
    `at`: whose an address is, for an author."""
    address = ipaddress.ip_address(str(record.source_ip))
    spf_domain = _spf_pass(record)
    for each in declared:
        networks = [ipaddress.ip_network(n) for n in each.get("networks", ())]
        if any(address in n for n in networks) or _below(spf_domain, each.get("spf_domains", ())):
            return str(each["name"])
    author = organisation(str(record.header_from))
    if spf_domain is not None and organisation(spf_domain) != author:
        return _service(spf_domain, declared, "spf_domains") or organisation(spf_domain)
    if spf_domain is not None:
        return _signer(record, declared, set()) or author
    place = (str(record.source_ip), author)
    return _signer(record, declared, relayed) or at.get(place) or _network(str(record.source_ip))


def _network(address: str) -> str:
    length = 48 if ":" in address else 24
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def _owners_of_addresses(
    rows: Iterable[tuple[str, Record]], declared: Declared, relayed: set[Signature]
) -> dict[Place, str]:
    """Who sends nine tenths of what is known to be somebody's, by address and author."""
    sums: dict[Place, Counter[str]] = defaultdict(Counter)
    for _, r in rows:
        if _spf_pass(r) is not None:
            place = (str(r.source_ip), organisation(str(r.header_from)))
            sums[place][sender_of(r, declared, relayed, {})] += int(r.messages or 0)
    found = {place: counts.most_common(1)[0] for place, counts in sums.items()}
    return {p: name for p, (name, n) in found.items() if n >= 0.9 * sums[p].total()}


def classified(
    reports: Iterable[AggregateReport], declared: Declared, now: datetime
) -> list[Classified]:
    """Every record with messages, with sender and class, as seen at `now`."""
    whole: list[Row] = [(report, r) for report in reports for r in report.records if r.messages]
    rows = [(str(report.policy.domain), r) for report, r in whole]
    relayed = {
        signature
        for _, r in rows
        for signature in _signatures(r)
        if _service(signature[0], declared, "dkim_domains")
        in (_service(_spf_pass(r), declared, "spf_domains"), sender_of(r, declared, set(), {}))
        and _spf_pass(r) is not None
    }
    at = _owners_of_addresses(rows, declared, relayed)
    senders = [sender_of(r, declared, relayed, at) for _, r in rows]
    passing: dict[tuple[str, Signature], Counter[tuple[bool, str]]] = defaultdict(Counter)
    with_sa: set[tuple[str, str]] = set()
    for (domain, r), sender in zip(rows, senders, strict=True):
        if r.spf_aligned:
            with_sa.add((domain, sender))
    for (domain, r), sender in zip(rows, senders, strict=True):
        for signature in _aligned(r):
            passing[domain, signature][(domain, sender) in with_sa, sender] += r.messages
    owner = {
        key: max(counts, key=lambda k: (k[0], counts[k]))[1] for key, counts in passing.items()
    }
    # A reporter that names no selector tells less: any owner of the domain's may have signed.
    told = {(domain, d) for domain, (d, s) in owner if s is not None}
    owner = {(x, (d, s)): o for (x, (d, s)), o in owner.items() if s or (x, d) not in told}
    inventory = with_sa | {(domain, sender) for (domain, _), sender in owner.items()}
    inventory |= {
        (domain, str(each["name"]))
        for domain in {d for d, _ in rows}
        for each in declared
        if not each.get("denied") and each.get("domain", domain) in ("", domain)
    } & {(domain, sender) for (domain, _), sender in zip(rows, senders, strict=True)}
    passed = {r.header_from for _, r in rows if r.passes}
    found = {"networks", "dkim_domains", "spf_domains"}
    kinds = _kinds() | {
        str(e["name"]): str(e.get("kind", "own")) for e in declared if found & e.keys()
    }
    denied = {
        (domain, str(e["name"]))
        for domain in {d for d, _ in rows}
        for e in declared
        if e.get("denied") and e.get("domain", domain) in ("", domain)
    }
    living = {s for _, r in rows for s in _aligned(r)}
    living |= {(d, None) for d, _ in living}
    known = _Known(owner, inventory - denied, denied, living, passed, kinds)
    simple = [
        Classified(domain, r, sender, known.class_of(domain, r, sender))
        for (domain, r), sender in zip(rows, senders, strict=True)
    ]
    steady = _steady(whole, simple, known, now)
    return [
        replace(c, klass="unidentified")
        if c.klass in UNEXPLAINED and (c.domain, c.sender) in steady
        else c
        for c in simple
    ]


def _aligned(record: Record) -> list[Signature]:
    author = organisation(str(record.header_from))
    return [s for s in _signatures(record) if s[0] and organisation(s[0]) == author]


@dataclass(frozen=True, slots=True)
class _Known:
    """What classes rest on."""

    owner: Mapping[tuple[str, Signature], str]
    inventory: Pairs
    denied: Pairs
    living: set[Signature]
    passed: set[str | None]
    kinds: Mapping[str, str]

    def class_of(self, domain: str, record: Record, sender: str) -> str:
        """The class, as if nobody were unidentified."""
        if record.dkim_aligned and record.spf_aligned:
            return "aligned"
        if record.dkim_aligned:
            owners = {
                name
                for d, s in _aligned(record)
                for (of, (owned, selector)), name in self.owner.items()
                if (of, owned) == (domain, d) and s in (selector, None)
            }
            return "dkim_only" if sender in owners else "forwarded"
        if record.spf_aligned:
            return "spf_only"
        if any(r.type in FORWARDING or "arc=pass" in (r.comment or "") for r in record.reasons):
            return "forwarded"
        author = organisation(str(record.header_from))
        broken = any(
            d.result != "pass"
            and organisation(str(d.domain)) == author
            and (d.domain, d.selector) in self.living
            for d in record.dkim
            if d.domain
        )
        member = (domain, sender) in self.inventory
        if broken and member:
            return "broken_dkim"
        known = self.kinds.get(sender, "own" if sender == author else "unknown") in {*KNOWN, "own"}
        if record.header_from in (_spf_pass(record), *(d for d, _ in _signatures(record))):
            return "unaligned_sender"  # the reporter contradicts itself
        if _proof(record) and (member or (known and (domain, sender) not in self.denied)):
            return "unaligned_sender"
        if broken:
            return "modified"
        if record.header_from != author and record.header_from not in self.passed:
            return "spoofed_subdomain"
        return "unauthenticated"


UNEXPLAINED = ("spoofed_subdomain", "unauthenticated")


def _proof(record: Record) -> str | None:
    """The domain as which a message that fails authenticates all the same."""
    return _spf_pass(record) or min((str(d) for d, _ in _signatures(record) if d), default=None)


def _day(report: AggregateReport) -> date:
    return (report.begin + (report.end - report.begin) / 2).date()


def _steady(
    rows: Sequence[Row], found: Sequence[Classified], known: _Known, now: datetime
) -> Pairs:
    """Who is unidentified: outside the inventory, and as steady as a sender of one's own."""
    since = now.date() - timedelta(30)
    days, proofs = defaultdict[Place, set[date]](set), defaultdict[Place, Counter[str]](Counter)
    addresses = defaultdict[Place, set[str]](set)
    for (report, r), c in zip(rows, found, strict=True):
        who, recent = (c.domain, c.sender), _day(report) >= since
        if report.begin >= now or who in known.inventory | known.denied:
            continue
        if recent:
            addresses[who].add(str(r.source_ip))
        if recent and c.klass in UNEXPLAINED:
            proofs[who][_proof(r) or ""] += int(r.messages or 0)
            if report.end - report.begin <= timedelta(days=1):
                days[who].add(_day(report))
    policies = {
        str(report.policy.domain): report.policy.p
        for report, _ in sorted(rows, key=lambda row: row[0].begin)
    }
    proven, unproven = set[Place](), set[Place]()
    for who, seen in days.items():
        spread = (max(seen) - min(seen)).days + 1
        networks = {_network(a) for a in addresses[who]}
        if len(seen) < 5 or (len(seen) < 10 and spread < 14) or len(networks) > 3:
            continue
        sends = any(domain == who[0] for domain, _ in known.inventory)
        if proofs[who][""] <= proofs[who].total() / 2:
            if sends or policies[who[0]] == "none":
                proven.add(who)
        elif sends and len(networks) == 1 and len(addresses[who]) <= 4:
            unproven.add(who)
    many = Counter(domain for domain, _ in unproven)
    return proven | {who for who in unproven if many[who[0]] <= 20}
