"""Objects and mails → reports: the one way in for those who only want to read reports."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dmarckit.core import (
    LimitExceeded,
    Limits,
    MailLimitExceeded,
    NotAReport,
    UnreadableReport,
    one_line,
)
from dmarckit.reports.aggregate import RecordSink, looks_like_aggregate, read_aggregate
from dmarckit.reports.failure import FEEDBACK, find_failure
from dmarckit.reports.mail import is_mail, read_mail
from dmarckit.reports.model import (
    AggregateReport,
    Attachment,
    FailureReport,
    Mail,
    Named,
    Report,
    TlsReport,
    Unreadable,
    Verdict,
)
from dmarckit.reports.tls import JSON_BYTES, looks_like_tls, read_tls
from dmarckit.reports.unpack import Budget, Document, documents
from dmarckit.reports.values import domain

DEFAULT = Limits()
WRAPPED = "wrapped in"
MAX_FAILURES = 20  # unreadable documents of one mail, after which it is not worth any more time
_MESSAGES = ("message/rfc822", "message/global", "text/rfc822-headers", FEEDBACK)
_SUBJECT = re.compile(
    r"(?!\s*(?:re|aw|sv|antw|auto\w*|out of office)\b).{0,200}?\breport[\s_]+domain\s*:",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(
    r"[^!\s]+![^!\s]+![0-9]+![0-9]+|dmarc|\btls-?rpt|report[\s_]domain"
    r"|\.xml\.(?:gz|gzip|zip)$|\.json\.gz$",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"report[\s_]+domain\s*:\s*([^\s;,<>]{1,253})(?:\s+submitter\s*:\s*([^\s;,<>]{1,253}))?",
    re.IGNORECASE,
)
_FILE = re.compile(r"(?:^|/)([^!\s/]{1,253})!([^!\s/]{1,253})![0-9]+![0-9]+")
_TYPES = ("application/tlsrpt+gzip", "application/tlsrpt+json")
_CONTAINERS = (
    ("winmail.dat (TNEF), which only Outlook opens", (b"\x78\x9f\x3e\x22",),
     ("application/ms-tnef", "application/vnd.ms-tnef"), ("winmail.dat",)),
    ("an Outlook .msg file, which only Outlook opens", (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
     ("application/vnd.ms-outlook",), (".msg",)),
    ("S/MIME, encrypted or signed as a whole", (),
     ("application/pkcs7-mime", "application/x-pkcs7-mime"), (".p7m",)),
    ("PGP, encrypted", (b"-----BEGIN PGP MESSAGE-----",),
     ("application/pgp-encrypted",), (".pgp", ".gpg")),
)  # fmt: skip
"""what a report may be wrapped in and cannot be read of: first bytes, types, ends of names"""
_JSON = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*[\[{]")
NEITHER = "neither an aggregate report (XML) nor a TLS report (JSON)"
PROSE_BYTES = 4_000  # longest text that is known by one look at it
_PROSE = re.compile(  # what people write beside a report: no markup, archive, mail, or base64
    rb"(?!BZh|x\^)[A-Za-z][A-Za-z0-9+/=\s]*+[!\"#$%'()*,.;?@_-][\t\r\n -%'-9;=?-~]*+"
)


def read_object(
    raw: bytes, name: str, limits: Limits = DEFAULT, authserv_id: str = "amazonses.com"
) -> Mail:
    """Return the mail in `raw`; a bare report file as a mail with that one attachment.

    Raises what `read_mail` raises.
    """
    try:
        return read_mail(raw, limits, authserv_id)
    except NotAReport:  # no mail
        attachment = Attachment(name, "application/octet-stream", raw)
        return Mail(None, Verdict(), (attachment,), bare=True)


def says_report(mail: Mail) -> bool:
    """Return True if subject, names, types or ``TLS-Report-Domain`` say that it is a report.

    RFC 7489 section 7.2.1.1, RFC 8460 section 5.3. An answer to such a mail does not.
    """
    if mail.tls_domain is not None or _SUBJECT.match(mail.subject or ""):
        return True
    names = ((each.name or "")[:1000] for each in mail.attachments)
    return any(each.content_type in _TYPES for each in mail.attachments) or any(
        map(_NAME.search, names)
    )


def named_by(mail: Mail) -> Named:
    """Return what subject, names and ``TLS-Report-Domain`` say a report in the mail is about."""
    about = _ABOUT.search((mail.subject or "")[:1000])
    files = (_FILE.search((each.name or "")[:1000]) for each in mail.attachments)
    file = next(filter(None, files), None)
    domains = mail.tls_domain, about and about[1], file and file[2]
    submitters = about and about[2], file and file[1]
    return Named(
        next((domain(each) for each in domains if each and "." in each), None),
        next((each for each in submitters if each), None),
    )


def holds_report(mail: Mail, limits: Limits = DEFAULT, sink: RecordSink | None = None) -> bool:
    """Return True if the mail says that it is a report, or one is in it, readable or not."""
    found = read_reports(mail, limits, sink)
    return says_report(mail) or any(getattr(each, "is_report", True) for each in found)


def read_reports(
    mail: Mail, limits: Limits = DEFAULT, sink: RecordSink | None = None
) -> Iterator[Report | Unreadable]:
    """Yield the reports in `mail`, in order; never raises for what a mail holds.

    A document that should be a report but cannot be read is one `Unreadable`. Pictures,
    texts and signatures beside a report yield nothing; when nothing in the mail looks like
    a report at all, one `Unreadable` says so. Its ``is_report`` is True where the mail says that
    it is a report, and what it carries cannot be opened; the reason names what that is.

    With a `sink`, a report of more than 10,000 records hands them to it in batches and carries
    none; ``sink.start()`` is called whenever a report begins or is read again from its beginning,
    and records added since are void when the report turns out `Unreadable`.

    What the mail as a whole takes too much of (reports, records, policies, months, time) is the
    last `Unreadable`, with ``whole``: the reports before it do not count.
    """
    nothing, wrapped = "", ""
    seen, failures = False, 0
    declared = says_report(mail)
    budget, output = Budget(limits), _Output(limits)
    reader = _DocumentReader(limits, sink, declared or mail.bare, budget, Named())
    try:
        for outcome in reader.mail(mail):
            budget.check_time()
            if isinstance(outcome, Unreadable) and not outcome.is_report:
                nothing = outcome.reason
                wrapped = wrapped or nothing * nothing.startswith(WRAPPED)
                continue
            seen = True
            if isinstance(outcome, Unreadable):
                failures += 1
            else:
                output.add(outcome)
            if failures > MAX_FAILURES:
                reason = f"more than {MAX_FAILURES} unreadable, rest not tried"
                yield Unreadable(_name_of(mail), reason)
                return
            yield outcome
    except MailLimitExceeded as error:
        yield Unreadable(_name_of(mail), str(error), whole=True)
        return
    if not seen:
        reason = wrapped or nothing or "no report in it"
        yield Unreadable(_name_of(mail), reason, is_report=declared and bool(nothing))


class _Output:
    """Counts what is in one mail."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._counts: Counter[str] = Counter()
        self._months: set[tuple[int, int]] = set()

    def add(self, report: Report) -> None:
        """Add a report. Raises MailLimitExceeded."""
        self._counts["reports"] += 1
        if isinstance(report, AggregateReport):
            self._counts["records"] += report.record_count
        elif isinstance(report, TlsReport):
            self._counts["tls_policies"] += sum(1 + len(each.details) for each in report.policies)
        begin = report.arrival if isinstance(report, FailureReport) else report.begin
        if begin is not None:
            self._months.add((begin.year, begin.month))
        self._counts["months"] = len(self._months)
        for name, found in self._counts.items():
            limit: int = getattr(self._limits, name)
            if found > limit:
                what = name.replace("tls_", "TLS ")
                raise MailLimitExceeded(f"more than {limit:,} {what} (limit '{name}')")


@dataclass(slots=True)
class _DocumentReader:
    """One object being read: what it may cost, and how deep mails in it are nested."""

    limits: Limits
    sink: RecordSink | None
    declared: bool  # what cannot be opened is a report
    budget: Budget
    named: Named  # what the mail says

    def mail(self, mail: Mail, depth: int = 0) -> Iterator[Report | Unreadable]:
        try:
            failure = find_failure(mail)
        except UnreadableReport as error:
            yield _refused(_name_of(mail), error)
            return
        if failure:
            yield failure
            return
        outer, self.named = self.named, named_by(mail)
        for attachment in mail.attachments:
            if wrapping := _wrapping(attachment):
                yield Unreadable(_name_of(mail), f"{WRAPPED} {wrapping}", is_report=False)
            elif attachment.content_type not in _MESSAGES:
                yield from self._attachment(attachment, depth)
        self.named = outer

    def _attachment(self, attachment: Attachment, depth: int) -> Iterator[Report | Unreadable]:
        name = attachment.name or attachment.content_type
        if len(attachment.payload) <= PROSE_BYTES and _PROSE.fullmatch(attachment.payload):
            yield _refused(name, NotAReport(NEITHER))
            return
        said = ""
        try:
            for document in documents(attachment.payload, name, self.limits, self.budget):
                try:
                    yield from self._document(document, depth)
                except UnreadableReport as error:
                    said = str(error)
                    yield _refused(document.name, error)
        except UnreadableReport as error:
            if str(error) != said:  # a limit of the whole mail ends the next document too
                yield self._unopened(name, error)

    def _unopened(self, name: str, error: UnreadableReport) -> Unreadable:
        """Return the outcome of what gave no document: anybody may send damaged archives."""
        refused = _refused(name, error)
        is_report = self.declared or isinstance(error, LimitExceeded)
        return replace(refused, is_report=refused.is_report and is_report)

    def _document(self, document: Document, depth: int) -> Iterator[Report | Unreadable]:
        try:
            chunks = document.open()
            first = next(chunks, b"")
        except UnreadableReport as error:
            yield self._unopened(document.name, error)
            return
        head = first.replace(b"\0", b"")  # UTF-16 looks like ASCII then
        if is_mail(first):  # a mail saved to a file and attached, or in an archive
            if depth >= self.limits.nesting:
                raise LimitExceeded(f"mails are nested deeper than {self.limits.nesting} levels")
            inner = read_mail(_whole(document, self.limits.mail_bytes), self.limits)
            yield from self.mail(inner, depth + 1)
        elif looks_like_aggregate(head):
            yield from read_aggregate(document, self.limits, self.sink, self.named)
        elif _JSON.match(head) and looks_like_tls(head):
            text = _whole(document, JSON_BYTES)
            yield read_tls(text, self.named.domain, self.limits.field_characters)
        else:
            try:
                for _ in chunks:  # a bomb or a damaged archive shall be called what it is
                    pass
            except UnreadableReport as error:
                yield self._unopened(document.name, error)
                return
            if b"\0" in first[:4096]:
                raise NotAReport(f"{WRAPPED} a form that is not known")
            raise NotAReport(NEITHER)


def _wrapping(attachment: Attachment) -> str:
    """Return what an attachment is wrapped in that cannot be opened; empty: nothing known."""
    start, name = attachment.payload[:1000].lstrip(), (attachment.name or "").lower()
    for what, magics, types, names in _CONTAINERS:
        if start.startswith(magics) or attachment.content_type in types or name.endswith(names):
            return what
    return ""


def _refused(name: str, error: UnreadableReport) -> Unreadable:
    return Unreadable(one_line(name), str(error), is_report=not isinstance(error, NotAReport))


def _whole(document: Document, limit: int) -> bytes:
    whole = bytearray()
    for chunk in document.open():
        whole += chunk
        if len(whole) > limit:
            raise LimitExceeded(f"more than {limit:,} bytes of JSON or mail")
    return bytes(whole)


def _name_of(mail: Mail) -> str:
    """Return a name for messages: the first attachment that has one, else just "mail"."""
    return one_line(next((each.name for each in mail.attachments if each.name), "mail"))
