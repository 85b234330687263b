"""Sender requirements that a large receiver says are not met (Google's enhanced codes).

Rules of mailbox providers that a domain does not keep, unless another finding says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from dmarckit.checks import CODES, SOURCES, VIEWS, Outside, matrix, wording
from dmarckit.core import _, count, later, n_messages
from dmarckit.facts import Facts, organisation
from dmarckit.findings import queries
from dmarckit.findings.context import (
    Context,
    DomainFacts,
    base_evidence,
    count_reporters,
    day_span,
    top_counts,
    total,
)
from dmarckit.findings.model import Finding, Severity, clean, join_names, join_sentences, on_days


def gmail_requirement(domain: DomainFacts, context: Context) -> list[Finding]:
    """Enhanced codes in reasons such as ``Sender requirement failed: 550-5.7.30``.

    warning when mail of own senders (the inventory, or a known service) is concerned: it
    is delayed (4xx) or refused (5xx), whatever the DMARC policy says. critical when mail of
    inventory senders is refused. info when only strangers or a handful of messages hit it.
    """
    window = context.window(domain.requirements)
    return [
        _finding(domain, context, str(c), rows) for c, rows in window.groupby("code", observed=True)
    ]


def _finding(domain: DomainFacts, context: Context, code: str, rows: pd.DataFrame) -> Finding:
    known = domain.messages[~domain.messages["sender_kind"].isin(["unknown", "hosting"])]
    service = rows["sender"].isin(set(known["sender"].unique()))
    inventory = rows["sender"].isin(domain.senders)
    ours = rows[inventory | service]
    least = context.thresholds.requirement_messages
    refused = total(rows[inventory & rows["smtp"].str.startswith("5")])
    severity: Severity = "info"
    if total(ours) >= least:
        severity = "critical" if refused >= least else "warning"
    said = requirement_meaning(code)
    senders = list(top_counts(ours if len(ours) else rows, "sender"))
    first, last = day_span(rows)
    return Finding(
        kind="gmail_requirement",
        domain=domain.name,
        subject=code,
        severity=severity,
        messages=total(rows),
        first_day=first,
        last_day=last,
        reporters=count_reporters(rows),
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
            reporters=join_names(list(top_counts(rows, "reporter"))),
            messages=n_messages(total(rows)),
            domain=clean(domain.name),
            when=on_days(first, last),
            code=clean(code),
            meaning=_(said.means),
            own=count(total(ours)),
            senders=join_names(senders),
        ),
        action=join_sentences(
            *(
                _(text).format(senders=join_names(senders), domain=clean(domain.name))
                for text in said.actions
            )
        )
        if len(ours)
        else _("Nothing is due: none of the senders is yours."),
        evidence=base_evidence(
            rows,
            queries.messages(
                domain.name,
                context.window_days,
                context.now,
                queries.any_of("reasons", _said(code)),
            ),
            messages=least,
        )
        | {
            "code": code,
            "smtp": top_counts(rows, "smtp"),
            "senders": top_counts(rows, "sender"),
            "own_senders": top_counts(ours, "sender"),
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


def requirement_meaning(code: str) -> Meaning:
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


_RULES: Mapping[str, tuple[str, ...]] = {
    "spam_rate": ("spam_rate",),
    "spf_only": ("dkim",),
    "broken_dkim": ("dkim", "alignment"),
    "spf_errors": ("spf",),
}
"""Kind of finding → the rules that it tells of. `tls_failures` is not here: it is about mail
to the domain, while the rule `tls` is about mail that the domain sends."""
_RECORDS = {
    "spf": ("spf", "spf_lookups"),
    "dkim": ("dkim", "dkim_key"),
    "dmarc": ("dmarc_record",),
    "ptr": ("ptr",),
}


def requirement_not_met(
    facts: Facts, outside: Outside, context: Context, found: Iterable[Finding]
) -> list[Finding]:
    """One finding a domain and rule of `requirements.matrix` that is not met; subject: the rule.

    Only for domains that Postmaster Tools or DNS was asked about. warning when a provider has
    the rule for all senders, or the domain is over its line for bulk senders; else info.
    What only Postmaster Tools of the organisation says is a finding of the organisation. None
    where one of `found` tells of the same rule, and none for a spam rate as long as Google
    gives rates: a day with little mail may reach any.
    """
    names = _names(facts, outside)
    if not names:
        return []
    table = matrix(facts, outside, names)
    broken = table[table["verdict"] == "not met"]
    told = set(_told(found))
    rated = outside.postmaster["metric"] == "spam_rate"
    told |= {(name, "spam_rate") for name in outside.postmaster.loc[rated, "domain"].unique()}
    own = set(outside.postmaster["domain"])
    rows: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for row in broken.to_dict("records"):
        domain, rule = str(row["domain"]), str(row["rule"])
        if not _is_told(row, domain, rule, told):
            by_google = all(row[view] != "not met" for view in ("reports", "dns"))
            about = organisation(domain) if by_google and domain not in own else domain
            rows.setdefault((about, rule), []).append(row)
    return [_not_met_finding(domain, rule, part, context) for (domain, rule), part in rows.items()]


def _names(facts: Facts, outside: Outside) -> list[str]:
    asked = set(outside.postmaster["domain"]) | set(outside.dns["domain"])
    known = asked | {str(name) for name in facts.reports["domain"].unique()}
    chosen = {name for name in known if name in asked or organisation(name) in asked}
    return sorted(chosen & set(outside.domains) if outside.domains else chosen)


def _told(found: Iterable[Finding]) -> Iterator[tuple[str, str]]:
    """Domain and rule of each finding that tells of one; of records with ``DNS`` before it."""
    for finding in found:
        for rule in _RULES.get(finding.kind, ()):
            yield finding.domain, rule
        if finding.kind == "gmail_requirement" and (
            code := CODES.get(finding.subject.partition(".")[2])
        ):
            yield finding.domain, code
        if finding.kind == "delivery_errors" and finding.subject.endswith("ptr_record"):
            yield finding.domain, "ptr"
        if finding.kind == "dns_record":
            for rule in _RECORDS.get(finding.subject.partition(" ")[0], ()):
                yield finding.domain, f"DNS {rule}"


def _is_told(row: Mapping[Any, Any], domain: str, rule: str, told: set[tuple[str, str]]) -> bool:
    for name in (domain, organisation(domain)):
        if (name, rule) in told:
            return True
    return row["dns"] == "not met" and (domain, f"DNS {rule}") in told


def _not_met_finding(
    domain: str, rule: str, rows: Sequence[dict[Any, Any]], context: Context
) -> Finding:
    """`rows` of the matrix: one a provider, or more where it is the organisation's."""
    binding = [row for row in rows if row["applies"] == "all" or row["bulk"] is True]
    severity: Severity = "warning" if binding else "info"
    words, worst = wording(rule), (binding or list(rows))[0]
    providers = list(dict.fromkeys(str(row["provider"]) for row in rows))
    missing = _("{domain} does not meet a requirement of {providers}: {rule}.")
    note = "" if binding else _("It is binding for senders of much mail only.")
    reported = [row for row in rows if row["reports"] == "not met"]
    day = pd.Timestamp(context.today).date()
    return Finding(
        kind="requirement_not_met",
        domain=domain,
        subject=rule,
        severity=severity,
        messages=0,
        first_day=None,
        last_day=day,
        reporters=len({row["provider"] for row in reported}),
        summary=join_sentences(
            missing.format(domain=clean(domain), providers=join_names(providers), rule=words.name),
            words.asks,
            _("What is seen: {why}.").format(why=clean(worst["why"], 600).rstrip(".。")),
            note,
        ),
        action=words.action,
        evidence={
            "providers": providers,
            "views": {view: worst[view] for view in VIEWS if worst[view] is not None},
            "source": [SOURCES[name] for name in providers],
        },
    )
