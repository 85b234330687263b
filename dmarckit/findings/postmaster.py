"""What Google Postmaster Tools says about a domain's mail to Gmail: complaints and refusals.

`metrics` is what `dmarckit.postmaster.latest` gives. A day without data is not a good day,
it is not known; and what Google stopped telling weeks ago is no finding of today.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dmarckit.core import Rate, _, count, later, ngettext
from dmarckit.findings import queries
from dmarckit.findings.context import DAY, Context
from dmarckit.findings.model import Finding, Severity, clean, join_sentences

STALE_DAYS = 7
"""days that Google's newest day may lie back before nothing is said any more"""


def spam_rate(
    metrics: pd.DataFrame, context: Context, volume: pd.DataFrame | None = None
) -> list[Finding]:
    """Domains whose mail too many Gmail users mark as spam; one finding a domain.

    warning from 0.10 %, critical from 0.30 % (Google's sender guidelines), on two of the last
    seven days, or on one day with enough mail. `volume` is what `gmail_volume` gives; without
    it there is no such day.
    """
    limits, found = context.thresholds, []
    for domain, rates in _series(metrics, "spam_rate", context):
        recent = rates[rates["day"] > rates["day"].max() - limits.spam_days * DAY]
        loud = _loud(domain, volume, limits.spam_messages)
        severity: Severity | None = None
        if _counts(_reached(recent, limits.spam_critical), loud, limits.spam_repeated):
            severity = "critical"
        elif _counts(_reached(recent, limits.spam_warning), loud, limits.spam_repeated):
            severity = "warning"
        if severity:
            found.append(_spam_finding(domain, recent, severity, context))
    return found


def gmail_volume(messages: pd.DataFrame) -> pd.DataFrame:
    """`domain`, `day` and `messages` that Google reported; takes `Facts.messages`."""
    google = messages[messages["reporter"].astype(str).str.casefold() == "google.com"]
    return google.groupby(["domain", "day"], observed=True)["messages"].sum().reset_index()


def delivery_errors(metrics: pd.DataFrame, context: Context) -> list[Finding]:
    """Kinds of refusals by Gmail that come back on at least two of the last seven days.

    One finding a domain, error type and reason, such as ``reject/low_ip_reputation``; a type
    as a whole only where none of its reasons says more. critical for a tenth of the mail.
    """
    limits, found = context.thresholds, []
    rows = metrics[(metrics["metric"] == "delivery_error_rate") & (metrics["detail"] != "")]
    for domain, part in rows.groupby("domain"):
        told: set[str] = set()
        # reasons first: "reject/…" before "reject"
        for detail in sorted(part["detail"].unique(), key=lambda name: "/" not in name):
            kind = str(detail).partition("/")[0]
            if detail == kind and kind in told:
                continue
            one = part[part["detail"] == detail]
            for _domain, rates in _series(one, "delivery_error_rate", context):
                recent = rates[rates["day"] > rates["day"].max() - limits.spam_days * DAY]
                bad = _reached(recent, _limit(str(detail), context))
                if len(bad) >= limits.delivery_days:
                    told.add(kind)
                    found.append(_delivery_finding(str(domain), str(detail), recent, bad, context))
    return found


def _series(
    metrics: pd.DataFrame, metric: str, context: Context
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Domain and its rates (`day`, `share`) in order, of domains with data that is not old."""
    rows = metrics[(metrics["metric"] == metric) & metrics["share"].notna()]
    rows = rows[rows["day"] <= context.today]
    for domain, part in rows.groupby("domain"):
        if part["day"].max() >= context.today - (STALE_DAYS + context.days) * DAY:
            yield str(domain), part[["day", "share"]].sort_values("day", ignore_index=True)


def _reached(rates: pd.DataFrame, limit: float) -> pd.DataFrame:
    return rates[rates["share"] >= limit - queries.ROUNDING]


def _worst(rates: pd.DataFrame) -> pd.Series:
    return rates.iloc[rates["share"].to_numpy().argmax()]


def _loud(domain: str, volume: pd.DataFrame | None, at_least: int) -> set[pd.Timestamp]:
    """Days with so much mail that their rate means something on its own."""
    if volume is None:
        return set()
    return set(volume.loc[(volume["domain"] == domain) & (volume["messages"] >= at_least), "day"])


def _counts(bad: pd.DataFrame, loud: set[pd.Timestamp], repeated: int) -> bool:
    return len(bad) >= repeated or not loud.isdisjoint(bad["day"])


def _spam_finding(
    domain: str, recent: pd.DataFrame, severity: Severity, context: Context
) -> Finding:
    limits = context.thresholds
    bad, worst = _reached(recent, limits.spam_warning), _worst(recent)
    summary = ngettext(
        "Gmail users marked {rate} of the mail of {domain} as spam on {day}; {n} day of the last "
        "{of} with data reached {limit}.",
        "Gmail users marked {rate} of the mail of {domain} as spam on {day}; {n} days of the last "
        "{of} with data reached {limit}.",
        len(bad),
    ).format(
        rate=Rate(worst["share"]),
        domain=clean(domain),
        day=worst["day"].date(),
        n=count(len(bad)),
        of=count(len(recent)),
        limit=Rate(limits.spam_warning),
    )
    blocked = _reached(recent, limits.spam_critical)
    return Finding(
        kind="spam_rate",
        domain=domain,
        subject="",
        severity=severity,
        messages=0,
        first_day=bad["day"].min().date(),
        last_day=bad["day"].max().date(),
        reporters=1,
        summary=join_sentences(summary, _no_mitigation(blocked, context)),
        action=_(
            "Whoever sends newsletters: find the campaign of these days, stop it, mail only people "
            "who asked for it, and put a one-click unsubscribe link into every message. Google "
            "wants less than {target}, and never {limit}."
        ).format(target=Rate(limits.spam_warning), limit=Rate(limits.spam_critical)),
        evidence=_evidence(domain, "spam_rate", "", recent, limits.spam_warning)
        | {"thresholds": {"warning": limits.spam_warning, "critical": limits.spam_critical}}
        | {"mitigation_from": _mitigation_day(blocked, context)},
    )


def _mitigation_day(blocked: pd.DataFrame, context: Context) -> str:
    """The first day on which Google may help again; empty: it may."""
    if blocked.empty:
        return ""
    return f"{blocked['day'].max() + (context.thresholds.spam_days + 1) * DAY:%Y-%m-%d}"


def _no_mitigation(blocked: pd.DataFrame, context: Context) -> str:
    if blocked.empty:
        return ""
    limits = context.thresholds
    return _(
        "Google does not help with delivery problems before {day}: the rate has to be below "
        "{limit} for {n} days in a row."
    ).format(
        day=_mitigation_day(blocked, context), limit=Rate(limits.spam_critical), n=limits.spam_days
    )


def _limit(detail: str, context: Context) -> float:
    limits = context.thresholds
    if detail.endswith(("/low_domain_reputation", "/low_ip_reputation")):
        return limits.delivery_reputation_share
    return (
        limits.delivery_delay_share
        if detail.startswith("temp_fail")
        else limits.delivery_reject_share
    )


def refusal_meaning(reason: str) -> str:
    """What a reason of Google's, such as ``ip_in_rbls``, says; an unknown one as it is."""
    return _(_MEANING[reason][0]) if reason in _MEANING else clean(reason)


def _delivery_finding(
    domain: str, detail: str, recent: pd.DataFrame, bad: pd.DataFrame, context: Context
) -> Finding:
    worst = _worst(bad)
    kind, _slash, reason = detail.partition("/")
    if kind == "temp_fail":
        text = ngettext(
            "Gmail put off {rate} of the mail of {domain} on {day}, and too much on {n} day of the "
            "last {of} with data: {meaning}.",
            "Gmail put off {rate} of the mail of {domain} on {day}, and too much on {n} days of "
            "the last {of} with data: {meaning}.",
            len(bad),
        )
    else:
        text = ngettext(
            "Gmail rejected {rate} of the mail of {domain} on {day}, and too much on {n} day of "
            "the last {of} with data: {meaning}.",
            "Gmail rejected {rate} of the mail of {domain} on {day}, and too much on {n} days of "
            "the last {of} with data: {meaning}.",
            len(bad),
        )
    _why, action = _MEANING.get(reason, ("", _ELSE))
    limit = _limit(detail, context)
    severe = worst["share"] >= context.thresholds.delivery_critical
    return Finding(
        kind="delivery_errors",
        domain=domain,
        subject=detail,
        severity="critical" if severe else "warning",
        messages=0,
        first_day=bad["day"].min().date(),
        last_day=bad["day"].max().date(),
        reporters=1,
        summary=text.format(
            rate=Rate(worst["share"]),
            domain=clean(domain),
            day=worst["day"].date(),
            n=count(len(bad)),
            of=count(len(recent)),
            meaning=refusal_meaning(reason),
        ),
        action=_(action),
        evidence=_evidence(domain, "delivery_error_rate", detail, recent, limit)
        | {"thresholds": {"share": limit, "days": context.thresholds.delivery_days}},
    )


def _evidence(
    domain: str, metric: str, detail: str, recent: pd.DataFrame, limit: float
) -> dict[str, object]:
    first, last = recent["day"].min(), recent["day"].max()
    days = zip(recent["day"], recent["share"], strict=True)
    return {
        "rate_a_day": {f"{day:%Y-%m-%d}": str(Rate(share)) for day, share in days},
        "number": len(_reached(recent, limit)),
        "query": queries.postmaster_days(domain, metric, detail, first, last, limit),
    }


_ELSE = later(
    "Mail admin: look for the SMTP replies of Gmail (5.7.x, 4.7.x) of these days in the senders' "
    "logs, and see Google's list of SMTP errors."
)
_MEANING = {
    "": (later("Google does not say why"), _ELSE),
    "other": (later("for some other reason"), _ELSE),
    "low_domain_reputation": (
        later("the domain's reputation is low"),
        later(
            "Mail admin: with the owner of the mailings, send less, and only to people who read "
            "it, until this is gone; see the spam rate of the same days."
        ),
    ),
    "low_ip_reputation": (
        later("the reputation of the sending address is low"),
        later(
            "Mail admin: ask the service that sends to look after its addresses, or move to "
            "others; on addresses of your own, find what else is sent from there."
        ),
    ),
    "ip_in_rbls": (
        later("the sending address is on a block list"),
        later(
            "Mail admin: find out on which block list the address is, and why, before asking to be "
            "taken off."
        ),
    ),
    "bad_or_missing_ptr_record": (
        later("the sending address has no host name, or one that does not lead back"),
        later(
            "DNS admin: have the address's provider set a PTR record, and publish an A or AAAA "
            "record of that name with the same address."
        ),
    ),
    "spammy_content": (
        later("the content looks like spam"),
        later(
            "Whoever sends newsletters: compare what was sent on these days with what came through "
            "before (links, attachments, shortened addresses)."
        ),
    ),
    "bad_attachment": (
        later("an attachment is of a kind that Gmail blocks"),
        later("Whoever wrote the mail: offer the file as a download instead."),
    ),
    "stamp_policy_error": (
        later("the domain's own DMARC policy asks for it"),
        later(
            "Mail admin: see which senders fail DMARC (`dmarckit findings`), and set up those that "
            "are yours."
        ),
    ),
    "anomalous_traffic_pattern": (
        later("the traffic looks unusual: too much at once, or from new addresses"),
        later("Mail admin: spread the mailing over more time, and raise volumes slowly."),
    ),
}
