"""The next step of the policy: when it is safe, and what it would have hit."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from dmarckit.core import Thresholds, _, count, later, n_messages, percent
from dmarckit.findings import context as counts, dmarc_policy
from dmarckit.findings.context import DAY, RELAYED, SHOWN, Context, DomainFacts, failing_ours, total
from dmarckit.findings.dmarc_policy import LOWER, fill_policy_defaults, next_step, policy_tags
from dmarckit.findings.model import Family, Finding, Kind, join_sentences, safe, share, wilson_upper
from dmarckit.findings.records import Changes, in_dns, propose_dmarc, tags_in_dns
from dmarckit.reports import Policy

PARKED = "p=reject; sp=reject"
"""subject of the one step of a domain that sends nothing"""


def policy_ready(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find the next step of the ladder, when legitimate mail hardly fails any more.

    Over 30 days: failing messages of senders that are or may be the domain's own, as share of
    all that do not come from strangers; the upper end of Wilson's 95 % interval must be below
    the step's limit, so a few good messages prove nothing. At least 14 days of data under the
    present policy, and two reporters. No step while a sender of ours loses 5 % of its mail,
    and none to reject while less than 90 % of own mail carries a signature that counts: what
    rests on SPF alone is lost when it is forwarded.

    A domain that sends nothing, as far as reports and DNS show, takes one step to the end.
    """
    limits = context.thresholds
    if not domain.history(context.today, limits.history_days) or domain.policy.p is None:
        return []
    rows = context.last(domain.messages, limits.ready_days)
    if counts.count_reporters(rows) < limits.ready_reporters:
        return []
    seen = domain.messages
    if not (len(domain.inventory) or (seen["da"] | seen["sa"] | seen["ours"]).any()):
        spf_terms = context.published.get(domain.name, "").lower().split()[1:]
        if all(term.endswith("all") for term in spf_terms):
            return _parked(domain, context, rows)
    policy = domain.policy
    if known := tags_in_dns(domain.name, context):  # older reporters do not quote t
        policy = replace(policy, testing="y" if known["t"] == "y" else None)
    step = next_step(policy)
    mine = _without_strangers(rows)
    bad = failing_ours(mine)
    if step is None or not _long_enough(domain, context, policy):
        return []
    upper = wilson_upper(total(bad), total(mine), limits.confidence_z)
    own = rows[rows["ours"] & ~rows["class"].isin(RELAYED)]
    signed = share(total(own[own["da"]]), total(own))
    if upper > _limit(step, limits) or (step.p == "reject" and signed < limits.ready_signed):
        return []
    # each sender by the last week in which it sent
    last = own.groupby("sender", observed=True)["day"].transform("max")
    week = own[own["day"] > last - 7 * DAY]
    gone = week["messages"].where(week["disposition"].isin(counts.BLOCKED), 0)
    sums = week.assign(gone=gone).groupby("sender", observed=True)[["messages", "gone"]].sum()
    much = sums["gone"] >= limits.lost_share * sums["messages"]
    if (much & (sums["gone"] >= limits.lost_messages)).any():
        return []
    return [_ready(domain, context, step, rows, mine, upper)]


def _without_strangers(rows: pd.DataFrame) -> pd.DataFrame:
    strange = ~rows["da"] & ~rows["sa"] & ~rows["ours"] & ~rows["class"].isin(RELAYED)
    return rows[~strange]


def _limit(step: Policy, limits: Thresholds) -> float:
    return {
        ("quarantine", True): limits.ready_quarantine_testing,
        ("quarantine", False): limits.ready_quarantine,
        ("reject", True): limits.ready_reject_testing,
        ("reject", False): limits.ready_reject,
    }[step.p or "", step.testing == "y"]


def _long_enough(domain: DomainFacts, context: Context, policy: Policy) -> bool:
    """Return True after 14 days of data, all of them under the policy that DNS has now."""
    if not in_dns(domain.name, {"p": policy.p or "none"}, context):
        return False
    since = context.today - context.thresholds.history_days * DAY
    quoted = fill_policy_defaults(domain.policies[domain.policies["begin"] >= since])
    other = quoted["p"] != policy.p
    if policy.testing != "y":
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
    limits, limit = context.thresholds, _limit(step, context.thresholds)
    failing = failing_ours(mine)
    tags = f"p={step.p}" + ("; t=y" if step.testing == "y" else "")
    summary = _(
        "{domain} can move to {tags}: of {messages} in {days} days {mine} are not from strangers, "
        "and {failing} of these fail that may be legitimate ({share}; {certainty} upper bound "
        "{upper}, limit {limit})."
    ).format(
        domain=safe(domain.name),
        tags=tags,
        messages=n_messages(total(rows)),
        days=limits.ready_days,
        mine=count(total(mine)),
        failing=count(total(failing)),
        share=percent(share(total(failing), total(mine))),
        certainty=_("95 %"),  # of the interval whose z is `confidence_z`
        upper=percent(upper),
        limit=percent(limit),
    )
    test = _(
        "t=y lowers the policy by one step: receivers of RFC 9989 (section 4.7) take {strict} as "
        "{lower}; those that know only RFC 7489 ignore t and apply {strict} at once."
    ).format(strict=f"p={step.p}", lower=f"p={LOWER[step.p or 'none']}")
    change = {"p": step.p, "t": step.testing, "pct": None}
    finding = _step(domain, context, tags, rows, change, summary, test if step.testing else "")
    bounds = {"upper_bound": limit, "z": limits.confidence_z} | finding.evidence["thresholds"]
    more = {"upper_bound": upper, "thresholds": bounds}
    return replace(finding, evidence={**finding.evidence, **more})


def _step(
    domain: DomainFacts,
    context: Context,
    tags: str,
    rows: pd.DataFrame,
    change: Changes,
    summary: str,
    note: str,
) -> Finding:
    limits, failing = context.thresholds, failing_ours(rows)
    now_fails = rows[~rows["da"] & ~rows["sa"]]
    relayed = now_fails[now_fails["class"].isin(RELAYED)]
    hit = {"legitimate": total(failing), "relayed": total(relayed)}
    hit["strangers"] = total(now_fails) - sum(hit.values())

    def named(rows: pd.DataFrame) -> str:
        names = counts.names_with_counts(rows, "sender")
        return _("{n} ({names})").format(n=count(total(rows)), names=names) if names else count(0)

    text, record = propose_dmarc(domain.name, change, context)
    hits = _(
        "In the last {days} days it would have hit {strangers} of strangers, {relayed} that "
        "mailing lists or forwarders changed, and {legitimate} that may be legitimate."
    ).format(
        days=limits.ready_days,
        strangers=n_messages(hit["strangers"]),
        relayed=named(relayed),
        legitimate=named(failing),
    )
    back = _("To go back, set {tags}.").format(tags=policy_tags(domain.policy))
    days = list(pd.date_range(context.today - limits.ready_days * DAY, context.today))
    finding = counts.messages_finding(
        "policy_ready",
        domain,
        tags,
        "good",
        rows,
        summary=summary,
        action=join_sentences(text, note, hits, back),
        query=counts.domain_query(domain, days, context),
        thresholds={"days": limits.ready_days, "reporters": limits.ready_reporters},
        evidence={
            "would_hit": hit,
            "failing": hit["legitimate"],
            "failing_senders": counts.top_counts(failing, "sender"),
            "relayed_by": counts.top_counts(relayed, "sender"),
            "classes": counts.top_counts(rows, "class"),
            "addresses": counts.addresses(domain, sorted(failing["sender"].unique()))[:SHOWN],
        },
    )
    return replace(finding, record=record)


def _parked(domain: DomainFacts, context: Context, rows: pd.DataFrame) -> list[Finding]:
    policy = domain.policy
    sp = dmarc_policy.subdomain_policy(policy)
    np = policy.np or sp
    if not in_dns(domain.name, {"p": policy.p or "none", "sp": sp}, context):
        return []  # it was changed already, and reporters have not seen it yet
    if (policy.p, sp, np) == ("reject",) * 3 and policy.testing != "y":
        return []
    change: dict[str, str | None] = {"p": "reject", "sp": "reject", "t": None, "pct": None}
    if policy.np and np != "reject":
        change["np"] = "reject"
    days = context.thresholds.ready_days
    summary = _(
        "{domain} sends no mail: none of {messages} in {days} days is from a sender of yours, and "
        "none passes. It can be closed in one step."
    ).format(domain=safe(domain.name), messages=n_messages(total(rows)), days=days)
    note = _(
        "Also publish v=spf1 -all (TXT) at {domain} and, if it takes no mail, the null MX (0 .)."
    ).format(domain=safe(domain.name))
    return [_step(domain, context, PARKED, rows, change, summary, note)]


def costs_wanted_mail(messages: pd.DataFrame, context: Context, level: str) -> bool:
    """Return True if more wanted mail of a domain fails than this policy may block."""
    if level not in counts.BLOCKED:
        return False
    rows = context.last(messages, context.thresholds.ready_days)
    bad, mine = failing_ours(rows), _without_strangers(rows)
    return share(total(bad), total(mine)) > _limit(Policy(None, p=level), context.thresholds)


FAMILY = Family(
    (
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
            hidden_by=("broken_dkim", "unidentified_sender"),
        ),
    ),
    of_domain=(policy_ready,),
)
