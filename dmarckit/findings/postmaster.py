"""Complaints about a domain's mail to Gmail, and refusals of it, from Google Postmaster Tools.

`metrics` are those of `Outside.postmaster`. A day without data is unknown, not good; and what
Google stopped reporting weeks ago is no finding of today.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from dmarckit.checks import Outside
from dmarckit.core import Rate, _, count, later, ngettext, short_day
from dmarckit.facts import Facts
from dmarckit.findings import queries
from dmarckit.findings.context import DAY, Context
from dmarckit.findings.model import Family, Finding, Kind, Severity, join_sentences, safe

_STALE_DAYS = 7
"""days that Google's newest day may lie back before the window"""


def spam_rate(
    metrics: pd.DataFrame, context: Context, volume: pd.DataFrame | None = None
) -> list[Finding]:
    """Find domains whose mail too many Gmail users mark as spam; one finding a domain.

    warning from 0.10 %, critical from 0.30 % (Google's sender guidelines), on two of the last
    seven days, or on one day with enough mail. `volume` is what `gmail_volume` gives; without
    it there is no such day.
    """
    limits, found = context.thresholds, []
    for domain, recent in _series(metrics, "spam_rate", context):
        busy: set[pd.Timestamp] = set()  # days with enough mail for their rate to mean something
        if volume is not None:
            much = (volume["domain"] == domain) & (volume["messages"] >= limits.spam_messages)
            busy = set(volume.loc[much, "day"])
        severities: tuple[tuple[Severity, float], ...] = (
            ("critical", limits.spam_critical),
            ("warning", limits.spam_warning),
        )
        for severity, limit in severities:
            bad = _reached(recent, limit)
            if len(bad) >= limits.spam_repeated or not busy.isdisjoint(bad["day"]):
                found.append(_spam_finding(domain, recent, severity, context))
                break
    return found


def gmail_volume(messages: pd.DataFrame) -> pd.DataFrame:
    """Return `domain`, `day` and `messages` that Google reported, of `Facts.messages`."""
    google = messages[messages["provider"].astype(str) == "Google"]
    return google.groupby(["domain", "day"], observed=True)["messages"].sum().reset_index()


def delivery_errors(metrics: pd.DataFrame, context: Context) -> list[Finding]:
    """Find kinds of refusals by Gmail that come back on at least two of the last seven days.

    One finding a domain, error type and reason, such as ``reject/low_ip_reputation``; a type
    as a whole only where none of its reasons says more. critical for a tenth of the mail.
    """
    limits, found = context.thresholds, []
    rows = metrics[(metrics["metric"] == "delivery_error_rate") & (metrics["detail"] != "")]
    for domain, part in rows.groupby("domain"):
        explained: set[str] = set()
        # reasons first: "reject/…" before "reject"
        for detail in sorted(part["detail"].unique(), key=lambda name: "/" not in name):
            kind = str(detail).partition("/")[0]
            if detail == kind and kind in explained:
                continue
            one = part[part["detail"] == detail]
            for _domain, recent in _series(one, "delivery_error_rate", context):
                bad = _reached(recent, _limit(str(detail), context))
                if len(bad) >= limits.delivery_days:
                    explained.add(kind)
                    found.append(_delivery_finding(str(domain), str(detail), recent, bad, context))
    return found


def _series(
    metrics: pd.DataFrame, metric: str, context: Context
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield domains with fresh data, and their newest rates (`day`, `share`) in order of days."""
    rows = metrics[(metrics["metric"] == metric) & metrics["share"].notna()]
    rows = rows[rows["day"] <= context.today]
    for domain, part in rows.groupby("domain"):
        newest = part["day"].max()
        if newest >= context.today - (_STALE_DAYS + context.days) * DAY:
            recent = part[part["day"] > newest - context.thresholds.spam_days * DAY]
            yield str(domain), recent[["day", "share"]].sort_values("day", ignore_index=True)


def _reached(rates: pd.DataFrame, limit: float) -> pd.DataFrame:
    return rates[rates["share"] >= limit - queries.ROUNDING]


def _worst(rates: pd.DataFrame) -> pd.Series:
    return rates.iloc[rates["share"].to_numpy().argmax()]


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
        domain=safe(domain),
        day=short_day(worst["day"]),
        n=count(len(bad)),
        of=count(len(recent)),
        limit=Rate(limits.spam_warning),
    )
    blocked = _reached(recent, limits.spam_critical)
    help_from = help_text = ""
    if not blocked.empty:
        again = blocked["day"].max() + (limits.spam_days + 1) * DAY
        help_from = f"{again:%Y-%m-%d}"
        help_text = _(
            "Google does not help with delivery problems before {day}: the rate has to be below "
            "{limit} for {n} days in a row."
        ).format(day=short_day(again), limit=Rate(limits.spam_critical), n=limits.spam_days)
    evidence = _evidence(domain, "spam_rate", "", recent, limits.spam_warning)
    thresholds = {n: getattr(limits, n) for n in ("spam_warning", "spam_critical")}
    return Finding(
        kind="spam_rate",
        domain=domain,
        subject="",
        severity=severity,
        messages=0,
        first_day=bad["day"].min().date(),
        last_day=bad["day"].max().date(),
        reporters=1,
        summary=join_sentences(summary, help_text),
        action=_(
            "Newsletter owner: find and stop the campaign, send only to people who opted in, and "
            "put a one-click unsubscribe link into every message. Google requires under {target}, "
            "and never {limit} or more."
        ).format(target=Rate(limits.spam_warning), limit=Rate(limits.spam_critical)),
        evidence=evidence | {"thresholds": thresholds, "mitigation_from": help_from},
    )


def _limit(detail: str, context: Context) -> float:
    limits = context.thresholds
    if detail.endswith(("/low_domain_reputation", "/low_ip_reputation")):
        return limits.delivery_reputation_share
    if detail.startswith("temp_fail"):
        return limits.delivery_delay_share
    return limits.delivery_reject_share


def refusal_meaning(reason: str) -> str:
    """Return the meaning of a reason such as ``ip_in_rbls``; an unknown one as it is."""
    return _(_MEANING[reason][0]) if reason in _MEANING else safe(reason)


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
    thresholds = {"share": limit, "days": context.thresholds.delivery_days}
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
            domain=safe(domain),
            day=short_day(worst["day"]),
            n=count(len(bad)),
            of=count(len(recent)),
            meaning=refusal_meaning(reason),
        ),
        action=_(action),
        evidence=_evidence(domain, "delivery_error_rate", detail, recent, limit)
        | {"thresholds": thresholds},
    )


def _evidence(
    domain: str, metric: str, detail: str, recent: pd.DataFrame, limit: float
) -> dict[str, object]:
    first, last = recent["day"].min(), recent["day"].max()
    days = zip(recent["day"], recent["share"], strict=True)
    return {
        "rate_a_day": {f"{day:%Y-%m-%d}": round(float(share), 6) for day, share in days},
        "number": len(_reached(recent, limit)),
        "query": queries.postmaster_days(domain, metric, detail, first, last, limit),
    }


_ELSE = later(
    "Mail admin: look for the SMTP replies of Gmail (5.7.x, 4.7.x) in this period in the senders' "
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
            "Newsletter owner: compare what was sent in this period with what was delivered "
            "before (links, attachments, shortened addresses)."
        ),
    ),
    "bad_attachment": (
        later("an attachment is of a kind that Gmail blocks"),
        later("Author of the mail: offer the file as a download instead."),
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


_VERDICTS = {
    "SMTP_ERRORS_HIGH": (
        later("many messages end in delivery errors"),
        later(
            "Mail admin: look for the SMTP replies of Gmail (5.7.x, 4.7.x) in the senders' logs, "
            "and see which senders they name."
        ),
    ),
    "SENDER_NOT_COMPLIANT": (
        later("the domain does not meet Google's requirements for senders"),
        later("Mail admin: run dmarckit requirements, and mend what is not met at Google."),
    ),
    "SPAM_RATE_HIGH": (
        later("people report more than 0.1 % of the mail as spam"),
        later(
            "Newsletter owner: find the campaign that is reported, stop it, and mail only those "
            "who asked for it."
        ),
    ),
    "USER_FEEDBACK_NEGATIVE": (
        later("people show that they do not want the mail"),
        later(
            "Newsletter owner: mail only those who asked for it, take those off the lists who "
            "never open it, and put one-click unsubscribe into every message."
        ),
    ),
    "USER_FEEDBACK_LOW": (
        later("people do nothing with the mail"),
        later("Newsletter owner: take those off the lists who never open it."),
    ),
    "USER_FEEDBACK_POSITIVE": (later("people show that they want the mail"), ""),
    "MESSAGE_VOLUME_LOW": (later("too little mail for a verdict"), ""),
}
"""Reason of Google's verdict on deliverability → what it means, and what to do."""
_BAD_VERDICTS = ("SMTP_ERRORS_HIGH", "SENDER_NOT_COMPLIANT", "SPAM_RATE_HIGH",
                 "USER_FEEDBACK_NEGATIVE")  # fmt: skip


def verdict_meaning(reason: str) -> str:
    """Return the meaning of a reason such as ``SPAM_RATE_HIGH``; an unknown one as it is."""
    return _(_VERDICTS[reason][0]) if reason in _VERDICTS else safe(reason)


def deliverability(
    metrics: pd.DataFrame, context: Context, explained: Sequence[Finding]
) -> list[Finding]:
    """Find domains whose mail to Gmail has a bad verdict on deliverability; the subject says why.

    warning. Only the newest verdict counts, of the last week. None where a finding of
    `explained`, or a requirement that needs work, says the same with more words.
    """
    rows = metrics[metrics["day"] >= context.today - (_STALE_DAYS + context.days) * DAY]
    rows = rows[rows["metric"].isin(["compliance", "compliance_reason"])]
    newest = rows.sort_values("day").drop_duplicates(["domain", "metric", "detail"], keep="last")
    verdicts = newest["detail"] == "DELIVERABILITY"
    reasons = newest[(newest["metric"] == "compliance_reason") & verdicts]
    needs_work = (newest["metric"] == "compliance") & (newest["text"] == "NEEDS_WORK") & ~verdicts
    says = {"spam_rate": "SPAM_RATE_HIGH", "delivery_errors": "SMTP_ERRORS_HIGH"}
    known = {(says[f.kind], f.domain) for f in explained if f.kind in says}
    known |= {("SENDER_NOT_COMPLIANT", domain) for domain in newest.loc[needs_work, "domain"]}
    found = []
    for domain, reason, day in reasons[["domain", "text", "day"]].itertuples(index=False):
        if reason not in _BAD_VERDICTS or (reason, domain) in known:
            continue
        found.append(
            Finding(
                kind="deliverability",
                domain=str(domain),
                subject=str(reason),
                severity="warning",
                messages=0,
                first_day=day.date(),
                last_day=day.date(),
                reporters=1,
                summary=_(
                    "Google says that mail of {domain} is at risk of not being delivered to Gmail: "
                    "{meaning} (as of {day})."
                ).format(domain=safe(domain), meaning=verdict_meaning(reason), day=short_day(day)),
                action=_(_VERDICTS[reason][1]),
                evidence={"verdict": safe(reason)},
            )
        )
    return found


def find_postmaster(facts: Facts, outside: Outside, context: Context) -> list[Finding]:
    """Find what Postmaster Tools says about the domains that it was asked about."""
    metrics = outside.postmaster
    if outside.domains:
        metrics = metrics[metrics["domain"].isin(list(outside.domains))]
    found = spam_rate(metrics, context, gmail_volume(facts.messages))
    found += delivery_errors(metrics, context)
    return [*found, *deliverability(metrics, context, found)]


FAMILY = Family(
    (
        Kind(
            "spam_rate",
            later("Gmail users mark your mail as spam"),
            ("critical", "warning"),
            {"rate_a_day": later("Rate per day"), "mitigation_from": later("Mitigation from")},
            rules=lambda subject: ("spam_rate",),
            topic="requirements",
        ),
        Kind(
            "delivery_errors",
            later("Gmail rejects mail: {subject}"),
            ("critical", "warning"),
            {"rate_a_day": later("Rate per day")},
            rules=lambda subject: ("ptr",) if subject.endswith("ptr_record") else (),
            topic="requirements",
        ),
        Kind(
            "deliverability",
            later("Gmail: poor deliverability ({subject})"),
            ("warning",),
            {"verdict": later("Verdict")},
            rules=lambda subject: ("spam_rate",) if subject == "SPAM_RATE_HIGH" else (),
            topic="requirements",
        ),
    ),
    of_outside=(find_postmaster,),
)
