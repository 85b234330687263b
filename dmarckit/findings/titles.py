"""Labels of the evidence of findings, and selections of findings for a page."""

from __future__ import annotations

from collections.abc import Sequence

from dmarckit.core import _, later
from dmarckit.findings.find import KINDS
from dmarckit.findings.ledger import LedgerEntry
from dmarckit.findings.model import URGENT

EVIDENCE_ORDER = {
    "number": later("The number"),
    "reporters": later("Reporters"),
    "messages_a_day": later("By day"),
    "addresses": later("Addresses"),
    "dispositions": later("What receivers did"),
    "lost_since": later("Lost since"),
    "explains": later("It explains"),
    "count": later("How many"),
    "subjects": later("What"),
    "each": later("One by one"),
    "thresholds": later("Thresholds"),
    "query": later("The query that gives the number"),
}
"""labels of parts that all kinds may have, and which come first; the rest follows by name"""

_THRESHOLDS = {
    "alike": later("Findings of a kind beyond which they are one:"),
    "complete_days_without": later("Complete days without any, at least:"),
    "critical": later("Lost messages that make it critical:"),
    "days": later("Days, at least or looked at:"),
    "domains": later("Domains, at least:"),
    "factor": later("Times the usual number, at least:"),
    "gaps": later("Times the usual gap between its reports:"),
    "history_days": later("Days of data before, at least:"),
    "hours": later("Hours without a report:"),
    "least_messages": later("Messages, at least:"),
    "mad": later("Median deviations above the usual number:"),
    "many": later("Emails that make it a warning:"),
    "messages": later("Messages, at least:"),
    "never": later("Messages with a signature that never verified, at least:"),
    "points": later("Rise of the share that fails, at least:"),
    "reporters": later("Reporters, at least:"),
    "reports": later("Reports, at least:"),
    "seen_days": later("Days of the last 28 on which it sent, at least:"),
    "seen_work_days": later("Or work days of the last 20:"),
    "sessions": later("Sessions, at least:"),
    "share": later("Share, at least:"),
    "spam_critical": later("Spam rate that makes it critical:"),
    "spam_warning": later("Spam rate, at least:"),
    "upper_bound": later("Share with all uncertainty, at most:"),
    "z": later("Standard errors:"),
}
_LABELS = {part: label for kind in KINDS.values() for part, label in kind.evidence.items()} | {
    f"thresholds.{name}": label for name, label in _THRESHOLDS.items()
}


def is_open(item: LedgerEntry) -> bool:
    """Return True for a finding of this run that is not muted."""
    return item.status != "RESOLVED" and not item.finding.muted


def urgent(items: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Select the open ones for which a person must act, in the given order."""
    return [item for item in items if is_open(item) and item.finding.severity in URGENT]


def of_kinds(items: Sequence[LedgerEntry], *names: str) -> list[LedgerEntry]:
    """Select those whose kind, or the topic of whose kind, is named; all without names."""
    topics = {kind.name for kind in KINDS.values() if kind.topic in names}
    return [i for i in items if not names or i.finding.kind in topics.union(names)]


def evidence_label(part: str) -> str:
    """Return the label of a part of the evidence; an unknown one is made of its key.

    >>> evidence_label("messages_a_day"), evidence_label("share_now"), evidence_label("new_thing")
    ('By day', 'Share now', 'New thing')
    """
    label = EVIDENCE_ORDER.get(part) or _LABELS.get(part)
    return _(label) if label else part.replace("_", " ").capitalize()


def part_label(part: str, key: object) -> str:
    """Return the label of a key of a part; an outside name stays as it is.

    >>> part_label("would_hit", "relayed"), part_label("reporters", "relayed")
    ('forwarded or modified', 'relayed')
    """
    label = _LABELS.get(f"{part}.{key}")
    return _(label) if label else str(key)
