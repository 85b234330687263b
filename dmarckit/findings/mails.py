"""Mails that were refused or unreadable, and queued messages that could not be taken."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dmarckit.core import _, count, later, ngettext
from dmarckit.facts import Facts
from dmarckit.findings import queries
from dmarckit.findings.context import Context
from dmarckit.findings.counts import SHOWN
from dmarckit.findings.model import Family, Finding, Kind, join_names, join_sentences, on_days, safe
from dmarckit.reports import listed_reporter


def untrusted_reports(facts: Facts, context: Context) -> list[Finding]:
    """Find mails with a report in them that the setting `trust` refused: one finding.

    info: anybody can write to the report address, and refusing is the protection. warning
    when a domain whose mails used to be stored has none stored any more: a real reporter is
    then being lost. Mails in the name of a reporter whose domains are known are forged.
    """
    mails = facts.mails
    rows = mails[(mails["outcome"] == "untrusted") & (mails["received"] >= context.start)]
    if rows.empty:
        return []
    # as in `reports.false_claim`
    claims = rows["error"].str.extract(r"claims to be (.+?), sent by ", expand=False)
    # DMARC fails, and the From domain is one that such a reporter writes from
    reporters = {name: listed_reporter(str(name)) for name in rows["from_domain"].unique()}
    failing = rows["error"].str.contains("dmarc=fail", regex=False)
    names = claims.fillna(rows["from_domain"].map(reporters).where(failing))
    others, n_forged = rows[names.isna()], int(names.notna().sum())
    of_forged = ngettext(
        "{n} is forged: it claims to be from {names}.",
        "{n} are forged: they claim to be from {names}.",
        n_forged,
    ).format(n=count(n_forged), names=join_names(sorted({str(n) for n in names.dropna()})))
    # the From domains of which mails were stored before, and none is now
    of_them = mails[mails["from_domain"].isin(others["from_domain"].unique())]
    recent = of_them["received"] >= context.start
    before = of_them.loc[~recent & (of_them["outcome"] == "stored"), "from_domain"]
    now = of_them.loc[recent & of_them["outcome"].isin(["stored", "duplicate"]), "from_domain"]
    lost = sorted({*before} - {*now} - {""})
    first, last = rows["received"].min().date(), rows["received"].max().date()
    errors, reasons = _reasons(rows["error"])
    domains = rows["from_domain"].value_counts()
    shown = {safe(str(d)) or _("none"): int(n) for d, n in domains.head(SHOWN).items()}
    n = len(rows)
    return [
        Finding(
            kind="untrusted_reports",
            domain="",
            subject="",
            severity="warning" if lost else "info",
            messages=n,
            first_day=first,
            last_day=last,
            reporters=int(domains.size),
            summary=join_sentences(
                ngettext(
                    "{n} report email was rejected as not trusted {when} (From: {domains}).",
                    "{n} report emails were rejected as not trusted {when} (From: {domains}).",
                    n,
                ).format(
                    n=count(n), when=on_days(first, last), domains=join_names(list(domains.index))
                ),
                of_forged if n_forged else "",
                _("{domains} used to be accepted, and all of it is rejected now.").format(
                    domains=join_names(lost)
                )
                if lost
                else "",
                reasons,
            ),
            action=_untrusted_action(others, lost),
            evidence={
                "errors": errors,
                "mails": n,
                "from_domains": shown,
                "forged": n_forged,
                "thresholds": {"days": context.days},
                "number": n,
                "query": queries.count_mails("untrusted", None, context.start, context.now),
            },
        )
    ]


def _reasons(texts: pd.Series[str]) -> tuple[list[str], str]:
    """Return the first three texts, and a sentence with them."""
    errors = [safe(text, 160) for text in texts.drop_duplicates().head(3)]
    text = ngettext("Reason: {errors}", "Reasons: {errors}", len(errors))
    return errors, text.format(errors="; ".join(errors))


def _untrusted_action(others: pd.DataFrame, lost: Sequence[str]) -> str:
    """Return what to do about mails that are not forged, and From domains that are lost."""
    no_result = others["error"].str.contains("no DMARC result|dmarc=(?!fail)", regex=True)
    helped = sorted({str(domain) for domain in others.loc[no_result, "from_domain"] if domain})
    if lost:
        text = _(
            "Mail admin: look at one of the emails of {names}. If they are genuine, tell {names} "
            "that its reports fail DMARC; once they pass, run: dmarckit ingest --retry untrusted"
        )
        if set(lost) <= set(helped):
            text = _(
                "Mail admin: look at one of the emails of {names}. If they are genuine, set "
                'trust = "not-fail", which also takes senders without DMARC, then run: dmarckit '
                "ingest --retry untrusted"
            )
        return text.format(names=join_names(lost))
    if not helped:
        return _("No action needed: rejected emails are not counted.")
    return _(
        "No action needed: rejected emails are not counted. If {names} is a reporter you know, "
        'check the reason; trust = "not-fail" also accepts senders without DMARC.'
    ).format(names=join_names(helped))


def unreadable_reports(facts: Facts, context: Context) -> list[Finding]:
    """Find mails that say they are reports and could not be read, by From domain.

    info for a few; warning when most mails of a sender (at least `mails_many`) are lost.
    """
    mails = facts.mails
    rows = mails[(mails["outcome"] == "unreadable") & (mails["received"] >= context.start)]
    taken = mails[mails["outcome"].isin(["stored", "duplicate"])]
    taken = taken[taken["received"] >= context.start]
    return [
        _unreadable(context, str(sender), part, int((taken["from_domain"] == sender).sum()))
        for sender, part in rows.groupby("from_domain", observed=True)
    ]


def _unreadable(context: Context, sender: str, rows: pd.DataFrame, stored: int) -> Finding:
    n = len(rows)
    lost = n >= context.thresholds.mails_many and n > stored
    first, last = rows["received"].min().date(), rows["received"].max().date()
    name = safe(sender) or _("an unknown sender (bare files)")
    errors, why = _reasons(rows["error"])
    text = ngettext(
        "{n} report email from {name} could not be read {when}; {others}.",
        "{n} report emails from {name} could not be read {when}; {others}.",
        n,
    )
    others = ngettext("{n} other was accepted", "{n} others were accepted", stored).format(
        n=count(stored)
    )
    action = _(
        "No action needed: they are left out of all counts. To retry after an upgrade, run: "
        "dmarckit ingest --retry unreadable"
    )
    if lost:
        action = _(
            "Mail admin: most report emails from {name} cannot be read. Look at one of them "
            "(dmarckit parse FILE says where it breaks) and report it to {name}, or file an issue "
            "for dmarckit; then run: dmarckit ingest --retry unreadable"
        )
    return Finding(
        kind="unreadable_reports",
        domain="",
        subject=sender,
        severity="warning" if lost else "info",
        messages=n,
        first_day=first,
        last_day=last,
        reporters=1,
        summary=join_sentences(
            text.format(n=count(n), name=name, when=on_days(first, last), others=others), why
        ),
        action=action.format(name=name),
        evidence={
            "errors": errors,
            "mails": n,
            "stored_in_window": stored,
            "thresholds": {"many": context.thresholds.mails_many},
            "number": n,
            "query": queries.count_mails("unreadable", sender, context.start, context.now),
        },
    )


_QUEUE_DAYS = 7  # for which a message is reported, whatever the window


def dead_letters(facts: Facts, context: Context) -> list[Finding]:
    """Find messages of a queue that could not be taken in the last seven days, by queue.

    warning: each may stand for a mail that the watcher did not read.
    """
    since = context.now - pd.Timedelta(days=_QUEUE_DAYS)
    action = _(
        "SRE: run dmarckit ingest, which finds by listing every mail that has not been read. Then "
        "look into the queue of dead letters behind {queue}: what is no event of S3 comes from "
        "somebody who may write to the queue and should not; for mails that cannot be read see the "
        "log of dmarckit watch. When the cause is gone, move its messages back (redrive) or delete "
        "them."
    )
    found = []
    rows = facts.dead_letters
    for name, part in rows[rows["seen"] >= since].groupby("queue", observed=True):
        queue, n = str(name), len(part)
        first, last = part["seen"].min().date(), part["seen"].max().date()
        errors, why = _reasons(part["reason"])
        text = ngettext(
            "{n} message of the queue {queue} could not be processed {when}.",
            "{n} messages of the queue {queue} could not be processed {when}.",
            n,
        ).format(n=count(n), queue=safe(queue), when=on_days(first, last))
        finding = Finding(
            kind="dead_letters",
            domain="",
            subject=queue,
            severity="warning",
            messages=0,
            first_day=first,
            last_day=last,
            reporters=0,
            summary=join_sentences(text, why),
            action=action.format(queue=safe(queue)),
            evidence={
                "errors": errors,
                "thresholds": {"days": _QUEUE_DAYS},
                "number": n,
                "query": queries.count_dead_letters(queue, since, context.now),
            },
        )
        found.append(finding)
    return found


_OF_MAILS = {
    "errors": later("Errors"),
    "mails": later("Emails"),
    "stored_in_window": later("Stored in window"),
    "from_domains": later("From domains"),
    "forged": later("Forged"),
}
FAMILY = Family(
    (
        Kind("untrusted_reports", later("Report emails rejected"), ("warning", "info"), _OF_MAILS),
        Kind(
            "unreadable_reports",
            later("Unreadable report emails from {subject}"),
            ("warning", "info"),
            _OF_MAILS,
        ),
        Kind(
            "dead_letters",
            later("Unusable messages in queue {subject}"),
            ("warning",),
            {"errors": later("Errors")},
        ),
    ),
    of_all=(untrusted_reports, unreadable_reports, dead_letters),
)
