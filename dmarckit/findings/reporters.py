"""Reporters that no longer write, and report mail that no longer comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.core import _, count, later, moment, ngettext, percent
from dmarckit.facts import Facts
from dmarckit.findings import model, queries
from dmarckit.findings.context import DAY, Context, reporter_tests
from dmarckit.findings.counts import SHOWN
from dmarckit.findings.model import Family, Finding, Kind, median, reporter_name, safe
from dmarckit.findings.rows import Rows, Times

_LONGEST = 1.25  # times the longest gap of the month: weekends without mail are no silence


@dataclass(frozen=True)
class Rhythm:
    """The reports of one reporter about one domain in the last 30 days, and its usual silence."""

    domain: str
    reporter: str
    """its name; of several that `reporter_families` takes for one, the one that wrote last"""
    family: frozenset[str]
    reports: int
    last_end: pd.Timestamp
    limit: float
    """hours of silence from which it is missed"""
    silent: bool


def reporter_rhythms(facts: Facts, context: Context) -> list[Rhythm]:
    """Return the reporters with at least 10 reports in 30 days, known for 14 days, by domain.

    Missed after max(72 h, 4 × the median gap between reports), and after 1¼ times the longest
    gap of the month, so that weekends without mail are no silence. A reporter that is
    always late gets its usual delay on top. One that goes on under another name or from another
    domain is the same (`reporter_families`).
    """
    limits = context.thresholds
    reports = facts.reports[facts.reports["end"] <= context.now + timedelta(days=1)]
    (which, domains), (who, names) = (
        pd.factorize(reports[column].astype("category").astype(object), sort=True)
        for column in ("domain", "reporter")
    )
    families = reporter_families(reports)
    family, _firsts = pd.factorize(np.array([families[name] for name in names], object), sort=True)
    groups, group = np.unique(which * len(names) + family[who], return_inverse=True)
    begin, end, received = (  # hours from now; NaN where it is not known
        (reports[column] - context.now).dt.total_seconds().to_numpy("float64") / 3600
        for column in ("begin", "end", "received")
    )
    order, ended = np.lexsort((end, group)), Times(reports["end"].to_numpy("datetime64[us]"))
    group, who = group[order], who[order]
    begin, end, received = (each[order] for each in (begin, end, received))
    month, n = end > -30 * 24.0, len(groups)
    count_of, count_late, ends = group[month], received[month] - end[month], end[month]
    reported = np.bincount(count_of, minlength=n)
    gap = np.diff(ends)
    between = (gap > 0) & (count_of[1:] == count_of[:-1])  # equal times count once
    _least, usual_gap, longest_gap = _spread(gap[between], count_of[1:][between], n)
    known = ~np.isnan(count_late)
    least_late, usual_late, most_late = _spread(count_late[known], count_of[known], n)
    # delays that vary more only say when a backlog was read
    late = np.where(most_late - least_late <= 120.0, np.maximum(usual_late - 24.0, 0.0), 0.0)
    limit = late + np.maximum(
        np.maximum(limits.silent_hours, limits.silent_gaps * usual_gap), _LONGEST * longest_gap
    )
    places = np.searchsorted(group, np.arange(n + 1))
    found = []
    for of in np.flatnonzero(reported >= limits.silent_reports):
        rows = slice(places[of], places[of + 1])
        last = places[of + 1] - 1
        if begin[rows].min() > -24.0 * limits.history_days:
            continue
        found.append(
            Rhythm(
                domain=str(domains[groups[of] // len(names)]),
                reporter=str(names[who[last]]),
                family=frozenset(str(names[one]) for one in np.unique(who[rows])),
                reports=int(reported[of]),
                last_end=ended[order[last]],
                limit=float(limit[of]),
                silent=bool(-end[last] > limit[of]),
            )
        )
    return found


def _spread(
    values: NDArray[np.float64], group: NDArray[np.intp], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the least, median and greatest value of each group; 0 of none."""
    order = np.lexsort((values, group))
    values, places = values[order], np.searchsorted(group[order], np.arange(groups + 1))
    first, n = places[:-1], np.diff(places)
    some = n > 0
    found = np.zeros((3, groups))
    first, n = first[some], n[some]
    found[:, some] = (
        values[first],
        (values[first + (n - 1) // 2] + values[first + n // 2]) / 2,
        values[first + n - 1],
    )
    return found[0], found[1], found[2]


def reporter_families(reports: pd.DataFrame) -> dict[str, str]:
    """Return each reporter's first with the same plain name or contact: it may be the same one.

    Two that report through one service, or a reporter that writes from a new domain before it
    stops at the old one, have names of their own; neither is silent while the other writes.
    """
    rows = reports[["reporter", "spelling", "contact"]].drop_duplicates()
    found = {str(name): str(name) for name in rows["reporter"]}
    for column in ("spelling", "contact"):
        known = rows[rows[column] != ""]
        for _value, names in known.groupby(known[column].str.casefold())["reporter"]:
            same = {found[str(name)] for name in names}
            if len(same) > 1:
                found = {name: min(same) if of in same else of for name, of in found.items()}
    return found


def _hours_since(time: pd.Timestamp, context: Context) -> float:
    return (context.now - time.to_pydatetime()) / timedelta(hours=1)


def silence(facts: Facts, context: Context) -> list[Finding]:
    """Find silent reporters and broken ingest; the second takes in the first.

    ingest_broken: at least half of a domain's reporters (and more than one) are silent; for
    all domains, or at least three, it is one finding without a domain. Or no mail came at all
    for 48 hours (longer where mail comes more rarely). critical when it concerns all, warning
    for one domain: its rua tag, or its mail, is gone.
    reporter_silent: info, since most often the reporter is at fault; warning when it
    saw a fifth of the domain's messages.
    """
    nothing = _no_mail(facts, context)
    if nothing is not None:
        return [nothing]
    known = reporter_rhythms(facts, context)
    of_domain: dict[str, list[bool]] = {}
    for rhythm in known:
        of_domain.setdefault(rhythm.domain, []).append(rhythm.silent)
    least = context.thresholds.broken_share
    domains = set(of_domain)
    broken = {d for d, s in of_domain.items() if sum(s) >= 2 and sum(s) / len(s) >= least}
    if all(r.silent for r in known):
        broken = domains
    concerned = [r for r in known if r.domain in broken]
    if broken and (broken == domains or len(broken) >= context.thresholds.broken_domains):
        found = [_ingest_broken(facts, context, "", concerned)]
    else:
        of = {d: [r for r in concerned if r.domain == d] for d in sorted(broken)}
        found = [_ingest_broken(facts, context, domain, part) for domain, part in of.items()]
    by_reporter: dict[str, list[Rhythm]] = {}
    for rhythm in known:
        if rhythm.silent and rhythm.domain not in broken:
            by_reporter.setdefault(rhythm.reporter, []).append(rhythm)
    for alone in by_reporter.values():
        many = len(alone) >= context.thresholds.broken_domains  # one cause, not one a domain
        parts = [alone] if many else [[rhythm] for rhythm in alone]
        found += [_silent(facts, context, part) for part in parts]
    return found


def _no_mail(facts: Facts, context: Context) -> Finding | None:
    """Find that nothing came in for 48 hours, or for longer than it ever took in 8 weeks."""
    limits = context.thresholds
    seen = pd.concat([facts.mails["received"], facts.reports["end"]]).dropna()
    seen = seen[seen <= context.now].sort_values()
    days = seen.dt.floor("D").drop_duplicates()
    days = days[days >= context.today - 2 * limits.baseline_days * DAY]
    if len(days) < limits.silent_reports:
        return None
    last = seen.iloc[-1]
    silent_hours = _hours_since(last, context)
    between = (days.diff().dropna() / timedelta(hours=1)).tolist()
    limit = max(limits.no_mail_hours, 2 * median(between), _LONGEST * max(between))
    if last - days.iloc[0] < limits.history_days * DAY or silent_hours <= limit:
        return None
    every = max(round(median(between) / 24), 1)
    return Finding(
        kind="ingest_broken",
        domain="",
        subject="",
        severity="critical",
        messages=0,
        first_day=last.date(),
        last_day=context.now.date(),
        reporters=0,
        summary=ngettext(
            "No report email for {hours} hours (since {since}); until then one came every day.",
            "No report email for {hours} hours (since {since}); until then one came every {days} "
            "days.",
            every,
        ).format(hours=count(int(silent_hours)), since=moment(last), days=every),
        action=_(_INGEST).format(what=_("every domain")),
        evidence={
            "last_sign": _in_evidence(last),
            "thresholds": {"hours": round(limit, 1)},
            "number": int(silent_hours),
            "query": queries.hours_without_mail(context.now),
        },
    )


def _ingest_broken(facts: Facts, context: Context, domain: str, of_it: Sequence[Rhythm]) -> Finding:
    silent = [r for r in of_it if r.silent]
    last = max(r.last_end for r in silent)
    names = sorted({r.reporter for r in silent})
    domains = sorted({r.domain for r in silent})
    n, limits = len(silent), context.thresholds
    text = ngettext(
        "Reports for {domain} have stopped arriving: {n} of {of} regular reporters has gone "
        "silent; the last report ends {last}.",
        "Reports for {domain} have stopped arriving: {n} of {of} regular reporters have gone "
        "silent; the last report ends {last}.",
        n,
    )
    if len(domains) > 1:
        text = ngettext(
            "Reports for {domain} have stopped arriving: {n} of {of} regular reporter/domain "
            "pairs has gone silent; the last report ends {last}.",
            "Reports for {domain} have stopped arriving: {n} of {of} regular reporter/domain "
            "pairs have gone silent; the last report ends {last}.",
            n,
        )
    pairs = [(r.domain, r.reporter) for r in silent]
    tests = _family_tests(facts, silent)
    return Finding(
        kind="ingest_broken",
        domain=domain,
        subject="",
        severity="warning" if domain else "critical",
        messages=0,
        first_day=last.date(),
        last_day=context.now.date(),
        reporters=len(names),
        summary=text.format(
            domain=safe(domain) if domain else model.n_domains(len(domains)),
            n=count(n),
            of=count(len(of_it)),
            last=moment(last),
        ),
        action=_(_INGEST).format(what=model.join_names(domains)),
        evidence={
            "reporters": [reporter_name(name) for name in names[:SHOWN]],
            "domains": [safe(name) for name in domains[:SHOWN]],
            "last_end": _in_evidence(last),
            "thresholds": {
                "hours": limits.silent_hours,
                "gaps": limits.silent_gaps,
                "share": limits.broken_share,
                "domains": limits.broken_domains,
            },
            "number": n,
            "query": queries.silent(pairs, tests, last, context.now),
        },
    )


def _family_tests(facts: Facts, silent: Sequence[Rhythm]) -> dict[str, str]:
    """Return reporter → SQL test of the reports of all that are taken for it."""
    families: dict[str, frozenset[str]] = {}
    for rhythm in silent:
        families[rhythm.reporter] = families.get(rhythm.reporter, frozenset()) | rhythm.family
    tests = reporter_tests(facts.reports, frozenset().union(*families.values()))
    return {
        name: " OR ".join(sorted(tests[each] for each in family))
        for name, family in families.items()
    }


def _in_evidence(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


_INGEST = later(
    "Mail admin: send a mail to the report address and follow it: the rua tag in the DMARC record "
    "of {what}, the MX of its domain, the SES receipt rule, the bucket and its permissions, the "
    "scheduled dmarckit ingest. DNS admin: if rua is in another domain, that one "
    "must publish below its name _report._dmarc that it takes reports about yours. Until reports "
    "come again, other findings about these domains are blind."
)


def _silent(facts: Facts, context: Context, silent: Sequence[Rhythm]) -> Finding:
    reporter = silent[0].reporter
    domains = sorted(r.domain for r in silent)
    last = max(r.last_end for r in silent)
    reports = sum(r.reports for r in silent)
    month = Rows.of(facts.messages[facts.messages["domain"].isin(domains)])
    month = context.last(month, context.thresholds.ready_days)
    of_it = month["messages"][month["reporter"].isin(silent[0].family)]
    part = model.share(of_it.sum(), month["messages"].sum())
    domain = domains[0] if len(domains) == 1 else ""
    pairs = [(r.domain, r.reporter) for r in silent]
    tests = _family_tests(facts, silent)
    return Finding(
        kind="reporter_silent",
        domain=domain,
        subject=reporter,
        severity="warning" if part >= context.thresholds.silent_share else "info",
        messages=0,
        first_day=last.date(),
        last_day=context.now.date(),
        reporters=1,
        summary=ngettext(
            "{reporter} sent {n} report for {domain} in 30 days, but none for {hours} hours (the "
            "last ends {last}); it saw {share} of the messages.",
            "{reporter} sent {n} reports for {domain} in 30 days, but none for {hours} hours (the "
            "last ends {last}); it saw {share} of the messages.",
            reports,
        ).format(
            reporter=reporter_name(reporter),
            n=count(reports),
            domain=safe(domain) if len(domains) == 1 else model.n_domains(len(domains)),
            hours=count(_hours_since(last, context)),
            last=moment(last),
            share=percent(part),
        ),
        action=_(
            "Mail admin: check whether its emails are among the rejected or unreadable ones "
            "(dmarckit ingest shows them). Other reporters are still sending, so the fault is "
            "likely with {reporter}; wait, or ask it if it stays silent for two weeks."
        ).format(reporter=reporter_name(reporter)),
        evidence={
            "reporters": [reporter_name(reporter)],
            "domains": [safe(name) for name in domains[:SHOWN]],
            "last_end": _in_evidence(last),
            "message_share": part,
            "thresholds": {
                "reports": context.thresholds.silent_reports,
                "hours": round(min(r.limit for r in silent), 1),
            },
            "number": reports,
            "query": queries.reports_of(pairs, tests, context.now - 30 * DAY, context.now),
        },
    )


FAMILY = Family(
    (
        Kind(
            "reporter_silent",
            later("No reports from {subject}"),
            ("warning", "info"),
            {
                "domains": later("Domains"),
                "last_end": later("Last end"),
                "message_share": later("Message share"),
            },
        ),
        Kind(
            "ingest_broken",
            later("Reports have stopped arriving"),
            ("critical", "warning"),
            {
                "domains": later("Domains"),
                "last_end": later("Last end"),
                "last_sign": later("Last sign"),
            },
        ),
    ),
    of_all=(silence,),
)
