"""Mails that were refused or unreadable, and queued messages that could not be taken."""

from __future__ import annotations

import pandas as pd

from dmarckit.core import _, count, later, ngettext
from dmarckit.facts import Facts
from dmarckit.findings import queries
from dmarckit.findings.context import Context
from dmarckit.findings.model import Family, Finding, Kind, join_sentences, on_days, safe


def untrusted_reports(facts: Facts, context: Context) -> list[Finding]:
    """Find mails that the setting `trust` refused, by From domain.

    info: anybody can write to the report address, and refusing is the protection. warning
    when a domain whose mails used to be stored has none stored any more: a real reporter is
    then being lost.
    """
    return _of_outcome(facts, context, "untrusted")


def unreadable_reports(facts: Facts, context: Context) -> list[Finding]:
    """Find mails that could not be read, by From domain.

    info for a few; warning when most mails of a sender (at least `mails_many`) are lost.
    """
    return _of_outcome(facts, context, "unreadable")


def _of_outcome(facts: Facts, context: Context, outcome: str) -> list[Finding]:
    mails = facts.mails
    rows = mails[(mails["outcome"] == outcome) & (mails["received"] >= context.start)]
    return [
        _finding(context, outcome, str(sender), part, mails[mails["from_domain"] == sender])
        for sender, part in rows.groupby("from_domain", observed=True)
    ]


def _finding(
    context: Context, outcome: str, sender: str, rows: pd.DataFrame, every: pd.DataFrame
) -> Finding:
    n = len(rows)
    recent = every["received"] >= context.start
    stored = int(every.loc[recent, "outcome"].isin(["stored", "duplicate"]).sum())
    if outcome == "untrusted":
        lost = bool((every.loc[~recent, "outcome"] == "stored").any()) and not stored
    else:
        lost = n >= context.thresholds.mails_many and n > stored
    first, last = rows["received"].min().date(), rows["received"].max().date()
    name = safe(sender) or _("an unknown sender (bare files)")
    errors = [safe(error, 160) for error in rows["error"].drop_duplicates().head(3)]
    return Finding(
        kind=f"{outcome}_reports",
        domain="",
        subject=sender,
        severity="warning" if lost else "info",
        messages=n,
        first_day=first,
        last_day=last,
        reporters=1,
        summary=_summary(outcome, n, stored, name, on_days(first, last), errors),
        action=_(_ACTIONS[outcome, lost]).format(name=name),
        evidence={
            "errors": errors,
            "mails": n,
            "stored_in_window": stored,
            "thresholds": {"many": context.thresholds.mails_many},
            "number": n,
            "query": queries.count_mails(outcome, sender, context.start, context.now),
        },
    )


def _summary(outcome: str, n: int, stored: int, name: str, when: str, errors: list[str]) -> str:
    if outcome == "untrusted":
        text = ngettext(
            "{n} mail from {name} was refused as not trusted {when}; {others}.",
            "{n} mails from {name} were refused as not trusted {when}; {others}.",
            n,
        )
    else:
        text = ngettext(
            "{n} mail from {name} could not be read {when}; {others}.",
            "{n} mails from {name} could not be read {when}; {others}.",
            n,
        )
    others = ngettext(
        "{n} other mail of it was stored", "{n} other mails of it were stored", stored
    )
    why = ngettext("Reason: {errors}", "Reasons: {errors}", len(errors))
    return join_sentences(
        text.format(n=count(n), name=name, when=when, others=others.format(n=count(stored))),
        why.format(errors="; ".join(errors)),
    )


_ACTIONS = {
    ("untrusted", False): later(
        "Nothing is due: refused mails change no number. If {name} is a reporter that you know, "
        'see the reasons; trust = "not-fail" also takes senders without DMARC.'
    ),
    ("untrusted", True): later(
        "Mail admin: mails of {name} used to be stored and are all refused now. Look at one of "
        'them; if they are genuine, set trust = "not-fail" (or tell {name} that its reports fail '
        "DMARC), then run: dmarckit ingest --retry untrusted"
    ),
    ("unreadable", False): later(
        "Nothing is due: the rest is counted without them. To try again after an update, run: "
        "dmarckit ingest --retry unreadable"
    ),
    ("unreadable", True): later(
        "Mail admin: most mails of {name} are lost. Look at one of them (dmarckit parse FILE says "
        "where it breaks) and tell {name}, or the makers of dmarckit; then run: dmarckit ingest "
        "--retry unreadable"
    ),
}


_QUEUE_DAYS = 7  # for which a message is reported, whatever the window


def dead_letters(facts: Facts, context: Context) -> list[Finding]:
    """Find messages of a queue that could not be taken in the last seven days, by queue.

    warning: each may stand for a mail that the watcher did not read.
    """
    frame = facts.dead_letters
    rows = frame[frame["seen"] >= context.now - pd.Timedelta(days=_QUEUE_DAYS)]
    return [
        _dead_letter_finding(context, str(queue), part)
        for queue, part in rows.groupby("queue", observed=True)
    ]


def _dead_letter_finding(context: Context, queue: str, rows: pd.DataFrame) -> Finding:
    n = len(rows)
    first, last = rows["seen"].min().date(), rows["seen"].max().date()
    reasons = [safe(reason, 160) for reason in rows["reason"].drop_duplicates().head(3)]
    text = ngettext(
        "{n} message of the queue {queue} could not be taken {when}.",
        "{n} messages of the queue {queue} could not be taken {when}.",
        n,
    )
    why = ngettext("Reason: {errors}", "Reasons: {errors}", len(reasons))
    return Finding(
        kind="dead_letters",
        domain="",
        subject=queue,
        severity="warning",
        messages=0,
        first_day=first,
        last_day=last,
        reporters=0,
        summary=join_sentences(
            text.format(n=count(n), queue=safe(queue), when=on_days(first, last)),
            why.format(errors="; ".join(reasons)),
        ),
        action=_(_ACTION).format(queue=safe(queue)),
        evidence={
            "errors": reasons,
            "thresholds": {"days": _QUEUE_DAYS},
            "number": n,
            "query": queries.count_dead_letters(
                queue, context.now - pd.Timedelta(days=_QUEUE_DAYS), context.now
            ),
        },
    )


_ACTION = later(
    "SRE: run dmarckit ingest, which finds by listing every mail that has not been read. Then look "
    "into the queue of dead letters behind {queue}: what is no event of S3 comes from somebody who "
    "may write to the queue and should not; for mails that cannot be read see the log of dmarckit "
    "watch. When the cause is gone, move its messages back (redrive) or delete them."
)


_OF_MAILS = {
    "errors": later("Errors"),
    "mails": later("Mails"),
    "stored_in_window": later("Stored in window"),
}
FAMILY = Family(
    (
        Kind(
            "untrusted_reports",
            later("Mails of {subject} are not trusted"),
            ("warning", "info"),
            _OF_MAILS,
        ),
        Kind(
            "unreadable_reports",
            later("Mails of {subject} cannot be read"),
            ("warning", "info"),
            _OF_MAILS,
        ),
        Kind(
            "dead_letters",
            later("Messages in {subject} cannot be taken"),
            ("warning",),
            {"errors": later("Errors")},
        ),
    ),
    of_all=(untrusted_reports, unreadable_reports, dead_letters),
)
