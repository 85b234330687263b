"""The published policy: changes of it, reporters that do not follow it, and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime

import pandas as pd

from dmarckit.core import Thresholds, _, count, later, n_messages, ngettext, percent
from dmarckit.findings import queries
from dmarckit.findings.context import (
    DAY,
    SHOWN,
    SPOOFED,
    Context,
    DomainFacts,
    addresses,
    count_reporters,
    day_span,
    messages_finding,
    top_counts,
    total,
    unknown_source_predicate,
)
from dmarckit.findings.dmarc_policy import fill_policy_defaults, next_step, tags_of, txt_record
from dmarckit.findings.model import (
    Family,
    Finding,
    Kind,
    join_sentences,
    on_days,
    reporter_name,
    safe,
    share,
    wilson_upper,
)
from dmarckit.reports import Policy

TAGS: Mapping[str, str] = {
    "p": "p",
    "sp": "sp",
    "np": "np",
    "pct": "pct",
    "testing": "t",
    "adkim": "adkim",
    "aspf": "aspf",
}
"""Column of `Facts.policies` → tag of the record."""

LEVELS: Mapping[str, int] = {"none": 0, "quarantine": 1, "reject": 2}


def policy_changed(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find tags that reporters quote with another value than before the window.

    Each reporter is compared with itself, with defaults filled in, since reporters differ in
    which tags they know and write. Two reporters must have seen the change, or the only one.
    sp and np that merely follow p are no change of their own. warning when the policy became
    weaker (lower p, sp or np; t=y or a lower pct without a stricter p): if nobody did that on
    purpose, somebody else may have changed DNS. Else info.
    """
    if domain.first_day is None or domain.first_day > context.start:
        return []
    quoted = domain.policies.sort_values("begin", kind="stable")
    quoted = quoted.assign(who=quoted["reporter"].str.casefold())
    before = quoted[quoted["begin"] < context.start].groupby("who").tail(1)
    after = quoted[quoted["begin"] >= context.start].groupby("who").tail(1)
    tags = ["who", *TAGS]
    if after.empty or len(before.merge(after[tags], on=tags)) == len(after):
        return []  # the usual case, found without comparing each tag
    both = fill_policy_defaults(before).merge(
        fill_policy_defaults(after), on="who", suffixes=("_old", "_new")
    )
    if both.empty:
        return []
    found = []
    for column, tag in TAGS.items():
        changed = both[both[f"{column}_old"] != both[f"{column}_new"]]
        changed = changed[~_follows(changed, column)]
        if len(changed) < min(2, len(both)):
            continue
        new = changed[f"{column}_new"].mode().iloc[0]
        seen = changed[changed[f"{column}_new"] == new]
        if len(seen) >= min(2, len(both)):
            found.append(_changed(domain, context, column, tag, seen, quoted))
    return found


def _follows(changed: pd.DataFrame, column: str) -> pd.Series[bool]:
    """Return True where sp equals p, or np equals sp, before and after: one change, not three."""
    parent = {"sp": "p", "np": "sp"}.get(column)
    if parent is None:
        return pd.Series(data=False, index=changed.index)
    return (changed[f"{column}_old"] == changed[f"{parent}_old"]) & (
        changed[f"{column}_new"] == changed[f"{parent}_new"]
    )


def _weaker(row: pd.Series[str], column: str) -> bool:
    """Return True if the change lets more of what fails through."""
    old, new = row[f"{column}_old"], row[f"{column}_new"]
    if column in ("p", "sp", "np"):
        return LEVELS.get(str(new), 0) < LEVELS.get(str(old), 0)
    stricter = LEVELS.get(str(row["p_new"]), 0) > LEVELS.get(str(row["p_old"]), 0)
    if column == "testing":
        return new == "y" and not stricter
    return column == "pct" and int(new) < int(old) and not stricter


def _changed(
    domain: DomainFacts,
    context: Context,
    column: str,
    tag: str,
    seen: pd.DataFrame,
    quoted: pd.DataFrame,
) -> Finding:
    old, new = seen[f"{column}_old"].iloc[-1], seen[f"{column}_new"].iloc[-1]
    weaker = _weaker(seen.iloc[-1], column)
    recent = quoted[(quoted["begin"] >= context.start) & quoted["who"].isin(seen["who"])]
    recent = fill_policy_defaults(recent)
    recent = recent[recent[column] == new]
    first: date = recent["begin"].min().date()
    last: date = recent["begin"].max().date()
    names = sorted(recent["reporter"].unique())
    return Finding(
        kind="policy_changed",
        domain=domain.name,
        subject=tag,
        severity="warning" if weaker else "info",
        messages=0,
        first_day=first,
        last_day=last,
        reporters=len(names),
        summary=ngettext(
            "{n} reporter quotes {tag}={new} for {domain} since {first}; before it was "
            "{tag}={old}.",
            "{n} reporters quote {tag}={new} for {domain} since {first}; before it was "
            "{tag}={old}.",
            len(names),
        ).format(
            n=count(len(names)),
            tag=tag,
            new=safe(new),
            old=safe(old),
            domain=safe(domain.name),
            first=first,
        ),
        action=_(_ACT_ON_WEAKER if weaker else _ACT_ON_CHANGE).format(
            domain=safe(domain.name), record=txt_record(domain.policy), tag=tag, old=safe(old)
        ),
        evidence={
            "reporters": [reporter_name(name) for name in names],
            "old": str(old),
            "new": str(new),
            "record": txt_record(domain.policy),
            "thresholds": {"reporters": 2},
            "number": len(names),
            "query": queries.quoting(
                domain.name, column, str(new), context.start, context.now, names
            ),
        },
    )


_ACT_ON_CHANGE = later(
    "DNS admin: check that this change of _dmarc.{domain} was meant; reporters now see {record}. "
    "If it was, nothing is due."
)
_ACT_ON_WEAKER = later(
    "DNS admin: the policy became weaker. Check that this change of _dmarc.{domain} was meant; "
    "reporters now see {record} — if it was not, put {tag}={old} back and find out who can change "
    "DNS."
)


def policy_not_honoured(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find reporters that deliver, without a reason, what p=reject asks to refuse.

    Always info: only the reporter can change it.
    """
    if not domain.has("unhonoured"):
        return []
    window = context.window(domain.unhonoured)
    return [
        _not_honoured(domain, context, str(reporter), rows)
        for reporter, rows in window.groupby("reporter", observed=True)
        if total(rows) >= context.thresholds.unhonoured_messages
    ]


def _not_honoured(
    domain: DomainFacts, context: Context, reporter: str, rows: pd.DataFrame
) -> Finding:
    failing = context.window(domain.messages)
    failing = failing[(failing["reporter"] == reporter) & ~failing["da"] & ~failing["sa"]]
    return messages_finding(
        "policy_not_honoured",
        domain,
        reporter,
        "info",
        rows,
        summary=_(
            "{reporter} delivered {messages} that fail DMARC for {domain} {when}, although it "
            "quotes p=reject, and gave no reason ({failing} failed there altogether)."
        ).format(
            reporter=reporter_name(reporter),
            messages=n_messages(total(rows)),
            domain=safe(domain.name),
            when=on_days(*day_span(rows)),
            failing=count(total(failing)),
        ),
        action=_(
            "Nothing can be done in DNS. Mail admin: if it goes on, ask {reporter} (contact in its "
            "reports) why; people with mailboxes there can get forged mail in your name."
        ).format(reporter=reporter_name(reporter)),
        query=queries.unhonoured(domain.name, reporter, context.window_days, context.now),
        thresholds={"messages": context.thresholds.unhonoured_messages},
        evidence={"failing": total(failing)},
    )


_CERTAINTY = later("95 %")  # of the interval whose z is `confidence_z`
_LEGITIMATE_FAILS = ("broken_dkim", "unaligned_sender")


def policy_ready(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find the next step of the ladder, when legitimate mail hardly fails any more.

    Over 30 days: messages that fail although they may be the domain's own (broken_dkim,
    unaligned_sender, failing senders of the inventory), as share of all that do not come from
    strangers; the upper end of Wilson's 95 % interval must be below the step's limit, so a
    few good messages prove nothing. A domain that sends nothing is judged on what strangers
    send: all of it may be blocked. At least 14 days of data under the present policy, and two
    reporters.
    """
    if not domain.history(context.today, context.thresholds.history_days):
        return []
    step = next_step(domain.policy)
    if step is None:
        return []
    limits = context.thresholds
    rows = context.last(domain.messages, limits.ready_days)
    strange = rows["class"].isin(SPOOFED) & ~rows["in_inventory"]
    mine = rows[~strange] if (~strange).any() else rows
    upper = wilson_upper(total(mine[_fails(mine)]), total(mine), limits.confidence_z)
    if (
        upper > _limit(step, limits)
        or count_reporters(rows) < limits.ready_reporters
        or not _long_enough(domain, context)
    ):
        return []
    return [_ready(domain, context, step, rows, mine, upper)]


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


def _long_enough(domain: DomainFacts, context: Context) -> bool:
    """Return True after 14 days of data, all of them under the present policy."""
    since = context.today - context.thresholds.history_days * DAY
    quoted = fill_policy_defaults(domain.policies[domain.policies["begin"] >= since])
    other = quoted["p"] != domain.policy.p
    if domain.policy.testing != "y":
        other |= quoted["testing"] == "y"
    days = quoted["begin"].dt.floor("D")
    return not bool((other.groupby(days, observed=True).mean() > 0.5).any())


def _ready(
    domain: DomainFacts,
    context: Context,
    step: Policy,
    rows: pd.DataFrame,
    mine: pd.DataFrame,
    upper: float,
) -> Finding:
    limits = context.thresholds
    failing = mine[_fails(mine)]
    now_fails = rows[~rows["da"] & ~rows["sa"]]
    relayed = now_fails[now_fails["class"].isin(["forwarded", "modified"])]
    strange = now_fails["class"].isin(SPOOFED) & ~now_fails["in_inventory"]
    hit = {
        "legitimate": total(now_fails[_fails(now_fails)]),
        "relayed": total(relayed),
        "strangers": total(now_fails[strange]),
    }
    n, bad = total(mine), total(failing)
    parked = len(mine) == len(rows) and not rows["in_inventory"].any() and bad == 0
    text = _(
        "{domain} is ready for {tags}: of {messages} in {days} days none came from a known sender."
    )
    if not parked:
        text = _(
            "{domain} is ready for {tags}: of {messages} in {days} days {failing} fail that may be "
            "legitimate ({share}; with {certainty} certainty below {upper}, allowed are {limit})."
        )
    finding = messages_finding(
        "policy_ready",
        domain,
        tags_of(step),
        "good",
        mine,
        summary=text.format(
            domain=safe(domain.name),
            tags=tags_of(step),
            messages=n_messages(n),
            days=limits.ready_days,
            failing=count(bad),
            share=percent(share(bad, n)),
            certainty=_(_CERTAINTY),
            upper=percent(upper),
            limit=percent(_limit(step, limits)),
        ),
        action=_ready_action(domain, step, limits.ready_days, hit),
        query=_ready_query(domain, context, len(mine) < len(rows)),
        thresholds={
            "upper_bound": _limit(step, limits),
            "z": limits.confidence_z,
            "days": limits.ready_days,
            "reporters": limits.ready_reporters,
        },
        evidence={
            "record": txt_record(step),
            "record_back": txt_record(domain.policy),
            "would_hit": hit,
            "failing": bad,
            "upper_bound": upper,
            "failing_senders": top_counts(failing, "sender"),
            "relayed_by": top_counts(relayed, "sender"),
            "classes": top_counts(rows, "class"),
            "addresses": addresses(domain, sorted(failing["sender"].unique()))[:SHOWN],
        },
    )
    first, last = day_span(rows)
    return replace(finding, first_day=first, last_day=last, reporters=count_reporters(rows))


def _ready_query(domain: DomainFacts, context: Context, without_strangers: bool) -> str:
    days: list[datetime] = list(
        pd.date_range(context.today - context.thresholds.ready_days * DAY, context.today)
    )
    if not without_strangers:
        return queries.messages(domain.name, days, context.now)
    return queries.messages(
        domain.name, days, context.now, f"NOT ({unknown_source_predicate(domain)})"
    )


def _ready_action(domain: DomainFacts, step: Policy, days: int, hit: dict[str, int]) -> str:
    return join_sentences(
        _(
            "DNS admin: publish at _dmarc.{domain}: {record} — in the last {days} days it would "
            "have hit {messages} of strangers, {relayed} that mailing lists or forwarders changed, "
            "and {legitimate} that may be legitimate."
        ).format(
            domain=safe(domain.name),
            record=txt_record(step),
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
        _("To go back: {record}").format(record=txt_record(domain.policy)),
    )


FAMILY = Family(
    (
        Kind(
            "policy_changed",
            later("The policy changed: {subject}"),
            ("warning", "info"),
            {"old": later("Old"), "new": later("New")},
        ),
        Kind(
            "policy_not_honoured",
            later("{subject} does not follow the policy"),
            ("info",),
            {"failing": later("Failing")},
        ),
        Kind(
            "policy_ready",
            later("Ready for {subject}"),
            ("good",),
            {
                "would_hit": later("Would hit"),
                "would_hit.strangers": later("strangers"),
                "would_hit.relayed": later("relayed"),
                "would_hit.legitimate": later("legitimate"),
                "failing": later("Failing"),
                "upper_bound": later("Upper bound"),
                "failing_senders": later("Failing senders"),
                "relayed_by": later("Relayed by"),
                "classes": later("Classes"),
            },
            hidden_by=("broken_dkim",),
        ),
    ),
    of_domain=(policy_changed, policy_not_honoured, policy_ready),
)
