"""Expat for xmltodict: the report's head goes to xmltodict, its records to a leaner handler.

Each ``<record>`` below the root becomes what xmltodict makes with ``xml_attribs=False``, at about
a quarter of the cost, is handed over as soon as it ends, and then forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any
from xml.parsers import expat

from dmarckit.core import LimitExceeded, NotAReport, UnreadableReport, one_line
from dmarckit.reports.values import Names, quoted

Tree = dict[str, Any]  # element name → text, None, a nested Tree, or a list of these

PART_BYTES = 1_000_000  # no head and no single record of a report is larger than this
MEAN_BYTES, MEAN_FROM = 10_000, 50_000_000
"""nor are records on average larger than the first, once the document is beyond the second"""
NAMESPACE_CHARACTERS = 200
MIXED = "#text"
"""key of the text that stands beside elements, as xmltodict has it"""
DISTINCT_NAMES = 5_000  # no report has more different names of elements; expat remembers each
DEPTH = 50  # no element of a report lies deeper than this


class NotWellFormed(UnreadableReport):
    """The XML breaks off or breaks its own rules; it may be repaired."""


class WrongRoot(NotAReport):
    """The document is XML, but its root is not ``feedback``."""


class RecordFeed:
    """Stands in for `xml.parsers.expat`: makes the parser that xmltodict drives."""

    def __init__(self, names: Names, on_record: Callable[[Tree], None]) -> None:
        self._names = names
        self._on_record = on_record
        self.parser: _Parser | None = None

    def ParserCreate(self, encoding: str | None, _separator: str | None = None) -> _Parser:
        """Make the parser, as expat's own function of this name does."""
        self.parser = _Parser(encoding, self._names, self._on_record)
        return self.parser


class _Parser:
    """An expat parser whose handlers change where a record begins and ends."""

    # set by xmltodict
    StartElementHandler: Callable[[str, Any], None]
    EndElementHandler: Callable[[str], None]
    CharacterDataHandler: Callable[[str], None]
    StartNamespaceDeclHandler: Any
    EntityDeclHandler: Any

    def __init__(
        self, encoding: str | None, names: Names, on_record: Callable[[Tree], None]
    ) -> None:
        self._expat = expat.ParserCreate(encoding)
        self._names = names
        self._on_record = on_record
        self.ordered_attributes = self.buffer_text = True
        self.records = 0
        self.namespace: str | None = None
        self._depth = 0
        self._in_record = False

    @property
    def between_records(self) -> bool:
        """Return True if the next element would be a child of the root, such as a record."""
        return self._depth == 1 and not self._in_record

    @property
    def distinct_names(self) -> int:
        return len(self._expat.intern)

    def Parse(self, data: bytes, final: bool) -> None:
        if not self._expat.StartElementHandler:
            self._connect()
        self._expat.Parse(data, final)

    def _connect(self) -> None:
        """Set the handlers outside records: xmltodict's own, under local names."""
        parser = self._expat
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.EntityDeclHandler = _refuse_entity
        parser.SkippedEntityHandler = _refuse_skipping
        enter_record = self._record_handlers()
        names, start, end = self._names, self.StartElementHandler, self.EndElementHandler
        extension = 0  # depth of the element in which anything may stand (RFC 9990)

        def head_start(written: str, attributes: Any) -> None:
            nonlocal extension
            name = names.plain(written) if extension else names[written]
            if self._depth == 0:
                if name != "feedback":
                    raise WrongRoot(f"XML of another kind: its root is <{one_line(written, 60)}>")
                prefix, colon, _ = written.rpartition(":")
                declared = dict(zip(attributes[::2], attributes[1::2], strict=True))
                namespace = declared.get(f"xmlns{colon}{prefix}", "").strip()
                self.namespace = namespace[:NAMESPACE_CHARACTERS] or None
            if self._depth == 1 and name == "record":
                enter_record()
                return
            self._depth += 1
            if self._depth > DEPTH:
                raise LimitExceeded(f"elements are nested deeper than {DEPTH}")
            if name == "extension" and not extension:
                extension = self._depth
            start(name, attributes)

        def head_end(written: str) -> None:
            nonlocal extension
            name = names.plain(written) if extension else names[written]
            if extension == self._depth:
                extension = 0
            self._depth -= 1
            end(name)

        parser.StartElementHandler, parser.EndElementHandler = head_start, head_end
        parser.CharacterDataHandler = self.CharacterDataHandler

    def _record_handlers(self) -> Callable[[], None]:
        """Make the handlers within a record; the returned function puts them in place."""
        parser, names, on_record = self._expat, self._names, self._on_record
        text: list[str] = []
        clear = text.clear
        parents: list[Tree] = []
        current: Tree = {}
        leaf = False
        handlers = ("StartElementHandler", "EndElementHandler", "CharacterDataHandler")
        outside: list[Any] = []

        def enter() -> None:
            nonlocal current, leaf, outside
            outside = [getattr(parser, name) for name in handlers]
            current, leaf = {}, False
            self._in_record = True
            for name, handler in zip(handlers, (start, end, text.append), strict=True):
                setattr(parser, name, handler)

        def keep_text(tree: Tree) -> None:
            """Keep text that stands beside elements under the name that xmltodict gives it."""
            said = "".join(text).strip()
            if said:
                tree[MIXED] = f"{tree[MIXED]} {said}" if MIXED in tree else said

        def start(_name: str, _attributes: Any) -> None:
            nonlocal current, leaf
            if leaf:  # the element around this one holds elements
                parents.append(current)
                current = {}
                if len(parents) > DEPTH:
                    raise LimitExceeded(f"elements are nested deeper than {DEPTH}")
            leaf = True
            if text:
                keep_text(current)
                clear()

        def end(written: str) -> None:
            nonlocal current, leaf
            value: Any
            if leaf:
                value = (text[0] if len(text) == 1 else "".join(text)).strip() or None
                leaf = False
                clear()
            elif parents:
                if text:
                    keep_text(current)
                    clear()
                value = current
                current = parents.pop()
            else:
                clear()
                for handler, before in zip(handlers, outside, strict=True):
                    setattr(parser, handler, before)
                self.records += 1
                self._in_record = False
                on_record(current)
                return
            add_element(current, names[written], value)

        return enter


def add_element(tree: Tree, name: str, value: Any) -> None:
    """Add an element as xmltodict does: a list where its name is repeated."""
    if name not in tree:
        tree[name] = value
    elif type(tree[name]) is list:
        tree[name].append(value)
    else:
        tree[name] = [tree[name], value]


def _refuse_entity(*_declaration: object) -> None:
    raise UnreadableReport("the XML declares entities (DTD), which no report needs")


def _refuse_skipping(name: str, _is_parameter: bool) -> None:
    # a remote DTD, which is never loaded, might declare it: expat would drop it silently
    raise NotWellFormed(f"XML is not well-formed: entity {quoted(name)} is unknown")


def watched(chunks: Iterable[bytes], feed: RecordFeed) -> Generator[bytes, None, None]:
    """Yield the chunks, and stop when one part of the report grows beyond all reason."""
    records = since = total = 0
    for chunk in chunks:
        yield chunk
        if feed.parser is None:
            continue
        done = feed.parser.records
        total += len(chunk)
        since = 0 if done != records else since + len(chunk)
        records = done
        if since > PART_BYTES:
            part = f"record {records + 1}" if records else "the report's head"
            raise LimitExceeded(f"{part} is larger than {PART_BYTES:,} bytes")
        if total > MEAN_FROM and total > MEAN_BYTES * records:
            raise LimitExceeded(f"records are larger than {MEAN_BYTES:,} bytes on average")
        if feed.parser.distinct_names > DISTINCT_NAMES:
            raise LimitExceeded(f"more than {DISTINCT_NAMES:,} different names of elements")
