"""What a report says, as plain frozen values; what it does not say is ``None``.

The names are those of the reports themselves (RFC 7489 appendix C and RFC 9990, RFC 8460, RFC
6591 and RFC 9991), except for plainer words: `messages` for ``count``, `reporter` for ``org_name``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import overload


@dataclass(frozen=True, slots=True)
class DkimResult:
    """One DKIM signature as the receiver evaluated it (``auth_results/dkim``)."""

    domain: str | None
    selector: str | None
    result: str | None
    human_result: str | None = None


@dataclass(frozen=True, slots=True)
class SpfResult:
    """The SPF evaluation of one identity (``auth_results/spf``)."""

    domain: str | None
    scope: str | None
    result: str | None
    human_result: str | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the receiver did not do what the policy asks (``policy_evaluated/reason``)."""

    type: str | None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Messages that one address sent with one set of identities and results."""

    source_ip: str | None
    messages: int
    disposition: str | None
    dkim_aligned: bool | None  # policy_evaluated: pass or not; None when it does not say
    spf_aligned: bool | None  # likewise
    reasons: tuple[Reason, ...]
    header_from: str | None
    envelope_from: str | None
    envelope_to: str | None
    dkim: tuple[DkimResult, ...]
    spf: tuple[SpfResult, ...]

    @property
    def passes(self) -> bool:
        """Return True if DKIM or SPF is aligned and passes (RFC 7489 section 6.6.2)."""
        return bool(self.dkim_aligned or self.spf_aligned)


Row = tuple[str | None, int, Record, Record, Record]
"""address, messages, and records whose ``policy_evaluated``, ``identifiers`` and ``auth_results``
it has"""


class Records(Sequence[Record]):
    """The records of a report, each made when it is asked for.

    What they are made of repeats from record to record, and the rows share it.
    """

    __slots__ = ("rows",)

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """Return the records as such."""
        if isinstance(records, Records):
            return records
        return cls([(each.source_ip, each.messages, each, each, each) for each in records])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Records: ...
    def __getitem__(self, place: int | slice) -> Record | Records:
        if isinstance(place, slice):
            return Records(self.rows[place])
        ip, messages, evaluated, identifiers, results = self.rows[place]
        return Record(
            ip, messages,
            evaluated.disposition, evaluated.dkim_aligned, evaluated.spf_aligned, evaluated.reasons,
            identifiers.header_from, identifiers.envelope_from, identifiers.envelope_to,
            results.dkim, results.spf,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(list(self))


@dataclass(frozen=True, slots=True)
class Policy:
    """The published policy as the reporter quotes it (``policy_published``)."""

    domain: str | None
    p: str | None = None
    sp: str | None = None
    np: str | None = None
    pct: int | None = None
    testing: str | None = None  # ``y`` or ``n``: the ``t`` tag of RFC 9989
    adkim: str | None = None
    aspf: str | None = None
    fo: str | None = None
    discovery_method: str | None = None


@dataclass(frozen=True, slots=True)
class AggregateReport:
    """One aggregate (rua) report: RFC 7489 appendix C, RFC 9990."""

    reporter: str | None  # ``org_name``, exactly as sent
    contact: str | None  # ``email``
    extra_contact: str | None
    report_id: str | None  # exactly as sent
    begin: datetime  # start of the period, UTC
    end: datetime  # end of the period, UTC
    policy: Policy
    generator: str | None
    version: str | None
    records: Sequence[Record]
    """in the report's order; empty when they were handed to a sink instead"""
    record_count: int
    message_count: int
    warnings: tuple[str, ...] = ()  # what had to be repaired: element, value found, value taken
    errors: tuple[str, ...] = ()  # ``report_metadata/error``: what the reporter says went wrong
    namespace: str | None = field(default=None, compare=False)
    """XML namespace of the root: ``urn:ietf:params:xml:ns:dmarc-2.0`` for RFC 9990, or none"""
    size: int = field(default=0, compare=False)  # bytes of the XML that it was read from


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """One entry of ``failure-details`` (RFC 8460 section 4.3)."""

    result_type: str | None
    sessions: int
    sending_mta_ip: str | None = None
    receiving_mx_hostname: str | None = None
    receiving_mx_helo: str | None = None
    receiving_ip: str | None = None
    additional_information: str | None = None
    failure_reason_code: str | None = None


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """One policy that was applied, and how sessions fared (RFC 8460 section 4.2)."""

    policy_type: str | None
    policy_domain: str | None
    policy_string: tuple[str, ...]
    mx_host: tuple[str, ...]
    successful: int
    failed: int
    details: tuple[TlsFailure, ...]


@dataclass(frozen=True, slots=True)
class TlsReport:
    """One SMTP TLS report (RFC 8460)."""

    reporter: str | None
    contact: str | None
    report_id: str | None
    begin: datetime
    end: datetime
    policies: tuple[TlsPolicy, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureReport:
    """One failure (ruf) report (RFC 6591, RFC 9991). It carries personal data."""

    reporter: str | None  # ``User-Agent`` of the report, else the domain that sent it
    feedback_type: str
    source_ip: str | None
    domain: str | None  # ``Reported-Domain``
    arrival: datetime | None
    auth_failure: str | None
    delivery_result: str | None
    identity_alignment: str | None
    dkim_domain: str | None
    dkim_selector: str | None
    original_mail_from: str | None
    original_rcpt_to: str | None
    authentication_results: str | None
    header_from: str | None
    subject: str | None
    message_id: str | None
    body: str | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """What a mail says a report in it is about, and from whom: subject, file name, header."""

    domain: str | None = None
    submitter: str | None = None


NOTHING_NAMED = Named()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A document that should hold a report, but could not be read, and why."""

    name: str
    reason: str  # one line, safe to print
    is_report: bool = True  # False: nothing in it looks like a report at all
    whole: bool = False  # True: the mail as a whole; reports read before do not count


Report = AggregateReport | TlsReport | FailureReport


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the receiving server (SES) found when the mail came in."""

    dmarc: str | None = None
    """``pass``, ``fail``, ``none``, …; None when no trustworthy header says"""
    dmarc_domain: str | None = None  # the ``header.from`` of that result
    spf: str | None = None
    dkim: str | None = None
    spam: str | None = None  # ``X-SES-Spam-Verdict``: PASS, FAIL, GRAY, PROCESSING_FAILED, DISABLED
    virus: str | None = None
    odd: bool = False  # the results are unfinished, or not as RFC 8601 has them


@dataclass(frozen=True, slots=True)
class Attachment:
    """One part of a mail that may hold a report."""

    name: str | None
    content_type: str  # lower case, without parameters
    payload: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """A received mail: who says it sent it, what the receiver found, what it carries."""

    from_domain: str | None
    verdict: Verdict
    attachments: tuple[Attachment, ...]
    subject: str | None = None
    message_id: str | None = None
    tls_domain: str | None = None
    """``TLS-Report-Domain``: what a TLS report in it is about (RFC 8460 section 5.3)"""
    bare: bool = False  # it is no mail, but a file that holds nothing but a report's attachment
