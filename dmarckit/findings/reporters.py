"""Reporters that no longer write, and report mail that no longer comes in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.core import _, count, later, minute, ngettext, percent
from dmarckit.facts import Facts
from dmarckit.findings import queries
from dmarckit.findings.context import DAY, SHOWN, Context, reporter_tests
from dmarckit.findings.model import (
    Family,
    Finding,
    Kind,
    Severity,
    join_names,
    median,
    n_domains,
    reporter_name,
    safe,
    share,
)

_MONTH = timedelta(days=30)
_LONGEST = 1.25  # times the longest gap of the month: weekends without mail are no silence
_STEADY = 120.0  # hours; delays that vary more say when a backlog was read, nothing else


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
    begin, end, received = (_hours(reports[c], context) for c in ("begin", "end", "received"))
    names = reports["reporter"].to_numpy(object)
    families = reporter_families(reports)
    keys = [reports["domain"].to_numpy(object), reports["reporter"].map(families).to_numpy(object)]
    found = []
    groups: dict[Any, Any] = dict(reports.groupby(keys).indices)
    for (domain, _reporter), places in groups.items():
        month = places[end[places] > -30 * 24.0]
        if len(month) < limits.silent_reports or begin[places].min() > -24.0 * limits.history_days:
            continue
        gap = _hour_gaps(end[month])
        limit = _delay(received[month] - end[month]) + max(
            limits.silent_hours,
            limits.silent_gaps * float(np.median(gap)) if len(gap) else 0.0,
            _LONGEST * float(gap.max(initial=0.0)),
        )
        last = places[np.argsort(end[places], kind="stable")][-1]
        found.append(
            Rhythm(
                domain=str(domain),
                reporter=str(names[last]),
                family=frozenset(map(str, names[places])),
                reports=len(month),
                last_end=reports["end"].iloc[last],
                limit=limit,
                silent=bool(-end[last] > limit),
            )
        )
    return found


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


def _hours(times: pd.Series[pd.Timestamp], context: Context) -> NDArray[np.float64]:
    """Return the hours from now to each time; NaN where it is not known."""
    hours: NDArray[np.float64] = (times - context.now).dt.total_seconds().to_numpy("float64") / 3600
    return hours


def _hour_gaps(hours: Iterable[float]) -> NDArray[np.float64]:
    """Return the hours between the times, in order; equal ones count once."""
    between: NDArray[np.float64] = np.diff(np.unique(np.fromiter(hours, "float64")))
    return between


def _delay(delays: NDArray[np.float64]) -> float:
    """Return the hours by which reports usually come later than a day; 0 if they vary widely."""
    known = delays[~np.isnan(delays)]
    if not len(known) or known.max() - known.min() > _STEADY:
        return 0.0
    return max(float(np.median(known)) - 24.0, 0.0)


_HOUR = timedelta(hours=1)


def _hours_since(time: pd.Timestamp, context: Context) -> float:
    """Return the hours from then to now."""
    return (context.now - time.to_pydatetime()) / _HOUR


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
    domains = {r.domain for r in known}
    broken = {d for d in domains if _broken([r for r in known if r.domain == d], context)}
    if all(r.silent for r in known):
        broken = domains
    concerned = [r for r in known if r.domain in broken]
    if broken and (broken == domains or len(broken) >= context.thresholds.broken_domains):
        found = [_ingest_broken(facts, context, "", concerned)]
    else:
        parts = ([r for r in concerned if r.domain == d] for d in sorted(broken))
        found = [_ingest_broken(facts, context, part[0].domain, part) for part in parts]
    alone = [r for r in known if r.silent and r.domain not in broken]
    return [*found, *_silent_reporters(facts, context, alone)]


def _broken(of_domain: Sequence[Rhythm], context: Context) -> bool:
    silent = sum(r.silent for r in of_domain)
    return silent >= 2 and share(silent, len(of_domain)) >= context.thresholds.broken_share


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
    between = _hour_gaps(days.astype("datetime64[us, UTC]").astype("int64") / 3.6e9).tolist()
    limit = max(limits.no_mail_hours, 2 * median(between), _LONGEST * max(between))
    if last - days.iloc[0] < limits.history_days * DAY or _hours_since(last, context) <= limit:
        return None
    hours = int(_hours_since(last, context))
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
            "No report mail has come in for {hours} hours (since {since} UTC); until then it came "
            "every day.",
            "No report mail has come in for {hours} hours (since {since} UTC); until then it came "
            "every {days} days.",
            every,
        ).format(hours=count(hours), since=minute(last), days=every),
        action=_(_INGEST).format(what=_("every domain")),
        evidence={
            "last_sign": _in_evidence(last),
            "thresholds": {"hours": round(limit, 1)},
            "number": hours,
            "query": queries.hours_without_mail(context.now),
        },
    )


def _ingest_broken(facts: Facts, context: Context, domain: str, of_it: Sequence[Rhythm]) -> Finding:
    silent = [r for r in of_it if r.silent]
    last = max(r.last_end for r in silent)
    names = sorted({r.reporter for r in silent})
    domains = sorted({r.domain for r in silent})
    n = len(silent)
    return Finding(
        kind="ingest_broken",
        domain=domain,
        subject="",
        severity="warning" if domain else "critical",
        messages=0,
        first_day=last.date(),
        last_day=context.now.date(),
        reporters=len(names),
        summary=_stopped_text(len(domains), n).format(
            domain=safe(domain) if domain else n_domains(len(domains)),
            n=count(n),
            of=count(len(of_it)),
            last=minute(last),
        ),
        action=_(_INGEST).format(what=join_names(domains)),
        evidence={
            "reporters": [reporter_name(name) for name in names[:SHOWN]],
            "domains": [safe(name) for name in domains[:SHOWN]],
            "last_end": _in_evidence(last),
            "thresholds": {
                "hours": context.thresholds.silent_hours,
                "gaps": context.thresholds.silent_gaps,
                "share": context.thresholds.broken_share,
                "domains": context.thresholds.broken_domains,
            },
            "number": n,
            "query": queries.silent(
                [(r.domain, r.reporter) for r in silent],
                _family_tests(facts, silent),
                last,
                context.now,
            ),
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


def _stopped_text(domains: int, silent: int) -> str:
    if domains > 1:
        return ngettext(
            "Reports for {domain} have stopped: {n} of {of} pairs of domain and reporter that used "
            "to write regularly is silent; the last report ends {last} UTC.",
            "Reports for {domain} have stopped: {n} of {of} pairs of domain and reporter that used "
            "to write regularly are silent; the last report ends {last} UTC.",
            silent,
        )
    return ngettext(
        "Reports for {domain} have stopped: {n} of {of} reporters that used to write regularly is "
        "silent; the last report ends {last} UTC.",
        "Reports for {domain} have stopped: {n} of {of} reporters that used to write regularly "
        "are silent; the last report ends {last} UTC.",
        silent,
    )


def _in_evidence(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


_INGEST = later(
    "Mail admin: send a mail to the report address and follow it: the rua tag in the DMARC record "
    "of {what}, the MX of its domain, the SES receipt rule, the bucket and its permissions, the "
    "scheduled dmarckit ingest. DNS admin: if rua is in another domain, that one "
    "must publish below its name _report._dmarc that it takes reports about yours. Until reports "
    "come again, other findings about these domains are blind."
)


def _silent_reporters(facts: Facts, context: Context, silent: Sequence[Rhythm]) -> list[Finding]:
    by_reporter: dict[str, list[Rhythm]] = {}
    for rhythm in silent:
        by_reporter.setdefault(rhythm.reporter, []).append(rhythm)
    found = []
    for rhythms_of_it in by_reporter.values():
        if len(rhythms_of_it) >= context.thresholds.broken_domains:
            found.append(_silent(facts, context, rhythms_of_it))  # one cause, not one a domain
        else:
            found += [_silent(facts, context, [rhythm]) for rhythm in rhythms_of_it]
    return found


def _silent(facts: Facts, context: Context, silent: Sequence[Rhythm]) -> Finding:
    reporter = silent[0].reporter
    domains = sorted(r.domain for r in silent)
    last = max(r.last_end for r in silent)
    reports = sum(r.reports for r in silent)
    month = context.last(facts.messages, context.thresholds.ready_days)
    month = month[month["domain"].isin(domains)]
    part = share(
        month.loc[month["reporter"].isin(silent[0].family), "messages"].sum(),
        month["messages"].sum(),
    )
    severity: Severity = "warning" if part >= context.thresholds.silent_share else "info"
    where = safe(domains[0]) if len(domains) == 1 else n_domains(len(domains))
    return Finding(
        kind="reporter_silent",
        domain=domains[0] if len(domains) == 1 else "",
        subject=reporter,
        severity=severity,
        messages=0,
        first_day=last.date(),
        last_day=context.now.date(),
        reporters=1,
        summary=ngettext(
            "{reporter} sent {n} report about {domain} in 30 days, and none for {hours} hours (the "
            "last ends {last} UTC); it saw {share} of the messages.",
            "{reporter} sent {n} reports about {domain} in 30 days, and none for {hours} hours "
            "(the last ends {last} UTC); it saw {share} of the messages.",
            reports,
        ).format(
            reporter=reporter_name(reporter),
            n=count(reports),
            domain=where,
            hours=count(_hours_since(last, context)),
            last=minute(last),
            share=percent(part),
        ),
        action=_(
            "Mail admin: see whether its mails are among the refused or unreadable ones (dmarckit "
            "ingest shows them). Other reporters still write, so the fault is likely with "
            "{reporter}; wait, or ask it if it stays silent for two weeks."
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
            "query": queries.reports_of(
                [(r.domain, r.reporter) for r in silent],
                _family_tests(facts, silent),
                context.now - _MONTH,
                context.now,
            ),
        },
    )


FAMILY = Family(
    (
        Kind(
            "reporter_silent",
            later("{subject} has stopped reporting"),
            ("warning", "info"),
            {
                "domains": later("Domains"),
                "last_end": later("Last end"),
                "message_share": later("Message share"),
            },
        ),
        Kind(
            "ingest_broken",
            later("Reports do not come in any more"),
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
