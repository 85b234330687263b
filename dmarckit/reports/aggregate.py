"""Aggregate reports: XML bytes → `AggregateReport` (RFC 7489 appendix C, RFC 9990).

Strict first: the bytes go to xmltodict as they are (`feed` keeps the records out of its
dicts). Tolerant second: what is not well-formed is repaired as text, every repair leaving a
warning, and read again. What cannot be repaired is `UnreadableReport`, naming the element.

A report must say its period; everything else may be missing and is then ``None``, with a
warning where the RFC requires it. A period that ends before it begins is kept as sent, with
a warning. An empty report (no records) is a report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol
from xml.parsers.expat import ExpatError, errors

import xmltodict

from dmarckit.core.errors import LimitExceeded, UnreadableReport, one_line
from dmarckit.core.limits import Limits
from dmarckit.reports.feed import NotWellFormed, RecordFeed, Tree, WrongRoot, watched
from dmarckit.reports.head import report_of
from dmarckit.reports.models import AggregateReport, Record, Unreadable
from dmarckit.reports.names import Names
from dmarckit.reports.quick import QuickCut
from dmarckit.reports.records import RecordMaker
from dmarckit.reports.repair import repaired
from dmarckit.reports.text import decoded, expat_encoding, roots
from dmarckit.reports.unpack import Document
from dmarckit.reports.values import Warnings

REPAIR_BYTES = 10_000_000
"""largest document that is repaired; it is held in memory for that"""
BATCH = 10_000
"""records handed to a sink at once; a report with fewer is never split"""

_ROOT = re.compile(rb"(?:<|&lt;)(?:[\w.-]{1,40}:)?feedback[\s>/&]", re.IGNORECASE)
_CUT_OFF = {
    errors.codes[message]
    for message in (
        errors.XML_ERROR_NO_ELEMENTS,
        errors.XML_ERROR_UNCLOSED_TOKEN,
        errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
        errors.XML_ERROR_PARTIAL_CHAR,
    )
}


class RecordSink(Protocol):
    """Takes the records of a report that is too large to be held."""

    def start(self) -> None:
        """A report begins, or is read again: forget what was added before."""

    def add(self, records: list[Record]) -> None:
        """The next records, at most 10,000, in the report's order."""


class _Collector:
    """Counts records and passes them on in batches once there are too many to hold."""

    def __init__(self, make: Callable[[Tree], Record], limits: Limits, sink: RecordSink | None):
        self._make = make
        self._limit = limits.records
        self._sink = sink
        self._batch = BATCH if sink else limits.records + 1
        self.held: list[Record] = []
        self.passed_on = 0
        self.messages = 0

    def take(self, tree: Tree) -> None:
        self.add(self._make(tree))

    def add(self, record: Record) -> None:
        if len(self.held) == self._batch:
            self._pass_on()
        self.held.append(record)
        self.messages += record.messages
        if self.total > self._limit:
            raise LimitExceeded(f"more than {self._limit:,} records (limit 'records')")

    @property
    def total(self) -> int:
        return self.passed_on + len(self.held)

    def finish(self) -> None:
        if self.passed_on:
            self._pass_on()

    def _pass_on(self) -> None:
        assert self._sink is not None  # noqa: S101 (only with a sink is the batch that small)
        self._sink.add(self.held)
        self.passed_on += len(self.held)
        self.held = []


def read_xml(
    chunks: Iterable[bytes],
    limits: Limits,
    sink: RecordSink | None = None,
    warnings: Warnings | None = None,
    encoding: str = "utf-8",
    *,
    quick: bool = True,
) -> AggregateReport:
    """The report in one well-formed XML document, given in pieces.

    `encoding` overrules what the document declares; without `quick` every record goes
    through expat.

    Raises `NotWellFormed`, `WrongRoot` when it is no report,
    `UnreadableReport` when an element that cannot be missing is, `LimitExceeded`.
    """
    warnings = warnings or Warnings()
    maker = RecordMaker(warnings)
    collector = _Collector(maker.make, limits, sink)
    feed = RecordFeed(Names(warnings), collector.take)
    rest = QuickCut(feed, maker, collector.add).rest(chunks) if quick else chunks
    if sink:
        sink.start()
    try:
        head = xmltodict.parse(
            watched(rest, feed), encoding=encoding, expat=feed, xml_attribs=False
        )
    except ExpatError as error:
        raise _broken(error, collector.total) from None
    collector.finish()
    records = tuple(collector.held)
    return report_of(head["feedback"], records, collector.total, collector.messages, warnings)


def looks_like_aggregate(head: bytes) -> bool:
    """Whether a document that begins with `head` (without zero bytes) has ``<feedback>``."""
    return _ROOT.search(head) is not None


def read_aggregate(
    document: Document, limits: Limits, sink: RecordSink | None = None
) -> Iterator[AggregateReport | Unreadable]:
    """The reports in one document: one, unless several stand in it one after the other.

    Raises `UnreadableReport` (or `NotAReport`, `LimitExceeded`) when it cannot be read.
    """
    warnings = Warnings()
    try:
        encoding = expat_encoding(next(document.open(), b""), warnings)
        if encoding is None:
            raise NotWellFormed("the XML is in an encoding that needs decoding first")
        yield read_xml(document.open(), limits, sink, warnings, encoding)
    except (NotWellFormed, WrongRoot) as error:
        yield from _read_damaged(document, limits, sink, error)


def _broken(error: ExpatError, whole_records: int) -> NotWellFormed:
    if error.code in _CUT_OFF:
        return NotWellFormed(
            f"cut off at line {error.lineno}, after {whole_records:,} whole records"
        )
    return NotWellFormed(f"XML is not well-formed: {error}")


def _read_damaged(
    document: Document, limits: Limits, sink: RecordSink | None, strict: NotWellFormed | WrongRoot
) -> Iterator[AggregateReport | Unreadable]:
    chunks = []
    size = 0
    for chunk in document.open():
        size += len(chunk)
        if size > REPAIR_BYTES:
            raise UnreadableReport(
                f"{strict}, and larger than {REPAIR_BYTES:,} bytes: not repaired"
            )
        chunks.append(chunk)
    common = Warnings()
    try:
        found = roots(decoded(b"".join(chunks), common), common)
    except UnreadableReport as error:
        raise (strict if isinstance(strict, NotWellFormed) else error) from None
    repair = "repaired" if isinstance(strict, NotWellFormed) else "<feedback> in it read"
    common.add(f"{strict}; {repair}")
    for text in found:
        warnings = common.copy()
        try:
            pieces = repaired(text, Names(warnings), warnings)
            yield read_xml(pieces, limits, sink, warnings)
        except NotWellFormed:
            yield Unreadable(one_line(document.name), str(strict))
        except UnreadableReport as error:
            yield Unreadable(one_line(document.name), str(error))
