"""Postmaster Tools → the charts and tables of its page. Takes frames of `postmaster_summary`.

Rows of Postmaster Tools (`postmaster.latest`) → the small frames of its page and command.

Shares are [0-1] and null where Google has no data; each function leaves its input as it is.
Google gives no volumes, so rates of several domains cannot be averaged: where they come
together it is the worst that counts.
"""

from __future__ import annotations

import json

import pandas as pd
import plotly.graph_objects as go

from dmarckit.core import Rate, Settings, Thresholds, Window, _, later, text as words
from dmarckit.facts import days_of
from dmarckit.findings import refusal_meaning
from dmarckit.pages.charts import CRITICAL, WARNING, nothing, rate_lines
from dmarckit.pages.html import Column, Html, escape, table

REQUIREMENT_ORDER = {"NEEDS_WORK": 0, "COMPLIANT": 1}


def worst_by_day(
    metrics: pd.DataFrame, metric: str, details: tuple[str, ...], window: Window, *, lowest: bool
) -> pd.DataFrame:
    """One row a day of the window: `day`, and the worst share of all domains for each detail.

    The worst is the lowest of a success rate, the highest of a spam or error rate. A detail
    that is empty in the table (all of a metric) is the column ``all``.
    """
    rows = metrics[(metrics["metric"] == metric) & metrics["share"].notna()]
    shares = rows.pivot_table(
        index="day", columns="detail", values="share", aggfunc="min" if lowest else "max"
    )
    whole = shares.reindex(index=days_of(window), columns=list(details)).astype("float64")
    return whole.rename(columns={"": "all"}).rename_axis(columns=None).reset_index()


_NEWEST = {
    "spam_rate": ("spam_rate", ""),
    "spf": ("auth_success_rate", "spf"),
    "dkim": ("auth_success_rate", "dkim"),
    "dmarc": ("auth_success_rate", "dmarc"),
    "tls": ("tls_encryption_rate", "inbound"),
    "errors": ("delivery_error_rate", ""),
}
"""column of `by_domain` → metric and detail"""


def by_domain(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per domain, the highest spam rate first.

    `domain`; the newest share of `spam_rate`, `spf`, `dkim`, `dmarc`, `tls` (mail sent to
    Gmail) and `errors` (delivery errors of all kinds); `spam_worst`, the highest spam rate of
    all days; `needs_work`, requirements that are not met (number; null: no status);
    `last_day`, the newest day with a rate.
    """
    table = pd.DataFrame({"domain": sorted(metrics["domain"].unique())}).set_index("domain")
    rates = metrics[metrics["share"].notna()].sort_values("day")
    for column, (metric, detail) in _NEWEST.items():
        rows = rates[(rates["metric"] == metric) & (rates["detail"] == detail)]
        table[column] = rows.groupby("domain")["share"].last().astype("float64")
        if column == "spam_rate":
            table["spam_worst"] = rows.groupby("domain")["share"].max().astype("float64")
    states = compliance(metrics)
    failing = (states["state"] == "NEEDS_WORK").groupby(states["domain"]).sum()
    table["needs_work"] = failing.astype("float64")
    table["last_day"] = rates.groupby("domain")["day"].max()
    order = ["spam_worst", "domain"]
    return table.reset_index().sort_values(order, ascending=[False, True], ignore_index=True)


def refusals(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per domain and kind of refusal that happened, the highest share first.

    A kind as a whole, such as ``reject``, only where Google names no reason of it.
    `domain`, `kind` (such as ``reject/ip_in_rbls``), `worst` (highest share of a day),
    `worst_day`, `days` (with any), `messages` (sum of the days that Google counted; null:
    none were), `last_day`.
    """
    rows = metrics[(metrics["detail"] != "") & metrics["metric"].str.startswith("delivery_error")]
    rates = rows[(rows["metric"] == "delivery_error_rate") & (rows["share"] > 0)]
    keys = ["domain", "detail"]
    found = (
        rates.sort_values("share", kind="stable")
        .groupby(keys, as_index=False)
        .agg(
            worst=("share", "last"),
            worst_day=("day", "last"),
            days=("day", "nunique"),
            last_day=("day", "max"),
        )
    )
    counts = rows[rows["metric"] == "delivery_error_count"].groupby(keys)["number"].sum(min_count=1)
    found = found.merge(counts.rename("messages").reset_index(), on=keys, how="left")
    has_reason = found["detail"].str.contains("/")
    kinds = found["detail"].str.replace("/.*", "", regex=True)
    explained = has_reason.groupby([found["domain"], kinds]).transform("any")
    found = found[has_reason | ~explained]
    return found.rename(columns={"detail": "kind"}).sort_values(
        ["worst", "domain", "kind"], ascending=[False, True, True], ignore_index=True
    )


def compliance(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per domain and requirement, those that need work first.

    `domain`, `requirement`, `state` (``COMPLIANT`` or ``NEEDS_WORK``), `reason` (empty: none),
    `since` (first day it was asked and had this state without a change after it), `asked`
    (the last day it was asked).
    """
    columns = ["domain", "requirement", "state", "reason", "since", "asked"]
    states = metrics[metrics["metric"] == "compliance"]
    reasons = metrics[metrics["metric"] == "compliance_reason"].set_index(
        ["domain", "detail", "day"]
    )["text"]
    rows = []
    for (domain, requirement), part in states.sort_values("day").groupby(["domain", "detail"]):
        newest = part.iloc[-1]
        other = part.loc[part["text"] != newest["text"], "day"]
        same = part if other.empty else part[part["day"] > other.max()]
        reason = reasons.get((domain, requirement, newest["day"]), "")
        since, asked = same["day"].min(), newest["day"]
        rows.append([domain, requirement, newest["text"], reason, since, asked])
    found = pd.DataFrame(rows, columns=columns)
    order = found["state"].map(REQUIREMENT_ORDER).fillna(2)
    return (
        found.assign(order=order)
        .sort_values(["order", "domain", "requirement"], ignore_index=True)
        .drop(columns="order")
    )


def feedback_loops(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per domain and feedback loop, the highest spam rate first.

    `domain`, `loop` (its id), `kind` (``from_header``: of mail from the domain; ``all_dkim``:
    of all that it signed), `worst` (highest share of a day; null: none was given), `days`.
    """
    ids = metrics[metrics["metric"] == "feedback_loop_ids"]
    named = pd.DataFrame(
        [
            (row.domain, row.detail, f"{row.detail}/{loop}", loop, row.day)
            for row in ids.itertuples()
            for loop in json.loads(str(row.text))
        ],
        columns=["domain", "kind", "detail", "loop", "day"],
    )
    rates = metrics[metrics["metric"] == "feedback_loop_rate"]
    worst = rates.groupby(["domain", "detail"])["share"].max().rename("worst").reset_index()
    keys = ["domain", "kind", "detail", "loop"]
    found = named.groupby(keys, as_index=False).agg(days=("day", "nunique"))
    found = found.merge(worst, on=["domain", "detail"], how="left")
    return found[["domain", "loop", "kind", "worst", "days"]].sort_values(
        ["worst", "domain", "loop"], ascending=[False, True, True], ignore_index=True
    )


_AUTHENTICATION = {"spf": "#4fa8dc", "dkim": "#0068a8", "dmarc": "#0f9d76"}
_ENCRYPTION = {"inbound": "#0068a8", "outbound": "#8a94a3"}
_ERRORS = {"reject": "#d55e00", "temp_fail": "#e09f1f"}
_KINDS = {"reject": later("rejected"), "temp_fail": later("put off")}


def is_connected(settings: Settings) -> bool:
    """Credentials are named; whether Google takes them shows when they are used."""
    return settings.google_credentials is not None


def connection(settings: Settings, metrics: pd.DataFrame) -> Html:
    """Whether Google is asked at all, when it was, and up to which day it told; else how to."""
    parts = []
    if not metrics.empty:
        told = metrics.loc[metrics["share"].notna(), "day"].max()
        newest = words.day(None if words.is_missing(told) else told)
        text = _("Google was asked on {asked}, UTC; its newest day is {day}.")
        text = text.format(asked=words.minute(metrics["pulled"].max()), day=newest)
        parts.append(f'<p class="dk-note">{escape(text)}</p>')
    elif is_connected(settings):
        text = _("Google was not asked yet, or said nothing: run dmarckit postmaster pull.")
        parts.append(f'<p class="dk-empty">{escape(text)}</p>')
    if not is_connected(settings):
        how = _(
            "Postmaster Tools is not connected. To connect it, set google_credentials to the JSON "
            "file of a Google service account that may read your domains in Postmaster Tools, "
            "then run dmarckit postmaster pull."
        )
        parts.append(f'<p class="dk-empty">{escape(how)}</p>')
    return Html("".join(parts))


def spam(metrics: pd.DataFrame, window: Window, limits: Thresholds) -> go.Figure:
    """The spam rate a day, with Google's two limits."""
    daily = worst_by_day(metrics, "spam_rate", ("",), window, lowest=False)
    if daily["all"].isna().all():
        return nothing(_("Spam rate a day"), _no_data())
    worst = daily.iloc[daily["all"].fillna(-1).to_numpy().argmax()]
    rate, day = Rate(worst["all"]), words.day(worst["day"])
    if rate.share >= limits.spam_critical:
        title = _("{rate} on {day}: Google wants never to see {limit}")
        title = title.format(rate=rate, day=day, limit=Rate(limits.spam_critical))
    elif rate.share >= limits.spam_warning:
        title = _("{rate} on {day}: Google wants less than {limit}")
        title = title.format(rate=rate, day=day, limit=Rate(limits.spam_warning))
    else:
        title = _("At most {rate} of the mail was marked as spam").format(rate=rate)
    return rate_lines(
        daily,
        {"all": "#0068a8"},
        {"all": _("spam rate")},
        title=title,
        subtitle=_("Share of mail that Gmail users marked as spam, a day. {which}").format(
            which=_which(metrics, lowest=False)
        ),
        span=(0, max(limits.spam_critical * 1.2, rate.share * 1.15)),
        limits=[
            (limits.spam_warning, str(Rate(limits.spam_warning)), WARNING),
            (limits.spam_critical, str(Rate(limits.spam_critical)), CRITICAL),
        ],
    )


def authentication(metrics: pd.DataFrame, window: Window) -> go.Figure:
    """The share of mail that passes SPF, DKIM and DMARC at Gmail, a day."""
    names = tuple(_AUTHENTICATION)
    daily = worst_by_day(metrics, "auth_success_rate", names, window, lowest=True)
    if daily[list(names)].isna().all(axis=None):
        return nothing(_("Authentication a day"), _no_data())
    least = {name: daily[name].min() for name in names if daily[name].notna().any()}
    shown = " · ".join(f"{name.upper()} {Rate(share)}" for name, share in least.items())
    return rate_lines(
        daily,
        _AUTHENTICATION,
        {name: name.upper() for name in names},
        title=_("On the worst day: {rates}").format(rates=shown),
        subtitle=_("Share of mail that Gmail found authentic, a day. {which}").format(
            which=_which(metrics, lowest=True)
        ),
        span=_from_below(min(least.values())),
    )


def encryption(metrics: pd.DataFrame, window: Window) -> go.Figure:
    """The share of mail that came encrypted, a day, by direction."""
    names = tuple(_ENCRYPTION)
    daily = worst_by_day(metrics, "tls_encryption_rate", names, window, lowest=True)
    if daily[list(names)].isna().all(axis=None):
        return nothing(_("Encryption a day"), _no_data())
    sent = daily["inbound"].min()
    title = _("Encryption of mail to Gmail is not known")
    if sent == 1:
        title = _("All mail to Gmail was encrypted")
    elif not words.is_missing(sent):
        title = _("On the worst day {rate} of the mail to Gmail was encrypted")
        title = title.format(rate=Rate(sent))
    return rate_lines(
        daily,
        _ENCRYPTION,
        {"inbound": _("from you to Gmail"), "outbound": _("from Gmail to you")},
        title=title,
        subtitle=_("Share of mail that was sent with TLS, a day. {which}").format(
            which=_which(metrics, lowest=True)
        ),
        span=_from_below(float(daily[list(names)].min().min())),
    )


def errors(metrics: pd.DataFrame, window: Window) -> go.Figure:
    """The share of mail that Gmail did not take, a day."""
    names = tuple(_ERRORS)
    daily = worst_by_day(metrics, "delivery_error_rate", names, window, lowest=False)
    if daily[list(names)].isna().all(axis=None):
        return nothing(_("Delivery errors a day"), _no_data())
    most = float(daily[list(names)].max().max())
    if not most:
        return nothing(_("Delivery errors a day"), _("Gmail took all mail on these days."))
    return rate_lines(
        daily,
        _ERRORS,
        {kind: _(word) for kind, word in _KINDS.items()},
        title=_("On the worst day Gmail did not take {rate} of the mail").format(rate=Rate(most)),
        subtitle=_("Share of mail that Gmail rejected or put off, a day. {which}").format(
            which=_which(metrics, lowest=False)
        ),
        span=(0, min(1.0, most * 1.15)),
    )


def domains(frame: pd.DataFrame) -> Html:
    """Takes `by_domain`."""
    columns = [
        Column("domain", _("Domain")),
        Column("spam_worst", _("Highest spam rate"), "rate"),
        Column("spam_rate", _("Newest"), "rate"),
        Column("spf", "SPF", "rate"),
        Column("dkim", "DKIM", "rate"),
        Column("dmarc", "DMARC", "rate"),
        Column("tls", "TLS", "rate"),
        Column("errors", _("Not taken"), "rate"),
        Column("needs_work", _("Need work"), "count"),
        Column("last_day", _("Newest day"), "day"),
    ]
    return table(
        frame, columns, caption=_("Domains, the highest spam rate first"), empty=_no_data()
    )


def refused(frame: pd.DataFrame) -> Html:
    """Takes `refusals`."""
    shown = frame.assign(refusal=frame["kind"].map(_refusal_words))
    columns = [
        Column("refusal", _("Refusal"), under=lambda row: str(row.domain)),
        Column("worst", _("Highest share"), "rate"),
        Column("worst_day", _("on"), "day"),
        Column("days", _("Days"), "count"),
        Column("messages", _("Messages"), "count"),
        Column("last_day", _("Last"), "day"),
    ]
    empty = _("Gmail names no refusal on these days.")
    return table(shown, columns, caption=_("Refusals, the largest share first"), empty=empty)


def _refusal_words(detail: str) -> str:
    """A kind such as ``reject/ip_in_rbls`` in words."""
    kind, _slash, reason = detail.partition("/")
    word = _(_KINDS[kind]) if kind in _KINDS else kind
    return f"{word}: {refusal_meaning(reason)}" if reason else word


def states(frame: pd.DataFrame) -> Html:
    """Takes `compliance`."""
    shown = frame.assign(
        requirement=[_(_REQUIREMENTS.get(name, name)) for name in frame["requirement"]]
    )
    columns = [
        Column("requirement", _("Requirement"), under=lambda row: str(row.reason)),
        Column("domain", _("Domain")),
        Column("state", _("State"), "compliance"),
        Column("since", _("Since"), "day"),
        Column("asked", _("Asked"), "day"),
    ]
    caption = _("Google's requirements, those that need work first")
    return table(shown, columns, caption=caption, empty=_no_data())


def loops(frame: pd.DataFrame) -> Html:
    """Takes `feedback_loops`."""
    columns = [
        Column("loop", _("Feedback loop"), under=lambda row: str(row.domain)),
        Column("worst", _("Highest spam rate"), "rate"),
        Column("days", _("Days"), "count"),
    ]
    empty = _("Google names no feedback loop: your mail has no Feedback-ID, or no complaints.")
    return table(frame, columns, caption=_("Feedback loops, the worst first"), empty=empty)


def _no_data() -> str:
    return _("Postmaster Tools has no data about these days.")


def _which(metrics: pd.DataFrame, *, lowest: bool) -> str:
    """What a point is when there are several domains."""
    if metrics["domain"].nunique() < 2:
        return ""
    return _("The lowest of all domains.") if lowest else _("The highest of all domains.")


def _from_below(least: float) -> tuple[float, float]:
    """An axis of success rates that shows what is missing from all."""
    return max(0.0, min(0.98, least - 0.02)), 1.002


_REQUIREMENTS = {
    "SPF": later("SPF is set up"),
    "DKIM": later("DKIM is set up"),
    "SPF_AND_DKIM": later("SPF and DKIM are set up"),
    "DMARC_POLICY": later("A DMARC policy is published"),
    "DMARC_ALIGNMENT": later("From is aligned with SPF or DKIM"),
    "MESSAGE_FORMATTING": later("Messages are well-formed (RFC 5322)"),
    "DNS_RECORDS": later("Sending addresses have host names that lead back"),
    "ENCRYPTION": later("Mail is sent with TLS"),
    "USER_REPORTED_SPAM_RATE": later("The spam rate is low"),
    "ONE_CLICK_UNSUBSCRIBE": later("One-click unsubscribe"),
    "HONOR_UNSUBSCRIBE": later("Unsubscribing is honoured"),
    "DELIVERABILITY": later("Deliverability"),
}
