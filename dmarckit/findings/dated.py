"""Which rows of facts are told of one day, and which are fractions of a longer report."""

from __future__ import annotations

import pandas as pd

from dmarckit.findings.look import DAY


def dated(messages: pd.DataFrame, reports: pd.DataFrame, since: pd.Timestamp) -> pd.DataFrame:
    """The rows of `messages` (columns `reporter`, `day`) whose mail came on their day.

    A report of more than 24 hours is spread over its days, but does not say on which of them
    the mail came. Its rows are left out, unless it began on `since` or later, or its reporter
    told of that day by itself too. `reports` has the columns of `Facts.reports`. Without long
    reports `messages` itself is returned.
    """
    length = reports["end"] - reports["begin"]
    long = reports[(length > DAY) & (reports["begin"] < since)]
    theirs = messages[messages["reporter"].isin(set(long["reporter"]))]
    if theirs.empty:
        return messages
    short = reports[length <= DAY]
    told = _index(short["reporter"], (short["begin"] + length[short.index] / 2).dt.floor("D"))
    spread = _days(long, theirs["day"].min(), theirs["day"].max()).difference(told)
    vague = _index(theirs["reporter"], theirs["day"]).isin(spread)
    return messages.drop(theirs.index[vague])


def _days(long: pd.DataFrame, first: pd.Timestamp, last: pd.Timestamp) -> pd.MultiIndex:
    """Reporter and day of each day of the reports, from `first` to `last`: any may be claimed."""
    begin, end = long["begin"], long["end"]
    begin = begin.where(begin > first, first).dt.floor("D")
    after = end.where(end < last + DAY, last + DAY).dt.ceil("D")
    days = ((after - begin) // DAY).clip(lower=0)
    rows = begin.index.repeat(days)
    number = rows.to_series().groupby(rows).cumcount()
    return _index(long["reporter"].loc[rows], begin.loc[rows] + pd.to_timedelta(number, "D"))


def _index(reporters: pd.Series[str], days: pd.Series[pd.Timestamp]) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([reporters.astype("str"), days])
