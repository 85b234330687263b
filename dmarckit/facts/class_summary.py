"""Messages by class: what a fleet or one domain sent each day, and whether that is all of it.

Takes the frames of `Facts` and of `complete_days`; changes none of them.
"""

from __future__ import annotations

import pandas as pd

from dmarckit.core.window import Window
from dmarckit.facts.classify import CLASSES
from dmarckit.facts.facts_frames import Facts

MOST = 0.8
"""share of the domains that must be complete for a day of the fleet to be complete"""


def in_window(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    """The rows whose `day` lies in the window."""
    return frame[(frame["day"] >= window.start) & (frame["day"] < window.end)]


def days_of(window: Window) -> pd.DatetimeIndex:
    """Every day of the window, as the facts write days."""
    return pd.date_range(window.start, periods=window.days, freq="D", name="day", unit="us")


def classes_by_day(messages: pd.DataFrame, complete: pd.DataFrame, window: Window) -> pd.DataFrame:
    """One row a day of the window: `day`, `messages`, the messages of each class, `complete`.

    Takes `Facts.messages` and `complete_days`, of one domain or of many. Fractions of spread
    reports are rounded here. `complete` is True unless fewer than `MOST` of the domains are
    complete on that day; a day that no domain has a row for is complete, with zeros.
    """
    days = days_of(window)
    rows = in_window(messages, window)
    sums = rows.groupby(["day", "class"], observed=True)["messages"].sum().unstack("class")
    sums.columns = sums.columns.astype("str")
    table = sums.reindex(index=days, columns=list(CLASSES)).fillna(0).round().astype("int64")
    table.insert(0, "messages", table.sum(axis=1))
    table = table.assign(complete=whole_days(complete, window))
    return table.rename_axis("day").reset_index()


def whole_days(complete: pd.DataFrame, window: Window) -> pd.Series[bool]:
    """Indexed by the days of the window: enough domains are complete, or none is known."""
    share = in_window(complete, window).groupby("day")["complete"].mean()
    return share.reindex(days_of(window)).fillna(1) >= MOST


def pass_shares(facts: Facts, complete: pd.DataFrame, window: Window) -> pd.DataFrame:
    """One row per domain and day with messages: `domain`, `day`, `messages`, `passing`,
    `pass_share` [0-1], `complete`."""
    rows = in_window(facts.messages, window)
    passing = rows["messages"].where(rows["da"] | rows["sa"], 0)
    sums = rows.assign(passing=passing).groupby(["domain", "day"], observed=True)
    table = sums[["messages", "passing"]].sum().reset_index().astype({"domain": "str"})
    table = table.merge(complete[["domain", "day", "complete"]], how="left", on=["domain", "day"])
    known = table["complete"].astype("boolean").fillna(False).astype(bool)
    return table.assign(pass_share=table["passing"] / table["messages"], complete=known)[
        ["domain", "day", "messages", "passing", "pass_share", "complete"]
    ]
