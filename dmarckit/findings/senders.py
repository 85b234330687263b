"""Senders that came, that went, and services that nobody set up for the domain."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from dmarckit.core import _, count, later, n_messages, ngettext
from dmarckit.facts import kind_word
from dmarckit.findings import queries
from dmarckit.findings.context import (
    BLOCKED,
    DAY,
    SHOWN,
    SPOOFED,
    Context,
    DomainFacts,
    addresses,
    count_reporters,
    day_span,
    messages_finding,
    own_signers,
    sender_predicate,
    top_counts,
    total,
    unknown_source_predicate,
    window_query,
)
from dmarckit.findings.model import (
    Family,
    Finding,
    Kind,
    Severity,
    join_names,
    median,
    n_reporters,
    on_days,
    safe,
)

_WHAT_IT_DOES = {
    "aligned": later("it passes DMARC by DKIM and SPF"),
    "dkim_only": later("it passes DMARC by DKIM"),
    "spf_only": later("it passes DMARC by SPF alone"),
    "forwarded": later("it forwards mail that somebody else signed"),
    "modified": later("it passes on mail whose signature no longer verifies"),
    "broken_dkim": later("its signature does not verify"),
}
_IT_FAILS = later("its mail fails DMARC")


def new_sender(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find senders that were not seen in the 90 days before the window.

    Always info: what fails about it is the business of `unaligned_sender`. Mail that proves
    nothing (unauthenticated) makes no sender.
    """
    limits = context.thresholds
    if not domain.history(context.start, limits.history_days):
        return []
    window = context.window(domain.messages)
    known = set(domain.messages.loc[domain.messages["day"] < context.start, "sender"])
    mine = window[~window["class"].isin(SPOOFED) & ~window["sender"].isin(known)]
    least = max(limits.new_messages, limits.new_share * total(window))
    found = []
    for sender, rows in mine.groupby("sender", observed=True):
        n = total(rows)
        if n >= least and (rows["day"].nunique() >= 2 or count_reporters(rows) >= 2):
            found.append(_new(domain, context, str(sender), rows, least))
    return found


def _new(
    domain: DomainFacts, context: Context, sender: str, rows: pd.DataFrame, least: float
) -> Finding:
    main = str(rows.groupby("class", observed=True)["messages"].sum().idxmax())
    kind = str(rows["sender_kind"].iloc[0])
    name = safe(sender) if kind in ("unknown", "") else f"{safe(sender)} ({kind_word(kind)})"
    declared = (domain.inventory["declared"] & (domain.inventory["sender"] == sender)).any()
    return messages_finding(
        "new_sender",
        domain,
        sender,
        "info",
        rows,
        summary=_(
            "{sender} sends as {domain} for the first time in 90 days: {messages} {when}, and "
            "{what_it_does}."
        ).format(
            sender=name,
            domain=safe(domain.name),
            messages=n_messages(total(rows)),
            when=on_days(*day_span(rows)),
            what_it_does=_(_WHAT_IT_DOES.get(main, _IT_FAILS)),
        ),
        action=_(_ACT_ON_NEW.get(main, _DECLARED if declared else _ACT_ON_OTHER)).format(
            sender=safe(sender), domain=safe(domain.name)
        ),
        query=window_query(
            domain,
            context,
            sender_predicate(domain, [sender]),
            f"NOT ({unknown_source_predicate(domain, own_addresses=False)})",
        ),
        thresholds={
            "least_messages": round(least),
            "history_days": context.thresholds.history_days,
        },
        evidence={
            "sender_kind": kind,
            "classes": top_counts(rows, "class"),
            "from_domains": top_counts(rows, "header_from"),
            "addresses": addresses(domain, [sender])[:SHOWN],
        },
    )


_DECLARED = later("Nothing is due: {sender} is declared in dmarckit.toml, and has begun to send.")
_ACT_ON_OTHER = later(
    "Mail admin: ask the owners of {domain} whether somebody started to use {sender}. If so, "
    "declare it under [[senders]] in dmarckit.toml; if not, ask who gave it access."
)
_ACT_ON_NEW = {
    "forwarded": later(
        "Nothing is due: {sender} relays mail whose own signature of {domain} still verifies, as "
        "forwarders do."
    ),
    "modified": later(
        "Nothing is due: {sender} seems to relay mail and change it on the way, as mailing lists "
        "do. Mail admin: note it before the policy of {domain} becomes stricter."
    ),
    "unaligned_sender": later(
        "Mail admin: find out who uses {sender} in the name of {domain}; what to set up there is "
        "said in the finding unaligned_sender once it has sent enough."
    ),
}


_HEIR = 0.25  # of the usual messages: a quiet weekend after the change must be enough


def sender_stopped(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find senders of the inventory that sent on most days and have gone silent.

    warning for the loud ones (`stopped_loud` messages a day), whose silence somebody would
    want to hear of; info for the others, which may just have had nothing to send. Only
    complete days count as silence, and only if the reporters that used to see the sender
    have delivered: a silent reporter is no stopped sender. A report that began before the
    silence and goes on into it does not say on which of its days the mail came.
    """
    limits = context.thresholds
    recent = [d for d in domain.complete if d < context.today][-limits.recent_days :]
    if len(recent) < limits.recent_days or recent[0] < context.today - limits.baseline_days * DAY:
        return []
    month = context.last(domain.messages, limits.baseline_days)
    month = month[month["in_inventory"] & (month["messages"] > 0)]
    sure = dict(
        list(drop_vague_days(month, domain.reports, recent[0]).groupby("sender", observed=True))
    )
    found = []
    for sender, rows in month[month["day"] < context.today].groupby("sender", observed=True):
        seen = sure.get(sender, rows)["day"]
        if (
            seen.nunique() >= limits.stopped_days
            and seen.max() < recent[0]
            and _still_watched(domain, rows, recent)
            and not _under_another_name(domain, context, str(sender), rows, seen.max())
        ):
            found.append(_stopped(domain, context, str(sender), rows, seen, recent))
    return found


def _still_watched(domain: DomainFacts, rows: pd.DataFrame, quiet: list[pd.Timestamp]) -> bool:
    """Return True if reporters that saw most of the messages have reported the quiet days."""
    ended = domain.reports.loc[domain.reports["end"] > quiet[-1], "reporter"]
    vague = rows.loc[rows["day"] >= quiet[0], "reporter"]
    seen_by = rows["reporter"].isin(set(ended) - set(vague))
    return bool(rows.loc[seen_by, "messages"].sum() >= 0.8 * rows["messages"].sum())


def _under_another_name(
    domain: DomainFacts, context: Context, sender: str, rows: pd.DataFrame, last: pd.Timestamp
) -> bool:
    """Return True if another name (SPF broke, say) now sends as much more from its addresses.

    A service that has always shared the addresses does not grow when this one stops.
    """
    sources = domain.sources
    shared = sources[sources["source_ip"].isin(addresses(domain, [sender]))]
    heirs = shared.loc[(shared["sender"] != sender) & (shared["last_day"] > last), "sender"]
    theirs = domain.messages[domain.messages["sender"].isin(set(heirs))]
    days = context.thresholds.baseline_days
    after = theirs.loc[theirs["day"] > last, "messages"].sum() / max((context.today - last).days, 1)
    before = theirs[(theirs["day"] <= last) & (theirs["day"] > last - days * DAY)]
    usual = rows["messages"].sum() / days
    return bool(len(heirs) and after - before["messages"].sum() / days >= _HEIR * usual)


def _stopped(
    domain: DomainFacts,
    context: Context,
    sender: str,
    rows: pd.DataFrame,
    seen: pd.Series[pd.Timestamp],
    quiet: list[pd.Timestamp],
) -> Finding:
    limits = context.thresholds
    last = seen.max().date()
    before = rows[rows["day"] <= seen.max()]
    usual = median(before.groupby("day", observed=True)["messages"].sum().tolist())
    days = pd.date_range(context.today - limits.baseline_days * DAY, context.today - DAY)
    finding = messages_finding(
        "sender_stopped",
        domain,
        sender,
        "warning" if usual >= limits.stopped_loud else "info",
        rows,
        summary=_(
            "{sender} has stopped: {messages} as {domain} on {days} of the last {of} days, none "
            "since {last}."
        ).format(
            sender=safe(sender),
            messages=n_messages(total(rows)),
            domain=safe(domain.name),
            days=seen.nunique(),
            of=limits.baseline_days,
            last=last,
        ),
        action=_(
            "Owner of {sender}: check that it still sends for {domain} (queue, expired contract, "
            "changed From domain). If it was switched off on purpose, DNS admin: remove its SPF "
            "include and DKIM selectors{selectors}, since whoever takes them over can send as you."
        ).format(
            sender=safe(sender),
            domain=safe(domain.name),
            selectors=_selectors(domain, sender),
        ),
        query=queries.messages(
            domain.name, list(days), context.now, sender_predicate(domain, [sender])
        ),
        thresholds={
            "seen_days": limits.stopped_days,
            "complete_days_without": limits.recent_days,
        },
        evidence={
            "seen_days": int(seen.nunique()),
            "quiet_days": [f"{d:%Y-%m-%d}" for d in quiet],
            "median_a_day": usual,
            "addresses": addresses(domain, [sender])[:SHOWN],
        },
    )
    return replace(finding, first_day=seen.min().date(), last_day=last)


def _selectors(domain: DomainFacts, sender: str) -> str:
    owned = domain.inventory.loc[domain.inventory["sender"] == sender, "owns"]
    names = [f"{s}._domainkey.{d}" for pairs in owned for d, s in pairs]
    return f" ({join_names(sorted(names))})" if names else ""


def drop_vague_days(
    messages: pd.DataFrame, reports: pd.DataFrame, since: pd.Timestamp
) -> pd.DataFrame:
    """Drop the rows of `messages` (columns `reporter`, `day`) whose mail may be of another day.

    A report of more than 24 hours is spread over its days, but does not say on which of them
    the mail came. Its rows are dropped, unless it began on `since` or later, or its reporter
    reported that day by itself too. `reports` has the columns of `Facts.reports`. Without long
    reports `messages` itself is returned.
    """
    length = reports["end"] - reports["begin"]
    long = reports[(length > DAY) & (reports["begin"] < since)]
    theirs = messages[messages["reporter"].isin(set(long["reporter"]))]
    if theirs.empty:
        return messages
    short = reports[length <= DAY]
    certain = _index(short["reporter"], (short["begin"] + length[short.index] / 2).dt.floor("D"))
    spread = _days(long, theirs["day"].min(), theirs["day"].max()).difference(certain)
    vague = _index(theirs["reporter"], theirs["day"]).isin(spread)
    return messages.drop(theirs.index[vague])


def _days(long: pd.DataFrame, first: pd.Timestamp, last: pd.Timestamp) -> pd.MultiIndex:
    """Return reporter and day of each day of the reports, from `first` to `last`."""
    begin, end = long["begin"], long["end"]
    begin = begin.where(begin > first, first).dt.floor("D")
    after = end.where(end < last + DAY, last + DAY).dt.ceil("D")
    days = ((after - begin) // DAY).clip(lower=0)
    rows = begin.index.repeat(days)
    number = rows.to_series().groupby(rows).cumcount()
    return _index(long["reporter"].loc[rows], begin.loc[rows] + pd.to_timedelta(number, "D"))


def _index(reporters: pd.Series[str], days: pd.Series[pd.Timestamp]) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([reporters.astype("str"), days])


def unaligned_sender(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find known services whose mail proves their own domain, but not the author's.

    warning: either it is the company's mail, and somebody must set up its authentication
    before (or because) the policy blocks it; or it is not, and somebody must say so.
    critical when a sender of the inventory is being blocked. info for mailing lists and
    forwarders: they relay, and nobody can set up anything there.
    """
    if domain.at_most("unaligned_sender") < context.thresholds.unaligned_messages:
        return []
    window = context.window(domain.messages)
    mine = window[window["class"] == "unaligned_sender"]
    return [
        _unaligned(domain, context, str(sender), rows)
        for sender, rows in mine.groupby("sender", observed=True)
        if total(rows) >= context.thresholds.unaligned_messages
    ]


def _unaligned(domain: DomainFacts, context: Context, sender: str, rows: pd.DataFrame) -> Finding:
    blocked = total(rows[rows["disposition"].isin(BLOCKED)])
    ours = bool(rows["in_inventory"].any())
    least = context.thresholds.unaligned_messages
    relays = str(rows["sender_kind"].iloc[0]) in ("mailing list", "forwarder") and not ours
    severity: Severity = "critical" if ours and blocked >= least else "warning"
    if relays:
        severity = "info"
    spf = context.window(domain.spf)
    spf = spf[(spf["sender"] == sender) & (spf["result"] == "pass")]
    dkim = context.window(domain.signatures)
    dkim = dkim[(dkim["sender"] == sender) & dkim["passed"] & ~dkim["aligned"]]
    proves_spf, proves_dkim = top_counts(spf, "spf_domain"), top_counts(dkim, "dkim_domain")
    proves = list(dict.fromkeys([*proves_spf, *proves_dkim]))
    name, author = safe(sender), safe(domain.name)
    return messages_finding(
        "unaligned_sender",
        domain,
        sender,
        severity,
        rows,
        summary=_unaligned_summary(blocked).format(
            messages=n_messages(total(rows)),
            sender=name,
            author=author,
            when=on_days(*day_span(rows)),
            proves=join_names(proves) or _("another domain"),
            blocked=count(blocked),
            reporters=n_reporters(count_reporters(rows)),
        ),
        action=_unaligned_action(relays, ours).format(sender=name, author=author),
        query=window_query(
            domain,
            context,
            sender_predicate(domain, [sender]),
            queries.unaligned(own_signers(domain)),
        ),
        thresholds={"messages": least},
        evidence={
            "proves_spf": proves_spf,
            "proves_dkim": proves_dkim,
            "from_domains": top_counts(rows, "header_from"),
            "dispositions": top_counts(rows, "disposition"),
            "blocked_share": blocked / total(rows),
            "addresses": addresses(domain, [sender])[:SHOWN],
        },
    )


def _unaligned_summary(blocked: int) -> str:
    if not blocked:
        return _(
            "{messages} that {sender} sent as {author} {when} fail DMARC: they prove {proves}, not "
            "{author} (all were delivered; {reporters})."
        )
    return ngettext(
        "{messages} that {sender} sent as {author} {when} fail DMARC: they prove {proves}, not "
        "{author} ({blocked} was blocked; {reporters}).",
        "{messages} that {sender} sent as {author} {when} fail DMARC: they prove {proves}, not "
        "{author} ({blocked} were blocked; {reporters}).",
        blocked,
    )


def _unaligned_action(relays: bool, ours: bool) -> str:
    if relays:
        return _(
            "Nothing is due: {sender} relays mail, and what it changes on the way no longer proves "
            "the author. Mail admin: note it before the policy becomes stricter."
        )
    if ours:
        return _(
            "Owner of {sender}: switch on DKIM signing with your own domain there (d={author}; "
            "often called domain authentication) and a return path below {author}. DNS admin: "
            "publish the CNAME or TXT records that {sender} shows."
        )
    return _(
        "Owner of {sender}: if it sends for you, switch on DKIM signing with your own domain there "
        "(d={author}; often called domain authentication) and a return path below {author}. DNS "
        "admin: publish the CNAME or TXT records that {sender} shows. If nobody uses {sender}, it "
        "is abuse: a stricter policy blocks it."
    )


FAMILY = Family(
    (
        Kind(
            "new_sender",
            later("{subject} is a new sender"),
            ("info",),
            {
                "sender_kind": later("Sender kind"),
                "classes": later("Classes"),
                "from_domains": later("From domains"),
            },
        ),
        Kind(
            "sender_stopped",
            later("{subject} has stopped sending"),
            ("warning", "info"),
            {
                "seen_days": later("Seen days"),
                "quiet_days": later("Quiet days"),
                "median_a_day": later("Median a day"),
            },
            hidden_by=("ingest_broken",),
        ),
        Kind(
            "unaligned_sender",
            later("{subject} is not set up for your domain"),
            ("critical", "warning", "info"),
            {
                "proves_spf": later("Proves spf"),
                "proves_dkim": later("Proves dkim"),
                "from_domains": later("From domains"),
                "blocked_share": later("Blocked share"),
            },
        ),
    ),
    of_domain=(unaligned_sender, new_sender, sender_stopped),
)
