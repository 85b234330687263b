"""Names of the parts of a finding's evidence, as cards show them."""

from __future__ import annotations

from dmarckit.core.language import _, later

FIRST = {
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


def evidence_word(name: str) -> str:
    """The name of a part; one that is not known here is made of its key.

    >>> evidence_word("messages_a_day"), evidence_word("share_now"), evidence_word("new_thing")
    ('By day', 'Share now', 'New thing')
    """
    known = FIRST.get(name) or _REST.get(name)
    return _(known) if known else name.replace("_", " ").capitalize()


def part_word(name: str, part: object) -> str:
    """The name of one of the numbers of a part; what is not the page's own word stays.

    >>> part_word("would_hit", "relayed"), part_word("reporters", "relayed")
    ('relayed', 'relayed')
    """
    return _(_HIT[str(part)]) if name == "would_hit" and str(part) in _HIT else str(part)
