"""Mail of strangers in the domain's name: waves of it, and subdomains that invite it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dmarckit.core import _, count, later, n_messages, n_reporters, ngettext, short_day
from dmarckit.findings import context as c, counts, model, queries
from dmarckit.findings.context import SPOOFED, Context, DomainFacts
from dmarckit.findings.counts import top_counts, total
from dmarckit.findings.dmarc_policy import policy_tags, subdomain_policy
from dmarckit.findings.model import Family, Finding, Kind, Record, Severity, join_sentences, safe
from dmarckit.findings.records import propose_dmarc
from dmarckit.findings.rows import Rows


def strange(domain: DomainFacts, rows: Rows) -> Rows:
    """Return the failing messages of strangers, without senders that authenticate as themselves."""
    rows = rows[rows["class"].isin(SPOOFED) & ~rows["ours"]]
    themselves = c.authenticating(domain, set(rows["sender"].unique()))
    return rows[~rows["sender"].isin(themselves)] if themselves else rows


def _strangers_predicate(domain: DomainFacts) -> str:
    """Return the SQL predicate for the records of `strange`: those that nothing else explains."""
    rows, signed, spf = domain.messages, domain.signatures, domain.spf
    fails = rows["fails"]
    services = counts.names(rows, "sender", fails & (rows["class"] == "unaligned_sender"))
    unknown = fails & rows["class"].isin([*SPOOFED, "unidentified"])
    others = set(counts.names(rows, "sender", unknown & rows["ours"]))
    others |= c.authenticating(domain, set(counts.names(rows, "sender", unknown)))
    living = signed[signed["aligned"] & signed["living"]]
    living = living[np.unique(living["signature"].codes, return_index=True)[1]]
    pairs = zip(living["dkim_domain"], living["selector"], strict=True)
    by_dkim = signed["passed"] & signed["sender"].isin(services)
    by_spf = (spf["result"] == "pass") & spf["sender"].isin(services)
    known = [
        *(queries.signed(d, s) for d, s in sorted(pairs)),
        queries.proves_dkim(counts.names(signed, "dkim_domain", by_dkim)),
        queries.proves_spf(counts.names(spf, "spf_domain", by_spf)),
        c.sender_predicate(domain, sorted(others)),
    ]
    return queries.unexplained(known)


@dataclass(frozen=True)
class Wave:
    """Days with far more mail of strangers than before they began."""

    days: list[pd.Timestamp]  # those in the window
    since: pd.Timestamp  # its first day, which may be long before the window
    usual: float | None  # messages a day before it; None: there is no history
    over: bool  # three complete days after it were usual again


def spoofing(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find a wave: days with far more unauthenticated mail of strangers than was usual before.

    A day is compared with the 28 before it that belong to no wave (median and MAD), so that a
    wave that lasts does not become usual. Without history a wave is a fifth of all mail.
    Severity by what got through: critical from `wave_critical` delivered messages on, warning
    from `wave_messages` on, else info; and info when it is over, until it leaves the window.
    """
    limits = context.thresholds
    if domain.at_most(*SPOOFED) < limits.wave_messages:
        return []
    window = context.window(domain.messages)
    of_strangers = window["class"].isin(SPOOFED) & ~window["ours"]
    if total(window, of_strangers) < limits.wave_messages:
        return []
    forged = strange(domain, domain.messages)
    wave = _find_wave(domain, context, forged)
    if wave is None:
        return []
    rows = forged[forged["day"].isin(wave.days)]
    seen_by_few = counts.count_reporters(rows) < limits.wave_reporters
    if seen_by_few and total(rows) < limits.wave_one_reporter:
        return []
    return [_wave(domain, context, wave, rows)]


def _find_wave(domain: DomainFacts, context: Context, forged: Rows) -> Wave | None:
    limits, first = context.thresholds, domain.first_day
    if first is None or not len(forged):
        return None
    every_day = list(pd.date_range(first, context.today, freq="D"))
    sums = counts.sums(forged, "day")
    daily = [sums.get(day, 0) for day in every_day]
    if not domain.history(context.today, limits.history_days):
        seen = {d: n for d, n in zip(every_day, daily, strict=True) if d >= context.start and n > 0}
        everything, n = total(context.window(domain.messages)), sum(seen.values())
        if n < limits.wave_one_reporter or n < limits.wave_share * everything:
            return None
        return Wave(list(seen), next(iter(seen)), None, over=False)
    calm: list[float] = []
    high: list[int] = []
    usual, began = 0.0, 0
    for place, number in enumerate(daily):
        if number < limits.wave_messages:
            calm.append(number)
            continue
        before = calm[-limits.baseline_days :]
        middle = model.median(before)
        limit = max(middle + limits.wave_mad * model.mad(before), limits.wave_factor * middle)
        if len(before) >= limits.recent_days and number > limit:
            if not high or place - high[-1] > limits.recent_days:
                usual, began = middle, place
            high.append(place)
        else:
            calm.append(number)
    days = [every_day[place] for place in high if every_day[place] >= context.start]
    if not days:
        return None
    later_days = int((domain.complete > days[-1]).sum())
    return Wave(days, every_day[began], usual, later_days >= limits.recent_days)


def _wave(domain: DomainFacts, context: Context, wave: Wave, rows: Rows) -> Finding:
    limits = context.thresholds
    n, blocked = total(rows), total(rows, rows["blocked"])
    severity: Severity = "info"
    if not wave.over and n - blocked >= limits.wave_messages:
        severity = "critical" if n - blocked >= limits.wave_critical else "warning"
    networks = sorted(rows["sender"].unique())
    usual = (
        _("there is too little history to say what is usual")
        if wave.usual is None
        else _("usual before: {n} per day").format(n=count(wave.usual))
    )
    return c.messages_finding(
        "spoofing",
        domain,
        domain.name,
        severity,
        rows,
        summary=join_sentences(
            ngettext(
                "{messages} from {n} network used {domain} without authentication {when} "
                "({usual}): {what}; {reporters}.",
                "{messages} from {n} networks used {domain} without authentication {when} "
                "({usual}): {what}; {reporters}.",
                len(networks),
            ).format(
                messages=n_messages(n),
                n=count(len(networks)),
                domain=safe(domain.name),
                when=model.on_days(*counts.day_span(rows)),
                usual=usual,
                what=c.disposition_words(rows),
                reporters=n_reporters(counts.count_reporters(rows)),
            ),
            _("It has been going on since {day}.").format(day=short_day(wave.since))
            if wave.since < context.start and not wave.over
            else "",
            _("It is over: the days after it were as usual.") if wave.over else "",
        ),
        action=_wave_action(domain, rows, n - blocked),
        query=c.domain_query(domain, wave.days, context, _strangers_predicate(domain)),
        since=wave.since,
        thresholds={
            "mad": limits.wave_mad,
            "factor": limits.wave_factor,
            "messages": limits.wave_messages,
            "reporters": limits.wave_reporters,
        },
        evidence={
            "usual_a_day": wave.usual,
            "delivered": n - blocked,
            "blocked": blocked,
            "policy": domain.policy.p,
            "networks": top_counts(rows, "sender"),
            "from_domains": top_counts(rows, "header_from"),
            "addresses": c.addresses(domain, networks)[: counts.SHOWN],
        },
    )


def _wave_action(domain: DomainFacts, rows: Rows, delivered: int) -> str:
    policy = domain.policy
    below = rows["header_from"] != domain.name
    at = [policy.p or "none"] if not below.all() else []
    at += [policy.np or subdomain_policy(policy)] if below.any() else []
    if all(level == "reject" for level in at) and policy.testing != "y":
        if delivered:
            return _(
                "Nothing can be done in DNS: the policy asks receivers to reject this mail, and "
                "some delivered it. Service desk: warn those who may get it, and expect questions."
            )
        return _(
            "No action needed: the policy asks receivers to reject this mail. Service desk: expect "
            "questions from recipients, and bounces."
        )
    return _(
        "Service desk: warn those who may get forged mail in your name. The policy is {tags}; the "
        "findings about the next step and about subdomains say how far it can be tightened."
    ).format(tags=policy_tags(policy))


def subdomain_exposed(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find subdomains that never passed DMARC, but are used in From by strangers.

    One finding a name, of a few names; of many one with the subject ``*.domain``. warning where
    the policy for them is none or only tested (anyone may use any name below the domain), info
    at quarantine, and at reject, where nothing is due any more.
    """
    limits = context.thresholds
    if domain.at_most("spoofed_subdomain") < limits.subdomain_messages:
        return []
    window = context.window(domain.messages)
    rows = window[window["class"] == "spoofed_subdomain"]
    many = limits.subdomain_messages_of_many
    if total(rows) < min(limits.subdomain_messages, many):
        return []
    rows = strange(domain, rows)
    sums = counts.sums(rows, "header_from")
    single = [name for name, n in sums.items() if n >= limits.subdomain_messages]
    rest = sum(n for n in sums.values() if n < limits.subdomain_messages)
    if rest >= many or (len(single) > 3 and sum(sums.values()) >= many):
        return [_exposed(domain, context, f"*.{domain.name}", rows)]
    return [_exposed(domain, context, n, rows[rows["header_from"] == n]) for n in single]


def _exposed(domain: DomainFacts, context: Context, subject: str, rows: Rows) -> Finding:
    limits, policy = context.thresholds, domain.policy
    # a name that never sent may not exist: np holds for it, where receivers know it
    level = policy.np or subdomain_policy(policy)
    testing = policy.testing == "y"
    names = sorted(rows["header_from"].unique())
    text = _(
        "{messages} used {names}, which has never sent authenticated mail, {when}: {what} (policy "
        "for subdomains: {policy})."
    )
    if len(names) > 1:
        text = _(
            "{messages} used {n} names below {domain} that have never sent authenticated mail "
            "({names}), {when}: {what} (policy for subdomains: {policy})."
        )
    summary = text.format(
        messages=n_messages(total(rows)),
        n=count(len(names)),
        names=safe(names[0]) if len(names) == 1 else c.names_with_counts(rows, "header_from"),
        domain=safe(domain.name),
        when=model.on_days(*counts.day_span(rows)),
        what=c.disposition_words(rows),
        policy=f"{level}; t=y" if testing else level,
    )
    blocked = total(rows, rows["blocked"])
    forged = _strangers_predicate(domain), queries.one_of("lower(header_from)", names)
    action, record = _cover(domain, context, level)
    finding = c.messages_finding(
        "subdomain_exposed",
        domain,
        subject,
        "warning" if level == "none" or testing else "info",
        rows,
        summary=summary,
        action=action,
        query=c.window_query(domain, context, *forged),
        thresholds={"messages": limits.subdomain_messages},
        evidence={
            "delivered": total(rows) - blocked,
            "blocked": blocked,
            "names": top_counts(rows, "header_from"),
            "networks": top_counts(rows, "sender"),
            "addresses": c.addresses(domain, sorted(rows["sender"].unique()))[: counts.SHOWN],
        },
    )
    return replace(finding, record=record)


def _cover(domain: DomainFacts, context: Context, level: str) -> tuple[str, tuple[Record, ...]]:
    """Return what closes the names below the domain: sp where nothing is lost, else np."""
    policy, days = domain.policy, context.thresholds.ready_days
    if level == "reject":
        if policy.testing != "y":
            return _(
                "No action needed: receivers are asked to reject mail from subdomains that fails."
            ), ()
        return _(
            "The policy for subdomains is reject, which t=y lowers to quarantine (RFC 9989 section "
            "4.7); the finding about the next step says when t=y can go."
        ), ()
    failing = c.failing_ours(context.last(domain.messages, days))
    failing = failing[failing["header_from"] != domain.name]
    names = c.names_with_counts(failing, "header_from")
    passed = counts.names(domain.messages, "header_from", ~domain.messages["fails"])
    if not failing["header_from"].isin(passed).all():
        return _(
            "First settle who sends {names}: a stricter policy for subdomains would block it."
        ).format(names=names), ()
    wanted = "np" if len(failing) else "sp"
    change: dict[str, str | None] = {wanted: "reject"}
    if wanted == "sp" and policy.np and policy.np != "reject":
        change["np"] = "reject"
    text, record = propose_dmarc(domain.name, change, context)
    why = (
        _(
            "np covers names that do not exist, for receivers of RFC 9989; sp=reject would block "
            "{messages} from subdomains that may be legitimate ({names})."
        ).format(messages=n_messages(total(failing)), names=names)
        if len(failing)
        else _(
            "sp covers every name below the domain; no legitimate subdomain mail failed in the "
            "last {days} days."
        ).format(days=days)
    )
    return join_sentences(text, why), record


def _exposed_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    rows = domain.messages[domain.messages["class"] == "spoofed_subdomain"]
    if not finding.subject.startswith("*"):
        rows = rows[rows["header_from"] == finding.subject]
    return c.how_calmed(domain, context, rows, rows)


FAMILY = Family(
    (
        Kind(
            "spoofing",
            later("Spoofing of {subject}"),
            ("critical", "warning", "info"),
            {
                "usual_a_day": later("Usual per day"),
                "delivered": later("Delivered"),
                "blocked": later("Blocked"),
                "policy": later("Policy"),
                "networks": later("Networks"),
                "from_domains": later("From domains"),
            },
        ),
        Kind(
            "subdomain_exposed",
            later("Spoofed subdomain: {subject}"),
            ("warning", "info"),
            {
                "delivered": later("Delivered"),
                "blocked": later("Blocked"),
                "names": later("Names"),
                "networks": later("Networks"),
            },
            ended=_exposed_ended,
        ),
    ),
    of_domain=(spoofing, subdomain_exposed),
)
