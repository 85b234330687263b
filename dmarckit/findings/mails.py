"""Mails to the report address that were refused, or that could not be read.

Messages of the queue of arrivals that could not be taken.
"""

from __future__ import annotations

import pandas as pd

from dmarckit.core import _, count, later, ngettext
from dmarckit.facts import Facts
from dmarckit.findings import queries
from dmarckit.findings.context import Context
from dmarckit.findings.model import Finding, Severity, clean, join_sentences, on_days


def untrusted_reports(facts: Facts, context: Context) -> list[Finding]:
    """Mails that the setting `trust` refused, by From domain.

    info: anybody can write to the report address, and refusing is the protection. warning
    when a domain whose mails used to be stored has none stored any more: a real reporter is
    then being lost.
    """
    return _of_outcome(facts, context, "untrusted")


def unreadable_reports(facts: Facts, context: Context) -> list[Finding]:
    """Mails that could not be read, by From domain.

    info for a few; warning when most mails of a sender (at least `mails_many`) are lost.
    """
    return _of_outcome(facts, context, "unreadable")


def _of_outcome(facts: Facts, context: Context, outcome: str) -> list[Finding]:
    mails = facts.mails[facts.mails["received"] >= context.start]
    found = []
    for sender, rows in mails[mails["outcome"] == outcome].groupby("from_domain", observed=True):
        all_of_sender = facts.mails[facts.mails["from_domain"] == sender]
        found.append(_finding(context, outcome, str(sender), rows, all_of_sender))
    return found


def _finding(
    context: Context, outcome: str, sender: str, rows: pd.DataFrame, every: pd.DataFrame
) -> Finding:
    n = len(rows)
    window = every[every["received"] >= context.start]
    kept = window["outcome"].isin(["stored", "duplicate"])
    severity: Severity = "info"
    if outcome == "untrusted":
        used_to_work = (every[every["received"] < context.start]["outcome"] == "stored").any()
        lost = bool(used_to_work and not kept.any())
    else:
        lost = n >= context.thresholds.mails_many and n > int(kept.sum())
    if lost:
        severity = "warning"
    first, last = rows["received"].min().date(), rows["received"].max().date()
    name = clean(sender) or _("an unknown sender (bare files)")
    errors = [clean(error, 160) for error in rows["error"].drop_duplicates().head(3)]
    return Finding(
        kind=f"{outcome}_reports",
        domain="",
        subject=sender,
        severity=severity,
        messages=n,
        first_day=first,
        last_day=last,
        reporters=1,
        summary=_summary(outcome, n, int(kept.sum()), name, on_days(first, last), errors),
        action=_(_ACTIONS[outcome, lost]).format(name=name),
        evidence={
            "errors": errors,
            "mails": n,
            "stored_in_window": int(kept.sum()),
            "thresholds": {"many": context.thresholds.mails_many},
            "number": n,
            "query": queries.mails(outcome, sender, context.start, context.now),
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


DAYS = 7  # for which a message is told, whatever the window


def dead_letters(facts: Facts, context: Context) -> list[Finding]:
    """Messages of a queue that could not be taken in the last seven days, by queue.

    warning: each may stand for a mail that the watcher did not read.
    """
    frame = facts.dead_letters
    rows = frame[frame["seen"] >= context.now - pd.Timedelta(days=DAYS)]
    return [
        _dead_letter_finding(context, str(queue), part)
        for queue, part in rows.groupby("queue", observed=True)
    ]


def _dead_letter_finding(context: Context, queue: str, rows: pd.DataFrame) -> Finding:
    n = len(rows)
    first, last = rows["seen"].min().date(), rows["seen"].max().date()
    reasons = [clean(reason, 160) for reason in rows["reason"].drop_duplicates().head(3)]
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
            text.format(n=count(n), queue=clean(queue), when=on_days(first, last)),
            why.format(errors="; ".join(reasons)),
        ),
        action=_(_ACTION).format(queue=clean(queue)),
        evidence={
            "errors": reasons,
            "thresholds": {"days": DAYS},
            "number": n,
            "query": queries.dead_letters(
                queue, context.now - pd.Timedelta(days=DAYS), context.now
            ),
        },
    )


_ACTION = later(
    "SRE: run dmarckit ingest, which finds by listing every mail that has not been read. Then look "
    "into the queue of dead letters behind {queue}: what is no event of S3 comes from somebody who "
    "may write to the queue and should not; for mails that cannot be read see the log of dmarckit "
    "watch. When the cause is gone, move its messages back (redrive) or delete them."
)
