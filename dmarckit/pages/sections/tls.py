"""TLS reports (RFC 8460): how much mail came encrypted, and what went wrong."""

from __future__ import annotations

import pandas as pd

from dmarckit.core import _, later, ngettext, text as words
from dmarckit.facts import days_of
from dmarckit.findings import tls_policy, tls_result
from dmarckit.pages.charts import daily_bars, nothing
from dmarckit.pages.html import Column
from dmarckit.pages.marks import LIGHT
from dmarckit.pages.sections import base
from dmarckit.pages.sections.base import PageData, Section, ordered, table_section, usual

_RESULTS = {
    "successful": (later("encrypted"), LIGHT["authenticated"]),
    "failed": (later("failed"), LIGHT["failing"]),
}


class TlsSections(PageData):
    """TLS reports that begin in the window. Counts are sessions."""

    def tls_sessions(self) -> Section:
        """Draw the sessions of each day, encrypted and failed.

        `.data`: one row a day of the window: `day` (UTC), `successful`, `failed` (sessions).
        """
        rows = self._tls()
        daily = rows.groupby(rows["begin"].dt.floor("D"))[["successful", "failed"]].sum()
        daily = daily.reindex(days_of(self.window), fill_value=0).rename_axis("day").reset_index()
        good, bad = int(daily["successful"].sum()), int(daily["failed"].sum())
        if not good + bad:
            text = _("No TLS report covers this period.")
            return Section(daily, figure=nothing(_("Encrypted sessions per day"), text))
        sessions = ngettext("{n} session", "{n} sessions", good + bad)
        sessions = sessions.format(n=words.count(good + bad))
        text = _("{share} of {sessions} failed") if bad else _("All {sessions} were encrypted")
        title = text.format(share=words.percent(bad / (good + bad)), sessions=sessions)
        subtitle = _("Inbound TLS sessions per day, by result.")
        return Section(daily, figure=daily_bars(daily, _RESULTS, title=title, subtitle=subtitle))

    def tls_policies(self) -> Section:
        """Show the sessions by domain and policy, most failures first.

        `.data`: one row per policy domain and type: `policy_domain`, `policy_type`,
        `sessions`, `failed`, `failed_share` [0-1], `reporters` (number), `last_end` (UTC).
        """
        rows = self._tls()
        rows = rows.assign(sessions=rows["successful"] + rows["failed"])
        keys = ["policy_domain", "policy_type"]
        frame = rows.groupby(keys, as_index=False).agg(
            **base.sums("sessions", "failed"), **base.TOLD
        )
        some = frame["sessions"].where(frame["sessions"] > 0)
        frame.insert(4, "failed_share", frame["failed"] / some)
        return table_section(
            ordered(frame, "-failed", "-sessions", "policy_domain"),
            Column("policy_domain", _("Domain"), under=lambda row: tls_policy(row.policy_type)),
            Column("sessions", _("Sessions"), "count"),
            Column("failed", _("Failed"), "bar"),
            Column("failed_share", _("Share"), "share"),
            *usual("reporters", "last_end"),
            caption=_("Sessions by domain and policy"),
            empty=_("No TLS report covers this period."),
        )

    def tls_failures(self) -> Section:
        """Show what failed, the most frequent first.

        `.data`: one row per result type (RFC 8460, 4.3) and policy domain: `result_type`,
        `policy_domain`, `failed_sessions`, `reporters`, `first`, `last` (begin of one, UTC).
        """
        rows = self._tls()
        rows = rows[rows["result_type"] != ""]
        frame = rows.groupby(["result_type", "policy_domain"], as_index=False).agg(
            failed_sessions=("failed_sessions", "sum"),
            reporters=("reporter", "nunique"),
            first=("begin", "min"),
            last=("begin", "max"),
        )
        return table_section(
            ordered(frame, "-failed_sessions"),
            Column("result_type", _("Failure"), text=lambda row: tls_result(row.result_type)),
            Column("policy_domain", _("Domain")),
            Column("failed_sessions", _("Sessions"), "bar"),
            *usual("reporters"),
            Column("first", _("First"), "day"),
            Column("last", _("Last"), "day"),
            caption=_("Failures, the most frequent first"),
            empty=_("No session failed in this period."),
        )

    def _tls(self) -> pd.DataFrame:
        rows = base.begun_in(self.facts.tls, self.window)
        return rows.replace({"policy_domain": {"": _("an unnamed domain")}})
