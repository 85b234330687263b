"""Frames of the lake → small frames that answer one question each.

Counts are messages, never rows; shares are fractions [0-1], and NaN when there is nothing
to divide by (0 of 0 is no data, not 0 %). An empty frame gives an empty frame with the same
columns, or rows of zeros where the docstring says so. No function changes its input.
"""

from __future__ import annotations

import pandas as pd

OUTCOMES = ("delivered", "quarantined", "rejected", "unstated")
"""what the receiver did with a message (``disposition``)"""


def newest_reports(reports: pd.DataFrame, limit: int = 15) -> pd.DataFrame:
    """One row a report, the latest period first; at most `limit` rows.

    Columns: `reporter`, `domain`, `begin`, `end`, `messages`, `failing`, `pass_share`,
    `report_id`, `report_uid`.
    """
    table = reports.sort_values(["end", "reporter", "domain"], ascending=[False, True, True])
    table = table.head(limit).reset_index(drop=True)
    passing = table["messages"] - table["failing"]
    table = table.assign(pass_share=(passing / table["messages"].where(table["messages"] > 0)))
    columns = ["reporter", "domain", "begin", "end", "messages", "failing", "pass_share"]
    return table[[*columns, "report_id", "report_uid"]]


def refused_mails(mails: pd.DataFrame) -> pd.DataFrame:
    """One row a kind of mail that gave no report: not trusted, not readable, or no report.

    Columns: `outcome`, `from_domain`, `reason`, `mails` (number), `first`, `last` (received),
    `key` (of the newest such mail). Untrusted first, then unreadable, then not_a_report.
    """
    rank = {"untrusted": 0, "unreadable": 1, "not_a_report": 2}
    rows = mails[mails["outcome"].isin(list(rank))].sort_values("received")
    table = (
        rows.assign(reason=rows["error"])
        .groupby(["outcome", "from_domain", "reason"], dropna=False)
        .agg(
            mails=("key", "size"),
            first=("received", "min"),
            last=("received", "max"),
            key=("key", "last"),
        )
        .reset_index()
    )
    table = table.assign(rank=table["outcome"].map(rank))
    order = ["rank", "mails", "last"]
    table = table.sort_values(order, ascending=[True, False, False], ignore_index=True)
    return table.drop(columns="rank")
