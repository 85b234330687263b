"""Mail of strangers in the domain's name: waves of it, and subdomains that invite it."""

from __future__ import annotations

import pandas as pd

from dmarckit.core import _, count, n_messages, ngettext
from dmarckit.facts import FORWARD_REASON
from dmarckit.findings import queries
from dmarckit.findings.context import (
    BLOCKED,
    DAY,
    SHOWN,
    SPOOFED,
    Context,
    DomainFacts,
    addresses,
    base_evidence,
    by_reporters,
    count_reporters,
    day_span,
    dns_record,
    subdomain_policy,
    top_counts,
    total,
    unknown_source_predicate,
    with_tags,
)
from dmarckit.findings.model import Finding, Severity, clean, mad, median, on_days
from dmarckit.reports import Policy


def spoofing(domain: DomainFacts, context: Context) -> list[Finding]:
    """A wave: days with far more unauthenticated mail of strangers than usual.

    Compared with the 28 days before each day (median and MAD, which earlier waves hardly
    move). Mail of inventory senders is never called spoofing. By the policy in force: info
    at p=reject (it was blocked as asked), warning at p=quarantine or while testing, at
    p=none warning, critical from `wave_critical` messages on: nothing stops it.
    """
    strange = domain.messages
    strange = strange[strange["class"].isin(SPOOFED) & ~strange["in_inventory"]]
    days = _wave_days(domain, context, strange)
    wave = strange[strange["day"].isin(days)]
    if not days or count_reporters(wave) < context.thresholds.wave_reporters:
        return []
    return [_wave(domain, context, wave, days)]


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
    domain: DomainFacts, context: Context, wave: pd.DataFrame, days: list[pd.Timestamp]
) -> Finding:
    blocked = total(wave[wave["disposition"].isin(BLOCKED)])
    n = total(wave)
    policy = domain.policy
    strict = policy.testing != "y"
    severity: Severity = "warning"
    if policy.p == "reject" and strict:
        severity = "info"
    elif policy.p not in BLOCKED and n >= context.thresholds.wave_critical:
        severity = "critical"
    before = domain.messages[
        domain.messages["class"].isin(SPOOFED)
        & ~domain.messages["in_inventory"]
        & (domain.messages["day"] >= days[0] - context.thresholds.baseline_days * DAY)
        & (domain.messages["day"] < days[0])
    ]
    span_days = pd.date_range(days[0] - context.thresholds.baseline_days * DAY, days[0] - DAY)
    usual = median(
        before.groupby("day", observed=True)["messages"]
        .sum()
        .reindex(span_days, fill_value=0)
        .tolist()
    )
    networks = sorted(wave["sender"].unique())
    ips = addresses(domain, networks)
    query = queries.messages(
        domain.name,
        days,
        context.now,
        unknown_source_predicate(domain),
    )
    first, last = day_span(wave)
    return Finding(
        kind="spoofing",
        domain=domain.name,
        subject=domain.name,
        severity=severity,
        messages=n,
        first_day=first,
        last_day=last,
        reporters=count_reporters(wave),
        summary=ngettext(
            "A wave of {messages} from {n} network used the name {domain} without proof {when} "
            "(usual: {usual} a day): {blocked} blocked, {delivered} delivered; {reporters}.",
            "A wave of {messages} from {n} networks used the name {domain} without proof {when} "
            "(usual: {usual} a day): {blocked} blocked, {delivered} delivered; {reporters}.",
            len(networks),
        ).format(
            messages=n_messages(n),
            n=count(len(networks)),
            domain=clean(domain.name),
            when=on_days(first, last),
            usual=count(usual),
            blocked=count(blocked),
            delivered=count(n - blocked),
            reporters=by_reporters(wave),
        ),
        action=_wave_action(domain),
        evidence=base_evidence(
            wave,
            query,
            mad=context.thresholds.wave_mad,
            factor=context.thresholds.wave_factor,
            messages_a_day=context.thresholds.wave_messages,
            reporters=context.thresholds.wave_reporters,
        )
        | {
            "usual_a_day": usual,
            "delivered": n - blocked,
            "blocked": blocked,
            "policy": policy.p,
            "networks": top_counts(wave, "sender"),
            "from_domains": top_counts(wave, "header_from"),
            "addresses": ips[:SHOWN],
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
    ).format(domain=clean(domain.name), record=dns_record(policy))


def subdomain_exposed(domain: DomainFacts, context: Context) -> list[Finding]:
    """Subdomains that never passed DMARC, but are used in From by strangers.

    warning where the policy for subdomains is none or only tested (anyone may use any name
    below the domain), info at quarantine, and at reject, where nothing is due any more.
    """
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
    blocked = total(rows[rows["disposition"].isin(BLOCKED)])
    policy = domain.policy
    wanted = with_tags(policy, np="reject") if hit else with_tags(policy, sp="reject", np=None)
    level = subdomain_policy(policy)
    query = queries.messages(
        domain.name,
        context.window_days,
        context.now,
        queries.FAILS,
        queries.one_of("lower(header_from)", [name]),
        f"NOT {FORWARD_REASON}",
    )
    safe = level == "reject" and policy.testing != "y"
    return Finding(
        kind="subdomain_exposed",
        domain=domain.name,
        subject=name,
        severity="warning" if level == "none" or policy.testing == "y" else "info",
        messages=total(rows),
        first_day=day_span(rows)[0],
        last_day=day_span(rows)[1],
        reporters=count_reporters(rows),
        summary=_(
            "Strangers sent {messages} as {name}, a name that never sent proven mail, {when}: "
            "{blocked} blocked, {delivered} delivered (policy for subdomains: {policy})."
        ).format(
            messages=n_messages(total(rows)),
            name=clean(name),
            when=on_days(*day_span(rows)),
            blocked=count(blocked),
            delivered=count(total(rows) - blocked),
            policy=level,
        ),
        action=(
            _("Nothing is due: receivers are asked to reject mail from subdomains that fails.")
            if safe
            else _cover(domain, wanted, hit, context.thresholds.ready_days)
        ),
        evidence=base_evidence(rows, query, messages=context.thresholds.subdomain_messages)
        | {
            "record": dns_record(policy if safe else wanted),
            "record_back": dns_record(policy),
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
        domain=clean(domain.name),
        record=dns_record(wanted),
        messages=n_messages(hit),
        days=days,
        record_back=dns_record(domain.policy),
    )


def _failing_below(domain: DomainFacts, context: Context) -> int:
    """Legitimate messages from subdomains that fail: what sp=reject would cost."""
    rows = context.last(domain.messages, context.thresholds.ready_days)
    below = rows["header_from"] != domain.name
    legitimate = rows["class"].isin(["broken_dkim", "unaligned_sender"]) | (
        rows["in_inventory"] & rows["class"].isin(SPOOFED)
    )
    return total(rows[below & legitimate])
