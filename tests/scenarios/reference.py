"""Senders and classes once more, record by record and as slowly as the design is written.

It shows that the scenarios' truth is the design's (sections "senders" and "classes"),
whatever the package makes of them; only the table of services is the package's own. No
host names and no networks' names: the scenarios have none.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from dmarckit.demo.traffic import GeneratedReport
from dmarckit.facts import organisation
from dmarckit.facts.senders import load_table, read_rows
from dmarckit.reports.model import Record

FORWARDING = {"forwarded", "trusted_forwarder", "mailing_list"}
Declared = Sequence[dict[str, Any]]
Signature = tuple[str | None, str | None]
Place = tuple[str, str]


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
    """The design's five rules. `relayed`: signatures that their own service also delivers;
    `at`: who delivers from an address for an author where SPF passes."""
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
    length = 24 if address.version == 4 else 48
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    place = (str(record.source_ip), author)
    return at.get(place) or _signer(record, declared, relayed) or str(network)


def classified(made: Iterable[GeneratedReport], declared: Declared) -> list[Classified]:
    """Every record with messages, with sender and class."""
    rows = [(str(g.report.policy.domain), r) for g in made for r in g.report.records if r.messages]
    relayed = {
        signature
        for _, r in rows
        for signature in _signatures(r)
        if _service(signature[0], declared, "dkim_domains")
        in (_service(_spf_pass(r), declared, "spf_domains"), sender_of(r, declared, set(), {}))
        and _spf_pass(r) is not None
    }
    at = {
        (str(r.source_ip), organisation(str(r.header_from))): sender_of(r, declared, relayed, {})
        for _, r in rows
        if _spf_pass(r) is not None
    }
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
    inventory |= {(d, str(each["name"])) for d in {d for d, _ in rows} for each in declared}
    passed = {r.header_from for _, r in rows if r.passes}
    kinds = _kinds() | {str(e["name"]): str(e.get("kind", "own")) for e in declared}
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
    exact = {*foreign} if not record.passes else set()
    if record.header_from in exact:
        return "unaligned_sender"
    if known and any(d and organisation(d) != author for d in foreign):
        return "unaligned_sender"
    if record.header_from != author and record.header_from not in passed:
        return "spoofed_subdomain"
    return "unauthenticated"
