"""What settings may hold, each with its reason: limits, thresholds, and kinds of senders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "mailbox provider", "email service", "marketing", "crm", "ticketing", "security gateway",
    "mailing list", "forwarder", "hosting", "own", "unknown",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
"""What a sender can be. ``crm`` takes in other business applications (orders, staff,
documents), ``ticketing`` issue trackers and alerting."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one mail may cost; beyond it the mail is unreadable, with the limit named."""

    mail_bytes: int = 50_000_000
    """size of a mail or file as it was received"""
    document_bytes: int = 100_000_000
    """inflated size of its documents (XML or JSON) together"""
    ratio: int = 100
    """inflated size ÷ packed size, looked at beyond `ratio_from` bytes"""
    ratio_from: int = 10_000_000
    """inflated bytes below which the ratio does not matter"""
    members: int = 100
    """members of one archive"""
    nesting: int = 3
    """archives within archives, and mails within mails"""
    reports: int = 200
    """reports in one mail"""
    records: int = 2_000_000
    """records of all its reports"""
    tls_policies: int = 20_000
    """policies of all its TLS reports, with their failure details"""
    months: int = 24
    """different months in which its reports begin"""
    field_characters: int = 1_000
    """characters of a field in a report's head; the rest is cut off, with a warning"""
    output_bytes: int = 30_000_000
    """what one mail leaves in the lake and the exports"""
    seconds: int = 20
    """processor time for reading one mail"""
    parts: int = 1_000
    """MIME parts of one mail"""


@dataclass(frozen=True)
class Thresholds:
    """When something becomes a finding.

    Shares are [0-1], everything else counts what its name says.
    """

    history_days: int = 14
    """days of data before something can be called new, changed or silent: two weeks show
    every weekday twice"""
    recent_days: int = 3
    """complete days that a drop is judged on: one bad day is often the reporter's"""
    baseline_days: int = 28
    """days that "usual" is taken from: four whole weeks, so that weekends weigh the same"""

    lost_messages: int = 5
    """messages of a sender of ours that were quarantined or rejected in the last 7 days, on
    `lost_days` days at least, that make a finding about it a warning"""
    lost_days: int = 2
    lost_critical: int = 50
    """and that make it critical"""
    lost_share: float = 0.05
    """share of the sender's messages that makes it critical, however few they are"""

    new_messages: int = 10
    """messages of a new sender: below it is a stray mail"""
    new_share: float = 0.001
    """and this share of the domain's messages"""
    stopped_days: int = 20
    """days of the last 28 on which a sender was seen, to be missed when it stops"""
    stopped_work_days: int = 14
    """or of its last 20 work days"""
    stopped_loud: float = 10.0
    """messages a day from which a stopped sender is a warning, not only worth knowing"""
    unaligned_messages: int = 10
    unidentified_messages: int = 10
    """messages in 30 days of a sender that nobody knows, from which it is asked about"""

    dkim_points: float = 0.05
    """rise of the share that does not verify; mailing lists alone make it wander by 1 or 2"""
    dkim_messages: int = 50
    dkim_z: float = 3.0
    """two-proportion z: about one false alarm in 700"""
    dkim_part: int = 10
    """messages of one sender or reporter below which nothing is said about it"""
    spf_error_share: float = 0.01
    spf_error_messages: int = 50
    spf_only_share: float = 0.95
    spf_only_messages: int = 50

    wave_mad: float = 5.0
    """median absolute deviations above the median: usual days stay below 3.5"""
    wave_factor: float = 1.5
    """and this many times the median, since very even background has hardly any deviation"""
    wave_messages: int = 50
    """messages below which a day belongs to no wave"""
    wave_reporters: int = 2
    """one reporter alone may be testing, or wrong"""
    wave_one_reporter: int = 200
    """messages from which one reporter is enough, and that a wave without history needs"""
    wave_share: float = 0.2
    """and this share of the domain's messages, where there is no history"""
    wave_critical: int = 1000
    """messages of a wave that were delivered, from which it is critical"""
    subdomain_messages: int = 10
    subdomain_messages_of_many: int = 50
    """messages under many names, few under each"""

    abuse_messages: int = 50
    abuse_days: int = 2
    """messages that pass and are not like ours, and days with any, from which they are abuse"""
    abuse_critical: int = 500
    abuse_factor: float = 2.0
    """times its owner's own mail that others deliver of one signature, when it is replayed"""

    ready_days: int = 30
    ready_quarantine_testing: float = 0.05
    ready_quarantine: float = 0.02
    ready_reject_testing: float = 0.01
    ready_reject: float = 0.005
    """upper bounds of the legitimate share that fails, step by step (the ladder of the field)"""
    ready_reporters: int = 2
    ready_signed: float = 0.9
    """share of own mail with a signature that counts, before p=reject: the rest rests on SPF,
    and is rejected where somebody forwards it"""
    confidence_z: float = 1.96
    """Wilson's 95 % interval: with no failure at all 73, 189, 381 and 765 messages are needed"""
    unhonoured_messages: int = 10

    silent_reports: int = 10
    """reports in 30 days that make a reporter one to be missed"""
    silent_hours: float = 72.0
    silent_gaps: float = 4.0
    """times the usual gap between two reports"""
    silent_share: float = 0.2
    """share of the domain's messages from which a silent reporter is a warning"""
    broken_share: float = 0.5
    """share of a domain's reporters that are silent at once: then it is our side"""
    broken_domains: int = 3
    no_mail_hours: float = 48.0

    dns_key_days: int = 7
    """days since a signature was last seen, from which its lost key is no alarm any more: a
    server that still signs with it is seen within a week"""
    dns_differ_hours: float = 24.0
    """hours beyond the TTL after which reporters should quote what DNS shows: receivers judge a
    whole day by the record they got at its beginning"""
    dns_differ_reporters: int = 2
    """reporters that quote another policy than DNS shows; one alone may keep records too long"""

    requirement_messages: int = 10
    """messages of own senders from which a refused requirement is a warning"""
    tls_share: float = 0.01
    tls_sessions: int = 10
    mails_many: int = 5
    """unreadable mails of one sender from which somebody should look"""

    spam_warning: float = 0.001
    """spam rate that Google asks senders to stay below"""
    spam_critical: float = 0.003
    """spam rate that Google asks never to reach: it takes away its help with delivery"""
    spam_days: int = 7
    """days in a row below `spam_critical` until Google helps again, and that a rate is judged on"""
    spam_repeated: int = 2
    """days of these at or above a limit that make a finding: a day with little mail may reach
    any rate, and Google says no volume"""
    spam_messages: int = 3000
    """messages to Gmail (as reports count them) from which one day is enough: at 0.10 % three
    people"""
    delivery_days: int = 2
    delivery_reject_share: float = 0.01
    """share of mail that Gmail refuses for good; wrong addresses alone stay below"""
    delivery_delay_share: float = 0.05
    """share that it refuses for now: some of that is usual, and retried"""
    delivery_reputation_share: float = 0.001
    """share that it refuses for the reputation of domain or address: all that is left of what
    version 1 of the API said about reputation, and it should not happen at all"""
    delivery_critical: float = 0.1
