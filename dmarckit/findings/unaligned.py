"""Services whose mail proves their own domain, but not the author's."""

from __future__ import annotations

import pandas as pd

from dmarckit.core.language import _, ngettext
from dmarckit.core.words import count, n_messages
from dmarckit.findings import queries
from dmarckit.findings.look import (
    BLOCKED,
    SHOWN,
    DomainFacts,
    Look,
    addresses,
    base_evidence,
    by_reporters,
    counts,
    of_senders,
    own_signers,
    reporters,
    span,
    total,
)
from dmarckit.findings.model import Finding, Severity
from dmarckit.findings.say import clean, listed, on_days


def unaligned_sender(domain: DomainFacts, look: Look) -> list[Finding]:
    """Known services whose mail proves their own domain, but not the author's.

    warning: either it is the company's mail, and somebody must set up its authentication
    before (or because) the policy blocks it; or it is not, and somebody must say so.
    critical when a sender of the inventory is being blocked. info for mailing lists and
    forwarders: they relay, and nobody can set up anything there.
    """
    window = look.window(domain.messages)
    mine = window[window["class"] == "unaligned_sender"]
    found = []
    for sender, rows in mine.groupby("sender", observed=True):
        if total(rows) >= look.thresholds.unaligned_messages:
            found.append(_unaligned(domain, look, str(sender), rows))
    return found


def _unaligned(domain: DomainFacts, look: Look, sender: str, rows: pd.DataFrame) -> Finding:
    blocked = total(rows[rows["disposition"].isin(BLOCKED)])
    ours = bool(rows["in_inventory"].any())
    least = look.thresholds.unaligned_messages
    relays = str(rows["sender_kind"].iloc[0]) in ("mailing list", "forwarder") and not ours
    severity: Severity = "critical" if ours and blocked >= least else "warning"
    if relays:
        severity = "info"
    spf = look.window(domain.spf)
    spf = spf[(spf["sender"] == sender) & (spf["result"] == "pass")]
    dkim = look.window(domain.signatures)
    dkim = dkim[(dkim["sender"] == sender) & dkim["passed"] & ~dkim["aligned"]]
    proves = [*counts(spf, "spf_domain"), *counts(dkim, "dkim_domain")]
    proves = list(dict.fromkeys(proves))
    ips = addresses(domain, [sender])
    query = queries.messages(
        domain.name,
        look.window_days,
        look.now,
        of_senders(domain, [sender]),
        queries.unaligned(own_signers(domain)),
    )
    name, author = clean(sender), clean(domain.name)
    return Finding(
        kind="unaligned_sender",
        domain=domain.name,
        subject=sender,
        severity=severity,
        messages=total(rows),
        first_day=span(rows)[0],
        last_day=span(rows)[1],
        reporters=reporters(rows),
        summary=_summary(blocked).format(
            messages=n_messages(total(rows)),
            sender=name,
            author=author,
            when=on_days(*span(rows)),
            proves=listed(proves) or _("another domain"),
            blocked=count(blocked),
            reporters=by_reporters(rows),
        ),
        action=_action(relays, ours).format(sender=name, author=author),
        evidence=base_evidence(rows, query, messages=look.thresholds.unaligned_messages)
        | {
            "proves_spf": counts(spf, "spf_domain"),
            "proves_dkim": counts(dkim, "dkim_domain"),
            "from_domains": counts(rows, "header_from"),
            "dispositions": counts(rows, "disposition"),
            "blocked_share": blocked / total(rows),
            "addresses": ips[:SHOWN],
        },
    )


def _summary(blocked: int) -> str:
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


def _action(relays: bool, ours: bool) -> str:
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
