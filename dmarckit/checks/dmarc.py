"""The DMARC record of a domain, the policy that applies to it, and who has agreed to its reports.

Receivers of RFC 9989 walk up the names of DNS (section 4.10); older ones (RFC 7489 section
3.2) go straight to the organisational domain of the Public Suffix List. A domain should be in
order for both, which checkdmarc (6.0) cannot compare; it also takes silence of DNS for a
refusal of reports, and stops at the first bad value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from dmarckit.checks.record import (
    DMARC_VALUES,
    DnsRow,
    Fault,
    dns_row,
    phrase,
    tag_list,
    unanswered_row,
)
from dmarckit.checks.resolver import DnsClient, NoAnswer
from dmarckit.core import one_line
from dmarckit.facts import organisation

VERSION = re.compile(r"v\s*=\s*DMARC1\s*(;|$)")
WALK = 8  # questions of a tree walk at most (RFC 9989 section 4.10)


@dataclass(frozen=True)
class AppliedPolicy:
    """The policy that one kind of receiver takes for a domain."""

    organisation: str
    """the organisational domain as that receiver sees it: alignment is judged by it"""
    location: str | None
    """domain whose record counts; None: there is no policy"""
    policy: str | None
    """what the record asks for messages of this domain: none, quarantine or reject"""


def _records_at(ask: DnsClient, name: str) -> list[str]:
    return [text for text in ask.texts(name) if VERSION.match(text)]


def _by_tree_walk(ask: DnsClient, domain: str) -> AppliedPolicy:
    """Return the policy by RFC 9989 sections 4.10.1 and 4.10.2.

    Several records at one name count as none.
    """
    labels = domain.split(".")
    start = 1 if len(labels) < WALK else len(labels) - WALK + 1
    names = [domain, *(".".join(labels[i:]) for i in range(start, len(labels)))]
    met: list[tuple[str, str]] = []
    for name in names:
        at = _records_at(ask, f"_dmarc.{name}")
        if len(at) == 1:
            met.append((name, at[0]))
            if tag_list(at[0]).get("psd") in ("n", "y"):
                break
    if not met:
        return AppliedPolicy(domain, None, None)
    top, record = met[-1]
    if tag_list(record).get("psd") == "y" and top != domain:
        top = ".".join(labels[-len(top.split(".")) - 1 :])
    own = [pair for pair in met if pair[0] == domain]
    location, record = own[0] if own else next((m for m in met if m[0] == top), met[-1])
    tags, is_own = tag_list(record), location == domain
    exists = is_own or "np" not in tags or ask.exists(domain)
    return AppliedPolicy(top, location, requested_policy(tags, own=is_own, exists=exists))


def _by_public_suffix(ask: DnsClient, domain: str) -> AppliedPolicy:
    """Return the policy by RFC 7489 section 6.6.3."""
    top = organisation(domain)
    for name in dict.fromkeys((domain, top)):
        if at := _records_at(ask, f"_dmarc.{name}"):
            if len(at) > 1:
                break
            policy = requested_policy(tag_list(at[0]), own=name == domain)
            return AppliedPolicy(top, name, policy)
    return AppliedPolicy(top, None, None)


def requested_policy(tags: Mapping[str, str], *, own: bool, exists: bool = True) -> str:
    """Return what a record asks for its own domain (p), or for one below it (sp, else p).

    For a name below it that does not exist: np, else what it asks of others. A value that is
    none of DMARC's counts as none (RFC 9989 section 4.7).
    """
    p = tags.get("p", "none")
    below = tags.get("sp", p)
    value = (p if own else below if exists else tags.get("np", below)).lower()
    return value if value in ("quarantine", "reject") else "none"


KNOWN = ("v", "p", "sp", "np", "rua", "ruf", "adkim", "aspf", "fo", "t", "psd", "pct", "rf", "ri")
OBSOLETE = ("pct", "rf", "ri")  # removed by RFC 9989
ADDRESS = re.compile(r"mailto:[^@\s,;!]+@(?P<host>[a-z0-9_.-]+?)\.?(?P<size>![0-9]+[kmgt]?)?", re.I)
MOST_ADDRESSES = 10


def check_dmarc(ask: DnsClient, domain: str) -> list[DnsRow]:
    """Check the record, and each outside host that is to get its reports."""
    name = f"_dmarc.{domain}"
    try:
        texts = ask.texts(name)
    except NoAnswer:
        return [unanswered_row("dmarc", name)]
    records = [text for text in texts if VERSION.match(text)]
    if len(records) > 1:
        text = phrase("{name} has {n} DMARC records, so receivers use none of them; keep one.")
        several = Fault("several", "invalid", text.format(name=name, n=len(records)))
        return [dns_row("dmarc", name, records, [several])]
    if not records:
        return [_without_own(ask, domain, texts)]
    tags = tag_list(records[0])
    faults = [*_tag_faults(tags), *_report_faults(ask, domain, tags)]
    applies = _applies(ask, domain)
    new, old = (a.organisation for a in applies.values()) if applies else ("", "")
    if new != old:
        text = phrase(
            "Alignment of {domain} is judged within {new} by receivers of RFC 9989 and within "
            "{old} by older ones; a DMARC record at _dmarc.{old} makes them agree."
        ).format(domain=domain, new=new, old=old)
        faults.append(Fault("two_organisations", "ok", text))
    values: dict[str, Any] = {
        "tags": {k: one_line(v) for k, v in tags.items() if k in KNOWN},
        "policy": requested_policy(tags, own=True),
        "applies": applies and {way: asdict(policy) for way, policy in applies.items()},
        "ttl": ask.text_life(name),
    }
    proposal = _corrected(records[0], tags) if faults else None
    row = dns_row("dmarc", name, records, faults, proposal=proposal, **values)
    return [row, *_authorisations(ask, domain, tags)]


def _applies(ask: DnsClient, domain: str) -> dict[str, AppliedPolicy] | None:
    """Return the policies that apply, as in `values` of the table `dns`; None without answer."""
    try:
        walk, suffix = _by_tree_walk(ask, domain), _by_public_suffix(ask, domain)
        return {"tree_walk": walk, "public_suffix": suffix}
    except NoAnswer:
        return None


def _without_own(ask: DnsClient, domain: str, texts: Sequence[str]) -> DnsRow:
    """Return the row without a record at the domain: a damaged one, one further up, or none."""
    name = f"_dmarc.{domain}"
    proposal = f"v=DMARC1; p=none; rua=mailto:dmarc-reports@{domain}"
    damaged = [text for text in texts if "dmarc" in text.lower()]
    if damaged:
        text = phrase(
            "{name} has no record that starts with v=DMARC1; and receivers ignore what is "
            "there; publish it as {record}"
        ).format(name=name, record=proposal)
        fault = Fault("syntax", "invalid", text)
        return dns_row("dmarc", name, damaged, [fault], proposal=proposal)
    applies = _applies(ask, domain)
    if applies is None:
        return unanswered_row("dmarc", name)
    new, old = applies.values()
    if new.location is None and old.location is None:
        text = phrase(
            "{domain} has no DMARC record, nor has a domain above it: publish one at {name} (with "
            "the address that takes your reports)."
        ).format(domain=domain, name=name)
        return dns_row("dmarc", name, [], [Fault("missing", "missing", text)], proposal=proposal)
    faults = []
    if (new.location, new.policy) != (old.location, old.policy):
        text = phrase(
            "Receivers disagree about {domain}: those of RFC 9989 take {new} (from {new_at}), "
            "older ones {old} (from {old_at}); publish a record of its own at _dmarc.{domain}."
        ).format(
            domain=domain,
            new=f"p={new.policy}" if new.policy else phrase("no policy"),
            new_at=new.location or "–",
            old=f"p={old.policy}" if old.policy else phrase("no policy"),
            old_at=old.location or "–",
        )
        faults.append(Fault("two_policies", "weak", text))
    elif new.policy == "none":
        text = phrase(
            "The policy for {domain} (from _dmarc.{location}) is none: forged mail is delivered. "
            "Once reports show that your own mail passes, publish p=quarantine, then p=reject."
        ).format(domain=domain, location=new.location)
        faults.append(Fault("p_none", "weak", text))
    values = {way: asdict(policy) for way, policy in applies.items()}
    return dns_row("dmarc", name, [], faults, policy=new.policy, applies=values, tags={})


def _tag_faults(tags: Mapping[str, str]) -> Iterator[Fault]:
    for tag, allowed in DMARC_VALUES.items():
        if tag in tags and tags[tag].lower() not in allowed:
            text = phrase("{tag}={value} is no value of DMARC; it is one of: {allowed}.").format(
                tag=tag, value=one_line(tags[tag], 40), allowed=", ".join(allowed)
            )
            broken = tag in ("p", "sp", "np")
            yield Fault(f"{tag}_value", "invalid" if broken else "weak", text)
    unknown = [tag for tag in tags if tag not in KNOWN]
    if "p" not in tags:
        text = phrase(
            "The record has no p: older receivers ignore it, others take p=none; add p=none."
        )
        yield Fault("no_p", "invalid", text)
    elif tags["p"].lower() == "none":
        text = phrase(
            "p=none asks receivers to deliver forged mail. Once reports show that your own mail "
            "passes, publish p=quarantine, then p=reject."
        )
        yield Fault("p_none", "weak", text)
    if unknown:
        text = phrase("Unknown tags are ignored; correct or remove them: {tags}.")
        shown = one_line(", ".join(unknown), 80)
        yield Fault("unknown_tags", "weak", text.format(tags=shown))
    old = [tag for tag in OBSOLETE if tag in tags]
    if old:
        text = phrase(
            "RFC 9989 has no {tags} any more; newer receivers ignore it. Remove it (instead of a "
            "pct below 100 there is t=y)."
        ).format(tags=", ".join(old))
        yield Fault("obsolete_tags", "weak", text)


def _addresses(tags: Mapping[str, str]) -> Iterator[tuple[str, str, str | None]]:
    """Yield tag, URI, and host (None: it is no address) of those that are to get reports."""
    for tag in ("rua", "ruf"):
        uris = filter(None, (uri.strip() for uri in tags.get(tag, "").split(",")))
        for uri in islice(uris, MOST_ADDRESSES):
            match = ADDRESS.fullmatch(uri)
            yield tag, uri, match["host"].lower() if match else None


def _report_faults(ask: DnsClient, domain: str, tags: Mapping[str, str]) -> Iterator[Fault]:
    if all(tag != "rua" for tag, _uri, _host in _addresses(tags)):
        text = phrase(
            "The record has no rua, so nobody sends reports about {domain}; add "
            "rua=mailto: and the address that takes them."
        ).format(domain=domain)
        yield Fault("no_rua", "weak", text)
    for tag, uri, host in _addresses(tags):
        if host is None:
            text = phrase("{tag}={uri} is no mail address; write it as mailto:name@host.")
            text = text.format(tag=tag, uri=one_line(uri, 80))
            yield Fault(f"{tag}_address", "weak", text)
            continue
        try:  # no MX and no address, or the null MX; silence is no fault
            names = [name for _preference, name in ask.mail_hosts(host)]
            takes_mail = any(names) if names else ask.has_address(host)
        except NoAnswer:
            continue
        if not takes_mail:
            text = phrase(
                "Reports to {uri} cannot be delivered: {host} has no mail server (MX); correct "
                "the address or publish the MX record."
            ).format(uri=one_line(uri, 80), host=host)
            yield Fault(f"{tag}_host", "weak", text)


def _authorisations(ask: DnsClient, domain: str, tags: Mapping[str, str]) -> list[DnsRow]:
    """Check that outside hosts want reports about this domain (RFC 9990 section 4)."""
    rows: dict[str, DnsRow] = {}
    for _tag, _uri, host in _addresses(tags):
        if host is None or host in rows or organisation(host) == organisation(domain):
            continue
        name = f"{domain}._report._dmarc.{host}"
        try:
            texts = _records_at(ask, name)
        except NoAnswer:
            rows[host] = unanswered_row("report_authorisation", name, host=host)
            continue
        text = phrase(
            "{host} has not authorised reports about {domain}, so most reporters send it none: it "
            "must publish the TXT record v=DMARC1 at {name}."
        ).format(host=host, domain=domain, name=name)
        faults = [] if texts else [Fault("missing", "missing", text)]
        proposal = "v=DMARC1" if faults else None
        rows[host] = dns_row(
            "report_authorisation", name, texts, faults, proposal=proposal, host=host
        )
    return list(rows.values())


def _corrected(record: str, tags: Mapping[str, str]) -> str | None:
    """Return the record with what can be mended by itself: obsolete and unknown tags, no p."""
    kept = {k: v for k, v in tags.items() if k in KNOWN and k not in (*OBSOLETE, "v")}
    if any(kept.get(tag, "none").lower() not in DMARC_VALUES[tag] for tag in ("p", "sp", "np")):
        return None
    if tags.get("pct", "100") != "100" and "t" not in kept and kept.get("p") != "none":
        kept["t"] = "y"
    kept = {"p": kept.pop("p", "none")} | kept
    better = "; ".join(["v=DMARC1", *(f"{k}={v}" for k, v in kept.items())])
    return better if tag_list(better) != tag_list(record) else None
