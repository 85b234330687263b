"""Senders that came or went."""

from __future__ import annotations

import pandas as pd

from dmarckit.core.language import _, later
from dmarckit.core.words import n_messages
from dmarckit.facts.sender_words import kind_word
from dmarckit.findings import queries
from dmarckit.findings.dated import dated
from dmarckit.findings.look import (
    DAY,
    SHOWN,
    SPOOFED,
    DomainFacts,
    Look,
    addresses,
    base_evidence,
    counts,
    of_senders,
    reporters,
    span,
    strangers,
    total,
)
from dmarckit.findings.model import Finding, Severity
from dmarckit.findings.say import clean, listed, on_days
from dmarckit.findings.statistics import median

_HEIR = 0.25  # of the usual messages: a quiet weekend after the change must be enough
_WHAT_IT_DOES = {
    "aligned": later("it passes DMARC by DKIM and SPF"),
    "dkim_only": later("it passes DMARC by DKIM"),
    "spf_only": later("it passes DMARC by SPF alone"),
    "forwarded": later("it forwards mail that somebody else signed"),
    "modified": later("it passes on mail whose signature no longer verifies"),
    "broken_dkim": later("its signature does not verify"),
}
_IT_FAILS = later("its mail fails DMARC")


def new_sender(domain: DomainFacts, look: Look) -> list[Finding]:
    """Senders that were not seen in the 90 days before the window.

    Always info: what fails about it is the business of `unaligned_sender`. Mail that proves
    nothing (unauthenticated) makes no sender.
    """
    limits = look.thresholds
    if not domain.history(look.start, limits.history_days):
        return []
    window = look.window(domain.messages)
    known = set(domain.messages.loc[domain.messages["day"] < look.start, "sender"])
    mine = window[~window["class"].isin(SPOOFED) & ~window["sender"].isin(known)]
    least = max(limits.new_messages, limits.new_share * total(window))
    found = []
    for sender, rows in mine.groupby("sender", observed=True):
        n = total(rows)
        if n >= least and (rows["day"].nunique() >= 2 or reporters(rows) >= 2):
            found.append(_new(domain, look, str(sender), rows, least))
    return found


def _new(domain: DomainFacts, look: Look, sender: str, rows: pd.DataFrame, least: float) -> Finding:
    main = str(rows.groupby("class", observed=True)["messages"].sum().idxmax())
    kind = str(rows["sender_kind"].iloc[0])
    ips = addresses(domain, [sender])
    name = clean(sender) if kind in ("unknown", "") else f"{clean(sender)} ({kind_word(kind)})"
    declared = is_declared(domain, sender)
    query = queries.messages(
        domain.name,
        look.window_days,
        look.now,
        of_senders(domain, [sender]),
        f"NOT ({strangers(domain)})",
    )
    return Finding(
        kind="new_sender",
        domain=domain.name,
        subject=sender,
        severity="info",
        messages=total(rows),
        first_day=span(rows)[0],
        last_day=span(rows)[1],
        reporters=reporters(rows),
        summary=_(
            "{sender} sends as {domain} for the first time in 90 days: {messages} {when}, and "
            "{what_it_does}."
        ).format(
            sender=name,
            domain=clean(domain.name),
            messages=n_messages(total(rows)),
            when=on_days(*span(rows)),
            what_it_does=_(_WHAT_IT_DOES.get(main, _IT_FAILS)),
        ),
        action=_(_ACT_ON_NEW.get(main, _DECLARED if declared else _ACT_ON_OTHER)).format(
            sender=clean(sender), domain=clean(domain.name)
        ),
        evidence=base_evidence(
            rows,
            query,
            least_messages=round(least),
            history_days=look.thresholds.history_days,
        )
        | {
            "sender_kind": kind,
            "classes": counts(rows, "class"),
            "from_domains": counts(rows, "header_from"),
            "addresses": ips[:SHOWN],
        },
    )


def is_declared(domain: DomainFacts, sender: str) -> bool:
    """The settings name this sender."""
    rows = domain.inventory
    return bool((rows["declared"] & (rows["sender"] == sender)).any())


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


def sender_stopped(domain: DomainFacts, look: Look) -> list[Finding]:
    """Senders of the inventory that sent on most days and have gone silent.

    warning for the loud ones (`stopped_loud` messages a day), whose silence somebody would
    want to hear of; info for the others, which may just have had nothing to send. Only
    complete days count as silence, and only if the reporters that used to see the sender
    have delivered: a silent reporter is no stopped sender. A report that began before the
    silence and goes on into it does not say on which of its days the mail came.
    """
    limits = look.thresholds
    recent = [d for d in domain.complete if d < look.today][-limits.recent_days :]
    if len(recent) < limits.recent_days or recent[0] < look.today - limits.baseline_days * DAY:
        return []
    month = look.last(domain.messages, limits.baseline_days)
    month = month[month["in_inventory"] & (month["messages"] > 0)]
    sure = dict(list(dated(month, domain.reports, recent[0]).groupby("sender", observed=True)))
    found = []
    for sender, rows in month[month["day"] < look.today].groupby("sender", observed=True):
        seen = sure.get(sender, rows)["day"]
        if (
            seen.nunique() >= limits.stopped_days
            and seen.max() < recent[0]
            and _still_watched(domain, rows, recent)
            and not _under_another_name(domain, look, str(sender), rows, seen.max())
        ):
            found.append(_stopped(domain, look, str(sender), rows, seen, recent))
    return found


def _still_watched(domain: DomainFacts, rows: pd.DataFrame, quiet: list[pd.Timestamp]) -> bool:
    """Reporters that saw most of the sender's messages have told that the days were quiet."""
    ended = domain.reports.loc[domain.reports["end"] > quiet[-1], "reporter"]
    vague = rows.loc[rows["day"] >= quiet[0], "reporter"]
    seen_by = rows["reporter"].isin(set(ended) - set(vague))
    return bool(rows.loc[seen_by, "messages"].sum() >= 0.8 * rows["messages"].sum())


def _under_another_name(
    domain: DomainFacts, look: Look, sender: str, rows: pd.DataFrame, last: pd.Timestamp
) -> bool:
    """Something else names its addresses now (SPF broke, say), and sends as much more.

    A service that has always shared the addresses does not grow when this one stops.
    """
    sources = domain.sources
    shared = sources[sources["source_ip"].isin(addresses(domain, [sender]))]
    heirs = shared.loc[(shared["sender"] != sender) & (shared["last_day"] > last), "sender"]
    theirs = domain.messages[domain.messages["sender"].isin(set(heirs))]
    days = look.thresholds.baseline_days
    after = theirs.loc[theirs["day"] > last, "messages"].sum() / max((look.today - last).days, 1)
    before = theirs[(theirs["day"] <= last) & (theirs["day"] > last - days * DAY)]
    usual = rows["messages"].sum() / days
    return bool(len(heirs) and after - before["messages"].sum() / days >= _HEIR * usual)


def _stopped(
    domain: DomainFacts,
    look: Look,
    sender: str,
    rows: pd.DataFrame,
    seen: pd.Series[pd.Timestamp],
    quiet: list[pd.Timestamp],
) -> Finding:
    first, last = seen.min().date(), seen.max().date()
    before = rows[rows["day"] <= seen.max()]
    usual = median(before.groupby("day", observed=True)["messages"].sum().tolist())
    severity: Severity = "warning" if usual >= look.thresholds.stopped_loud else "info"
    ips = addresses(domain, [sender])
    days = pd.date_range(look.today - look.thresholds.baseline_days * DAY, look.today - DAY)
    query = queries.messages(domain.name, list(days), look.now, of_senders(domain, [sender]))
    return Finding(
        kind="sender_stopped",
        domain=domain.name,
        subject=sender,
        severity=severity,
        messages=total(rows),
        first_day=first,
        last_day=last,
        reporters=reporters(rows),
        summary=_(
            "{sender} has stopped: {messages} as {domain} on {days} of the last {of} days, none "
            "since {last}."
        ).format(
            sender=clean(sender),
            messages=n_messages(total(rows)),
            domain=clean(domain.name),
            days=seen.nunique(),
            of=look.thresholds.baseline_days,
            last=last,
        ),
        action=_(
            "Owner of {sender}: check that it still sends for {domain} (queue, expired contract, "
            "changed From domain). If it was switched off on purpose, DNS admin: remove its SPF "
            "include and DKIM selectors{selectors}, since whoever takes them over can send as you."
        ).format(
            sender=clean(sender),
            domain=clean(domain.name),
            selectors=_selectors(domain, sender),
        ),
        evidence=base_evidence(
            rows,
            query,
            seen_days=look.thresholds.stopped_days,
            complete_days_without=look.thresholds.recent_days,
        )
        | {
            "seen_days": int(seen.nunique()),
            "quiet_days": [f"{d:%Y-%m-%d}" for d in quiet],
            "median_a_day": usual,
            "addresses": ips[:SHOWN],
        },
    )


def _selectors(domain: DomainFacts, sender: str) -> str:
    owned = domain.inventory.loc[domain.inventory["sender"] == sender, "owns"]
    names = [f"{s}._domainkey.{d}" for pairs in owned for d, s in pairs]
    return f" ({listed(sorted(names))})" if names else ""
