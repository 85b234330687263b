"""Rules of mailbox providers that a domain does not keep, unless another finding says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from dmarckit.checks.outside import Outside
from dmarckit.checks.requirement_rules import SOURCES, wording
from dmarckit.checks.requirement_views import CODES
from dmarckit.checks.requirement_words import VIEWS
from dmarckit.checks.requirements import matrix
from dmarckit.core.language import _
from dmarckit.facts.facts import Facts
from dmarckit.facts.organisation import organisation
from dmarckit.findings.look import Look
from dmarckit.findings.model import Finding, Severity
from dmarckit.findings.say import clean, listed, sentences

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
    facts: Facts, outside: Outside, look: Look, found: Iterable[Finding]
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
    return [_finding(domain, rule, part, look) for (domain, rule), part in rows.items()]


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


def _finding(domain: str, rule: str, rows: Sequence[dict[Any, Any]], look: Look) -> Finding:
    """`rows` of the matrix: one a provider, or more where it is the organisation's."""
    binding = [row for row in rows if row["applies"] == "all" or row["bulk"] is True]
    severity: Severity = "warning" if binding else "info"
    words, worst = wording(rule), (binding or list(rows))[0]
    providers = list(dict.fromkeys(str(row["provider"]) for row in rows))
    missing = _("{domain} does not meet a requirement of {providers}: {rule}.")
    note = "" if binding else _("It is binding for senders of much mail only.")
    reported = [row for row in rows if row["reports"] == "not met"]
    day = pd.Timestamp(look.today).date()
    return Finding(
        kind="requirement_not_met",
        domain=domain,
        subject=rule,
        severity=severity,
        messages=0,
        first_day=None,
        last_day=day,
        reporters=len({row["provider"] for row in reported}),
        summary=sentences(
            missing.format(domain=clean(domain), providers=listed(providers), rule=words.name),
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
