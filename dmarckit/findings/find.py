"""All findings of facts and checks: each family's rules, and what their findings mean together.

A new kind is registered in its family; a new family is added to `FAMILIES`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache

import pandas as pd

from dmarckit.checks import Outside
from dmarckit.core import Mute, Thresholds, _, count, ngettext, one_line, short_day, show_domains
from dmarckit.facts import Facts, complete_days
from dmarckit.findings import (
    abuse,
    dkim,
    dns,
    mails,
    oddities,
    policy,
    postmaster,
    reporters,
    requirements,
    senders,
    spf,
    spoofing,
    tls,
    wanted,
)
from dmarckit.findings.causes import combine
from dmarckit.findings.context import POOLED, Context, DomainFacts, Domains
from dmarckit.findings.model import Family, Finding, Kind, join_sentences
from dmarckit.findings.records import merge_records

FAMILIES: tuple[Family, ...] = (
    dkim.FAMILY,
    wanted.FAMILY,
    senders.FAMILY,
    spf.FAMILY,
    spoofing.FAMILY,
    abuse.FAMILY,
    policy.FAMILY,
    requirements.FAMILY,
    reporters.FAMILY,
    oddities.FAMILY,
    tls.FAMILY,
    mails.FAMILY,
    postmaster.FAMILY,
    dns.FAMILY,
)
KINDS: Mapping[str, Kind] = {kind.name: kind for family in FAMILIES for kind in family.kinds}


def find(
    facts: Facts,
    *,
    now: datetime,
    days: int = 7,
    thresholds: Thresholds | None = None,
    mute: Iterable[Mute] = (),
    outside: Outside | None = None,
    of_domains: Sequence[Finding] | None = None,
    before: Sequence[Finding] = (),
) -> list[Finding]:
    """Return all findings of the last `days` days before `now`, the most urgent first.

    Muted ones (`Mute.until` included) come last, with their reason. `outside` is what Postmaster
    Tools and DNS say, if they were asked; `of_domains` what `find_by_domain` returned for these
    facts, or for parts of them. What was open `before` stays so until the facts show that it
    ended. Nothing is found in empty facts. The frames are not changed.
    """
    published = {} if outside is None else published_records(outside.dns)
    context = Context(now, days, thresholds or Thresholds(), published)
    domains = cache(lambda: Domains(facts, complete_days(facts)))
    if of_domains is None:
        of_domains = _of_domains(domains(), context)
    of_all = [f for family in FAMILIES for rule in family.of_all for f in rule(facts, context)]
    found = [*of_all, *of_domains]
    if outside is not None and not outside.empty:
        found = _with_outside(found, facts, outside, context)
    known = {finding.fingerprint for finding in found}
    ended = _how_ended(domains, context)
    found += [_last_seen(f) for f in before if f.fingerprint not in known and not ended(f)]
    reasons = {m.fingerprint: m.reason for m in mute if now.date() <= m.until}
    found = combine([replace(f, mute_reason=reasons.get(f.fingerprint)) for f in found], KINDS)
    said = (
        replace(f, title=title(f), summary=show_domains(f.summary), action=show_domains(f.action))
        for f in merge_records(found, published)
    )
    return sorted(said, key=lambda finding: finding.rank)


def _last_seen(finding: Finding) -> Finding:
    """Return a finding of an earlier run that says from when its numbers are."""
    note = _("These numbers are from {day}; nothing shows yet that it is over.").format(
        day=short_day(finding.last_day)
    )
    if finding.last_day is None or note in finding.summary:
        return finding
    return replace(finding, summary=join_sentences(finding.summary, note))


def published_records(dns: pd.DataFrame) -> dict[str, str]:
    """Return DNS name → its TXT record, of names with exactly one (rows as in `Outside.dns`)."""
    rows = dns[dns["record"].isin(["dmarc", "spf", "mta_sts", "tls_rpt"])]
    return {
        str(name): str(found[0])
        for name, found in zip(rows["name"], rows["found"], strict=True)
        if len(found) == 1
    }


def title(finding: Finding) -> str:
    """Return a title in plain text (not escaped); of an unknown kind, its name."""
    kind = KINDS.get(finding.kind)
    if kind is None:
        return f"{finding.kind}: {one_line(finding.subject, 80) or '–'}"
    if finding.subject != POOLED:
        return show_domains(_(kind.title).format(subject=kind.subject_name(finding.subject) or "–"))
    first = one_line(next(iter(finding.evidence.get("subjects", ())), "–"), 80)
    n = int(finding.evidence.get("count", 1)) - 1
    text = ngettext("{title}, and {n} more like it", "{title}, and {n} more like it", n)
    return show_domains(text.format(title=_(kind.title).format(subject=first), n=count(n)))


def find_by_domain(facts: Facts, context: Context, complete: pd.DataFrame) -> list[Finding]:
    """Return the findings of each domain by itself, before those of others hide any.

    `facts` may be those of some domains only, while `complete` (`complete_days`) needs the
    reports of all.
    """
    return _of_domains(Domains(facts, complete), context)


def _of_domains(domains: Domains, context: Context) -> list[Finding]:
    rules = [rule for family in FAMILIES for rule in family.of_domain]
    gc.freeze()  # or each collection looks through the facts: a tenth of the time
    try:
        return [found for domain in domains for rule in rules for found in rule(domain, context)]
    finally:
        gc.unfreeze()


def how_ended(facts: Facts, context: Context) -> Callable[[Finding], str]:
    """Return the function that says how a finding ended, or the empty text while it has not.

    The facts show it: three complete days back within what was usual. A kind that is no state
    ends when it is not found.
    """
    return _how_ended(cache(lambda: Domains(facts, complete_days(facts))), context)


def _how_ended(domains: Callable[[], Domains], context: Context) -> Callable[[Finding], str]:
    known = cache(lambda: set(domains().names))
    of = cache(lambda name: DomainFacts(name, domains()))

    def ended(finding: Finding) -> str:
        kind = KINDS.get(finding.kind)
        text = _(kind.resolved if kind else Kind.resolved)
        if kind is None or kind.ended is None or finding.subject == POOLED:
            return text
        if finding.domain not in known():
            return text
        return show_domains(kind.ended(finding, of(finding.domain), context))

    return ended


def _with_outside(
    found: Sequence[Finding], facts: Facts, outside: Outside, context: Context
) -> list[Finding]:
    """Add what Postmaster Tools and DNS show; it replaces a finding of the same fingerprint."""
    rules = [rule for family in FAMILIES for rule in family.of_outside]
    more = [finding for rule in rules for finding in rule(facts, outside, context)]
    reported = {
        (f.domain, rule) for f in [*found, *more] for rule in KINDS[f.kind].rules(f.subject)
    }
    more += requirements.requirement_not_met(facts, outside, context, reported)
    replaced = {finding.fingerprint for finding in more}  # a quoted change that DNS denies
    kept = [finding for finding in found if finding.fingerprint not in replaced]
    return dns.close_parked([*kept, *more], outside.dns)
