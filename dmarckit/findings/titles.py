"""Findings in a few words: their titles, and which of them ask for something to be done.

Names of the parts of a finding's evidence, as cards show them.
"""

from __future__ import annotations

from collections.abc import Sequence

from dmarckit.checks import RULES, wording
from dmarckit.core import _, later, one_line
from dmarckit.findings.ledger import LedgerEntry
from dmarckit.findings.model import Finding

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


def is_open(item: LedgerEntry) -> bool:
    """Found now, and not muted."""
    return item.status != "RESOLVED" and not item.finding.muted


def urgent(items: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """The open ones for which a person must act, in the given order."""
    return [item for item in items if is_open(item) and item.finding.severity in URGENT]


def of_kind(items: Sequence[LedgerEntry], kind: str) -> list[LedgerEntry]:
    """Those of one kind, in the given order."""
    return [item for item in items if item.finding.kind == kind]


EVIDENCE_ORDER = {
    "number": later("The number"),
    "reporters": later("Reporters"),
    "messages_a_day": later("By day"),
    "addresses": later("Addresses"),
    "dispositions": later("What receivers did"),
    "thresholds": later("Thresholds"),
    "query": later("The query that gives the number"),
}
"""what is shown first, in this order; the rest follows by name"""

_REST = {
    "after": later("After"),
    "before": later("Before"),
    "blocked": later("Blocked"),
    "blocked_share": later("Blocked share"),
    "cause": later("Cause"),
    "checked": later("Checked"),
    "classes": later("Classes"),
    "code": later("Code"),
    "complete_days": later("Complete days"),
    "days": later("Days"),
    "delivered": later("Delivered"),
    "domains": later("Domains"),
    "errors": later("Errors"),
    "failing": later("Failing"),
    "failing_senders": later("Failing senders"),
    "faults": later("Faults"),
    "found": later("Found"),
    "from_domains": later("From domains"),
    "gaps": later("Gaps"),
    "hours": later("Hours"),
    "last_end": later("Last end"),
    "last_sign": later("Last sign"),
    "mails": later("Mails"),
    "means": later("Means"),
    "median_a_day": later("Median a day"),
    "message_share": later("Message share"),
    "messages_before": later("Messages before"),
    "messages_now": later("Messages now"),
    "mitigation_from": later("Mitigation from"),
    "networks": later("Networks"),
    "new": later("New"),
    "observed": later("Observed"),
    "of": later("Of"),
    "old": later("Old"),
    "own_senders": later("Own senders"),
    "policy": later("Policy"),
    "policy_types": later("Policy types"),
    "proves_dkim": later("Proves dkim"),
    "proves_spf": later("Proves spf"),
    "providers": later("Providers"),
    "quiet_days": later("Quiet days"),
    "rate_a_day": later("Rate a day"),
    "relayed_by": later("Relayed by"),
    "reports": later("Reports"),
    "results": later("Results"),
    "seen_days": later("Seen days"),
    "selector": later("Selector"),
    "sender_kind": later("Sender kind"),
    "senders": later("Senders"),
    "senders_failing": later("Senders failing"),
    "sessions": later("Sessions"),
    "share": later("Share"),
    "share_before": later("Share before"),
    "share_now": later("Share now"),
    "signing_domain": later("Signing domain"),
    "smtp": later("Smtp"),
    "source": later("Source"),
    "stored_in_window": later("Stored in window"),
    "untrusted": later("Untrusted"),
    "upper_bound": later("Upper bound"),
    "usual_a_day": later("Usual a day"),
    "views": later("Views"),
    "would_hit": later("Would hit"),
    "z": later("Z"),
}

_HIT = {
    "strangers": later("strangers"),
    "relayed": later("relayed"),
    "legitimate": later("legitimate"),
}
"""whom a policy would hit"""


def evidence_label(name: str) -> str:
    """The name of a part; one that is not known here is made of its key.

    >>> evidence_word("messages_a_day"), evidence_word("share_now"), evidence_word("new_thing")
    ('By day', 'Share now', 'New thing')
    """
    known = EVIDENCE_ORDER.get(name) or _REST.get(name)
    return _(known) if known else name.replace("_", " ").capitalize()


def part_label(name: str, part: object) -> str:
    """The name of one of the numbers of a part; what is not the page's own word stays.

    >>> part_word("would_hit", "relayed"), part_word("reporters", "relayed")
    ('relayed', 'relayed')
    """
    return _(_HIT[str(part)]) if name == "would_hit" and str(part) in _HIT else str(part)
