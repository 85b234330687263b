"""Which days are complete: enough of the usual reporters have told of them.

Reports come hours to days after the day they are about. A drop or a silence may only be
judged on days of which nothing is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.facts.facts_frames import Facts

HISTORY = 14
"""previous days that show who reports usually"""
LEAST_HISTORY = 7
"""with fewer previous days of data nobody counts as usual"""
USUAL = 0.8
"""share of the previous days on which a usual reporter has reported"""
ENOUGH = 0.8
"""share of the usual reporters that must have delivered"""
SETTLED = timedelta(hours=48)
"""after the end of a day: whoever reports has reported by then"""

COLUMNS = ("domain", "day", "delivered", "usual", "complete")


def complete_days(facts: Facts) -> pd.DataFrame:
    """One row per domain and day, from the first day with a report to that of `now`.

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
    told = _Told.of(facts)
    if told is None:
        return _typed([], _days(facts)[:0], np.zeros((3, 0, 0), dtype="int64"))
    domains = told.domains
    number = np.arange(len(told.days))
    last = len(told.days) - 1 - told.by_domain[:, ::-1].argmax(axis=1)
    counts = _count(told.usual, told.domain_of, len(domains))
    came = _count(told.delivered, told.domain_of, len(domains))
    complete = np.where(
        counts > 0, came >= ENOUGH * counts - 1e-9, told.settled & (number <= last[:, None])
    )
    complete[:, -1] = False
    stacked = np.stack([came, counts, complete.astype("int64")])
    frame = _typed(list(domains), told.days, stacked)
    since = np.repeat(told.first, len(told.days)) <= np.tile(number, len(domains))
    return frame[since].reset_index(drop=True)


def usual_reporters(facts: Facts) -> pd.DataFrame:
    """One row per domain, day and usual reporter of that day, as in `complete_days`.

    Columns: `domain`, `day`, `reporter`, `delivered`. Without reports, or before anybody has
    reported for long enough to be usual, no row.
    """
    told = _Told.of(facts)
    pair, day = np.nonzero(told.usual) if told else (np.zeros(0, "int64"),) * 2
    index, days = (told.index, told.days) if told else (_NO_PAIRS, _days(facts))
    return pd.DataFrame(
        {
            "domain": index.get_level_values("domain")[pair].astype("str"),
            "day": days[day],
            "reporter": index.get_level_values("reporter")[pair].astype("str"),
            "delivered": told.delivered[pair, day] if told else np.zeros(0, "bool"),
        }
    )


_NO_PAIRS = pd.MultiIndex.from_arrays([[], []], names=["domain", "reporter"])


@dataclass(frozen=True)
class _Told:
    """Who told of which day: matrices of (domain, reporter) × day."""

    index: pd.Index[Any]
    days: pd.DatetimeIndex
    domains: NDArray[Any]
    domain_of: NDArray[np.intp]
    by_domain: NDArray[np.bool_]
    """domain × day: anybody told of it"""
    first: NDArray[np.intp]
    """of each domain: place of the first day with a report"""
    settled: NDArray[np.bool_]
    usual: NDArray[np.bool_]
    delivered: NDArray[np.bool_]

    @classmethod
    def of(cls, facts: Facts) -> _Told | None:
        """None without reports."""
        days = _days(facts)
        rows = _told(facts, days)
        if rows.empty:
            return None
        matrix = rows.groupby(["domain", "reporter", "day"]).size().unstack(fill_value=0)
        seen = matrix.reindex(columns=range(len(days)), fill_value=0).to_numpy() > 0
        domains, domain_of = np.unique(matrix.index.get_level_values("domain"), return_inverse=True)
        reporters, reporter_of = np.unique(
            matrix.index.get_level_values("reporter"), return_inverse=True
        )
        elsewhere = _any(seen, reporter_of, len(reporters))[reporter_of]
        by_domain = _any(seen, domain_of, len(domains))
        first = by_domain.argmax(axis=1)
        history = np.minimum(np.arange(len(days)) - first[:, None], HISTORY)
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


def _told(facts: Facts, days: pd.DatetimeIndex) -> pd.DataFrame:
    """One row per report and day that it tells of, the day as its place in `days`.

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
    """On how many of the `HISTORY` days before each day there was a report."""
    sums = np.cumsum(seen, axis=1, dtype="int64")
    before = np.pad(sums, ((0, 0), (HISTORY + 1, 0)))[:, : -(HISTORY + 1)]
    until_yesterday = np.pad(sums, ((0, 0), (1, 0)))[:, :-1]
    difference: NDArray[np.int64] = until_yesterday - before
    return difference


def _count(flags: NDArray[np.bool_], group: NDArray[np.intp], groups: int) -> NDArray[np.int64]:
    """How many rows of each group have the flag, by column."""
    found = np.zeros((groups, flags.shape[1]), dtype="int64")
    np.add.at(found, group, flags)
    return found


def _any(flags: NDArray[np.bool_], group: NDArray[np.intp], groups: int) -> NDArray[np.bool_]:
    return _count(flags, group, groups) > 0


def _typed(domains: list[str], days: pd.DatetimeIndex, numbers: NDArray[np.int64]) -> pd.DataFrame:
    delivered, usual, complete = (n.reshape(-1) for n in numbers)
    return pd.DataFrame(
        {
            "domain": pd.Series(np.repeat(domains, len(days)), dtype="str"),
            "day": pd.Series(np.tile(days, len(domains))).astype("datetime64[us, UTC]"),
            "delivered": delivered,
            "usual": usual,
            "complete": complete.astype(bool),
        }
    )
