"""TLS reports (RFC 8460) → the tables and the chart of their page. Counts are sessions."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dmarckit.core import Window, _, later, ngettext, text as words
from dmarckit.facts import days_of
from dmarckit.pages.charts import daily_bars, nothing
from dmarckit.pages.html import Column, Html, table

COLOURS = {"successful": "#0068a8", "failed": "#d55e00"}
LABELS = {"successful": later("encrypted"), "failed": later("failed")}


def in_window(tls: pd.DataFrame, window: Window) -> pd.DataFrame:
    """The rows of `Facts.tls` whose report begins in the window."""
    return tls[(tls["begin"] >= window.start) & (tls["begin"] < window.end)]


def by_day(tls: pd.DataFrame, window: Window) -> pd.DataFrame:
    """One row a day of the window: `day`, `successful`, `failed` (sessions)."""
    rows = in_window(tls, window)
    sums = rows.groupby(rows["begin"].dt.floor("D"))[["successful", "failed"]].sum()
    return sums.reindex(days_of(window), fill_value=0).rename_axis("day").reset_index()


def by_policy(tls: pd.DataFrame) -> pd.DataFrame:
    """One row per policy domain and type: `policy_domain`, `policy_type`, `sessions`, `failed`,
    `failed_share` [0-1], `reporters` (number), `last_end`; most failures first."""
    groups = tls.groupby(["policy_domain", "policy_type"])
    table_ = groups.agg(
        successful=("successful", "sum"),
        failed=("failed", "sum"),
        reporters=("reporter", "nunique"),
        last_end=("end", "max"),
    ).reset_index()
    sessions = table_["successful"] + table_["failed"]
    share = table_["failed"] / sessions.where(sessions > 0)
    table_ = table_.assign(sessions=sessions, failed_share=share)
    columns = ["policy_domain", "policy_type", "sessions", "failed", "failed_share", "reporters"]
    order = ["failed", "sessions", "policy_domain"]
    ordered = table_.sort_values(order, ascending=[False, False, True], ignore_index=True)
    return ordered[[*columns, "last_end"]]


def by_failure(tls: pd.DataFrame) -> pd.DataFrame:
    """One row per result type and policy domain: `result_type`, `policy_domain`,
    `failed_sessions`, `reporters` (number), `first`, `last` (begin of a report)."""
    rows = tls[tls["result_type"] != ""]
    found = rows.groupby(["result_type", "policy_domain"], as_index=False).agg(
        failed_sessions=("failed_sessions", "sum"),
        reporters=("reporter", "nunique"),
        first=("begin", "min"),
        last=("begin", "max"),
    )
    return found.sort_values("failed_sessions", ascending=False, ignore_index=True)


def chart(daily: pd.DataFrame) -> go.Figure:
    """Sessions a day. Takes `by_day`."""
    good, bad = int(daily["successful"].sum()), int(daily["failed"].sum())
    if not good + bad:
        return nothing(_("Encrypted sessions a day"), _("No TLS report covers these days."))
    whole = ngettext("{n} session", "{n} sessions", good + bad).format(n=words.count(good + bad))
    text = _("{share} of {sessions} failed") if bad else _("All {sessions} were encrypted")
    title = text.format(share=words.percent(bad / (good + bad)), sessions=whole)
    subtitle = _("Sessions a day in which others sent mail to your servers, by result.")
    return daily_bars(daily, COLOURS, LABELS, title=title, subtitle=subtitle)


def policies(frame: pd.DataFrame) -> Html:
    """Takes `by_policy`."""
    columns = [
        Column("policy_domain", _("Domain"), under=lambda r: str(r.policy_type)),
        Column("sessions", _("Sessions"), "count"),
        Column("failed", _("Failed"), "bar"),
        Column("failed_share", _("Share"), "share"),
        Column("reporters", _("Reporters"), "count"),
        Column("last_end", _("Reported until"), "minute"),
    ]
    empty = _("No TLS report covers these days.")
    return table(frame, columns, caption=_("Sessions by domain and policy"), empty=empty)


def failures(frame: pd.DataFrame) -> Html:
    """Takes `by_failure`."""
    columns = [
        Column("result_type", _("Failure")),
        Column("policy_domain", _("Domain")),
        Column("failed_sessions", _("Sessions"), "bar"),
        Column("reporters", _("Reporters"), "count"),
        Column("first", _("First"), "day"),
        Column("last", _("Last"), "day"),
    ]
    empty = _("No session failed on these days.")
    return table(frame, columns, caption=_("Failures, the most frequent first"), empty=empty)
