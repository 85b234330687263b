"""Findings in a few words: their titles, and which of them ask for something to be done."""

from __future__ import annotations

from collections.abc import Sequence

from dmarckit.checks.requirement_rules import RULES, wording
from dmarckit.core.errors import one_line
from dmarckit.core.language import _, later
from dmarckit.findings import Finding
from dmarckit.findings.findings_ledger import Judged

TITLES = {
    "new_sender": later("{subject} is a new sender"),
    "sender_stopped": later("{subject} has stopped sending"),
    "unaligned_sender": later("{subject} is not set up for your domain"),
    "broken_dkim": later("DKIM breaks for {subject}"),
    "spf_errors": later("SPF of {subject} cannot be evaluated"),
    "spf_only": later("{subject} rests on SPF alone"),
    "spoofing": later("Somebody sends as {subject}"),
    "subdomain_exposed": later("Strangers send as {subject}"),
    "policy_ready": later("Ready for {subject}"),
    "policy_changed": later("The policy changed: {subject}"),
    "policy_not_honoured": later("{subject} does not follow the policy"),
    "reporter_silent": later("{subject} has stopped reporting"),
    "ingest_broken": later("Reports do not come in any more"),
    "gmail_requirement": later("A receiver's requirement is not met: {subject}"),
    "tls_failures": later("Encryption fails: {subject}"),
    "spam_rate": later("Gmail users mark your mail as spam"),
    "delivery_errors": later("Gmail refuses mail: {subject}"),
    "dns_record": later("A DNS record is not right: {subject}"),
    "dns_changed": later("DNS has changed: {subject}"),
    "requirement_not_met": later("A requirement for senders is not met: {subject}"),
    "untrusted_reports": later("Mails of {subject} are not trusted"),
    "unreadable_reports": later("Mails of {subject} cannot be read"),
    "dead_letters": later("Messages in {subject} cannot be taken"),
}

URGENT = ("critical", "warning")


def title(finding: Finding) -> str:
    """What it is about, in a few words of plain text (not escaped).

    >>> from dmarckit.findings import Finding
    >>> title(Finding("broken_dkim", "example.com", "example.com/s1", "warning", 9,
    ...               None, None, 1, "", ""))
    'DKIM breaks for example.com/s1'
    """
    subject = one_line(finding.subject, 80) or "–"
    if finding.kind == "requirement_not_met" and finding.subject in RULES:
        subject = wording(finding.subject).name
    text = TITLES.get(finding.kind)
    return _(text).format(subject=subject) if text else f"{finding.kind}: {subject}"


def is_open(item: Judged) -> bool:
    """Found now, and not muted."""
    return item.status != "RESOLVED" and not item.finding.muted


def urgent(items: Sequence[Judged]) -> list[Judged]:
    """The open ones for which a person must act, in the given order."""
    return [item for item in items if is_open(item) and item.finding.severity in URGENT]


def of_kind(items: Sequence[Judged], kind: str) -> list[Judged]:
    """Those of one kind, in the given order."""
    return [item for item in items if item.finding.kind == kind]
