"""Mail that passes DMARC and is not like ours: names taken over, stolen keys, replayed messages."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dmarckit.core import Thresholds, _, count, later, n_messages, n_reporters
from dmarckit.facts import network_key
from dmarckit.findings import context as c, counts, queries
from dmarckit.findings.context import DAY, OWN_NETWORKS, Context, DomainFacts, window_query
from dmarckit.findings.counts import total
from dmarckit.findings.model import Family, Finding, Kind, mad, median, on_days, safe
from dmarckit.findings.rows import Rows, plain_time

_WEEK = 7 * DAY
_WEEKS = 4  # that say what is usual


def passing_abuse(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find mail that passes although it is not like ours, on two days at least.

    A From subdomain that never sent, or a signature never seen whose senders pass no SPF, from
    more than three networks never seen before; or a signature whose mail others deliver more
    than twice as much as its owner does, and more than usual. warning; critical from
    `abuse_critical` messages on. It is open for four weeks as long as it goes on.
    """
    limits = context.thresholds
    if domain.at_most() < limits.abuse_messages:
        return []
    if not domain.history(context.start, limits.history_days):
        return []
    signed = domain.signatures
    signed = signed[signed["passed"] & signed["aligned"] & (signed["selector"] != "")]
    found = [*_taken_over(domain, context), *_with_new_key(domain, context, signed)]
    taken = {finding.subject for finding in found}
    return found + [f for f in _replayed(domain, context, signed) if f.subject not in taken]


def _enough(rows: Rows, context: Context) -> bool:
    limits = context.thresholds
    return total(rows) >= limits.abuse_messages and rows["day"].nunique() >= limits.abuse_days


def _new_networks(domain: DomainFacts, rows: Rows, since: pd.Timestamp) -> int:
    """Return how many networks of the senders are new since that day; 0 if one has a name."""
    known = set(domain.inventory["sender"][domain.inventory["declared"]])
    senders = rows["sender"].unique()
    kinds = {domain.of("messages", sender)["sender_kind"][0] for sender in senders}
    if kinds - {"own", "unknown", "hosting"} or not known.isdisjoint(senders):
        return 0
    ips, is_new = domain.sources["source_ip"], domain.sources["first_day"] >= since
    old = set(map(network_key, ips[~is_new]))
    mine = ips[is_new & domain.sources["sender"].isin(senders)]
    return len(set(map(network_key, mine)) - old)


def _new_ones(
    domain: DomainFacts, context: Context, rows: Rows, column: str
) -> Iterator[tuple[str, Rows, pd.Timestamp, int]]:
    """Yield names that first passed in the last weeks, from more than a few new networks.

    With their messages of the window, their first day, and the number of networks.
    """
    limits = context.thresholds
    days = counts.first_days(rows, column, context.today - limits.baseline_days * DAY)
    for name, part in counts.groups(context.window(rows), column) if days else ():
        since = days.get(name)
        if since and _enough(part, context) and domain.history(since, limits.history_days):
            networks = _new_networks(domain, part, since)
            if networks > OWN_NETWORKS:
                yield name, part, since, networks


def _taken_over(domain: DomainFacts, context: Context) -> Iterator[Finding]:
    passing = domain.messages
    passing = passing[~passing["fails"] & (passing["header_from"] != domain.name)]
    if not len(passing):
        return
    summary = _(
        "{messages} pass as {subject}, a name that never sent before, {when}: from "
        "{networks} networks never seen before, none of them a sender's that is known "
        "({reporters})."
    )
    action = _(
        "DNS admin: look at {subject} and the names below it now. A CNAME, A, MX or SPF "
        "record to a service or address that you no longer use lets others send as it: "
        "take the record out, unless somebody of yours knows this sender."
    )
    for name, rows, since, n in _new_ones(domain, context, passing, "header_from"):
        such = queries.one_of("lower(header_from)", [name]), "dkim_aligned OR spf_aligned"
        query = window_query(domain, context, *such)
        yield _abuse(domain, context, name, rows, since, summary, action, n, query)


def _with_new_key(domain: DomainFacts, context: Context, signed: Rows) -> Iterator[Finding]:
    summary = _(
        "{messages} pass with the signature {subject}, whose selector was never seen "
        "before, {when}: from {networks} networks never seen before, and SPF passes for "
        "none of them ({reporters})."
    )
    action = _(
        "DNS admin: find out who published the key of {subject} and who has it. If it is "
        "nobody of yours, take its record out of DNS, and find out who can change DNS."
    )
    for name, rows, since, n in _new_ones(domain, context, signed, "signature"):
        spf = domain.spf[domain.spf["sender"].isin(rows["sender"].unique())]
        if not (spf["result"] == "pass").any():
            query = _query(domain, context, rows)
            yield _abuse(domain, context, name, rows, since, summary, action, n, query)


def _query(domain: DomainFacts, context: Context, rows: Rows) -> str:
    such = queries.verified(rows["dkim_domain"][0], rows["selector"][0])
    return window_query(domain, context, such)


def _replayed(domain: DomainFacts, context: Context, signed: Rows) -> Iterator[Finding]:
    owners: dict[str, set[str]] = {}
    for sender, owns in zip(domain.inventory["sender"], domain.inventory["owns"], strict=True):
        for signature in map("/".join, owns):
            owners.setdefault(signature, set()).add(sender)
    limits = context.thresholds
    summary = _(
        "{messages} pass with the signature {subject} {when}, of which {others} were "
        "delivered by others than its owner ({names}), and only {mine} by the owner; usual "
        "are {usual} a week by others ({reporters})."
    )
    action = _(
        "Mail admin: somebody may be sending a signed message of yours again, to others. "
        "Unless a large list explains it, sign with a new selector and take the key of "
        "{subject} out of DNS, and let the signer sign From, To and Subject twice "
        "(oversigning) and set an expiry (x=)."
    )
    sent = counts.sums(context.window(signed), "signature")
    enough = owners.keys() & {name for name, n in sent.items() if n >= limits.abuse_messages - 0.5}
    for name, rows in counts.groups(signed[signed["signature"].isin(enough)], "signature"):
        both, owner = context.window(rows), _owners(domain, context, rows, owners[name])
        owned, messages = both["sender"].isin(owner), both["messages"]
        n, mine = (counts.whole(messages[whose].sum()) for whose in (~owned, owned))
        if n <= limits.abuse_factor * mine or not _enough(both[~owned], context):
            continue
        others = rows[~rows["sender"].isin(owner)]
        window = context.window(others)
        weeks, before = _weeks(domain, context, others), _weeks(domain, context, rows)
        calm: list[float] = []
        since = context.start
        for ago, (theirs, everything) in enumerate(zip(weeks, before, strict=True)):
            much = limits.abuse_factor * (everything - theirs)
            if len(calm) > 1 and theirs > max(_usual_limit(calm, limits), much):
                since = min(since, context.start - (len(weeks) - ago) * _WEEK)
            else:
                since = context.start
                calm.append(theirs)
        usual = median(calm[-_WEEKS:])
        if not calm or n <= _usual_limit(calm, limits):
            continue
        numbers = {"others": count(n), "mine": count(mine), "usual": count(usual)}
        query, networks = _query(domain, context, rows), len(window["sender"].unique())
        texts = summary, action
        yield _abuse(domain, context, name, both, since, *texts, networks, query, window, **numbers)


def _owners(domain: DomainFacts, context: Context, rows: Rows, owners: set[str]) -> set[str]:
    """Return who owns a signature: who had it, where most of it is new and comes from all over."""
    theirs = rows["sender"].isin(owners)
    since = rows["day"][int(theirs.argmax())]  # rows are in the order of days
    before_that = context.today - context.thresholds.baseline_days * DAY
    if not theirs.any() or since < before_that:
        return owners
    before = rows[rows["day"] < since]
    if not len(before) or _new_networks(domain, rows[theirs], since) <= OWN_NETWORKS:
        return owners
    return {counts.largest(counts.sums(before, "sender"))}


def _weeks(domain: DomainFacts, context: Context, rows: Rows) -> list[float]:
    """Return the messages of each whole week with data before the window, the oldest first."""
    if domain.first_day is None:
        return []
    n = min((context.start - domain.first_day) // _WEEK, 12)
    start = plain_time(context.start).astype("datetime64[D]")
    ago = ((start - rows["day"].values.astype("datetime64[D]")).astype("int64") - 1) // _WEEK.days
    some = (ago >= 0) & (ago < n)
    weeks: list[float] = np.bincount(ago[some], rows["messages"][some], n).tolist()
    return weeks[::-1]


def _usual_limit(calm: list[float], limits: Thresholds) -> float:
    before = calm[-_WEEKS:]
    usual = median(before)
    return max(usual + limits.wave_mad * mad(before), limits.wave_factor * usual)


def _abuse(
    domain: DomainFacts,
    context: Context,
    subject: str,
    rows: Rows,
    since: pd.Timestamp,
    summary: str,
    action: str,
    networks: int,
    query: str,
    counted: Rows | None = None,
    **numbers: str,
) -> Finding:
    limits = context.thresholds
    counted = rows if counted is None else counted
    return c.messages_finding(
        "passing_abuse",
        domain,
        subject,
        "critical" if total(counted) >= limits.abuse_critical else "warning",
        rows,
        summary=summary.format(
            messages=n_messages(total(rows)),
            subject=safe(subject),
            when=on_days(*counts.day_span(rows)),
            networks=count(networks),
            names=c.names_with_counts(counted, "sender"),
            reporters=n_reporters(counts.count_reporters(rows)),
            **numbers,
        ),
        action=action.format(subject=safe(subject)),
        query=query,
        since=since,
        thresholds={"messages": limits.abuse_messages, "days": limits.abuse_days},
        evidence={
            "networks": counts.top_counts(counted, "sender"),
            "addresses": c.addresses(domain, sorted(counted["sender"].unique()))[: counts.SHOWN],
        },
    )


FAMILY = Family(
    (
        Kind(
            "passing_abuse",
            later("Suspicious mail passes DMARC: {subject}"),
            ("critical", "warning"),
            {"networks": later("Networks")},
        ),
    ),
    of_domain=(passing_abuse,),
)
