"""Mail of strangers in the domain's name: waves of it, and subdomains that invite it."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from dmarckit.core import _, count, later, n_messages, ngettext
from dmarckit.findings import queries
from dmarckit.findings.context import (
    BLOCKED,
    DAY,
    SHOWN,
    SPOOFED,
    Context,
    DomainFacts,
    addresses,
    count_reporters,
    day_span,
    messages_finding,
    top_counts,
    total,
    unknown_source_predicate,
    window_query,
)
from dmarckit.findings.dmarc_policy import subdomain_policy, txt_record
from dmarckit.findings.model import (
    Family,
    Finding,
    Kind,
    Severity,
    mad,
    median,
    n_reporters,
    on_days,
    safe,
)
from dmarckit.reports import Policy


def spoofing(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find a wave: days with far more unauthenticated mail of strangers than usual.

    Compared with the 28 days before each day (median and MAD, which earlier waves hardly
    move). Mail of inventory senders is never called spoofing. By the policy in force: info
    at p=reject (it was blocked as asked), warning at p=quarantine or while testing, at
    p=none warning, critical from `wave_critical` messages on: nothing stops it.
    """
    if domain.at_most(*SPOOFED) < context.thresholds.wave_messages:
        return []
    strange = domain.messages
    strange = strange[strange["class"].isin(SPOOFED) & ~strange["in_inventory"]]
    days = _wave_days(domain, context, strange)
    seen_by = count_reporters(strange[strange["day"].isin(days)])
    if not days or seen_by < context.thresholds.wave_reporters:
        return []
    return [_wave(domain, context, strange, days)]


def _wave_days(domain: DomainFacts, context: Context, strange: pd.DataFrame) -> list[pd.Timestamp]:
    limits = context.thresholds
    if domain.first_day is None or strange.empty:
        return []
    every_day = pd.date_range(domain.first_day, context.today, freq="D")
    daily = strange.groupby("day", observed=True)["messages"].sum().reindex(every_day, fill_value=0)
    found = []
    for day in context.window_days:
        n = float(daily.get(day, 0.0))
        if n < limits.wave_messages or not domain.history(pd.Timestamp(day), limits.history_days):
            continue
        if n > _usual_limit(daily, pd.Timestamp(day), context):
            found.append(pd.Timestamp(day))
    return found


def _usual_limit(daily: pd.Series[float], day: pd.Timestamp, context: Context) -> float:
    limits = context.thresholds
    before = daily[(daily.index >= day - limits.baseline_days * DAY) & (daily.index < day)].tolist()
    usual = median(before)
    return max(usual + limits.wave_mad * mad(before), limits.wave_factor * usual)


def _wave(
    domain: DomainFacts, context: Context, strange: pd.DataFrame, days: list[pd.Timestamp]
) -> Finding:
    limits, policy = context.thresholds, domain.policy
    wave = strange[strange["day"].isin(days)]
    blocked, n = total(wave[wave["disposition"].isin(BLOCKED)]), total(wave)
    severity: Severity = "warning"
    if policy.p == "reject" and policy.testing != "y":
        severity = "info"
    elif policy.p not in BLOCKED and n >= limits.wave_critical:
        severity = "critical"
    days_before = pd.date_range(days[0] - limits.baseline_days * DAY, days[0] - DAY)
    daily = strange.groupby("day", observed=True)["messages"].sum()
    usual = median(daily.reindex(days_before, fill_value=0).tolist())
    networks = sorted(wave["sender"].unique())
    return messages_finding(
        "spoofing",
        domain,
        domain.name,
        severity,
        wave,
        summary=ngettext(
            "A wave of {messages} from {n} network used the name {domain} without proof {when} "
            "(usual: {usual} a day): {blocked} blocked, {delivered} delivered; {reporters}.",
            "A wave of {messages} from {n} networks used the name {domain} without proof {when} "
            "(usual: {usual} a day): {blocked} blocked, {delivered} delivered; {reporters}.",
            len(networks),
        ).format(
            messages=n_messages(n),
            n=count(len(networks)),
            domain=safe(domain.name),
            when=on_days(*day_span(wave)),
            usual=count(usual),
            blocked=count(blocked),
            delivered=count(n - blocked),
            reporters=n_reporters(count_reporters(wave)),
        ),
        action=_wave_action(domain),
        query=queries.messages(domain.name, days, context.now, unknown_source_predicate(domain)),
        thresholds={
            "mad": limits.wave_mad,
            "factor": limits.wave_factor,
            "messages_a_day": limits.wave_messages,
            "reporters": limits.wave_reporters,
        },
        evidence={
            "usual_a_day": usual,
            "delivered": n - blocked,
            "blocked": blocked,
            "policy": policy.p,
            "networks": top_counts(wave, "sender"),
            "from_domains": top_counts(wave, "header_from"),
            "addresses": addresses(domain, networks)[:SHOWN],
        },
    )


def _wave_action(domain: DomainFacts) -> str:
    policy = domain.policy
    if policy.p == "reject" and policy.testing != "y":
        return _(
            "Nothing is due: p=reject asks receivers to refuse this mail. Service desk: expect "
            "questions from people who got some of it, and bounces."
        )
    return _(
        "Service desk: warn those who may get mail in your name. DNS admin: a stricter policy "
        "stops it; the record of _dmarc.{domain} is now {record} and the finding policy_ready says "
        "when the next step is safe."
    ).format(domain=safe(domain.name), record=txt_record(policy))


def subdomain_exposed(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find subdomains that never passed DMARC, but are used in From by strangers.

    warning where the policy for subdomains is none or only tested (anyone may use any name
    below the domain), info at quarantine, and at reject, where nothing is due any more.
    """
    if domain.at_most("spoofed_subdomain") < context.thresholds.subdomain_messages:
        return []
    window = context.window(domain.messages)
    mine = window[(window["class"] == "spoofed_subdomain") & ~window["in_inventory"]]
    groups = mine.groupby("header_from", observed=True)
    exposed = [
        (str(name), rows)
        for name, rows in groups
        if total(rows) >= context.thresholds.subdomain_messages
    ]
    hit = _failing_below(domain, context) if exposed else 0
    return [_exposed(domain, context, name, rows, hit) for name, rows in exposed]


def _exposed(
    domain: DomainFacts, context: Context, name: str, rows: pd.DataFrame, hit: int
) -> Finding:
    limits, policy = context.thresholds, domain.policy
    blocked = total(rows[rows["disposition"].isin(BLOCKED)])
    wanted = replace(policy, np="reject") if hit else replace(policy, sp="reject", np=None)
    # a name that never sent may not exist: np holds for it, where receivers know it
    level = policy.np or subdomain_policy(policy)
    covered = level == "reject" and policy.testing != "y"
    return messages_finding(
        "subdomain_exposed",
        domain,
        name,
        "warning" if level == "none" or policy.testing == "y" else "info",
        rows,
        summary=_(
            "Strangers sent {messages} as {name}, a name that never sent proven mail, {when}: "
            "{blocked} blocked, {delivered} delivered (policy for subdomains: {policy})."
        ).format(
            messages=n_messages(total(rows)),
            name=safe(name),
            when=on_days(*day_span(rows)),
            blocked=count(blocked),
            delivered=count(total(rows) - blocked),
            policy=level,
        ),
        action=(
            _("Nothing is due: receivers are asked to reject mail from subdomains that fails.")
            if covered
            else _cover(domain, wanted, hit, limits.ready_days)
        ),
        query=window_query(
            domain,
            context,
            unknown_source_predicate(domain),
            queries.one_of("lower(header_from)", [name]),
        ),
        thresholds={"messages": limits.subdomain_messages},
        evidence={
            "record": txt_record(policy if covered else wanted),
            "record_back": txt_record(policy),
            "delivered": total(rows) - blocked,
            "blocked": blocked,
            "networks": top_counts(rows, "sender"),
            "addresses": addresses(domain, sorted(rows["sender"].unique()))[:SHOWN],
        },
    )


def _cover(domain: DomainFacts, wanted: Policy, hit: int, days: int) -> str:
    text = (
        _(
            "DNS admin: change _dmarc.{domain} to: {record} (np covers names that do not exist, "
            "for receivers of RFC 9989; sp=reject would hit {messages} from subdomains that may be "
            "legitimate). To go back: {record_back}"
        )
        if hit
        else _(
            "DNS admin: change _dmarc.{domain} to: {record} (sp covers every name below the "
            "domain; no legitimate mail from one failed in the last {days} days). To go back: "
            "{record_back}"
        )
    )
    return text.format(
        domain=safe(domain.name),
        record=txt_record(wanted),
        messages=n_messages(hit),
        days=days,
        record_back=txt_record(domain.policy),
    )


def _failing_below(domain: DomainFacts, context: Context) -> int:
    """Return the failing legitimate messages from subdomains: what sp=reject would cost."""
    rows = context.last(domain.messages, context.thresholds.ready_days)
    below = rows["header_from"] != domain.name
    legitimate = rows["class"].isin(["broken_dkim", "unaligned_sender"]) | (
        rows["in_inventory"] & rows["class"].isin(SPOOFED)
    )
    return total(rows[below & legitimate])


FAMILY = Family(
    (
        Kind(
            "spoofing",
            later("Somebody sends as {subject}"),
            ("critical", "warning", "info"),
            {
                "usual_a_day": later("Usual a day"),
                "delivered": later("Delivered"),
                "blocked": later("Blocked"),
                "policy": later("Policy"),
                "networks": later("Networks"),
                "from_domains": later("From domains"),
            },
        ),
        Kind(
            "subdomain_exposed",
            later("Strangers send as {subject}"),
            ("warning", "info"),
            {
                "delivered": later("Delivered"),
                "blocked": later("Blocked"),
                "networks": later("Networks"),
            },
        ),
    ),
    of_domain=(spoofing, subdomain_exposed),
)
