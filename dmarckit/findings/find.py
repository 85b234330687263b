"""What is wrong, what changed, what to do next: facts → a list of `Finding`.

What Postmaster Tools and DNS show, as findings; without their rows there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import pandas as pd

from dmarckit.checks import Outside
from dmarckit.core import Mute, Thresholds
from dmarckit.facts import Facts, complete_days
from dmarckit.findings import (
    dkim,
    mails,
    mails as dead_letters,
    policy,
    policy as ready,
    reporters,
    requirements,
    senders,
    senders as unaligned,
    spf,
    spoofing,
    tls,
)
from dmarckit.findings.context import Context, DomainFacts, by_domain, quoted_policy
from dmarckit.findings.dns import dns_changed, dns_record, passing_messages, policy_differs
from dmarckit.findings.model import Finding
from dmarckit.findings.postmaster import delivery_errors, gmail_volume, spam_rate
from dmarckit.findings.requirements import requirement_not_met


def find_outside(
    facts: Facts, outside: Outside, context: Context, found: Sequence[Finding]
) -> list[Finding]:
    """Findings of the domains that were asked about; `found` are those of the reports.

    What of a requirement is told already, here or in `found`, is not told again.
    """
    if outside.empty:
        return []
    metrics = _asked(outside.postmaster, outside.domains)
    mine = [
        *spam_rate(metrics, context, gmail_volume(facts.messages)),
        *delivery_errors(metrics, context),
        *dns_record(outside.dns, passing_messages(facts.messages, context), context),
        *dns_changed(outside.changes),
        *policy_differs(facts.policies, outside.dns, context),
    ]
    return [*mine, *requirement_not_met(facts, outside, context, [*found, *mine])]


def _asked(metrics: pd.DataFrame, domains: Collection[str]) -> pd.DataFrame:
    """Without the organisations that nobody asked about."""
    return metrics[metrics["domain"].isin(list(domains))] if domains else metrics


_OF_A_DOMAIN: Sequence[Callable[[DomainFacts, Context], list[Finding]]] = (
    dkim.broken_dkim,
    unaligned.unaligned_sender,
    senders.new_sender,
    senders.sender_stopped,
    spf.spf_errors,
    spf.spf_only,
    spoofing.spoofing,
    spoofing.subdomain_exposed,
    policy.policy_changed,
    policy.policy_not_honoured,
    requirements.gmail_requirement,
)
_OF_ALL: Sequence[Callable[[Facts, Context], list[Finding]]] = (
    reporters.silence,
    tls.tls_failures,
    mails.untrusted_reports,
    mails.unreadable_reports,
    dead_letters.dead_letters,
)


def find(
    facts: Facts,
    *,
    now: datetime,
    days: int = 7,
    thresholds: Thresholds | None = None,
    mute: Iterable[Mute] = (),
    complete: pd.DataFrame | None = None,
    outside: Outside | None = None,
    of_domains: Sequence[Finding] | None = None,
) -> list[Finding]:
    """All findings of the last `days` days before `now`, the most urgent first.

    Muted ones (`Mute.until` included) come last, with their reason. `complete` are the days
    that drops may be judged on (`complete_days` of the facts, unless given); `outside` is what
    Postmaster Tools and DNS say, if they were asked; `of_domains` what `of_each_domain` gave of
    these facts, or of parts of them. Nothing is found in empty facts. The frames are not
    changed.
    """
    context = Context(now, days, thresholds or Thresholds())
    if of_domains is None:
        told = complete_days(facts) if complete is None else complete
        of_domains = find_by_domain(facts, context, told)
    found: list[Finding] = []
    for whole in _OF_ALL:
        found += whole(facts, context)
    blind = {f.domain for f in found if f.kind == "ingest_broken"}
    for finding in sorted(of_domains, key=lambda finding: finding.domain):
        is_blind = not blind.isdisjoint({finding.domain, ""})
        if not (is_blind and finding.kind == "sender_stopped"):  # one alarm for one cause
            found.append(finding)
    if outside is not None:
        more = find_outside(facts, outside, context, found)
        again = {finding.fingerprint for finding in more}  # a quoted change that DNS denies
        found = [*(finding for finding in found if finding.fingerprint not in again), *more]
    return sorted(_muted(found, mute, now), key=lambda finding: finding.rank)


def find_by_domain(facts: Facts, context: Context, complete: pd.DataFrame) -> list[Finding]:
    """What is found by looking at one domain after the other.

    `facts` may be those of some domains only, while `complete` (`complete_days`) needs the
    reports of all.
    """
    policies = {
        str(name): quoted_policy(str(name), rows)
        for name, rows in facts.policies.groupby("domain", observed=True)
    }
    found: list[Finding] = []
    for domain in by_domain(facts, complete, policies):
        mine = [finding for family in _OF_A_DOMAIN for finding in family(domain, context)]
        broken = any(finding.kind == "broken_dkim" for finding in mine)
        found += [*mine, *ready.policy_ready(domain, context, broken)]
    return found


def _muted(found: list[Finding], mute: Iterable[Mute], now: datetime) -> list[Finding]:
    reasons = {m.fingerprint: m.reason for m in mute if now.date() <= m.until}
    return [replace(f, mute_reason=reasons.get(f.fingerprint)) for f in found]
