"""Which days are complete, and what came of what usually comes.

Reports come hours to days after the day they are about. A drop or a silence may only be
judged on days of which nothing is missing: enough of the usual reporters have reported on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.core import Window
from dmarckit.facts.frames import Facts, in_window, whole_days

REPORTER_HISTORY = 14
"""previous days that show who reports usually"""
LEAST_HISTORY = 7
"""with fewer previous days of data nobody counts as usual"""
USUAL = 0.8
"""share of the previous days on which a usual reporter has reported"""
ENOUGH = 0.8
"""share of the usual reporters that must have delivered"""
SETTLED = timedelta(hours=48)
"""after the end of a day: whoever reports has reported by then"""


def complete_days(facts: Facts) -> pd.DataFrame:
    """Return which days are complete: one row per domain and day, from its first report to `now`.

    Columns: `domain`, `day`, `delivered` (usual reporters that have told of this day),
    `usual` (reporters seen on at least 80 % of the previous 14 days, or of those since the
    domain's first report when that is 7 to 13 days ago) and `complete`:

    - the day of `now` never is, since it is not over;
    - with usual reporters: at least 80 % of them have delivered. Once the day is over for
      48 hours, a reporter has delivered too if it told of this day for any other domain: it
      sends nothing about a domain from which it received nothing;
    - without any: the day is over for 48 hours, and there is a report about it or a later
      day of this domain, which shows that reports still come in.

    No report, no row.
    """
    seen = _ReporterDays.of(facts)
    days, domains = np.arange(len(seen.days)), np.arange(len(seen.domains))
    last = len(days) - 1 - seen.by_domain[:, ::-1].argmax(axis=1)
    usual = _count(seen.usual, seen.domain_of, len(domains))
    delivered = _count(seen.delivered, seen.domain_of, len(domains))
    complete = np.where(
        usual > 0, delivered >= ENOUGH * usual - 1e-9, seen.settled & (days <= last[:, None])
    )
    complete[:, -1] = False
    frame = pd.DataFrame(
        {
            "domain": pd.Series(seen.domains[np.repeat(domains, len(days))], dtype="str"),
            "day": seen.days[np.tile(days, len(domains))],
            "delivered": delivered.reshape(-1),
            "usual": usual.reshape(-1),
            "complete": complete.reshape(-1).astype(bool),
        }
    )
    return frame[(days >= seen.first[:, None]).reshape(-1)].reset_index(drop=True)


def usual_reporters(facts: Facts) -> pd.DataFrame:
    """Return one row per domain, day and usual reporter of that day, as in `complete_days`.

    Columns: `domain`, `day`, `reporter`, `delivered`. Without reports, or before anybody has
    reported for long enough to be usual, no row.
    """
    seen = _ReporterDays.of(facts)
    pair, day = np.nonzero(seen.usual)
    return pd.DataFrame(
        {
            "domain": seen.index.get_level_values("domain")[pair].astype("str"),
            "day": seen.days[day],
            "reporter": seen.index.get_level_values("reporter")[pair].astype("str"),
            "delivered": seen.delivered[pair, day],
        }
    )


@dataclass(frozen=True)
class _ReporterDays:
    """Who reported on which day: matrices of (domain, reporter) × day."""

    index: pd.Index[Any]
    days: pd.DatetimeIndex
    domains: NDArray[Any]
    domain_of: NDArray[np.intp]
    by_domain: NDArray[np.bool_]
    """domain × day: anybody reported on it"""
    first: NDArray[np.intp]
    """of each domain: place of the first day with a report"""
    settled: NDArray[np.bool_]
    usual: NDArray[np.bool_]
    delivered: NDArray[np.bool_]

    @classmethod
    def of(cls, facts: Facts) -> _ReporterDays:
        """Make the matrices; without reports they have no rows."""
        days = _days(facts)
        rows = _reported_days(facts, days)
        matrix = rows.groupby(["domain", "reporter", "day"]).size().unstack(fill_value=0)
        seen = matrix.reindex(columns=range(len(days)), fill_value=0).to_numpy() > 0
        domains, domain_of = np.unique(matrix.index.get_level_values("domain"), return_inverse=True)
        reporters, reporter_of = np.unique(
            matrix.index.get_level_values("reporter"), return_inverse=True
        )
        elsewhere = _any(seen, reporter_of, len(reporters))[reporter_of]
        by_domain = _any(seen, domain_of, len(domains))
        first = by_domain.argmax(axis=1)
        history = np.minimum(np.arange(len(days)) - first[:, None], REPORTER_HISTORY)
        usual = _previous(seen) >= USUAL * history[domain_of] - 1e-9
        usual &= (history >= LEAST_HISTORY)[domain_of]
        settled = np.array([day + timedelta(days=1) + SETTLED <= facts.now for day in days])
        delivered = usual & (seen | (elsewhere & settled))
        return cls(
            matrix.index, days, domains, domain_of, by_domain, first, settled, usual, delivered
        )


def _days(facts: Facts) -> pd.DatetimeIndex:
    today = pd.Timestamp(facts.now).floor("D")
    return pd.date_range(facts.start, max(today, pd.Timestamp(facts.start)), freq="D", unit="us")


def _reported_days(facts: Facts, days: pd.DatetimeIndex) -> pd.DataFrame:
    """Return one row per report and day it is about, the day as its place in `days`.

    A report of at most 24 hours tells of the day of its middle.
    """
    reports = facts.reports
    origin, day = days[0], pd.Timedelta(days=1)
    length = reports[["begin", "end"]].max(axis=1) - reports["begin"]
    middle = (reports["begin"] + length / 2 - origin) // day
    short = length <= day
    first = middle.where(short, (reports["begin"] - origin) // day).clip(lower=0)
    after = reports["end"] - pd.Timedelta(microseconds=1)
    last = middle.where(short, (after - origin) // day).clip(upper=len(days) - 1)
    known = (last >= 0) & (first < len(days)) & (last >= first)
    first, last = first[known].astype("int64"), last[known].astype("int64")
    rows = reports.loc[known, ["domain", "reporter"]].astype(str)
    count = (last - first + 1).to_numpy()
    each = rows.loc[rows.index.repeat(count)]
    # 0, 1, 2, … within each report
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return each.assign(day=np.repeat(first.to_numpy(), count) + step)


def _previous(seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return on how many of the `REPORTER_HISTORY` days before each day there was a report."""
    sums = np.cumsum(seen, axis=1, dtype="int64")
    before = np.pad(sums, ((0, 0), (REPORTER_HISTORY + 1, 0)))[:, : -(REPORTER_HISTORY + 1)]
    until_yesterday = np.pad(sums, ((0, 0), (1, 0)))[:, :-1]
    difference: NDArray[np.int64] = until_yesterday - before
    return difference


def _count(flags: NDArray[np.bool_], group: NDArray[np.intp], groups: int) -> NDArray[np.int64]:
    """Return how many rows of each group have the flag, by column."""
    found = np.zeros((groups, flags.shape[1]), dtype="int64")
    np.add.at(found, group, flags)
    return found


def _any(flags: NDArray[np.bool_], group: NDArray[np.intp], groups: int) -> NDArray[np.bool_]:
    return _count(flags, group, groups) > 0


SILENT = timedelta(hours=48)
"""without any mail for so long, mail does not come in (as the finding ingest_broken)"""

Trust = Literal["whole", "incomplete", "gaps", "silent", "unknown", "nothing"]


@dataclass(frozen=True)
class Coverage:
    """What came in for a window, and what is missing."""

    trust: Trust
    """whole: enough for every day. incomplete: only the newest days wait for more. gaps: an
    older day lacks too much. silent: no mail comes in any more. unknown: too few days to say
    who reports usually. nothing: no report in the window"""
    reports: int
    """reports that begin in the window"""
    reporters: int
    expected: int
    """reports of usual reporters that should be there, one a domain, reporter and day"""
    came: int
    """of them there"""
    whole_until: datetime | None
    """last day that has enough; None: no day has"""
    newest: datetime
    """last day of the window"""
    missing: pd.DataFrame
    """one row a usual reporter that has told of the newest day for no domain that it usually
    reports on: `reporter`, `domains` (number), `last_end` (of its newest report)"""
    usual: int
    """usual reporters of the newest day"""
    first_begin: datetime | None
    """begin of the window's first report"""
    last_end: datetime | None
    """end of its last report"""
    last_mail: datetime | None
    """when the newest mail came in, known from the facts; None: none did"""
    mails: int
    """mails that came in for the window, whatever was in them, of all domains"""
    unreadable: int
    untrusted: int


def coverage(facts: Facts, complete: pd.DataFrame, window: Window) -> Coverage:
    """Return what came for the window. `complete` as from `complete_days`."""
    reports = facts.reports
    reports = reports[(reports["begin"] >= window.start) & (reports["begin"] < window.end)]
    usual = in_window(usual_reporters(facts), window)
    newest = usual[usual["day"] == window.last_day]
    enough = _enough(complete, window)
    until = _until(enough)
    received = facts.mails["received"]
    mails = facts.mails[(received >= window.start) & (received < window.end_of_arrival)]
    outcomes = mails["outcome"].value_counts()
    last_mail = _moment(facts.mails["received"].max())
    return Coverage(
        trust=_trust(facts, len(reports), len(usual), enough, last_mail),
        reports=len(reports),
        reporters=reports["reporter"].nunique(),
        expected=len(usual),
        came=int(usual["delivered"].sum()),
        whole_until=until,
        newest=window.last_day,
        missing=_missing(newest, facts.reports),
        usual=newest["reporter"].nunique(),
        first_begin=_moment(reports["begin"].min()),
        last_end=_moment(reports["end"].max()),
        last_mail=last_mail,
        mails=len(mails),
        unreadable=int(outcomes.get("unreadable", 0)),
        untrusted=int(outcomes.get("untrusted", 0)),
    )


def _enough(complete: pd.DataFrame, window: Window) -> pd.Series[bool]:
    """Return which days of the window are whole, of those that reports have reached."""
    enough = whole_days(complete, window)
    known = in_window(complete, window)["day"]
    return enough[enough.index >= known.min()] if len(known) else enough.iloc[:0]


def _until(enough: pd.Series[bool]) -> datetime | None:
    """Return the last day that has enough."""
    whole = enough[enough]
    return None if whole.empty else pd.Timestamp(whole.index.max()).to_pydatetime()


def _trust(
    facts: Facts,
    reports: int,
    expected: int,
    enough: pd.Series[bool],
    last_mail: datetime | None,
) -> Trust:
    if not reports:
        return "nothing"
    if last_mail is not None and facts.now - last_mail > SILENT:
        return "silent"
    if not expected:
        return "unknown"
    if enough.all():
        return "whole"
    first_gap = enough.index[~enough].min()
    return "gaps" if enough[enough.index > first_gap].any() else "incomplete"


def _missing(newest: pd.DataFrame, reports: pd.DataFrame) -> pd.DataFrame:
    groups = newest.groupby("reporter")
    table = pd.DataFrame(
        {
            "domains": groups["domain"].nunique(),
            "some": groups["delivered"].max().astype(bool),
            "last_end": reports.groupby("reporter")["end"].max(),
        }
    )
    table = table[table["domains"].notna()].rename_axis("reporter").reset_index()
    late = table[~table["some"].astype(bool)].astype({"domains": "int64"})
    late = late.sort_values(["domains", "reporter"], ascending=[False, True], ignore_index=True)
    return late[["reporter", "domains", "last_end"]]


def _moment(value: pd.Timestamp) -> datetime | None:
    return None if pd.isna(value) else value.to_pydatetime()
