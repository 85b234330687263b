"""Messages of the queue of arrivals that could not be taken."""

from __future__ import annotations

import pandas as pd

from dmarckit.core.language import _, later, ngettext
from dmarckit.core.words import count
from dmarckit.facts.facts import Facts
from dmarckit.findings import queries
from dmarckit.findings.look import Look
from dmarckit.findings.model import Finding
from dmarckit.findings.say import clean, on_days, sentences

DAYS = 7  # for which a message is told, whatever the window


def dead_letters(facts: Facts, look: Look) -> list[Finding]:
    """Messages of a queue that could not be taken in the last seven days, by queue.

    warning: each may stand for a mail that the watcher did not read.
    """
    frame = facts.dead_letters
    rows = frame[frame["seen"] >= look.now - pd.Timedelta(days=DAYS)]
    return [
        _finding(look, str(queue), part) for queue, part in rows.groupby("queue", observed=True)
    ]


def _finding(look: Look, queue: str, rows: pd.DataFrame) -> Finding:
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
        summary=sentences(
            text.format(n=count(n), queue=clean(queue), when=on_days(first, last)),
            why.format(errors="; ".join(reasons)),
        ),
        action=_(_ACTION).format(queue=clean(queue)),
        evidence={
            "errors": reasons,
            "thresholds": {"days": DAYS},
            "number": n,
            "query": queries.dead_letters(queue, look.now - pd.Timedelta(days=DAYS), look.now),
        },
    )


_ACTION = later(
    "SRE: run dmarckit ingest, which finds by listing every mail that has not been read. Then look "
    "into the queue of dead letters behind {queue}: what is no event of S3 comes from somebody who "
    "may write to the queue and should not; for mails that cannot be read see the log of dmarckit "
    "watch. When the cause is gone, move its messages back (redrive) or delete them."
)
