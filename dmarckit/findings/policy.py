"""The published policy: changes of it, reporters that do not follow it, and its next step."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd

from dmarckit.core import Thresholds, _, count, later, n_messages, ngettext, percent, short_day
from dmarckit.findings import context as c, counts, dmarc_policy, model, queries
from dmarckit.findings.context import Context, DomainFacts, names_with_counts, reporter_tests
from dmarckit.findings.counts import total
from dmarckit.findings.dmarc_policy import LEVELS, POLICY_TAGS
from dmarckit.findings.model import Family, Finding, Kind, Record, Severity, reporter_name, safe
from dmarckit.findings.records import Changes, in_dns, propose_dmarc, tags_in_dns
from dmarckit.findings.rows import Rows, plain_time
from dmarckit.reports import Policy

_ALIGNMENT = ("adkim", "aspf")
_TIMES, _AGAIN = 3, 14 * c.DAY  # days, over a time, that make a stranger worth a second look


def policy_changed(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find tags that reporters quote with another value than before.

    Each reporter is compared with itself, with defaults filled in, since reporters differ in
    which tags they know and write. Two reporters must have seen the change, or the only one.
    sp and np that merely follow p are no change of their own. Changes of the window count, and
    older ones as long as mail of ours is lost by them.

    warning when the policy became weaker (lower p, sp or np; t=y or a lower pct without a
    stricter p): if nobody did that on purpose, somebody else may have changed DNS. warning
    when more mail of senders of ours fails since, critical when it is lost. Else info.
    """
    if domain.first_day is None or domain.first_day > context.start:
        return []
    quoted = domain.quotes
    both = quoted[quoted["changed"]]
    if not len(both):
        return []
    tags = [*POLICY_TAGS, *(f"{tag}_old" for tag in POLICY_TAGS)]
    both = both.frame("begin", "who", *tags)
    found = []
    for column in POLICY_TAGS:
        differs = both[column] != both[f"{column}_old"]
        if not differs.any():
            continue
        changed = both[differs]
        if parent := {"sp": "p", "np": "sp"}.get(column):
            was = changed[f"{column}_old"] == changed[f"{parent}_old"]
            changed = changed[~(was & (changed[column] == changed[parent]))]
        changed = changed.drop_duplicates("who", keep="last")
        if changed.empty:
            continue
        seen = changed[changed[column] == changed[column].mode().iloc[0]]
        since = seen["begin"].min()
        early, who = quoted["begin"] < since, quoted["who"]
        able = np.intersect1d(who[early], who[~early])
        if len(seen) >= min(2, len(able)):
            found += _changed(domain, context, column, seen, quoted)
    return found


def _weaker(row: pd.Series[str], column: str) -> bool:
    old, new = row[f"{column}_old"], row[column]
    if column in ("p", "sp", "np"):
        return LEVELS.get(str(new), 0) < LEVELS.get(str(old), 0)
    stricter = LEVELS.get(str(row["p"]), 0) > LEVELS.get(str(row["p_old"]), 0)
    if column == "testing":
        return new == "y" and not stricter
    return column == "pct" and int(new) < int(old) and not stricter


def _changed(
    domain: DomainFacts, context: Context, column: str, seen: pd.DataFrame, quoted: Rows
) -> list[Finding]:
    tag, last = POLICY_TAGS[column], seen.iloc[-1]
    old, new = str(last[f"{column}_old"]), str(last[column])
    weaker = _weaker(last, column)
    since: pd.Timestamp = seen["begin"].min().floor("D")
    affected = domain.messages[:0] if weaker else _affected(domain, context, column, since)
    # of a sender that nobody has decided about it is not known whether the change does what it
    # should: it is asked about, and the policy is not blamed
    undecided = affected["class"] == "unidentified"
    hurt = affected[~undecided]
    loss, limits = c.lost_mail(context, hurt), context.thresholds
    lost = loss.messages >= limits.lost_messages and loss.days >= limits.lost_days
    if since < context.start and not lost:
        return []
    recent = quoted[(quoted["begin"] >= context.start) & np.isin(quoted["who"], seen["who"])]
    recent = recent[recent[column] == last[column]]
    if not len(recent):
        return []
    severity: Severity = "critical" if lost else "warning" if weaker or len(hurt) else "info"
    names = sorted(set(recent["reporter"]))
    who = reporter_tests(domain.reports.frame(*c.SPELT), names)
    action = _("DNS admin: confirm the change was intended. If it was, no action is needed.")
    if undecided.any():
        action = _(
            "Mail admin: decide now whether {names} is yours (see the finding about it): if it is, "
            "the change costs its mail until it is set up."
        ).format(names=model.join_names(list(counts.top_counts(affected[undecided], "sender"))))
    record: tuple[Record, ...] = ()
    if severity != "info" and not in_dns(domain.name, {tag: new}, context):
        action = _("DNS shows another value by now: no action needed, if that was intended.")
    elif weaker and costs_wanted_mail(domain.messages, context, old):
        action = _(
            "DNS admin: check that this was intended, and if not, find out who can change DNS. "
            "Set up the senders of yours that fail before you put {tag}={old} back: it would "
            "block their mail."
        ).format(tag=tag, old=safe(old))
    elif severity != "info":
        back = None if (tag, old) in (("t", "n"), ("pct", "100")) else old
        change, record = propose_dmarc(domain.name, {tag: back}, context)
        action = model.join_sentences(_why_back(domain, column, hurt), change)
    day: date = since.date()
    return [
        Finding(
            kind="policy_changed",
            domain=domain.name,
            subject=tag,
            severity=severity,
            messages=total(hurt),
            first_day=recent["begin"].min().date(),
            last_day=recent["begin"].max().date(),
            since=day,
            reporters=len(names),
            lost=loss.messages,
            cause=f"{tag}={new} {day}",
            record=record,
            summary=model.join_sentences(
                ngettext(
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
                    first=short_day(day),
                ),
                _hurt_words(column, affected),
            ),
            action=action,
            evidence={
                "reporters": [reporter_name(name) for name in names],
                "old": old,
                "new": new,
                "failing_senders": counts.top_counts(hurt, "sender"),
                "thresholds": {"reporters": 2},
                "number": len(names),
                "query": queries.quoting(domain.name, column, new, context.start, context.now, who),
            },
        )
    ]


def _affected(domain: DomainFacts, context: Context, column: str, since: pd.Timestamp) -> Rows:
    """Return messages since a change, of senders of ours of which more fails, or is lost, than did.

    Alignment makes mail fail; the other tags decide what becomes of mail that fails.
    """
    limits, rows = context.thresholds, domain.messages
    rows = rows[rows["ours"] & (rows["day"] >= since - limits.baseline_days * c.DAY)]
    bad = rows["fails"]
    if column not in _ALIGNMENT:
        bad = bad & rows["blocked"]
    after = rows["day"] >= since
    n, n_bad, before, bad_before = (
        counts.sums(rows[some], "sender") for some in (after, after & bad, ~after, ~after & bad)
    )
    worse = [
        sender
        for sender, wrong in n_bad.items()
        if wrong >= limits.lost_messages
        and before.get(sender, 0) > 0
        and wrong / n[sender] - bad_before.get(sender, 0) / before[sender] >= limits.dkim_points
    ]
    affected: Rows = rows[bad & after & rows["sender"].isin(worse)]
    return affected


def _hurt_words(column: str, hurt: Rows) -> str:
    if not len(hurt):
        return ""
    text = (
        _("Since then {messages} of {names} fail, which passed before: {what}.")
        if column in _ALIGNMENT
        else _(
            "Since then {messages} of {names} that fail are no longer delivered as before: {what}."
        )
    )
    return text.format(
        messages=n_messages(total(hurt)),
        names=names_with_counts(hurt, "sender"),
        what=c.disposition_words(hurt),
    )


def _why_back(domain: DomainFacts, column: str, hurt: Rows) -> str:
    names = model.join_names(list(counts.top_counts(hurt, "sender")))
    if not len(hurt):
        return _(
            "DNS admin: the policy became weaker. If that was not intended, put the old value "
            "back, and find out who can change DNS."
        )
    if column == "adkim":
        return _(
            "With adkim=s a signature only counts when its d= is the From domain itself: sign so "
            "for {names}, and until then allow names below the domain again."
        ).format(names=names)
    if column == "aspf":
        return _(
            "With aspf=s SPF only counts when the return path is in the From domain itself: "
            "change it for {names}, and until then allow names below the domain again."
        ).format(names=names)
    return _(
        "Set up {names} to sign as {domain} or with a return path below it, and until then take "
        "the change back."
    ).format(names=names, domain=safe(domain.name))


def policy_not_honoured(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find reporters that deliver, without a reason, what p, sp or np=reject asks to refuse.

    Always info: only the reporter can change it.
    """
    if not domain.has("unhonoured"):
        return []
    failing = context.window(domain.messages)
    failing = failing[failing["fails"]]
    least = context.thresholds.unhonoured_messages
    found = []
    for reporter, rows in counts.groups(context.window(domain.unhonoured), "reporter"):
        if total(rows) < least:
            continue
        n_failing = total(failing, failing["reporter"] == reporter)
        is_reporter = reporter_tests(domain.reports.frame(*c.SPELT), [reporter])[reporter]
        summary = _(
            "{reporter} delivered {messages} that failed DMARC for {domain} {when}, despite "
            "p=reject and without an override reason ({failing} failures there in total)."
        ).format(
            reporter=reporter_name(reporter),
            messages=n_messages(total(rows)),
            domain=safe(domain.name),
            when=model.on_days(*counts.day_span(rows)),
            failing=count(n_failing),
        )
        action = _(
            "Nothing can be done in DNS. Mail admin: if it goes on, ask {reporter} (contact in its "
            "reports) why; people with mailboxes there can get forged mail in your name."
        ).format(reporter=reporter_name(reporter))
        finding = c.messages_finding(
            "policy_not_honoured",
            domain,
            reporter,
            "info",
            rows,
            summary=summary,
            action=action,
            query=queries.unhonoured(domain.name, is_reporter, context.window_days, context.now),
            thresholds={"messages": least},
            evidence={"failing": n_failing},
        )
        found.append(finding)
    return found


def _not_honoured_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    rows = domain.unhonoured[domain.unhonoured["reporter"] == finding.subject]
    return c.how_calmed(domain, context, rows, rows)


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
    if not (len(domain.inventory) or (~seen["fails"] | seen["ours"]).any()):
        spf_terms = context.published.get(domain.name, "").lower().split()[1:]
        if all(term.endswith("all") for term in spf_terms):
            return _parked(domain, context, rows)
    policy = domain.policy
    if known := tags_in_dns(domain.name, context):  # older reporters do not quote t
        policy = replace(policy, testing="y" if known["t"] == "y" else None)
    step = dmarc_policy.next_step(policy)
    if step is None or not _long_enough(domain, context, policy):
        return []
    mine = _without_strangers(rows)
    upper = model.wilson_upper(total(c.failing_ours(mine)), total(mine), limits.confidence_z)
    own = rows[rows["ours"] & ~rows["class"].isin(c.RELAYED)]
    signed = model.share(total(own, own["da"]), total(own))
    if upper > _limit(step, limits) or (step.p == "reject" and signed < limits.ready_signed):
        return []
    if any(_loses_much(sent, limits) for _sender, sent in counts.groups(own, "sender")):
        return []
    return [_ready(domain, context, step, rows, mine, upper)]


def _loses_much(sent: Rows, limits: Thresholds) -> bool:
    """Return True if a sender loses much of its mail in the last week in which it sent."""
    week = sent[sent["day"] > sent["day"].max() - 7 * c.DAY]
    gone = week["messages"][week["disposition"].isin(c.BLOCKED)].sum()
    least = max(limits.lost_messages, limits.lost_share * week["messages"].sum())
    return bool(gone >= least)


def _without_strangers(rows: Rows) -> Rows:
    passes, relayed = rows["da"] | rows["sa"], rows["class"].isin(c.RELAYED)
    found: Rows = rows[passes | rows["ours"] | relayed]
    return found


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
    since = context.today - context.thresholds.history_days * c.DAY
    quoted = domain.quotes
    quoted = quoted[int(quoted["begin"].values.searchsorted(plain_time(since))) :]
    other = quoted["p"] != policy.p
    if policy.testing != "y":
        other |= quoted["testing"] == "y"
    _days, days = np.unique(quoted["begin"].values.astype("datetime64[D]"), return_inverse=True)
    return not bool((np.bincount(days, other) > 0.5 * np.bincount(days)).any())


def _ready(
    domain: DomainFacts,
    context: Context,
    step: Policy,
    rows: Rows,
    mine: Rows,
    upper: float,
) -> Finding:
    limits, limit = context.thresholds, _limit(step, context.thresholds)
    failing = c.failing_ours(mine)
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
        share=percent(model.share(total(failing), total(mine))),
        certainty=_("95%"),  # of the interval whose z is `confidence_z`
        upper=percent(upper),
        limit=percent(limit),
    )
    test = _(
        "t=y lowers the policy by one step: receivers of RFC 9989 (section 4.7) take {strict} as "
        "{lower}; those that know only RFC 7489 ignore t and apply {strict} at once."
    ).format(strict=f"p={step.p}", lower=f"p={dmarc_policy.LOWER[step.p or 'none']}")
    weaker = [
        f"{tag}={value}"
        for tag, value in (("sp", step.sp), ("np", step.np))
        if value in c.BLOCKED and domain.policy.testing != "y"
    ]
    if weaker:
        lowered = _("It also lowers {tags} by one step while it is there.")
        test = model.join_sentences(test, lowered.format(tags=model.join_names(weaker)))
    change = {"p": step.p, "t": step.testing, "pct": None}
    finding = _step(domain, context, tags, rows, change, summary, test if step.testing else "")
    bounds = {"upper_bound": limit, "z": limits.confidence_z} | finding.evidence["thresholds"]
    more = {"upper_bound": upper, "thresholds": bounds}
    return replace(finding, evidence={**finding.evidence, **more})


def _step(
    domain: DomainFacts,
    context: Context,
    tags: str,
    rows: Rows,
    change: Changes,
    summary: str,
    note: str,
) -> Finding:
    limits, failing = context.thresholds, c.failing_ours(rows)
    senders = sorted(failing["sender"].unique())
    now_fails = rows[rows["fails"]]
    is_relayed = now_fails["class"].isin(c.RELAYED)
    relayed = now_fails[is_relayed]
    hit = {"legitimate": total(failing), "relayed": total(relayed)}
    hit["strangers"] = total(now_fails) - sum(hit.values())

    def named(rows: Rows) -> str:
        names = c.names_with_counts(rows, "sender")
        return _("{n} ({names})").format(n=count(total(rows)), names=names) if names else count(0)

    text, record = propose_dmarc(domain.name, change, context)
    hits = _(
        "In the last {days} days it would have affected {strangers} of spoofed mail, {relayed} "
        "modified by mailing lists or forwarders, and {legitimate} that may be legitimate."
    ).format(
        days=limits.ready_days,
        strangers=n_messages(hit["strangers"]),
        relayed=named(relayed),
        legitimate=named(failing),
    )
    often = _steady_strangers(domain, now_fails[~is_relayed & ~now_fails["ours"]])
    warned = _(
        "Some of it comes from senders that authenticate as themselves time and again, which "
        "forgers rarely do: {names}. Make sure first that none is yours."
    ).format(names=c.names_with_counts(often, "sender"))
    new = [tag for tag in ("t", "sp") if change.get(tag) and not _quoted(domain.policy, tag)]
    back = _("Roll back with {tags}.")
    if new:
        back = _("Roll back with {tags}, without {gone}.")
    back = back.format(tags=dmarc_policy.policy_tags(domain.policy), gone=", ".join(new))
    days = list(pd.date_range(context.today - limits.ready_days * c.DAY, context.today))
    finding = c.messages_finding(
        "policy_ready",
        domain,
        tags,
        "good",
        rows,
        summary=summary,
        action=model.join_sentences(text, note, hits, warned if len(often) else "", back),
        query=c.domain_query(domain, days, context),
        thresholds={"days": limits.ready_days, "reporters": limits.ready_reporters},
        evidence={
            "would_hit": hit,
            "failing": hit["legitimate"],
            "failing_senders": counts.top_counts(failing, "sender"),
            "relayed_by": counts.top_counts(relayed, "sender"),
            "classes": counts.top_counts(rows, "class"),
            "addresses": c.addresses(domain, senders)[: counts.SHOWN],
        },
    )
    return replace(finding, record=record)


def _quoted(policy: Policy, tag: str) -> bool:
    """Return True if the policy has the tag t, or an sp of its own."""
    return policy.testing == "y" if tag == "t" else policy.sp is not None


def _steady_strangers(domain: DomainFacts, rows: Rows) -> Rows:
    """Return the messages of those who authenticate as themselves on days of several weeks.

    Of whom was decided that they are not ours nobody has to make sure again.
    """
    rows = rows[rows["sender"].isin(domain.proving - set(domain.denied["sender"]))]
    days = {sender: part["day"] for sender, part in counts.groups(rows, "sender")}
    steady = [s for s, d in days.items() if d.nunique() >= _TIMES and d.max() - d.min() >= _AGAIN]
    found: Rows = rows[rows["sender"].isin(steady)]
    return found


def _parked(domain: DomainFacts, context: Context, rows: Rows) -> list[Finding]:
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


def costs_wanted_mail(messages: Rows, context: Context, level: str) -> bool:
    """Return True if more wanted mail of a domain fails than this policy may block."""
    if level not in c.BLOCKED:
        return False
    rows = context.last(messages, context.thresholds.ready_days)
    bad, mine = c.failing_ours(rows), _without_strangers(rows)
    return model.share(total(bad), total(mine)) > _limit(Policy(None, p=level), context.thresholds)


FAMILY = Family(
    (
        Kind(
            "policy_changed",
            later("DMARC policy changed: {subject}"),
            ("critical", "warning", "info"),
            {"old": later("Old"), "new": later("New"), "failing_senders": later("Failing senders")},
        ),
        Kind(
            "policy_not_honoured",
            later("{subject} does not apply the policy"),
            ("info",),
            {"failing": later("Failing")},
            ended=_not_honoured_ended,
        ),
        Kind(
            "policy_ready",
            later("Ready to move to {subject}"),
            ("good",),
            {
                "would_hit": later("Would affect"),
                "would_hit.strangers": later("spoofed"),
                "would_hit.relayed": later("forwarded or modified"),
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
    of_domain=(policy_changed, policy_not_honoured, policy_ready),
)
