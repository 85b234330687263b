"""What the outside says about the domains: the newest rows of the tables `postmaster` and `dns`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pandas as pd

from dmarckit.checks.dns import CHANGES, SNAPSHOT, changes_window, dns_changes, dns_snapshot
from dmarckit.checks.postmaster import METRICS, latest_metrics
from dmarckit.core import normalize_domain
from dmarckit.facts import organisation
from dmarckit.lake import Lake

DAYS = timedelta(days=30)
"""what is older tells nothing about today: Google's days, and a check of DNS alike"""


def _empty(*columns: str) -> Callable[[], pd.DataFrame]:
    return lambda: pd.DataFrame(columns=list(columns))


@dataclass(frozen=True)
class Outside:
    """What was asked of the outside. Empty frames: nothing was asked, or nobody answered."""

    postmaster: pd.DataFrame = field(default_factory=_empty(*METRICS))
    """as `latest_metrics`, of the last 30 days; also of the organisations of the domains"""
    dns: pd.DataFrame = field(default_factory=_empty(*SNAPSHOT))
    """as `dns_snapshot`, unless the check is older than 30 days"""
    changes: pd.DataFrame = field(default_factory=_empty(*CHANGES))
    """as `dns_changes`, of the days that findings are about"""
    domains: tuple[str, ...] = ()
    """those that were asked for; empty: all"""

    @property
    def empty(self) -> bool:
        """Nothing is known."""
        return self.postmaster.empty and self.dns.empty and self.changes.empty


def load_outside(lake: Lake, domains: Sequence[str], now: datetime, days: int = 7) -> Outside:
    """Return what Postmaster Tools and DNS said last, and changes of the last `days` days.

    Of the named domains, or of all. Empty frames when the tables are empty. Raises LakeError
    for a `now` without time zone, or when the lake cannot be read.
    """
    names = list(dict.fromkeys(normalize_domain(name) for name in domains))
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    known = [*names, *(organisation(name) for name in names)]
    metrics = latest_metrics(lake, known, today - DAYS, today + timedelta(days=1))
    rows = dns_snapshot(lake, names or None, today.date())
    rows = rows[rows["day"] >= today - DAYS].reset_index(drop=True)
    if rows.empty:
        return Outside(metrics, domains=tuple(names))
    changed = dns_changes(lake, names or None, *changes_window(now.astimezone(UTC), days))
    return Outside(metrics, rows, changed, tuple(names))
