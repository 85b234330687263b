"""Aggregate reports: XML bytes → `AggregateReport` (RFC 7489 appendix C, RFC 9990).

Strict first: what is of the common form is looked up (`quick`), all else goes to xmltodict as it is
(`feed` keeps the records out of its dicts). Tolerant second: what is not well-formed is repaired as
text, and read again. A report must say its period; all else may be missing, with a warning where
the RFC requires it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from typing import Any, Protocol
from xml.parsers.expat import ExpatError, errors

import xmltodict

from dmarckit.core import (
    LimitExceeded,
    Limits,
    NotAReport,
    UnreadableReport,
    one_line,
    plural,
    public_suffixes,
)
from dmarckit.reports.feed import NotWellFormed, RecordFeed, Tree, WrongRoot, watched
from dmarckit.reports.model import (
    NOTHING_NAMED,
    AggregateReport,
    Named,
    Policy,
    Record,
    Records,
    Row,
    Unreadable,
)
from dmarckit.reports.quick import QuickCut, common_report
from dmarckit.reports.records import Elements, RecordMaker
from dmarckit.reports.repair import decode_escapes, expat_encoding, repaired, root_namespace, roots
from dmarckit.reports.unpack import Document
from dmarckit.reports.values import (
    MAX_COUNT,
    Names,
    Warnings,
    domain,
    moment,
    quoted,
)

PARTS = frozenset({"report_metadata", "policy_published"})
"""what a DMARC report has at least one of, or records"""


def report_of(
    head: Any,
    collected: RecordCollector,
    warnings: Warnings,
    namespace: str | None = None,
    named: Named = NOTHING_NAMED,
) -> AggregateReport:
    """Return the report whose head (everything but its records) is `head`, as xmltodict gives it.

    Raises `UnreadableReport` when it does not say its period, `NotAReport` when it has
    nothing of a DMARC report but the name of its root.
    """
    has_head = isinstance(head, dict) and head.keys() & PARTS
    if not (has_head or collected.total or collected.lost):
        raise NotAReport("<feedback> without metadata, policy and records")
    fields = _Fields(Elements(warnings, collected.limits.field_characters), head, "feedback")
    metadata = fields.inner("report_metadata")
    period = metadata.inner("date_range")
    if not period and "begin" in metadata:
        period = metadata
    begin = moment(period.text("begin"), "date_range/begin", warnings)
    end = moment(period.text("end"), "date_range/end", warnings)
    if end < begin:
        warnings.add("date_range ends before it begins, kept as sent")
    generator = metadata.text("generator") or fields.text("generator")
    reporter, report_id = metadata.wanted("org_name"), metadata.wanted("report_id")
    policy = _policy(fields.inner("policy_published"), warnings)
    if policy.domain is None and named.domain:
        policy = replace(policy, domain=named.domain)
        warnings.add(f"policy_published/domain: {quoted(named.domain)} taken from the mail")
    if reporter is None and named.submitter:
        reporter = named.submitter
        warnings.add(f"report_metadata/org_name: {quoted(reporter)} taken from the mail")
    collected.note_lost(warnings)
    if collected.messages > MAX_COUNT:
        raise UnreadableReport(f"row/count: more than {MAX_COUNT:,} in all records together")
    return AggregateReport(
        reporter=reporter,
        contact=metadata.text("email"),
        extra_contact=metadata.text("extra_contact_info"),
        report_id=report_id,
        begin=begin,
        end=end,
        policy=policy,
        generator=generator,
        version=fields.text("version"),
        errors=metadata.texts("error"),
        records=Records(collected.held),
        record_count=collected.total,
        message_count=collected.messages,
        warnings=warnings.lines(),
        namespace=namespace,
        size=collected.size,
    )


def with_domain(report: AggregateReport) -> AggregateReport:
    """Return a report without domain with the organisational domain of its From domains.

    It stays without where they have several, or its records were handed to a sink.
    """
    if report.policy.domain is not None:
        return report
    names = {record.header_from for record in report.records if record.header_from}
    found = {public_suffixes().privatesuffix(name) for name in names} - {None}
    if len(found) != 1:
        return report
    domain = found.pop()
    note = f"policy_published/domain: {quoted(domain)} taken from the From domains"
    policy = replace(report.policy, domain=domain)
    return replace(report, policy=policy, warnings=(*report.warnings, note))


def _policy(published: _Fields, warnings: Warnings) -> Policy:
    pct, lower = published.text("pct"), published.lower
    return Policy(
        domain(published.wanted("domain") or ""),
        *(lower("p"), lower("sp"), lower("np")),
        _percent(pct, warnings) if pct else None,
        *(lower("testing"), lower("adkim"), lower("aspf")),
        published.text("fo"),
        lower("discovery_method"),
    )


def _percent(text: str, warnings: Warnings) -> int | None:
    whole, _, rest = text.rstrip("%").strip().partition(".")
    taken = None
    if whole.isdecimal() and whole.isascii() and not rest.strip("0"):
        taken = int(whole) if len(whole) < 20 and int(whole) <= 100 else None
    if taken is None or whole != text:
        warnings.changed("policy_published/pct", text, taken)
    return taken


class _Fields:
    """The elements of one element of the head, as xmltodict gives them."""

    def __init__(self, reader: Elements, tree: Any, name: str) -> None:
        self._reader = reader
        self._tree: Tree = tree if isinstance(tree, dict) else {}
        self._name = name

    def __contains__(self, name: str) -> bool:
        return name in self._tree

    def __bool__(self) -> bool:
        return bool(self._tree)

    def inner(self, name: str) -> _Fields:
        return _Fields(self._reader, self._reader.one(self._tree, name, self._name), name)

    def text(self, name: str) -> str | None:
        return self._reader.text(self._tree, name, self._name)

    def wanted(self, name: str) -> str | None:
        """Return the text of an element that the RFC requires; its absence is warned of."""
        found = self.text(name)
        if found is None:
            self._reader.warnings.add(f"{self._name}/{name} is missing")
        return found

    def lower(self, name: str) -> str | None:
        """Return the text of an element that holds a keyword, in lower case."""
        found = self.text(name)
        if found is not None and not found.islower() and found.lower() != found:
            self._reader.warnings.changed(f"{self._name}/{name}", found, found.lower())
        return found.lower() if found else None

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts of an element that may stand several times."""
        found = self._tree.get(name)
        texts = [text for text in (found if isinstance(found, list) else [found]) if text]
        if len(texts) > MOST_TEXTS:
            self._reader.repeated(self._name, name, len(texts))
        each = ({name: text} for text in texts[:MOST_TEXTS])
        return tuple(filter(None, (self._reader.text(one, name, self._name) for one in each)))


MOST_TEXTS = 100  # of an element of the head that may stand several times
REPAIR_BYTES = 10_000_000  # largest document that is repaired; it is held in memory for that
BATCH = 10_000  # records handed to a sink at once; a report with fewer is hardly ever split
BATCH_BYTES = 16_000_000  # XML after which those that there are are handed over

_ROOT = re.compile(rb"(?:<|&lt;)(?:[\w.-]{1,40}:)?feedback[\s>/&]", re.IGNORECASE)
_CUT_OFF = (
    errors.XML_ERROR_NO_ELEMENTS, errors.XML_ERROR_UNCLOSED_TOKEN,
    errors.XML_ERROR_UNCLOSED_CDATA_SECTION, errors.XML_ERROR_PARTIAL_CHAR,
)  # fmt: skip


class RecordSink(Protocol):
    """Takes the records of a report that is too large to be held."""

    def start(self) -> None:
        """Begin a report, perhaps once more: forget what was added since the last one ended."""

    def add(self, records: Records) -> None:
        """Take the next records, at most 10,000, in the report's order."""


class RecordCollector:
    """Counts records and passes them on in batches once there are too many to hold."""

    def __init__(self, make: Callable[[Tree], Record], limits: Limits, sink: RecordSink | None):
        self._make = make
        self.limits = limits
        self._sink = sink
        self.size = self._passed_size = 0  # bytes of XML, and those of records passed on
        self._batch = BATCH if sink else limits.records + 1
        self._damaged = ""
        self._why_lost = ""
        self.held: list[Row] = []
        self.total = 0  # records without the lost ones
        self.messages = 0
        self.lost = 0

    def take(self, tree: Tree) -> None:
        """Add the record in `tree`; what is wrong in it costs this record alone."""
        try:
            record = self._make(tree)
        except UnreadableReport as error:
            self.lost += 1
            self._why_lost = self._why_lost or str(error)
            if not self._damaged and not _is_empty(tree):
                self._damaged = str(error)
            self._check()
        else:
            self.add([(record.source_ip, record.messages, record, record, record)])

    def add(self, rows: list[Row]) -> None:
        """Add records that are whole."""
        while rows:
            if len(self.held) == self._batch:
                self.pass_on()
            room = self._batch - len(self.held)
            taken, rows = rows[:room], rows[room:]
            self.held += taken
            self.total += len(taken)
            self.messages += sum(row[1] for row in taken)
            self._check()

    def _check(self) -> None:
        if self.total + self.lost > self.limits.records:
            raise LimitExceeded(f"more than {self.limits.records:,} records (limit 'records')")

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the document's chunks, and pass records on when those held take many bytes."""
        for chunk in chunks:
            yield chunk
            self.size += len(chunk)
            if self._sink and self.held and self.size - self._passed_size > BATCH_BYTES:
                self.pass_on()

    @property
    def passed_on(self) -> bool:
        """Return True if the sink has records of the report."""
        return self.total > len(self.held)

    def note_lost(self, warnings: Warnings) -> None:
        """Warn of the records that could not be read.

        Raises UnreadableReport when there are no others, and one of them is more than empty.
        """
        if self._damaged and not self.total:
            raise UnreadableReport(self._damaged)
        if self.lost:
            of = plural(self.total + self.lost, "record")
            warnings.lead(f"{self.lost:,} of {of} unreadable: {self._why_lost}")

    def pass_on(self) -> None:
        """Hand the records held to the sink."""
        assert self._sink is not None  # noqa: S101 (only with a sink is the batch that small)
        self._sink.add(Records(self.held))
        self._passed_size = self.size
        self.held = []


def _is_empty(found: object) -> bool:
    """Return True if no element within has a text."""
    if isinstance(found, dict | list):
        return all(map(_is_empty, found.values() if isinstance(found, dict) else found))
    return found is None


def read_xml(
    chunks: Iterable[bytes],
    limits: Limits,
    sink: RecordSink | None = None,
    warnings: Warnings | None = None,
    encoding: str = "utf-8",
    *,
    quick: bool = True,
    namespace: str | None = None,
    named: Named = NOTHING_NAMED,
) -> AggregateReport:
    """Return the report in one well-formed XML document, given in pieces.

    `encoding` overrules what the document declares; without `quick` every record goes
    through expat. `namespace` is that of a root whose attributes were taken off; `named` is
    what the mail says of reporter and domain. Raises `NotWellFormed`, `WrongRoot` when it is no
    report, `UnreadableReport` when an element that cannot be missing is, `LimitExceeded`.
    """
    warnings = warnings or Warnings()
    maker = RecordMaker(warnings)
    collector = RecordCollector(maker.make, limits, sink)
    source = collector.counted(chunks)
    if sink:
        sink.start()
    begun = next(source, b"")
    head: Any = None
    if quick and (common := common_report(begun, encoding)):
        head = common.tree
        with contextlib.suppress(ExpatError):  # the other way finds and names it
            head = head or xmltodict.parse(common.head, encoding=encoding, xml_attribs=False)
        if head and (more := next(source, None)) is not None:
            head, source = None, chain([more], source)
    if head and common:
        namespace = common.namespace or namespace
        collector.add(common.rows)
    else:
        names = Names(warnings)
        feed = RecordFeed(names, collector.take)
        rest: Iterator[bytes] = chain([begun], source)
        if quick:
            rest = QuickCut(feed, maker, collector.add).rest(rest)
        try:
            head = xmltodict.parse(
                watched(rest, feed), encoding=encoding, expat=feed, xml_attribs=False
            )
        except ExpatError as error:
            if errors.messages[error.code] not in _CUT_OFF:
                raise NotWellFormed(f"XML is not well-formed: {error}") from None
            whole = f"{collector.total:,} whole records"
            raise NotWellFormed(f"cut off at line {error.lineno}, after {whole}") from None
        names.note_unknown()
        namespace = (feed.parser.namespace if feed.parser else None) or namespace
    if collector.passed_on and collector.held:  # the last records of a report that did not fit
        collector.pass_on()
    return report_of(head["feedback"], collector, warnings, namespace, named)


def looks_like_aggregate(head: bytes) -> bool:
    """Return True if a document that begins with `head` (without zero bytes) has ``<feedback>``."""
    return _ROOT.search(head) is not None


def read_aggregate(
    document: Document, limits: Limits, sink: RecordSink | None = None, named: Named = NOTHING_NAMED
) -> Iterator[AggregateReport | Unreadable]:
    """Yield the reports in one document: one, unless several stand in it one after the other.

    Raises `UnreadableReport` (or `NotAReport`, `LimitExceeded`) when it cannot be read.
    """
    warnings = Warnings()
    try:
        encoding = expat_encoding(next(document.open(), b""), warnings)
        if encoding is None:
            raise NotWellFormed("the XML is in an encoding that needs decoding first")
        yield read_xml(document.open(), limits, sink, warnings, encoding, named=named)
        return
    except (NotWellFormed, WrongRoot) as error:
        strict = error
    data, common = bytearray(), Warnings()
    for chunk in document.open():
        data += chunk
        if len(data) > REPAIR_BYTES:
            raise UnreadableReport(
                f"{strict}, and larger than {REPAIR_BYTES:,} bytes: not repaired"
            )
    try:
        found = roots(decode_escapes(bytes(data), common), common)
    except UnreadableReport as error:
        raise (strict if isinstance(strict, NotWellFormed) else error) from None
    repair = "repaired" if isinstance(strict, NotWellFormed) else "<feedback> in it read"
    common.add(f"{strict}; {repair}")
    for text in found:
        warnings = deepcopy(common)
        try:
            pieces = document.timed(repaired(text, Names(warnings, notes_unknown=False), warnings))
            yield read_xml(
                pieces, limits, sink, warnings, namespace=root_namespace(text), named=named
            )
        except NotWellFormed:
            yield Unreadable(one_line(document.name), str(strict))
        except UnreadableReport as error:
            yield Unreadable(one_line(document.name), str(error))
