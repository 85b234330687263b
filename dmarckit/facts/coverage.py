"""Whether all reports are there that should be: what came, against what usually comes.

Who reports usually is the model of `completeness`: reporters seen on at least 80 % of the
previous 14 days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import pandas as pd

from dmarckit.core.window import Window
from dmarckit.facts.class_summary import in_window, whole_days
from dmarckit.facts.completeness import usual_reporters
from dmarckit.facts.facts_frames import Facts

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
    """What came for the window. `complete` as from `complete_days`."""
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
    """Indexed by the days of the window that reports have reached: enough domains are whole."""
    enough = whole_days(complete, window)
    known = in_window(complete, window)["day"]
    return enough[enough.index >= known.min()] if len(known) else enough.iloc[:0]


def _until(enough: pd.Series[bool]) -> datetime | None:
    """The last day that has enough."""
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
