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
from typing import Any, Protocol
from xml.parsers.expat import ExpatError

import xmltodict

from dmarckit.errors import LimitExceeded, UnreadableReport
from dmarckit.models import AggregateReport, Limits, Policy, Record, Unreadable
from dmarckit.reports.feed import Names, RecordFeed, Tree, watched
from dmarckit.reports.records import RecordMaker
from dmarckit.reports.values import Warnings, domain, moment, quoted
from dmarckit.unpack import Document

BATCH = 10_000
"""records handed to a sink at once; a report with fewer is never split"""


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
        if len(self.held) == self._batch:
            self._pass_on()
        record = self._make(tree)
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
    encoding: str | None = None,
) -> AggregateReport:
    """The report in one well-formed XML document, given in pieces.

    Raises `ExpatError` when it is not well-formed, `WrongRoot` when it is no report,
    `UnreadableReport` when an element that cannot be missing is, `LimitExceeded`.
    """
    warnings = warnings or Warnings()
    maker = RecordMaker(warnings)
    collector = _Collector(maker.make, limits, sink)
    feed = RecordFeed(Names(warnings), collector.take)
    if sink:
        sink.start()
    try:
        head = xmltodict.parse(
            watched(chunks, feed), encoding=encoding, expat=feed, xml_attribs=False
        )
    except ExpatError as error:
        error.whole_records = collector.total  # type: ignore[attr-defined]
        raise
    collector.finish()
    return _report(head["feedback"], collector, warnings)


def _report(head: Any, collector: _Collector, warnings: Warnings) -> AggregateReport:
    fields = _Fields(head, "feedback", warnings)
    metadata = fields.inner("report_metadata")
    period = metadata.inner("date_range")
    if not period and "begin" in metadata:
        period = metadata
    begin = moment(period.text("begin"), "date_range/begin", warnings)
    end = moment(period.text("end"), "date_range/end", warnings)
    if end < begin:
        warnings.add("date_range ends before it begins, kept as sent")
    generator = metadata.text("generator") or fields.text("generator")
    return AggregateReport(
        reporter=metadata.wanted("org_name"),
        contact=metadata.text("email"),
        extra_contact=metadata.text("extra_contact_info"),
        report_id=metadata.wanted("report_id"),
        begin=begin,
        end=end,
        policy=_policy(fields.inner("policy_published"), warnings),
        generator=generator,
        version=fields.text("version"),
        errors=metadata.texts("error"),
        records=tuple(collector.held),
        record_count=collector.total,
        message_count=collector.messages,
        warnings=warnings.lines(),
    )


def _policy(published: _Fields, warnings: Warnings) -> Policy:
    name = published.wanted("domain")
    pct = published.text("pct")
    return Policy(
        domain=domain(name) if name else None,
        p=published.lower("p"),
        sp=published.lower("sp"),
        np=published.lower("np"),
        pct=_percent(pct, warnings) if pct else None,
        testing=published.lower("testing"),
        adkim=published.lower("adkim"),
        aspf=published.lower("aspf"),
        fo=published.text("fo"),
        discovery_method=published.lower("discovery_method"),
    )


def _percent(text: str, warnings: Warnings) -> int | None:
    if text.isdecimal() and text.isascii() and int(text[:5]) <= 100:
        return int(text)
    whole = text.rstrip("%").strip().partition(".")
    taken = None
    if whole[0].isdecimal() and whole[0].isascii() and not whole[2].strip("0"):
        taken = int(whole[0]) if int(whole[0][:5]) <= 100 else None
    warnings.changed("policy_published/pct", text, taken)
    return taken


class _Fields:
    """The elements of one element of the head, which xmltodict parsed."""

    def __init__(self, tree: Any, name: str, warnings: Warnings) -> None:
        self._tree: Tree = tree if isinstance(tree, dict) else {}
        self._name = name
        self._warnings = warnings

    def __contains__(self, name: str) -> bool:
        return name in self._tree

    def __bool__(self) -> bool:
        return bool(self._tree)

    def inner(self, name: str) -> _Fields:
        return _Fields(self._first(name, dict), name, self._warnings)

    def text(self, name: str) -> str | None:
        found: str | None = self._first(name, str)
        return found

    def wanted(self, name: str) -> str | None:
        """The text of an element that the RFC requires; its absence is warned of."""
        found = self.text(name)
        if found is None:
            self._warnings.add(f"{self._name}/{name} is missing")
        return found

    def lower(self, name: str) -> str | None:
        """The text of an element that holds a keyword, in lower case."""
        found = self.text(name)
        if found is not None and not found.islower() and found.lower() != found:
            self._warnings.changed(f"{self._name}/{name}", found, found.lower())
        return found.lower() if found else None

    def texts(self, name: str) -> tuple[str, ...]:
        found = self._tree.get(name)
        return tuple(
            each
            for each in (found if isinstance(found, list) else [found])
            if isinstance(each, str)
        )

    def _first(self, name: str, kind: type) -> Any:
        found = self._tree.get(name)
        if found is None or isinstance(found, kind):
            return found
        if isinstance(found, list):
            self._warnings.add(f"{self._name}/{name} stands {len(found)} times, first taken")
            return next((each for each in found if isinstance(each, kind)), None)
        self._warnings.add(f"{self._name}/{name}: {quoted(type(found).__name__)} passed over")
        return None


_ROOT = re.compile(rb"<(?:[\w.-]{1,40}:)?feedback[\s>/]", re.IGNORECASE)


def looks_like_aggregate(head: bytes) -> bool:
    """Whether a document that begins with `head` speaks of ``<feedback>``, in any encoding."""
    if b"\0" in head[:400]:
        head = head.replace(b"\0", b"")
    return _ROOT.search(head) is not None


def read_aggregate(
    document: Document, limits: Limits, sink: RecordSink | None = None
) -> Iterator[AggregateReport | Unreadable]:
    """The reports in one document: one, unless several stand in it one after the other.

    Raises `UnreadableReport` (or `NotAReport`, `LimitExceeded`) when it cannot be read.
    """
    try:
        yield read_xml(document.open(), limits, sink)
    except ExpatError as error:
        raise UnreadableReport(f"XML: {error}") from None
