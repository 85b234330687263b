"""The common form of a report, read without a handler call for each of its tags.

Nearly all records have one shape, and what follows their counts repeats from report to report: it
is looked up. `common_report` is for a document in which nothing else stands, and leaves a head that
is more than plain elements to xmltodict; `QuickCut` takes the common records out of any other.
All else goes on to expat: other shapes, attributes, entities, not ASCII, and what would leave a
warning.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple
from xml.parsers.expat import ExpatError, ParserCreate

from dmarckit.core import UnreadableReport
from dmarckit.reports.feed import NAMESPACE_CHARACTERS, RecordFeed, Tree, add_element
from dmarckit.reports.model import Record, Row
from dmarckit.reports.records import RecordMaker
from dmarckit.reports.values import IPV4, KNOWN, Warnings, address

REMEMBERED = 10_000  # blocks of each kind that are remembered; then all are forgotten
BLOCK_BYTES = 2_000  # longest block that is read here
HEAD_BYTES = 20_000  # longest head of the common form
RECORD_BYTES = 50_000  # longest record that is waited for when a chunk ends within it

_TEXT = rb"[ !-%'-;=?-~]"  # printable ASCII without < > &
_SPACE = b" \t\r\n"


def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern.replace(rb"\s", b"[" + _SPACE + b"]"))  # XML's: no form feed


_START = _compiled(
    rb"\s*+<record>\s*+<row>\s*+<source_ip>(" + _TEXT + rb"{1,60}+)</source_ip>"
    rb"\s*+<count>([0-9]{1,15}+)</count>"
)
_BLOCKS = _compiled(
    rb"\s*+<policy_evaluated>((?:[^<]++|<(?!/policy_eval)){0,300}+)</policy_evaluated>\s*+</row>"
    rb"\s*+<identifiers>((?:[^<]++|<(?!/ident)){0,300}+)</identifiers>"
    rb"\s*+<auth_results>((?:[^<]++|<(?!/auth)){0,300}+)</auth_results>\s*+"
)
_NEXT = _compiled(rb"\s*+(?=<record>)")
_HEAD = _compiled(
    rb"(?:\xef\xbb\xbf)?(?:<\?xml [^<>]{1,100}\?>)?\s*+"
    rb'(?P<root><feedback(?:\s+[\w:]{1,20}="[!#-%(-;=?-~]{0,200}+")*+>)'
    rb"(?:[^<]*+</?(?:version|report_metadata"
    rb"|org_name|email|extra_contact_info|report_id|error|generator|date_range|begin|end"
    rb"|policy_published|domain|adkim|aspf|p|sp|np|pct|fo|testing|discovery_method)>){0,98}+[^<]*+"
)
_NAMESPACE = _compiled(rb'<feedback[^>]*?\sxmlns="([^"]*)"')
_END = _compiled(rb"\s*+</feedback>\s*+")
_TOKEN = _compiled(rb"\s*+(?:<([a-z_]{1,40}+)>(?:(" + _TEXT + rb"*+)</\1>)?|</([a-z_]{1,40}+)>)")
_MARKUP = re.compile(rb"<[!?]")


class CommonReport(NamedTuple):
    """A report of the common form: the document without its records, and these."""

    head: bytes
    tree: Tree | None  # what xmltodict would make of the head; None: that has to be asked
    namespace: str | None
    rows: list[Row]


def common_report(document: bytes, encoding: str = "utf-8") -> CommonReport | None:
    """Return a report whose whole document has the common form; None for all others."""
    at = document.find(b"<record>", 0, HEAD_BYTES)
    if at < 0 or not (begin := _HEAD.fullmatch(document, 0, at)):
        return None
    rows, at = _rows(document, at)
    if not _END.fullmatch(document, at):
        return None
    declared = _NAMESPACE.search(begin[0])
    namespace = declared[1].decode("ascii") if declared else ""
    root = begin.end("root")
    tree = _tree(begin[0], root) if _is_well_formed(begin[0][:root], encoding) else None
    head = begin[0] + document[at:]
    known = tree and {"feedback": tree}
    return CommonReport(head, known, namespace[:NAMESPACE_CHARACTERS] or None, rows)


@lru_cache(maxsize=256)
def _is_well_formed(root: bytes, encoding: str) -> bool:
    """Return True if expat takes a document's first bytes up to its root; few reporters differ."""
    try:
        ParserCreate(encoding).Parse(root + b"</feedback>", True)
    except ExpatError:
        return False
    return True


class QuickCut:
    """Takes the records of the common form out of a document's chunks."""

    def __init__(
        self, feed: RecordFeed, maker: RecordMaker, on_rows: Callable[[list[Row]], None]
    ) -> None:
        self._feed = feed
        self._maker = maker
        self._on_rows = on_rows
        self._line_breaks = 0

    def rest(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks without those records, for expat; line breaks stay, for its errors.

        Whoever iterates must have parsed each piece before asking for the next.
        """
        source = iter(chunks)
        waiting = b""
        for chunk in source:
            waiting += chunk
            start = waiting.find(b"<record>")
            if start < 0:
                keep = max(len(waiting) - 7, 0)  # "<record" may be cut in two
                yield waiting[:keep]
                waiting = waiting[keep:]
                continue
            yield waiting[:start]
            if self._plain(waiting[5:start]):  # 5: an XML declaration may begin the document
                yield from self._records(waiting[start:], source)
            else:
                yield waiting[start:]
                yield from source
            return
        yield waiting

    def _records(self, waiting: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
        """Yield what is left from the first record on."""
        at = 0
        while True:
            start = at
            rows, at = _rows(waiting, at)
            self._hand_over(rows)
            self._line_breaks += waiting.count(b"\n", start, at)
            end = at
            if at == start or waiting.startswith(b"<record>", at):
                end = waiting.find(b"</record>", at) + len(b"</record>")
                if end < len(b"</record>"):
                    chunk = next(source, b"")
                    waiting, at = waiting[at:] + chunk, 0
                    if chunk and len(waiting) < RECORD_BYTES + len(chunk):
                        continue
                    break
                yield self._piece(waiting[at:end])
                if not self._plain(waiting[at:end]):
                    at = end
                    break
            at = waiting.find(b"<record>", end)
            between = waiting[end : at if at >= 0 else len(waiting)]
            if between.strip(_SPACE):
                yield self._piece(between)
                if not self._plain(between):
                    at = at if at >= 0 else len(waiting)
                    break
            else:
                self._line_breaks += between.count(b"\n")
            if at < 0:
                waiting, at = b"", 0
                continue
        yield self._piece(waiting[at:])
        yield from source

    def _piece(self, piece: bytes) -> bytes:
        breaks, self._line_breaks = self._line_breaks, 0
        return b"\n" * breaks + piece

    def _plain(self, parsed: bytes) -> bool:
        """Return True if what expat has just parsed leaves it between two records of the report."""
        parser = self._feed.parser
        return parser is not None and parser.between_records and not _MARKUP.search(parsed)

    def _hand_over(self, rows: list[Row]) -> None:
        self._on_rows(rows)
        self._maker.made += len(rows)  # it numbers the records of its warnings
        assert self._feed.parser is not None  # noqa: S101  it has parsed the head
        self._feed.parser.records += len(rows)


def _rows(document: bytes, at: int) -> tuple[list[Row], int]:
    """Return the records from there on until one is out of the ordinary, and where that begins."""
    rows: list[Row] = []
    while (start := _START.match(document, at)) is not None:
        sent, count = start.groups()
        begin, end = start.end(), document.find(b"</record>", at)
        ip, blocks = _plain_address(sent), _ends[document[begin:end]] if end > 0 else None
        if ip is None or blocks is None:
            break
        rows.append((ip, int(count), *blocks))
        at = end + len(b"</record>")
    following = _NEXT.match(document, at)
    return rows, following.end() if following else at


@lru_cache(maxsize=8192)
def _plain_address(sent: bytes) -> str | None:
    """Return an address; None: it is out of the ordinary."""
    text = sent.decode("ascii").strip()
    if IPV4.fullmatch(text):
        return text
    ip, wrong = address(text)
    return None if wrong else ip or None


class _Blocks(dict[bytes, Record | None]):
    """Block → a record that has only this block; None when the block is out of the ordinary."""

    def __init__(self, placed: Callable[[Tree], Tree]) -> None:
        super().__init__()
        self._placed = placed

    def __missing__(self, block: bytes) -> Record | None:
        record, warnings = None, Warnings()
        if len(block) > BLOCK_BYTES:
            return None
        if (tree := _tree(block)) is not None:
            with contextlib.suppress(UnreadableReport):
                record = RecordMaker(warnings).make(self._placed(tree))
            if warnings.lines():
                record = None
        if len(self) >= REMEMBERED:
            self.clear()
        self[block] = record
        return record


_evaluated = _Blocks(lambda tree: {"row": {"count": "0", "policy_evaluated": tree}})
_identifiers = _Blocks(lambda tree: {"row": {"count": "0"}, "identifiers": tree})
_results = _Blocks(lambda tree: {"row": {"count": "0"}, "auth_results": tree})


class _Ends(dict[bytes, tuple[Record, Record, Record] | None]):
    """Record behind its count → records for its blocks; None when it is out of the ordinary."""

    def __missing__(self, end: bytes) -> tuple[Record, Record, Record] | None:
        made, found = None, _BLOCKS.fullmatch(end) if len(end) <= 3 * BLOCK_BYTES else None
        if found:
            evaluated, names, checked = found.groups()
            blocks = _evaluated[evaluated], _identifiers[names], _results[checked]
            if blocks[0] and blocks[1] and blocks[2]:
                made = blocks[0], blocks[1], blocks[2]
        if len(end) <= BLOCK_BYTES:
            if len(self) >= REMEMBERED:
                self.clear()
            self[end] = made
        return made


_ends = _Ends()


def _tree(block: bytes, at: int = 0) -> Tree | None:
    """Return the elements of a block, as `feed` makes them; None: not of the common form."""
    current: Tree = {}
    parents: list[tuple[Tree, bytes]] = []
    while (token := _TOKEN.match(block, at)) is not None:
        at = token.end()
        opened, text, closed = token.groups()
        if (opened or closed).decode("ascii") not in KNOWN:
            return None
        if text is not None:
            add_element(current, opened.decode("ascii"), text.decode("ascii").strip() or None)
        elif opened is not None:
            parents.append((current, opened))
            current = {}
        else:
            if not parents or parents[-1][1] != closed or not current:
                return None
            inner = current
            current, name = parents.pop()
            add_element(current, name.decode("ascii"), inner)
    return current if not parents and not block[at:].strip(_SPACE) else None
