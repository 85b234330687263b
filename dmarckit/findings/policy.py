"""The published policy: changes of it, and reporters that do not follow it."""

from __future__ import annotations

from datetime import date

import pandas as pd

from dmarckit.core import _, count, later, n_messages, ngettext
from dmarckit.findings import context as counts, model, queries
from dmarckit.findings.context import Context, DomainFacts, names_with_counts, reporter_tests, total
from dmarckit.findings.dmarc_policy import LEVELS, POLICY_TAGS, fill_policy_defaults
from dmarckit.findings.model import Family, Finding, Kind, Record, Severity, reporter_name, safe
from dmarckit.findings.ready import costs_wanted_mail
from dmarckit.findings.records import in_dns, propose_dmarc

_ALIGNMENT = ("adkim", "aspf")


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
    quoted = domain.policies
    if len(quoted[list(POLICY_TAGS)].drop_duplicates()) < 2:
        return []  # the usual case, found without comparing each tag
    quoted = quoted.sort_values("begin", kind="stable").reset_index(drop=True)
    quoted = fill_policy_defaults(quoted.assign(who=quoted["reporter"].str.casefold()))
    before = quoted.groupby("who")[list(POLICY_TAGS)].shift()
    both = quoted.join(before.add_suffix("_old"))
    both = both[both["p_old"].notna()]
    found = []
    for column in POLICY_TAGS:
        changed = both[both[column] != both[f"{column}_old"]]
        if parent := {"sp": "p", "np": "sp"}.get(column):
            was = changed[f"{column}_old"] == changed[f"{parent}_old"]
            changed = changed[~(was & (changed[column] == changed[parent]))]
        changed = changed.groupby("who").tail(1)
        if changed.empty:
            continue
        seen = changed[changed[column] == changed[column].mode().iloc[0]]
        since = seen["begin"].min()
        early, late = quoted["begin"] < since, quoted["begin"] >= since
        able = set(quoted.loc[early, "who"]) & set(quoted.loc[late, "who"])
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
    domain: DomainFacts, context: Context, column: str, seen: pd.DataFrame, quoted: pd.DataFrame
) -> list[Finding]:
    tag, last = POLICY_TAGS[column], seen.iloc[-1]
    old, new = str(last[f"{column}_old"]), str(last[column])
    weaker = _weaker(last, column)
    since: pd.Timestamp = seen["begin"].min().floor("D")
    hurt = domain.messages.iloc[:0] if weaker else _hurt(domain, context, column, since)
    loss, limits = counts.lost_mail(context, hurt), context.thresholds
    lost = loss.messages >= limits.lost_messages and loss.days >= limits.lost_days
    if since < context.start and not lost:
        return []
    recent = quoted[(quoted["begin"] >= context.start) & quoted["who"].isin(seen["who"])]
    recent = recent[recent[column] == last[column]]
    if recent.empty:
        return []
    severity: Severity = "critical" if lost else "warning" if weaker or len(hurt) else "info"
    names = sorted(recent["reporter"].unique())
    who = reporter_tests(domain.reports, names)
    action = _("DNS admin: check that this was meant. If it was, nothing is due.")
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
                    first=day,
                ),
                _hurt_words(column, hurt),
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


def _hurt(domain: DomainFacts, context: Context, column: str, since: pd.Timestamp) -> pd.DataFrame:
    """Return messages since a change, of senders of ours of which more fails, or is lost, than did.

    Alignment makes mail fail; the other tags decide what becomes of mail that fails.
    """
    limits, rows = context.thresholds, domain.messages
    rows = rows[rows["ours"] & (rows["day"] >= since - limits.baseline_days * counts.DAY)]
    bad = ~rows["da"] & ~rows["sa"]
    if column not in _ALIGNMENT:
        bad &= rows["disposition"].isin(counts.BLOCKED)
    after = rows["day"] >= since
    if not (bad & after).any():
        return rows.iloc[:0]
    parts = {
        "n": rows["messages"].where(after, 0),
        "bad": rows["messages"].where(after & bad, 0),
        "n_before": rows["messages"].where(~after, 0),
        "bad_before": rows["messages"].where(~after & bad, 0),
    }
    sums = rows.assign(**parts).groupby("sender", observed=True)[list(parts)].sum()
    sums = sums[(sums["bad"] >= limits.lost_messages) & (sums["n_before"] > 0)]
    rise = sums["bad"] / sums["n"] - sums["bad_before"] / sums["n_before"]
    worse = sums.index[rise >= limits.dkim_points]
    return rows[bad & after & rows["sender"].isin(worse)]


def _hurt_words(column: str, hurt: pd.DataFrame) -> str:
    if hurt.empty:
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
        what=counts.disposition_words(hurt),
    )


def _why_back(domain: DomainFacts, column: str, hurt: pd.DataFrame) -> str:
    names = model.join_names(list(counts.top_counts(hurt, "sender")))
    if hurt.empty:
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
    failing = failing[~failing["da"] & ~failing["sa"]]
    least = context.thresholds.unhonoured_messages
    found = []
    by_reporter = context.window(domain.unhonoured).groupby("reporter", observed=True)
    for name, rows in by_reporter:
        if total(rows) < least:
            continue
        reporter, n_failing = str(name), total(failing[failing["reporter"] == name])
        is_reporter = reporter_tests(domain.reports, [reporter])[reporter]
        summary = _(
            "{reporter} delivered {messages} that fail DMARC for {domain} {when}, although the "
            "policy that it quotes is reject, and gave no reason ({failing} failed there "
            "altogether)."
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
        finding = counts.messages_finding(
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
    return counts.how_calmed(domain, context, rows, rows)


FAMILY = Family(
    (
        Kind(
            "policy_changed",
            later("The policy changed: {subject}"),
            ("critical", "warning", "info"),
            {"old": later("Old"), "new": later("New"), "failing_senders": later("Failing senders")},
        ),
        Kind(
            "policy_not_honoured",
            later("{subject} does not follow the policy"),
            ("info",),
            {"failing": later("Failing")},
            ended=_not_honoured_ended,
        ),
    ),
    of_domain=(policy_changed, policy_not_honoured),
)
