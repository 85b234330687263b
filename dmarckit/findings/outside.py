"""What Postmaster Tools and DNS show, as findings; without their rows there are none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from dmarckit.checks.outside import Outside
from dmarckit.facts.facts import Facts
from dmarckit.findings.dns import dns_changed, dns_record, sending
from dmarckit.findings.dns_policy import policy_differs
from dmarckit.findings.look import Look
from dmarckit.findings.model import Finding
from dmarckit.findings.not_met import requirement_not_met
from dmarckit.findings.postmaster import delivery_errors, gmail_volume, spam_rate


def of_outside(
    facts: Facts, outside: Outside, look: Look, found: Sequence[Finding]
) -> list[Finding]:
    """Findings of the domains that were asked about; `found` are those of the reports.

    What of a requirement is told already, here or in `found`, is not told again.
    """
    if outside.empty:
        return []
    metrics = _asked(outside.postmaster, outside.domains)
    mine = [
        *spam_rate(metrics, look, gmail_volume(facts.messages)),
        *delivery_errors(metrics, look),
        *dns_record(outside.dns, sending(facts.messages, look), look),
        *dns_changed(outside.changes),
        *policy_differs(facts.policies, outside.dns, look),
    ]
    return [*mine, *requirement_not_met(facts, outside, look, [*found, *mine])]


def _asked(metrics: pd.DataFrame, domains: Collection[str]) -> pd.DataFrame:
    """Without the organisations that nobody asked about."""
    return metrics[metrics["domain"].isin(list(domains))] if domains else metrics
