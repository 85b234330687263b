"""Senders and classes once more, record by record and as slowly as the design is written.

It shows that the scenarios' truth is the design's (sections "senders" and "classes"),
whatever the package makes of them. No table of services, no host names, no networks:
what the scenarios do not declare, they do not need.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dmarckit.demo.receiver import organisation
from dmarckit.demo.traffic import GeneratedReport
from dmarckit.models import Record

FORWARDING = {"forwarded", "trusted_forwarder", "mailing_list"}
Declared = Sequence[dict[str, Any]]
Signature = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Classified:
    """A record with what the design makes of it."""

    domain: str
    record: Record
    sender: str
    klass: str


def _below(domain: str | None, suffixes: Iterable[str]) -> bool:
    return domain is not None and any(domain == s or domain.endswith(f".{s}") for s in suffixes)


def _spf_pass(record: Record) -> str | None:
    passing = sorted((s for s in record.spf if s.result == "pass"), key=lambda s: s.scope == "helo")
    return passing[0].domain if passing else None


def _signatures(record: Record) -> list[Signature]:
    return [(d.domain, d.selector) for d in record.dkim if d.result == "pass"]


def _by_dkim(record: Record, declared: Declared, relayed: set[Signature]) -> str | None:
    for signature in _signatures(record):
        for each in declared:
            if _below(signature[0], each.get("dkim_domains", ())) and signature not in relayed:
                return str(each["name"])
    return None


def sender_of(record: Record, declared: Declared, relayed: set[Signature]) -> str:
    """The design's five rules; `relayed` are signatures that their own service also sends."""
    address = ipaddress.ip_address(str(record.source_ip))
    spf_domain = _spf_pass(record)
    for each in declared:
        networks = [ipaddress.ip_network(n) for n in each.get("networks", ())]
        if any(address in n for n in networks) or _below(spf_domain, each.get("spf_domains", ())):
            return str(each["name"])
    author = organisation(str(record.header_from))
    if spf_domain is not None and organisation(spf_domain) != author:
        return organisation(spf_domain)
    if spf_domain is not None:
        return _by_dkim(record, declared, set()) or author
    named = _by_dkim(record, declared, relayed)
    length = 24 if address.version == 4 else 48
    return named or str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def classified(made: Iterable[GeneratedReport], declared: Declared) -> list[Classified]:
    """Every record with messages, with sender and class."""
    rows = [(str(g.report.policy.domain), r) for g in made for r in g.report.records if r.messages]
    relayed = {
        signature
        for _, r in rows
        for signature in _signatures(r)
        for each in declared
        if _below(signature[0], each.get("dkim_domains", ()))
        and _below(_spf_pass(r), each.get("spf_domains", ()))
    }
    senders = [sender_of(r, declared, relayed) for _, r in rows]
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
    inventory |= {(d, str(each["name"])) for d in {d for d, _ in rows} for each in declared}
    passed = {r.header_from for _, r in rows if r.passes}
    kinds = {str(e["name"]): str(e.get("kind", "own")) for e in declared}
    return [
        Classified(
            domain,
            r,
            sender,
            _klass(domain, r, sender, owner, (domain, sender) in inventory, passed, kinds),
        )
        for (domain, r), sender in zip(rows, senders, strict=True)
    ]


def _aligned(record: Record) -> list[Signature]:
    author = organisation(str(record.header_from))
    return [s for s in _signatures(record) if s[0] and organisation(s[0]) == author]


def _klass(
    domain: str,
    record: Record,
    sender: str,
    owner: dict[tuple[str, Signature], str],
    in_inventory: bool,
    passed: set[str | None],
    kinds: dict[str, str],
) -> str:
    if record.dkim_aligned and record.spf_aligned:
        return "aligned"
    if record.dkim_aligned:
        owners = {
            name
            for d, s in _aligned(record)
            for (of, (owned, selector)), name in owner.items()
            if (of, owned) == (domain, d) and s in (selector, None)
        }
        return "dkim_only" if sender in owners else "forwarded"
    if record.spf_aligned:
        return "spf_only"
    if any(r.type in FORWARDING or "arc=pass" in (r.comment or "") for r in record.reasons):
        return "forwarded"
    author = organisation(str(record.header_from))
    if any(d.domain and organisation(d.domain) == author for d in record.dkim):
        return "broken_dkim" if in_inventory else "modified"
    foreign = [_spf_pass(record), *(d for d, _ in _signatures(record))]
    known = kinds.get(sender, "unknown") not in ("hosting", "unknown", "own")
    if known and any(d and organisation(d) != author for d in foreign):
        return "unaligned_sender"
    if record.header_from != author and record.header_from not in passed:
        return "spoofed_subdomain"
    return "unauthenticated"
