"""Postmaster Tools → the charts and tables of its page. Takes frames of `postmaster_summary`."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dmarckit.core import words
from dmarckit.core.language import _, later
from dmarckit.core.rates import Rate
from dmarckit.core.settings import Settings
from dmarckit.core.thresholds import Thresholds
from dmarckit.core.window import Window
from dmarckit.findings.postmaster import meaning
from dmarckit.pages.charts import nothing
from dmarckit.pages.markup import Column, Html, escape, table
from dmarckit.pages.rate_charts import CRITICAL, WARNING, rate_lines
from dmarckit.pages.sections.postmaster_summary import worst_by_day

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
    return f"{word}: {meaning(reason)}" if reason else word


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
