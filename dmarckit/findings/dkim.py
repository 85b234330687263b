"""DKIM signatures that no longer verify, or never did: whose fault it is, and since when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.core import _, count, later, ngettext, percent, short_day, short_days
from dmarckit.facts import HowTo, howto, organisation
from dmarckit.findings import context as c, counts, queries
from dmarckit.findings.context import DAY, Context, DomainFacts
from dmarckit.findings.counts import SHOWN
from dmarckit.findings.dmarc_policy import changed_tags
from dmarckit.findings.model import Family, Finding, Kind, join_names, join_sentences, safe, share
from dmarckit.findings.rows import Rows, Times

_ALL = 0.9  # share that fails from which a key, not single messages, is at fault


def broken_dkim(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find signatures (d=, s=) of the domain's own senders that do not verify.

    One finding a signature, whatever the number of senders, over all messages of senders of
    ours that carry it. A message that another aligned signature proves does not count as
    failing. Either the signature verifies much less than before it broke, however long ago
    that is, or hardly at all; or nobody has ever verified it. It says whose fault it is:

    - reporter: of several reporters one alone sees it;
    - unpublished: nobody has verified it in 90 days;
    - moved: it fails at addresses alone that began to send when it broke;
    - host: of several addresses of the sender one fails;
    - key: all senders that use it fail, or the only one fails almost always;
    - signer: one of several senders fails, or the only one fails in part.
    """
    limits = context.thresholds
    if domain.counted("unverified") < limits.dkim_part or not domain.history(context.today, 2):
        return []
    rows = domain.signatures
    rows = rows[rows["aligned"] & rows["ours"] & (rows["messages"] > 0)]
    rows = rows.assign(failed=np.where(rows["passed"] | rows["covered"], 0, rows["messages"]))
    # a reporter that leaves the selector out, where others do name it
    named = rows["selector"] != ""
    if not named.all():
        others = rows["dkim_domain"][named].unique()
        rows = rows[named | ~rows["dkim_domain"].isin(others)]
    found = []
    for _signature, carry in counts.groups(rows, "signature"):
        if carry["failed"].sum() >= limits.dkim_part - 0.5:
            breakage = _breakage(domain, context, carry)
            if breakage is not None and not _given_up(domain, carry, context):
                found.append(_finding(domain, context, breakage))
    return found


@dataclass(frozen=True)
class _Breakage:
    """A broken signature: its messages since it broke (at most four weeks), and those before."""

    d: str
    s: str
    since: pd.Timestamp
    days: list[pd.Timestamp]
    now: Rows
    before: Rows  # of the four weeks before it broke
    living: bool  # it has verified in the last 90 days

    @cached_property
    def last(self) -> pd.Timestamp:
        """Return the last day on which it was broken: the days after it may be mended."""
        days, (n, failed) = counts.daily(self.now, "messages", "failed")
        broken: Times = days[failed / n >= 0.5 * _failing_share(self.now)]
        return broken.max()

    def worse(self, column: str, least: int, points: float) -> tuple[list[str], list[str]]:
        """Return the values of a column where the share rose, and all with enough messages."""
        (n, failed), (n_before, failed_before) = (
            (counts.sums(rows, column), counts.sums(rows, column, "failed"))
            for rows in (self.now, self.before)
        )
        compared = [str(name) for name in n if counts.whole(n[name]) >= least]
        before = {name: share(failed_before[name], n_before[name]) for name in n_before}
        rose = [
            name
            for name in compared
            if share(failed[name], n[name]) - before.get(name, 0) >= points
        ]
        return rose, compared


def _failing_share(rows: Rows) -> float:
    return share(float(rows["failed"].sum()), float(rows["messages"].sum()))


def _breakage(domain: DomainFacts, context: Context, rows: Rows) -> _Breakage | None:
    """Return how a signature is broken; None if it is not.

    `rows` are all that carry it, with the messages that `failed`.
    """
    limits, few = context.thresholds, context.thresholds.recent_days
    d, s = (rows[column][0] for column in ("dkim_domain", "selector"))
    baseline = limits.baseline_days * DAY
    if not rows["living"].any():
        failing = context.last(rows[rows["failed"] > 0], limits.ready_days)
        if failing["failed"].sum() < limits.dkim_part or failing["day"].nunique() < few:
            return None
        days = list(pd.date_range(failing["day"].min(), failing["day"].max()))
        now = rows[rows["day"].isin(days)]
        since = rows["day"][rows["failed"] > 0].min()
        return _Breakage(d, s, since, days, now, rows[:0], living=False)
    day, (n, failed) = counts.daily(rows, "messages", "failed")
    is_over = day.isin(domain.complete) & (day < context.today)
    day, n, failed = day[is_over], n[is_over], failed[is_over]
    if not len(day):
        return None
    p = share(failed[-few:].sum(), n[-few:].sum())
    if p < min(limits.dkim_points, _ALL):
        return None
    began = _began(n, failed, few)
    lasting = (day >= day[began]) & (day >= day[-1] - baseline)
    usual = (day < day[began]) & (day >= day[began] - baseline)
    n_now, failed_now, n_usual, failed_usual = (
        float(values[when].sum()) for when in (lasting, usual) for values in (n, failed)
    )
    rose = (
        n_usual > 0
        and n_now >= limits.dkim_messages
        and p - share(failed_usual, n_usual) >= limits.dkim_points
        and two_proportion_z(failed_now, n_now, failed_usual, n_usual) > limits.dkim_z
    )
    dead = min(p, share(failed_now, n_now)) >= _ALL and failed_now >= limits.dkim_part
    if not rose and not (dead and (failed[lasting] > 0).sum() >= few):
        return None
    since, first, last = day[began], day[lasting][0], day[-1]
    days = list(domain.complete[(domain.complete >= first) & (domain.complete <= last)])
    now, earlier = (rows[rows["day"].isin(some)] for some in (days, day[usual]))
    return _Breakage(d, s, since, days, now, earlier, living=True)


def two_proportion_z(part: float, whole: float, part_before: float, whole_before: float) -> float:
    """Return the rise of a share in standard errors; 0 if a side is empty or nothing varies.

    >>> round(two_proportion_z(60, 100, 2, 1000), 1)
    24.7
    """
    if not whole or not whole_before:
        return 0.0
    pooled = (part + part_before) / (whole + whole_before)
    variance = pooled * (1 - pooled) * (1 / whole + 1 / whole_before)
    if variance <= 0:
        return 0.0
    return (part / whole - part_before / whole_before) / math.sqrt(variance)


def _began(n: NDArray[Any], failed: NDArray[Any], few: int) -> int:
    """Return the place of the day from which the share that fails is what it is at the end.

    `n` and `failed` are messages a day. It is the split of the days that makes both parts most
    likely; later than the last `few` days in a row that are nearer to the share before it.
    """
    start = 0
    part, whole = (
        np.lib.stride_tricks.sliding_window_view(values, min(few, len(n))).sum(axis=1)
        for values in (failed, n)
    )
    while len(n) - start > 1:
        before, bad_before = np.cumsum(n[start:])[:-1], np.cumsum(failed[start:])[:-1]
        after, bad_after = n[start:].sum() - before, failed[start:].sum() - bad_before
        fits = _fit(bad_before, before) + _fit(bad_after, after)
        worse = bad_after * before > bad_before * after
        if not worse.any():
            return start
        split = int(np.where(worse, fits, -np.inf).argmax()) + 1
        usual = share(bad_before[split - 1], before[split - 1])
        middle = (usual + share(failed[-few:].sum(), n[-few:].sum())) / 2
        start += split
        calm = np.flatnonzero(part[start:] < middle * whole[start:])
        if not len(calm) or start + calm[-1] + few >= len(n):
            return start
        start += int(calm[-1])
    return start


def _fit(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[Any]:
    """Return the log-likelihood of shares that are what was counted."""
    whole = np.maximum(whole, 1e-9)
    p = np.clip(part / whole, 1e-12, 1 - 1e-12)
    fits: NDArray[Any] = part * np.log(p) + (whole - part) * np.log(1 - p)
    return fits


def _given_up(domain: DomainFacts, rows: Rows, context: Context) -> bool:
    """Return True if the senders of a signature that is seen no more sign otherwise now."""
    last = rows["day"].max()
    return domain.quiet(rows["day"], context) and any(
        (domain.of("messages", sender)["day"] > last).any() for sender in rows["sender"].unique()
    )


def _fault(
    domain: DomainFacts, breakage: _Breakage, failing: list[str], context: Context
) -> tuple[str, list[str]]:
    """Return whose fault it is: the cause, and the senders, reporters or addresses at fault.

    `failing` are the senders whose mail fails.
    """
    part, points = context.thresholds.dkim_part, context.thresholds.dkim_points
    rose, compared = breakage.worse("reporter", part, points)
    if len(rose) == 1 and len(compared) > 1:
        return "reporter", rose
    if not breakage.living:
        return "unpublished", failing
    senders, all_senders = breakage.worse("sender", part, points)
    hosts, others = _hosts(domain, breakage, senders or failing)
    # the failing addresses began when the signature broke, and others were there before
    sources = domain.sources[domain.sources["sender"].isin(failing)]
    old = sources["first_day"] < breakage.since - DAY
    new = sources["source_ip"].isin(hosts)
    if new.any() and not (old & new).any() and (old & ~new).any():
        return "moved", hosts
    if len(hosts) == 1 and others:
        return "host", hosts
    if len(all_senders) > 1:
        return "signer" if len(senders) == 1 else "key", senders or failing
    last = breakage.now[breakage.now["day"] == breakage.last]
    cause = "key" if _failing_share(last) >= _ALL else "signer"
    return cause, senders or all_senders or failing


def _hosts(
    domain: DomainFacts, breakage: _Breakage, senders: list[str]
) -> tuple[list[str], list[str]]:
    """Return the addresses of the senders that nearly all failures are from, and those that pass.

    No address that fails is returned where failures are spread wider.
    """
    hosts = domain.failing_hosts
    hosts = hosts[(hosts["dkim_domain"] == breakage.d) & (hosts["selector"] == breakage.s)]
    hosts = hosts[hosts["source_ip"].isin(c.addresses(domain, senders))]
    bad = hosts["failed"] >= 0.5 * (hosts["failed"] + hosts["passed"])
    if hosts["failed"][bad].sum() < _ALL * hosts["failed"].sum():
        return [], []
    return list(hosts["source_ip"][bad]), list(hosts["source_ip"][~bad])


def _finding(domain: DomainFacts, context: Context, breakage: _Breakage) -> Finding:
    limits, d, s, now = context.thresholds, breakage.d, breakage.s, breakage.now
    failing = now[now["failed"] > 0]
    failing = failing.assign(messages=failing["failed"])
    senders, used_by = sorted(failing["sender"].unique()), sorted(now["sender"].unique())
    cause, at_fault = _fault(domain, breakage, senders, context)
    loss = c.lost_mail(context, failing, domain.sent_of_week(context, senders))
    undecided = set(domain.unidentified["sender"])
    words = {
        **c.sentence_parts(domain, failing, ""),
        "d": safe(d),
        "s": safe(s),
        "signature": f"{safe(d)}/{safe(s)}",
        "names": join_names(at_fault) or _("the sender"),
        "owners": join_names(used_by),
    }
    again = breakage.last < now["day"].max()
    partly = cause == "signer" and len(used_by) == 1
    numbers = _("DKIM failed for {messages} of {of} signed {signature} ({share}) {when}.")
    if not breakage.living:
        numbers = _(
            "DKIM failed for {messages} of {of} signed {signature} ({share}) {when}, and nobody "
            "has verified this signature in 90 days."
        )
    elif len(breakage.before):
        numbers = _(
            "DKIM failed for {messages} of {of} signed {signature} ({share}) {when}; in the "
            "{days} days before: {share_before}."
        )
    own_signers = counts.names(domain.signatures, "dkim_domain", domain.signatures["aligned"])
    changed = changed_tags(domain.quotes, breakage.since)
    parts = [counts.daily(rows, "messages", "failed") for rows in (breakage.before, now)]
    daily = [each for days, counted in parts for each in zip(days, *counted, strict=True)]
    return c.messages_finding(
        "broken_dkim",
        domain,
        f"{d}/{s}",
        loss.severity(
            "info" if cause == "reporter" else "warning",
            limits,
            decided=not set(senders) <= undecided,
        ),
        failing,
        summary=join_sentences(
            numbers.format(
                **words,
                of=count(counts.total(now)),
                share=percent(_failing_share(now)),
                days=limits.baseline_days,
                share_before=percent(_failing_share(breakage.before)),
            ),
            _spf_too(domain, breakage, senders),
            _("It has lasted since {since}.").format(since=short_day(breakage.since))
            if context.today - breakage.since > limits.baseline_days * DAY
            else "",
            _(_WHY["part" if partly else cause]).format(**words),
            _("After {day} it verified again.").format(day=short_day(breakage.last))
            if again
            else "",
            "" if breakage.living else _instead(domain, breakage, senders),
            _("The policy changed at the same time: {tags}.").format(tags="; ".join(changed))
            if changed
            else "",
            loss.sentence(senders),
        ),
        action=_("No action needed if it stays so: the last messages verify.")
        if again
        else _action(cause, used_by, words),
        query=c.domain_query(
            domain,
            breakage.days,
            context,
            queries.signed(d, s),
            f"NOT {queries.verified_by(own_signers)}",
            c.sender_predicate(domain, used_by),
        ),
        thresholds={
            "points": limits.dkim_points,
            "messages": limits.dkim_messages,
            "z": limits.dkim_z,
            "never": limits.dkim_part,
        },
        evidence={
            "cause": cause,
            "at_fault": [safe(name) for name in at_fault[:SHOWN]],
            "selector": s,
            "signing_domain": d,
            "share_now": _failing_share(now),
            "share_before": _failing_share(breakage.before),
            "messages_now": counts.total(now),
            "messages_before": counts.total(breakage.before),
            "share_a_day": {
                f"{day:%Y-%m-%d}": round(share(failed, n), 3)
                for day, n, failed in daily[-4 * SHOWN :]
            },
            "senders_failing": counts.top_counts(failing, "sender"),
            "senders": counts.top_counts(now, "sender"),
            "dispositions": counts.top_counts(failing, "disposition"),
            "addresses": c.addresses(domain, senders)[:SHOWN],
        },
        since=breakage.since,
        loss=loss,
    )


def _spf_too(domain: DomainFacts, breakage: _Breakage, senders: list[str]) -> str:
    """Say that SPF of the domain's organisation stopped passing for these senders as well."""
    rows, own = domain.spf, organisation(domain.name)
    theirs = rows["sender"].isin(senders)
    mine = {n for n in counts.names(rows, "spf_domain", theirs) if organisation(n) == own}
    theirs &= rows["spf_domain"].isin(mine)
    day, since = rows["day"], breakage.since
    before = theirs & (day < since) & (day >= since - 14 * DAY)
    later_on = theirs & (day > since) & (day <= breakage.last)
    passes = rows["result"] == "pass"
    was, now = (
        share(counts.total(rows, when & passes), counts.total(rows, when))
        for when in (before, later_on)
    )
    if not later_on.any() or was < _ALL or now > 1 - _ALL:
        return ""
    after = rows[later_on]
    return _(
        "SPF of {name} does not pass since then either ({results}): its record needs repair too."
    ).format(
        name=join_names(list(counts.top_counts(after, "spf_domain"))),
        results=join_names(list(counts.top_counts(after, "result"))),
    )


def _instead(domain: DomainFacts, breakage: _Breakage, senders: list[str]) -> str:
    """Say which selector the senders signed with until they took one that never verified."""
    rows = domain.signatures
    rows = rows[rows["sender"].isin(senders) & rows["passed"]]
    rows = rows[(rows["dkim_domain"] == breakage.d) & (rows["selector"] != breakage.s)]
    for selector, part in counts.groups(rows, "selector"):
        if abs(part["day"].max() - breakage.since) <= 2 * DAY:
            text = _("Until then its mail was signed with the selector {old}, which verified.")
            return text.format(old=safe(selector))
    return ""


def _action(cause: str, used_by: list[str], words: dict[str, str]) -> str:
    known = howto(used_by[0]) if cause == "unpublished" and len(used_by) == 1 else None
    if known is None:
        return _(_ACTIONS[cause]).format(**words)
    return _(
        "DNS admin: publish the {type} record {s}._domainkey.{d} exactly as {names} shows "
        "it ({screen}): it is missing, or is not the one that {names} signs with. Needed "
        "in all: {records}."
    ).format(
        **words | {"names": known.sender},
        type=known.dkim_type,
        screen=known.screen or known.manual,
        records=dkim_records(known),
    )


def dkim_records(known: HowTo) -> str:
    """Return how many records of which type a service needs for DKIM, and their names."""
    n = known.dkim_records or 1
    text = ngettext("{n} {type} record", "{n} {type} records", n)
    text = text.format(n=count(n), type=known.dkim_type)
    return f"{text} ({', '.join(known.dkim_names)})" if known.dkim_names else text


_WHY = {
    "key": later(
        "Every sender using this key is affected ({names}), so the published key is the likely "
        "cause."
    ),
    "signer": later(
        "Only mail signed by {names} is affected; other senders using the key verify, so that "
        "signer is the likely cause."
    ),
    "part": later(
        "Some {names} mail signed with the same key still verifies, so the key is fine: suspect "
        "one sending host, or something that modifies mail after signing."
    ),
    "host": later(
        "Only the host {names} is affected; mail signed with the same key at other addresses "
        "verifies, so the signer on that host is the likely cause, not the key."
    ),
    "moved": later(
        "Only mail from {names} is affected, which began to send when it broke: the mail has "
        "moved there, and the signer there does not have the key."
    ),
    "unpublished": later(
        "The key was never published, or published wrongly; {names} signs with it."
    ),
    "reporter": later("Only {names} reports it, so its verifier is the likely cause, not the key."),
}
_ACTIONS = {
    "key": later(
        "DNS admin: check the TXT record (or CNAME) {s}._domainkey.{d}: it must exist and hold "
        "the public key that {names} signs with now. Restore the previous record, or ask the "
        "owner of {names} for the current one."
    ),
    "signer": later(
        "{names} admin: check signing with {signature} (old private key after a rotation, a "
        "gateway or footer that modifies mail after signing). The DNS record {s}._domainkey.{d} "
        "needs no change."
    ),
    "host": later(
        "{owners} admin: check signing with {signature} on the host {names} only (old private key "
        "after a rotation, a footer that modifies mail after signing). The DNS record "
        "{s}._domainkey.{d} needs no change."
    ),
    "moved": later(
        "{owners} admin: give the signer at {names} the private key of {signature}, or a selector "
        "of its own whose key the DNS admin publishes. The DNS record {s}._domainkey.{d} needs no "
        "change."
    ),
    "unpublished": later(
        "DNS admin: publish the record {s}._domainkey.{d} that the owner of {names} gives you (a "
        "TXT record with the public key, or a CNAME to it): it is missing, or is not the one that "
        "{names} signs with."
    ),
    "reporter": later(
        "No action needed on your side: other reporters verify {signature}. Mail admin: if it "
        "lasts for a week, report it to {names} with the numbers below."
    ),
}


def _ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    d, s = finding.evidence.get("signing_domain"), finding.evidence.get("selector")
    rows = domain.signatures
    rows = rows[rows["aligned"] & rows["ours"] & (rows["messages"] > 0)]
    rows = rows[(rows["dkim_domain"] == d) & (rows["selector"] == s)]
    if not len(rows) or _given_up(domain, rows, context):
        return _("No action needed: no mail carries this signature any more.")
    limit = float(finding.evidence.get("share_before", 0)) + context.thresholds.dkim_points
    days = domain.over(rows["day"], context)[-context.thresholds.recent_days :]
    last = rows[rows["day"].isin(days)]
    failed = share(counts.total(last[~last["passed"] & ~last["covered"]]), counts.total(last))
    if len(days) < context.thresholds.recent_days or failed >= limit:
        return ""
    text = _("No action needed: on {days}, {share} did not verify.")
    return text.format(days=short_days(days[0], days[-1]), share=percent(failed))


FAMILY = Family(
    (
        Kind(
            "broken_dkim",
            later("DKIM failing: {subject}"),
            ("critical", "warning", "info"),
            {
                "cause": later("Cause"),
                "selector": later("Selector"),
                "signing_domain": later("Signing domain"),
                "share_now": later("Share now"),
                "share_before": later("Share before"),
                "messages_now": later("Messages now"),
                "messages_before": later("Messages before"),
                "at_fault": later("At fault"),
                "share_a_day": later("Share by day"),
                "senders_failing": later("Senders failing"),
                "senders": later("Senders"),
            },
            rules=lambda subject: ("dkim", "alignment"),
            ended=_ended,
        ),
    ),
    of_domain=(broken_dkim,),
)
