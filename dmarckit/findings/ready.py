"""The next step towards p=reject, when the mail shows that it is safe."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from dmarckit.core.language import _, later
from dmarckit.core.thresholds import Thresholds
from dmarckit.core.words import count, n_messages, percent
from dmarckit.findings import queries
from dmarckit.findings.look import (
    DAY,
    SHOWN,
    SPOOFED,
    DomainFacts,
    Look,
    addresses,
    base_evidence,
    counts,
    reporters,
    span,
    strangers,
    total,
)
from dmarckit.findings.model import Finding
from dmarckit.findings.record import dns_record, next_step, normal, tags_of
from dmarckit.findings.say import clean, sentences
from dmarckit.findings.statistics import share, wilson_upper
from dmarckit.reports.models import Policy

_CERTAINTY = later("95 %")  # of the interval whose z is `confidence_z`
_LEGITIMATE_FAILS = ("broken_dkim", "unaligned_sender")


def policy_ready(domain: DomainFacts, look: Look, dkim_is_broken: bool) -> list[Finding]:
    """The next step of the ladder, when legitimate mail hardly fails any more.

    Over 30 days: messages that fail although they may be the domain's own (broken_dkim,
    unaligned_sender, failing senders of the inventory), as share of all that do not come from
    strangers; the upper end of Wilson's 95 % interval must be below the step's limit, so a
    few good messages prove nothing. A domain that sends nothing is judged on what strangers
    send: all of it may be blocked. At least 14 days of data under the present policy, two
    reporters, no open broken_dkim.
    """
    step = next_step(domain.policy)
    if step is None or dkim_is_broken:
        return []
    limits = look.thresholds
    rows = look.last(domain.messages, limits.ready_days)
    strange = rows["class"].isin(SPOOFED) & ~rows["in_inventory"]
    mine = rows[~strange] if (~strange).any() else rows
    failing = mine[_fails(mine)]
    upper = wilson_upper(total(failing), total(mine), limits.confidence_z)
    if (
        upper > _limit(step, limits)
        or reporters(rows) < limits.ready_reporters
        or not _long_enough(domain, look)
    ):
        return []
    return [_finding(domain, look, step, rows, mine, failing, upper)]


def _fails(rows: pd.DataFrame) -> pd.Series[bool]:
    ours = rows["in_inventory"] & rows["class"].isin(SPOOFED)
    return rows["class"].isin(_LEGITIMATE_FAILS) | ours


def _limit(step: Policy, limits: Thresholds) -> float:
    return {
        ("quarantine", True): limits.ready_quarantine_testing,
        ("quarantine", False): limits.ready_quarantine,
        ("reject", True): limits.ready_reject_testing,
        ("reject", False): limits.ready_reject,
    }[step.p or "", step.testing == "y"]


def _long_enough(domain: DomainFacts, look: Look) -> bool:
    """The domain has been watched for 14 days, all of them under the present policy."""
    since = look.today - look.thresholds.history_days * DAY
    if not domain.history(look.today, look.thresholds.history_days):
        return False
    quoted = normal(domain.policies[domain.policies["begin"] >= since])
    other = quoted["p"] != domain.policy.p
    if domain.policy.testing != "y":
        other |= quoted["testing"] == "y"
    days = quoted["begin"].dt.floor("D")
    return not bool((other.groupby(days, observed=True).mean() > 0.5).any())


def _finding(
    domain: DomainFacts,
    look: Look,
    step: Policy,
    rows: pd.DataFrame,
    mine: pd.DataFrame,
    failing: pd.DataFrame,
    upper: float,
) -> Finding:
    limits = look.thresholds
    now_fails = rows[~rows["da"] & ~rows["sa"]]
    hit = {
        "legitimate": total(now_fails[_fails(now_fails)]),
        "relayed": total(now_fails[now_fails["class"].isin(["forwarded", "modified"])]),
        "strangers": total(
            now_fails[now_fails["class"].isin(SPOOFED) & ~now_fails["in_inventory"]]
        ),
    }
    tags, name = tags_of(step), clean(domain.name)
    n, bad = total(mine), total(failing)
    parked = len(mine) == len(rows) and not rows["in_inventory"].any() and bad == 0
    first, last = span(rows)
    return Finding(
        kind="policy_ready",
        domain=domain.name,
        subject=tags,
        severity="good",
        messages=n,
        first_day=first,
        last_day=last,
        reporters=reporters(rows),
        summary=(
            _(
                "{domain} is ready for {tags}: of {messages} in {days} days none came from a "
                "known sender."
            )
            if parked
            else _(
                "{domain} is ready for {tags}: of {messages} in {days} days {failing} fail that "
                "may be legitimate ({share}; with {certainty} certainty below {upper}, allowed are "
                "{limit})."
            )
        ).format(
            domain=name,
            tags=tags,
            messages=n_messages(n),
            days=limits.ready_days,
            failing=count(bad),
            share=percent(share(bad, n)),
            certainty=_(_CERTAINTY),
            upper=percent(upper),
            limit=percent(_limit(step, limits)),
        ),
        action=_action(domain, step, limits.ready_days, hit),
        evidence=base_evidence(
            mine,
            _query(domain, look, len(mine) < len(rows)),
            upper_bound=_limit(step, limits),
            z=limits.confidence_z,
            days=limits.ready_days,
            reporters=limits.ready_reporters,
        )
        | {
            "record": dns_record(step),
            "record_back": dns_record(domain.policy),
            "would_hit": hit,
            "failing": bad,
            "upper_bound": upper,
            "failing_senders": counts(failing, "sender"),
            "relayed_by": counts(
                now_fails[now_fails["class"].isin(["forwarded", "modified"])], "sender"
            ),
            "classes": counts(rows, "class"),
            "addresses": addresses(domain, sorted(failing["sender"].unique()))[:SHOWN],
        },
    )


def _query(domain: DomainFacts, look: Look, without_strangers: bool) -> str:
    days: list[datetime] = list(
        pd.date_range(look.today - look.thresholds.ready_days * DAY, look.today)
    )
    if not without_strangers:
        return queries.messages(domain.name, days, look.now)
    return queries.messages(domain.name, days, look.now, f"NOT ({strangers(domain)})")


def _action(domain: DomainFacts, step: Policy, days: int, hit: dict[str, int]) -> str:
    return sentences(
        _(
            "DNS admin: publish at _dmarc.{domain}: {record} — in the last {days} days it would "
            "have hit {messages} of strangers, {relayed} that mailing lists or forwarders changed, "
            "and {legitimate} that may be legitimate."
        ).format(
            domain=clean(domain.name),
            record=dns_record(step),
            days=days,
            messages=n_messages(hit["strangers"]),
            relayed=count(hit["relayed"]),
            legitimate=count(hit["legitimate"]),
        ),
        _(
            "t=y asks receivers only to report what they would do; those that know only RFC 7489 "
            "ignore t and apply the policy at once."
        )
        if step.testing == "y"
        else _("From then on receivers apply it."),
        _("To go back: {record}").format(record=dns_record(domain.policy)),
    )
