"""How regularly reporters write, and since when they do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.facts.facts import Facts
from dmarckit.findings.look import Look

MONTH = timedelta(days=30)
LONGEST = 1.25  # times the longest gap of the month: weekends without mail are no silence
_STEADY = 120.0  # hours; delays that vary more say when a backlog was read, nothing else


@dataclass(frozen=True)
class Rhythm:
    """How one reporter writes about one domain: the last 30 days."""

    domain: str
    reporter: str
    """its name as last spelt"""
    spellings: tuple[str, ...]
    reports: int
    last_end: pd.Timestamp
    limit: float
    """hours of silence from which it is missed"""
    silent: bool


def rhythms(facts: Facts, look: Look) -> list[Rhythm]:
    """Reporters with at least 10 reports in 30 days, known for 14 days, by domain.

    Missed after max(72 h, 4 × the median gap between reports), and after 1¼ times the longest
    gap of the month, so that weekends without mail are no silence. A reporter that is
    always late gets its usual delay on top. Another spelling in capitals is the same reporter.
    """
    limits = look.thresholds
    reports = facts.reports[facts.reports["end"] <= look.now + timedelta(days=1)]
    begin, end, received = (_hours(reports[c], look) for c in ("begin", "end", "received"))
    names = reports["reporter"].to_numpy(object)
    keys = [reports["domain"].to_numpy(object), reports["reporter"].str.casefold().to_numpy(object)]
    found = []
    groups: dict[Any, Any] = dict(reports.groupby(keys).indices)
    for (domain, _), places in groups.items():
        month = places[end[places] > -30 * 24.0]
        if len(month) < limits.silent_reports or begin[places].min() > -24.0 * limits.history_days:
            continue
        gap = gaps(end[month])
        limit = _delay(received[month] - end[month]) + max(
            limits.silent_hours,
            limits.silent_gaps * float(np.median(gap)) if len(gap) else 0.0,
            LONGEST * float(gap.max(initial=0.0)),
        )
        ordered = places[np.argsort(end[places], kind="stable")]
        spelt = tuple(dict.fromkeys(str(name) for name in names[ordered[::-1]]))
        last = ordered[-1]
        found.append(
            Rhythm(
                domain=str(domain),
                reporter=spelt[0],
                spellings=spelt,
                reports=len(month),
                last_end=reports["end"].iloc[last],
                limit=limit,
                silent=bool(-end[last] > limit),
            )
        )
    return found


def _hours(times: pd.Series[pd.Timestamp], look: Look) -> NDArray[np.float64]:
    """Hours from now to each time; NaN where it is not known."""
    hours: NDArray[np.float64] = (times - look.now).dt.total_seconds().to_numpy("float64") / 3600
    return hours


def gaps(hours: Iterable[float]) -> NDArray[np.float64]:
    """Hours between the times, in order; equal ones count once."""
    between: NDArray[np.float64] = np.diff(np.unique(np.fromiter(hours, "float64")))
    return between


def _delay(delays: NDArray[np.float64]) -> float:
    """Hours that a reporter is usually late beyond a day; 0 when arrival times vary widely."""
    known = delays[~np.isnan(delays)]
    if not len(known) or known.max() - known.min() > _STEADY:
        return 0.0
    return max(float(np.median(known)) - 24.0, 0.0)
