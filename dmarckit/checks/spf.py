"""The SPF record of a domain: what receivers would make of it (RFC 7208).

checkdmarc reads the record and follows it, with our resolver; the lookups are counted here
too, since checkdmarc stops at the eleventh and a person wants to know which part costs what.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import checkdmarc.spf

from dmarckit.checks.record import DnsRow, Fault, dns_row, phrase, unanswered, unanswered_row
from dmarckit.checks.resolver import DnsClient, NoAnswer
from dmarckit.core import normalize_domain, one_line

MOST_LOOKUPS = 10  # RFC 7208 section 4.6.4: beyond it the result is permerror
MANY_LOOKUPS = 8  # two left: the next service, or a change at one that is included, breaks it
COUNTED_TO = 100  # lookups after which counting stops; a hostile record could ask for thousands
LONGEST = 4096  # characters of a record that is read
VERSION = re.compile(r"v=spf1( |$)", re.I)
TERM = re.compile(r"[+?~-]?(include|a|mx|ptr|exists)([:/].*)?|redirect=(.+)", re.I)
ALL = re.compile(r"[+?~-]?all", re.I)

# its warnings about servers that do not answer are said in the rows already
logging.getLogger("checkdmarc").setLevel(logging.ERROR)


def check_spf(ask: DnsClient, domain: str, *, sends: bool) -> DnsRow:
    """Check the record. `sends`: mail of this domain was seen to pass of late."""
    try:
        texts = ask.texts(domain)
    except NoAnswer:
        return unanswered_row("spf", domain)
    records = [text for text in texts if VERSION.match(text)]
    if not records:
        return _missing(domain, texts, sends=sends)
    record = records[0]
    if len(records) > 1:
        text = phrase(
            "{domain} has {n} SPF records, which receivers treat as an error (permerror); merge "
            "them into one."
        ).format(domain=domain, n=len(records))
        return dns_row("spf", domain, records, [Fault("several", "invalid", text)])
    if len(record) > LONGEST:
        text = phrase("The SPF record of {domain} has {n} characters; shorten it below 450.")
        fault = Fault("too_long", "invalid", text.format(domain=domain, n=len(record)))
        return dns_row("spf", domain, records, [fault])
    faults, read = _read(ask, domain, record)
    if read and any(m.get("mechanism") == "ptr" for m in read["parsed"]["mechanisms"]):
        text = phrase("The mechanism ptr is slow and must not be used (RFC 7208 5.5); remove it.")
        faults.append(Fault("ptr", "weak", text))
    size = len(record.encode())
    if size > 450:  # RFC 7208 section 3.4
        text = phrase(
            "The SPF record has {n} bytes; above 450 some receivers cannot get it over UDP. Remove "
            "what no longer sends."
        ).format(n=size)
        faults.append(Fault("long", "weak", text))
    costs = _costs(ask, record, (domain,))
    lookups = sum(costs.values())
    most = sorted(costs.items(), key=lambda item: (-item[1], item[0]))[:4]
    parts = ", ".join(f"{one_line(term, 60)} ({n})" for term, n in most)
    if lookups > MOST_LOOKUPS:
        text = phrase(
            "The SPF record needs {n} DNS lookups, and more than 10 make it an error (permerror): "
            "remove what no longer sends, or give services a subdomain of their own. Most are "
            "needed by {parts}."
        )
        faults.append(Fault("lookups", "invalid", text.format(n=lookups, parts=parts)))
    elif lookups >= MANY_LOOKUPS:
        text = phrase(
            "The SPF record needs {n} of at most 10 DNS lookups; make room before the next service "
            "breaks it. Most are needed by {parts}."
        )
        faults.append(Fault("lookups_many", "weak", text.format(n=lookups, parts=parts)))
    shown = {one_line(term): n for term, n in costs.items()}
    values: dict[str, Any] = {"lookups": lookups, "costs": shown}
    if read is not None:
        verdict = read["parsed"]["all"]
        values |= {"void": read["void_dns_lookups"], "all": verdict}
        if verdict == "pass":
            text = phrase("+all lets anyone pass SPF as your domain; end the record with ~all.")
            faults.append(Fault("plus_all", "invalid", text))
        elif verdict == "neutral" and read["parsed"]["redirect"] is None:
            text = phrase("The record ends without a verdict (?all, or no all); end it with ~all.")
            faults.append(Fault("no_all", "weak", text))
    if not any(f.state == "invalid" for f in faults):
        silent = dict.fromkeys(name for name, _kind in ask.unanswered)
        faults += [unanswered(name) for name in list(silent)[:3]]
    proposal = None
    if [f.code for f in faults] in (["plus_all"], ["no_all"]):  # nothing else is wrong with it
        terms = [t for t in record.split() if t.lower() not in ("+all", "?all", "all")]
        proposal = " ".join([*terms, "~all"])
    return dns_row("spf", domain, records, faults, proposal=proposal, **values)


def _missing(domain: str, texts: list[str], *, sends: bool) -> DnsRow:
    damaged = [text for text in texts if "spf1" in text.lower()[:20]]
    if damaged:
        text = phrase(
            "{domain} has a record that looks like SPF, but does not start with v=spf1 and a "
            "space, so receivers ignore it; correct its beginning."
        )
        fault = Fault("syntax", "invalid", text.format(domain=domain))
    elif sends:
        text = phrase(
            "{domain} sends mail but has no SPF record: publish one TXT record that starts with "
            "v=spf1, names your servers and services, and ends with ~all."
        )
        fault = Fault("missing", "missing", text.format(domain=domain))
    else:
        text = phrase("{domain} has no SPF record; as no mail of it passes, publish v=spf1 -all")
        fault = Fault("missing_unused", "missing", text.format(domain=domain))
    proposal = "v=spf1 -all" if fault.code == "missing_unused" else None
    return dns_row("spf", domain, damaged, [fault], proposal=proposal)


def _read(ask: DnsClient, domain: str, record: str) -> tuple[list[Fault], Mapping[str, Any] | None]:
    """Return what checkdmarc says: faults, and what it read when there was no error."""
    try:
        return [], checkdmarc.spf.parse_spf_record(
            record,
            domain,
            resolver=ask,
            # explanations (exp=) are looked up without the resolver, but at these servers
            nameservers=ask.nameservers,
            timeout=min(ask.lifetime, max(0.01, ask.left)),
        )
    except checkdmarc.spf.SPFTooManyDNSLookups:
        return [], None  # said by check_spf, with the whole number
    except checkdmarc.spf.SPFError as caught:
        error = caught
    missing = isinstance(error, checkdmarc.spf.SPFRecordNotFound)
    void = isinstance(error, checkdmarc.spf.SPFTooManyVoidDNSLookups)
    if (missing or void) and ask.unanswered:  # checkdmarc says so of silent servers as well
        return [], None
    if isinstance(error, checkdmarc.spf.SPFIncludeLoop | checkdmarc.spf.SPFRedirectLoop):
        code = "loop"
        text = phrase("The SPF record of {domain} includes itself ({detail}); remove that term.")
    elif void:
        code = "void_lookups"
        text = phrase(
            "More than 2 names in the SPF record of {domain} have no records, which makes it an "
            "error (permerror); remove them ({detail})."
        )
    elif missing:
        code = "include_missing"
        text = phrase(
            "The SPF record of {domain} includes a domain without SPF record, which makes it an "
            "error (permerror); remove that include ({detail})."
        )
    else:
        code = "syntax"
        text = phrase("The SPF record of {domain} has a syntax error; correct it: {detail}")
    detail = one_line(error.args[0] if error.args else error, 300)
    return [Fault(code, "invalid", text.format(domain=domain, detail=detail))], None


def _costs(
    ask: DnsClient, record: str, path: tuple[str, ...], left: int = COUNTED_TO
) -> dict[str, int]:
    """Return the DNS lookups that each term costs, itself and below it, in the record's order.

    `path`: the domains that led here. What does not answer counts as one.
    """
    costs: dict[str, int] = {}
    for term, target in _terms(record):
        rest = left - sum(costs.values()) - 1
        if rest < 0:
            break
        below: dict[str, int] = {}
        if target is not None and target not in path and rest:
            with suppress(NoAnswer):
                records = [t for t in ask.texts(target) if VERSION.match(t)]
                below = _costs(ask, records[0][:LONGEST] if records else "", (*path, target), rest)
        costs[term] = costs.get(term, 0) + 1 + sum(below.values())
    return costs


def _terms(record: str) -> Iterator[tuple[str, str | None]]:
    """Yield the terms that cost a lookup, and the domain that an include or redirect leads to."""
    terms = record.split()[1:]
    has_all = any(ALL.fullmatch(term) for term in terms)
    for term in terms:
        if ALL.fullmatch(term):
            return
        match = TERM.fullmatch(term)
        if match is None or (match[3] and has_all):
            continue
        target = match[3] or (match[2] or "").lstrip(":")
        follows = bool(match[3]) or match[1].lower() == "include"
        yield term, normalize_domain(target) if follows and "%" not in target else None
