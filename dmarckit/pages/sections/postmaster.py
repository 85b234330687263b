"""Google Postmaster Tools: complaints, authentication, encryption, refusals and requirements.

Google gives no volumes, so of several domains the worst counts. A share is null without data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from dmarckit.checks import latest_metrics
from dmarckit.core import Settings, _, later, rate_text, text as words
from dmarckit.facts import days_of
from dmarckit.findings import refusal_meaning, verdict_meaning
from dmarckit.pages.charts import nothing, rate_lines
from dmarckit.pages.html import Column, Html, render_part
from dmarckit.pages.marks import LIGHT
from dmarckit.pages.sections.base import PageData, Section, ordered, table_section, usual

_NEWEST = {  # column of `newest_rates` → metric and detail
    "spam_rate": ("spam_rate", ""),
    "spf": ("auth_success_rate", "spf"),
    "dkim": ("auth_success_rate", "dkim"),
    "dmarc": ("auth_success_rate", "dmarc"),
    "tls": ("tls_encryption_rate", "inbound"),
    "errors": ("delivery_error_rate", ""),
}
# of each chart: column → label and colour
_SPAM = {"all": (later("spam rate"), LIGHT["failing"])}
_AUTHENTICATION = {"spf": ("SPF", LIGHT["unknown"]), "dkim": ("DKIM", LIGHT["rejected"])}
_AUTHENTICATION |= {"dmarc": ("DMARC", LIGHT["authenticated"])}
_ENCRYPTION = {
    "inbound": (later("from you to Gmail"), LIGHT["authenticated"]),
    "outbound": (later("from Gmail to you"), LIGHT["unknown"]),
}
_ERRORS = {
    "reject": (later("rejected"), LIGHT["rejected"]),
    "temp_fail": (later("deferred"), LIGHT["unknown"]),
}
_REQUIREMENTS = {
    "SPF": later("SPF is set up"),
    "DKIM": later("DKIM is set up"),
    "SPF_AND_DKIM": later("SPF and DKIM are set up"),
    "DMARC_POLICY": later("DMARC policy published"),
    "DMARC_ALIGNMENT": later("From is aligned with SPF or DKIM"),
    "MESSAGE_FORMATTING": later("Messages are well-formed (RFC 5322)"),
    "DNS_RECORDS": later("Sending addresses have matching forward and reverse DNS"),
    "ENCRYPTION": later("Mail is sent with TLS"),
    "USER_REPORTED_SPAM_RATE": later("The spam rate is low"),
    "ONE_CLICK_UNSUBSCRIBE": later("One-click unsubscribe"),
    "HONOR_UNSUBSCRIBE": later("Unsubscribing is honoured"),
    "DELIVERABILITY": later("Deliverability"),
}


class PostmasterSections(PageData):
    """What Google says about mail to Gmail."""

    @cached_property
    def _metrics(self) -> pd.DataFrame:
        day_after = self.window.end + timedelta(days=1)  # compliance is asked today
        return latest_metrics(self.lake, self._domains, self.window.start, day_after)

    def postmaster(self) -> Section:
        """Say when Google was asked, and up to which day it told; else how to connect it.

        `.data`: the metrics of the window, one row per domain, day, metric and detail:
        `domain`, `day` (UTC), `metric`, `detail`, `share` [0-1], `number`, `text`, `pulled`
        (when Google was asked, UTC).
        """
        return Section(self._metrics, connection(self.settings, self._metrics))

    def postmaster_spam(self) -> Section:
        """Draw the spam rate of each day, with Google's two limits.

        `.data`: one row a day of the window: `day` (UTC), `all` [0-1]: the highest share of
        mail that users marked as spam, of all domains.
        """
        limits = self.settings.thresholds
        daily = self._worst_by_day("spam_rate", _SPAM, "max")
        worst = daily.iloc[daily["all"].fillna(-1).to_numpy().argmax()]
        share, limit = worst["all"], limits.spam_critical
        title = _("{rate} on {day}: Google requires never to reach {limit}")
        if share < limits.spam_critical:
            title, limit = _("{rate} on {day}: Google requires under {limit}"), limits.spam_warning
        if share < limits.spam_warning:
            title = _("At most {rate} of the mail was marked as spam")
        day = words.short_day(worst["day"])
        title = title.format(rate=rate_text(share), day=day, limit=rate_text(limit))
        subtitle = _("Share of mail that Gmail users marked as spam, per day. {which}")
        lines = [limits.spam_warning, limits.spam_critical]
        span = (0, max(limits.spam_critical * 1.2, share * 1.15))
        return self._rates(daily, _SPAM, title, subtitle, _("Spam rate per day"), span, lines)

    def postmaster_authentication(self) -> Section:
        """Draw the share of mail that passes SPF, DKIM and DMARC at Gmail, a day.

        `.data`: one row a day of the window: `day` (UTC), `spf`, `dkim`, `dmarc` [0-1]: the
        lowest share of all domains.
        """
        daily = self._worst_by_day("auth_success_rate", _AUTHENTICATION, "min")
        least = daily[list(_AUTHENTICATION)].min().dropna()
        rates = " · ".join(f"{str(name).upper()} {rate_text(rate)}" for name, rate in least.items())
        title = _("Lowest day: {rates}").format(rates=rates)
        subtitle = _("Share of mail that Gmail authenticated, per day. {which}")
        return self._rates(daily, _AUTHENTICATION, title, subtitle, _("Authentication per day"))

    def postmaster_encryption(self) -> Section:
        """Draw the share of mail that came encrypted, a day, by direction.

        `.data`: one row a day of the window: `day` (UTC), `inbound` (to Gmail), `outbound`
        [0-1]: the lowest share of all domains.
        """
        daily = self._worst_by_day("tls_encryption_rate", _ENCRYPTION, "min")
        sent = daily["inbound"].min()
        title = _("Lowest day: {rate} of the mail to Gmail was encrypted")
        if words.is_missing(sent):
            title = _("Encryption of mail to Gmail is not known")
        elif sent == 1:
            title = _("All mail to Gmail was encrypted")
        title = title.format(rate=rate_text(sent))
        subtitle = _("Share of mail sent with TLS, per day. {which}")
        return self._rates(daily, _ENCRYPTION, title, subtitle, _("Encryption per day"))

    def postmaster_errors(self) -> Section:
        """Draw the share of mail that Gmail did not take, a day.

        `.data`: one row a day of the window: `day` (UTC), `reject`, `temp_fail` [0-1]: the
        highest share of all domains.
        """
        daily = self._worst_by_day("delivery_error_rate", [*_ERRORS, "all"], "max")
        most = float(daily.pop("all").fillna(daily[list(_ERRORS)].sum(axis=1, min_count=1)).max())
        none = _("Delivery errors per day")
        if most == 0:
            return Section(
                daily, figure=nothing(none, _("Gmail accepted all mail in this period."))
            )
        title = _("Highest day: Gmail rejected or deferred {rate} of the mail")
        title = title.format(rate=rate_text(most))
        subtitle = _("Share of mail that Gmail rejected or deferred, per day. {which}")
        span = (0, min(1.0, most * 1.15))
        return self._rates(daily, _ERRORS, title, subtitle, none, span)

    def postmaster_domains(self) -> Section:
        """Show the newest rates of each domain, the highest spam rate first.

        `.data`: one row a domain, as `newest_rates`: `domain`; the newest share [0-1] of
        `spam_rate`, `spf`, `dkim`, `dmarc`, `tls` (mail sent to Gmail) and `errors` (of all
        kinds); `spam_worst` [0-1], the highest of all days; `needs_work` (requirements that
        are not met; null: no status); `last_day` (UTC), the newest day with a rate.
        """
        return table_section(
            newest_rates(self._metrics),
            *usual("domain"),
            Column("spam_worst", _("Highest spam rate"), "rate"),
            Column("spam_rate", _("Newest"), "rate"),
            Column("spf", "SPF", "rate"),
            Column("dkim", "DKIM", "rate"),
            Column("dmarc", "DMARC", "rate"),
            Column("tls", "TLS", "rate"),
            Column("errors", _("Rejected or deferred"), "rate"),
            Column("needs_work", _("Need work"), "count"),
            Column("last_day", _("Newest day"), "day"),
            caption=_("Domains, the highest spam rate first"),
            empty=_no_data(),
        )

    def postmaster_refusals(self) -> Section:
        """Show what Gmail refused and why, the highest share first.

        `.data`: one row per domain and kind of refusal that happened (a kind as a whole, such
        as ``reject``, only where Google names no reason of it): `domain`, `kind` (such as
        ``reject/ip_in_rbls``), `worst` [0-1] (highest share of a day), `worst_day`, `days`
        (with any), `last_day` (UTC), `messages` (of the days that Google counted; null: none).
        """
        rows, keys = self._metrics[self._metrics["detail"] != ""], ["domain", "detail"]
        rates = rows[(rows["metric"] == "delivery_error_rate") & (rows["share"] > 0)]
        frame = (
            rates.sort_values("share", kind="stable")
            .groupby(keys, as_index=False)
            .agg(
                worst=("share", "last"),
                worst_day=("day", "last"),
                days=("day", "nunique"),
                last_day=("day", "max"),
            )
        )
        counts = rows[rows["metric"] == "delivery_error_count"]
        sums = counts.groupby(keys)["number"].sum(min_count=1).rename("messages")
        frame = frame.merge(sums.reset_index(), on=keys, how="left")
        has_reason = frame["detail"].str.contains("/")
        kinds = frame["detail"].str.replace("/.*", "", regex=True)
        explained = has_reason.groupby([frame["domain"], kinds]).transform("any")
        frame = frame[has_reason | ~explained].rename(columns={"detail": "kind"})
        return table_section(
            ordered(frame, "-worst", "domain", "kind"),
            Column("kind", _("Refusal"), under="domain", text=_refusal),
            Column("worst", _("Highest share"), "rate"),
            Column("worst_day", _("on"), "day"),
            *usual("days"),
            Column("messages", _("Messages"), "count"),
            Column("last_day", _("Last"), "day"),
            caption=_("Refusals, the largest share first"),
            empty=_("Gmail names no refusal in this period."),
        )

    def postmaster_compliance(self) -> Section:
        """Show Google's requirements for senders, those that need work first.

        `.data`: one row per domain and requirement: `domain`, `requirement`, `state`
        (``COMPLIANT`` or ``NEEDS_WORK``), `reason` (empty: none), `since` (first day it was
        asked and had this state without a change after it), `asked` (last day it was asked; UTC).
        """
        frame = _compliance(self._metrics)
        names = [_(_REQUIREMENTS.get(name, name)) for name in frame["requirement"]]
        return table_section(
            frame,
            Column("requirement", _("Requirement"), under="reason"),
            *usual("domain"),
            Column("state", _("State"), "compliance"),
            Column("since", _("Since"), "day"),
            Column("asked", _("Asked"), "day"),
            shown=frame.assign(requirement=names, reason=frame["reason"].map(verdict_meaning)),
            caption=_("Google's requirements, those that need work first"),
            empty=_no_data(),
        )

    def postmaster_loops(self) -> Section:
        """Show the feedback loops, the highest spam rate first.

        `.data`: one row per domain and feedback loop: `domain`, `loop` (its id), `kind`
        (``from_header``: of mail from the domain; ``all_dkim``: of all that it signed),
        `worst` [0-1] (highest share of a day; null: none was given), `days` (number).
        """
        metrics = self._metrics
        ids = metrics[metrics["metric"] == "feedback_loop_ids"]
        rates = metrics[metrics["metric"] == "feedback_loop_rate"]
        worst = rates.groupby(["domain", "detail"])["share"].max().rename("worst").reset_index()
        named = ids.assign(kind=ids["detail"], loop=ids["text"].astype("str").map(json.loads))
        named = named.explode("loop").dropna(subset="loop")
        named = named.assign(detail=named["kind"] + "/" + named["loop"].astype("str"))
        days = named.groupby(["domain", "kind", "detail", "loop"])["day"].nunique()
        frame = days.rename("days").reset_index()
        frame = frame.merge(worst, on=["domain", "detail"], how="left")
        frame = frame[["domain", "loop", "kind", "worst", "days"]]
        return table_section(
            ordered(frame, "-worst", "domain", "loop"),
            Column("loop", _("Feedback loop"), under="domain"),
            Column("worst", _("Highest spam rate"), "rate"),
            *usual("days"),
            caption=_("Feedback loops, the worst first"),
            empty=_(
                "Google names no feedback loop: your mail has no Feedback-ID, or no complaints."
            ),
        )

    def _worst_by_day(
        self, metric: str, series: Iterable[str], worst: Literal["min", "max"]
    ) -> pd.DataFrame:
        """Return one row a day: `day`, and the worst share of all domains by detail."""
        rows = self._metrics[(self._metrics["metric"] == metric) & self._metrics["share"].notna()]
        rows = rows.assign(detail=rows["detail"].replace("", "all"))  # of a metric
        shares = rows.pivot_table(index="day", columns="detail", values="share", aggfunc=worst)
        whole = shares.reindex(index=days_of(self.window), columns=list(series)).astype("float64")
        return whole.rename_axis(columns=None).reset_index()

    def _rates(
        self,
        daily: pd.DataFrame,
        series: Mapping[str, tuple[str, str]],
        title: str,
        subtitle: str,
        none: str,
        span: tuple[float, float] | None = None,
        limits: Sequence[float] = (),
    ) -> Section:
        """Return a chart of rates; without `span` of success rates, which shows what is missing.

        `series`: column of `daily` → label and colour; `none`: the title without data.
        """
        shares = daily[list(series)]
        if shares.isna().all(axis=None):
            return Section(daily, figure=nothing(none, _no_data()))
        which = _("The highest of all domains.") if span else _("The lowest of all domains.")
        subtitle = subtitle.format(which=which if self._metrics["domain"].nunique() > 1 else "")
        span = span or (max(0.0, min(0.98, float(shares.min().min()) - 0.02)), 1.002)
        figure = rate_lines(daily, series, title=title, subtitle=subtitle, span=span, limits=limits)
        return Section(daily, figure=figure)


def newest_rates(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row a domain, as `PostmasterSections.postmaster_domains` describes."""
    table = pd.DataFrame({"domain": sorted(metrics["domain"].unique())}).set_index("domain")
    rates = metrics[metrics["share"].notna()].sort_values("day")
    for column, (metric, detail) in _NEWEST.items():
        rows = rates[(rates["metric"] == metric) & (rates["detail"] == detail)]
        table[column] = rows.groupby("domain")["share"].last().astype("float64")
        if column == "spam_rate":
            table["spam_worst"] = rows.groupby("domain")["share"].max().astype("float64")
    states = _compliance(metrics)
    failing = (states["state"] == "NEEDS_WORK").groupby(states["domain"]).sum()
    table = table.assign(needs_work=failing.astype("float64"))
    table = table.assign(last_day=rates.groupby("domain")["day"].max())
    return ordered(table.reset_index(), "-spam_worst", "domain")


def _compliance(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return Google's requirements, as `PostmasterSections.postmaster_compliance` describes."""
    columns = ["domain", "requirement", "state", "reason", "since", "asked"]
    states = metrics[metrics["metric"] == "compliance"]
    reasons = metrics[metrics["metric"] == "compliance_reason"]
    reason_of = reasons.set_index(["domain", "detail", "day"])["text"]
    rows = []
    for (domain, requirement), part in states.sort_values("day").groupby(["domain", "detail"]):
        newest = part.iloc[-1]
        other = part.loc[part["text"] != newest["text"], "day"]
        same = part if other.empty else part[part["day"] > other.max()]
        reason = reason_of.get((domain, requirement, newest["day"]), "")
        since, asked = same["day"].min(), newest["day"]
        rows.append([domain, requirement, newest["text"], reason, since, asked])
    found = pd.DataFrame(rows, columns=columns)
    found["order"] = found["state"].map({"NEEDS_WORK": 0, "COMPLIANT": 1}).fillna(2)
    return ordered(found, "order", "domain", "requirement")[columns]


def connection(settings: Settings, metrics: pd.DataFrame) -> Html:
    """Return whether Google is asked at all, when it was, and up to which day it told."""
    if not metrics.empty:
        newest: Any = metrics.loc[metrics["share"].notna(), "day"].max()
        text = _("Postmaster Tools checked {asked}; data through {day}.")
        asked = words.moment(metrics["pulled"].max())
        return render_part("note", text.format(asked=asked, day=words.short_day(newest)))
    if settings.google_credentials is not None:
        text = _(
            "Postmaster Tools has not been checked yet, or returned nothing: run dmarckit "
            "postmaster pull."
        )
        return render_part("empty", text)
    how = _(
        "Postmaster Tools is not connected. To connect it, set google_credentials to the JSON "
        "file of a Google service account that may read your domains in Postmaster Tools, "
        "then run dmarckit postmaster pull."
    )
    return render_part("empty", how)


def _refusal(row: Any) -> str:
    kind, _slash, reason = str(row.kind).partition("/")
    word = _(_ERRORS[kind][0]) if kind in _ERRORS else kind
    return f"{word}: {refusal_meaning(reason)}" if reason else word


def _no_data() -> str:
    return _("Postmaster Tools has no data for this period.")
