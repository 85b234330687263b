"""Sender requirements that a large receiver says are not met (Google's enhanced codes)."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from dmarckit.core.language import _, later
from dmarckit.core.words import count, n_messages
from dmarckit.findings import queries
from dmarckit.findings.look import DomainFacts, Look, base_evidence, counts, reporters, span, total
from dmarckit.findings.model import Finding, Severity
from dmarckit.findings.say import clean, listed, on_days, sentences


def gmail_requirement(domain: DomainFacts, look: Look) -> list[Finding]:
    """Enhanced codes in reasons such as ``Sender requirement failed: 550-5.7.30``.

    warning when mail of own senders (the inventory, or a known service) is concerned: it
    is delayed (4xx) or refused (5xx), whatever the DMARC policy says. critical when mail of
    inventory senders is refused. info when only strangers or a handful of messages hit it.
    """
    window = look.window(domain.requirements)
    return [
        _finding(domain, look, str(c), rows) for c, rows in window.groupby("code", observed=True)
    ]


def _finding(domain: DomainFacts, look: Look, code: str, rows: pd.DataFrame) -> Finding:
    known = domain.messages[~domain.messages["sender_kind"].isin(["unknown", "hosting"])]
    service = rows["sender"].isin(set(known["sender"].unique()))
    inventory = rows["sender"].isin(domain.senders)
    ours = rows[inventory | service]
    least = look.thresholds.requirement_messages
    refused = total(rows[inventory & rows["smtp"].str.startswith("5")])
    severity: Severity = "info"
    if total(ours) >= least:
        severity = "critical" if refused >= least else "warning"
    said = meaning(code)
    senders = list(counts(ours if len(ours) else rows, "sender"))
    first, last = span(rows)
    return Finding(
        kind="gmail_requirement",
        domain=domain.name,
        subject=code,
        severity=severity,
        messages=total(rows),
        first_day=first,
        last_day=last,
        reporters=reporters(rows),
        summary=(
            _(
                "{reporters} marked {messages} of {domain} {when} with {code}: {meaning} ({own} "
                "from senders of yours or known services: {senders})."
            )
            if len(ours)
            else _(
                "{reporters} marked {messages} of {domain} {when} with {code}: {meaning} (all from "
                "strangers: {senders})."
            )
        ).format(
            reporters=listed(list(counts(rows, "reporter"))),
            messages=n_messages(total(rows)),
            domain=clean(domain.name),
            when=on_days(first, last),
            code=clean(code),
            meaning=_(said.means),
            own=count(total(ours)),
            senders=listed(senders),
        ),
        action=sentences(
            *(
                _(text).format(senders=listed(senders), domain=clean(domain.name))
                for text in said.actions
            )
        )
        if len(ours)
        else _("Nothing is due: none of the senders is yours."),
        evidence=base_evidence(
            rows,
            queries.messages(
                domain.name, look.window_days, look.now, queries.any_of("reasons", _said(code))
            ),
            messages=least,
        )
        | {
            "code": code,
            "smtp": counts(rows, "smtp"),
            "senders": counts(rows, "sender"),
            "own_senders": counts(ours, "sender"),
            "means": said.means,
        },
    )


def _said(code: str) -> str:
    pattern = (
        rf"Sender requirement failed:\s*\d{{3}}[- ]{code.replace('.', chr(92) + '.')}([^0-9]|$)"
    )
    return f"regexp_matches(coalesce(x.comment, ''), {queries.text(pattern)}, 'i')"


class Meaning(NamedTuple):
    """What a code says, and what to do: English texts, which `_` translates."""

    means: str
    actions: tuple[str, ...]


def meaning(code: str) -> Meaning:
    """4.x.y is a delay, 5.x.y a refusal, of the same rule."""
    return _MEANINGS.get(code.partition(".")[2], _OTHER)


_SIGN = later(
    "Owner of {senders}: sign every message with DKIM as d={domain}. DNS admin: publish the key "
    "that the owner names, as TXT or CNAME record <selector>._domainkey.{domain}."
)
_SPF = later(
    "Owner of {senders}: use a return path whose domain has an SPF record. DNS admin: add the "
    "sender's include or addresses to the TXT record v=spf1 of that domain, with at most 10 "
    "lookups."
)
_RECORD = later(
    "DNS admin: publish a TXT record at _dmarc.{domain} (v=DMARC1; p=none; rua=…), exactly one."
)
_NO_RECORD = Meaning(later("the author's domain has no DMARC record"), (_RECORD,))
_MEANINGS = {
    "7.23": Meaning(
        later("the sending address has no PTR record"),
        (later("Owner of {senders}: set a PTR record."),),
    ),
    "7.24": Meaning(later("the SPF record has suspicious entries"), (_SPF,)),
    "7.25": Meaning(
        later("PTR and forward DNS of the sending address do not agree"),
        (
            later(
                "Owner of {senders}: give every sending address a PTR record whose name resolves "
                "back to the same address."
            ),
        ),
    ),
    "7.26": Meaning(later("neither SPF nor DKIM passes"), (_SIGN, _SPF)),
    "7.27": Meaning(later("SPF does not pass"), (_SPF,)),
    "7.29": Meaning(
        later("the connection was not encrypted"),
        (later("Owner of {senders}: switch on TLS (STARTTLS) for outgoing mail."),),
    ),
    "7.30": Meaning(later("DKIM does not pass"), (_SIGN,)),
    "7.31": _NO_RECORD,
    "7.32": Meaning(
        later("the From domain is aligned with neither SPF nor DKIM"),
        (
            later(
                "Owner of {senders}: sign with DKIM as d={domain}, or use a return path below "
                "{domain}. DNS admin: publish the records that the owner names."
            ),
        ),
    ),
    "7.40": _NO_RECORD,
}
_OTHER = Meaning(
    later("a requirement for senders is not met"),
    (
        later(
            "Owner of {senders}: look the code up in the receiver's list of SMTP errors, and in "
            "the sending server's log."
        ),
    ),
)
