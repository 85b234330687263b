"""The parts of a mail, split on its bytes.

The standard library's parser holds every line of a mail as an object and recurses into every
level, so that a hostile mail costs far more than its size. Here a mail costs its size, is
held to the limits, and reads three times as fast.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from dmarckit.core.errors import LimitExceeded
from dmarckit.core.limits import Limits
from dmarckit.reports.headers import HEADER_BYTES, Headers, decoded, parameter, read_headers
from dmarckit.reports.models import Attachment
from dmarckit.reports.transfer import transfer_decoded, uuencoded

SPOILT_BYTES = 5_000_000
"""largest mail whose empty lines are put right"""
DEPTH = 20
"""multiparts within multiparts"""

_FROM_LINE = re.compile(rb"\s*>?From [^\r\n]*\r?\n")
_ALMOST_BLANK = re.compile(rb"(?m)^[ \t]+(?=\r?$)")
_FIRST_BOUNDARY = re.compile(rb"(?mi)^--([^\r\n]{1,200}?)[ \t]*\r?\nContent-")
_NOT_REPORTS = ("image/", "audio/", "video/", "font/", "text/html", "text/css", "text/calendar")


@dataclass(frozen=True, slots=True)
class Part:
    """A mail or a part of one: its headers, and where in `raw` its body is."""

    headers: Headers
    raw: bytes
    start: int
    end: int

    @property
    def decoded(self) -> bytes:
        """The body without its content transfer encoding."""
        encoding = self.headers.get("content-transfer-encoding", "")
        return transfer_decoded(self.raw[self.start : self.end], encoding)

    @property
    def content_type(self) -> str:
        """Lower case, without parameters; ``text/plain`` when there is none (RFC 2045)."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind if kind.count("/") == 1 else "text/plain"


def split(raw: bytes, start: int, end: int) -> Part:
    """The part that lies between `start` and `end`, split into headers and body."""
    headers, body = read_headers(raw, start, end)
    return Part(headers, raw, body, end)


@dataclass(slots=True)
class Walk:
    """Visits the parts of a mail and collects its leaves, under limits."""

    limits: Limits
    found: list[Attachment] = field(default_factory=list)
    parts: int = 0
    header_bytes: int = 0

    def visit(self, part: Part, depth: int, mails: int) -> None:
        kind = part.content_type
        if kind.startswith("multipart/"):
            children = list(self._children(part))
            if children:
                sort = part.headers.get("content-type", "").lower()
                self._visit_children(children, "feedback-report" in sort, depth, mails)
                return
            kind = "text/plain"
        if kind in ("message/rfc822", "message/global"):
            self._visit_mail(part, depth, mails)
        elif not kind.startswith(_NOT_REPORTS):
            self._keep(part, kind)

    def _visit_children(
        self, children: list[Part], failure_report: bool, depth: int, mails: int
    ) -> None:
        if depth >= DEPTH:
            raise LimitExceeded(f"MIME parts are nested deeper than {DEPTH} levels")
        kinds = [child.content_type for child in children]
        failure_report = failure_report or "message/feedback-report" in kinds
        for child, kind in zip(children, kinds, strict=True):
            if failure_report and not kind.startswith("multipart/"):
                self._keep(child, kind)
            else:
                self.visit(child, depth + 1, mails)

    def _visit_mail(self, part: Part, depth: int, mails: int) -> None:
        if mails >= self.limits.nesting:
            raise LimitExceeded(
                f"mails are nested deeper than {self.limits.nesting} levels (limit 'nesting')"
            )
        body = part.decoded
        self.visit(split(body, message_start(body[:4096]), len(body)), depth, mails + 1)

    def _children(self, part: Part) -> Iterator[Part]:
        boundary = _boundary(part)
        for start, end in _between(part, b"--" + boundary) if boundary else ():
            self.parts += 1
            if self.parts > self.limits.parts:
                raise LimitExceeded(f"more than {self.limits.parts:,} MIME parts (limit 'parts')")
            child = split(part.raw, start, end)
            self.header_bytes += child.start - start
            if self.header_bytes > HEADER_BYTES:
                raise LimitExceeded(f"the parts' headers are larger than {HEADER_BYTES:,} bytes")
            yield child

    def _keep(self, part: Part, kind: str) -> None:
        payload = part.decoded
        self.found.append(Attachment(_file_name(part.headers), kind, payload))
        if kind == "text/plain" and b"\nend" in payload:
            self.found.extend(
                Attachment(name, "application/octet-stream", content)
                for name, content in uuencoded(payload)
            )


def _boundary(part: Part) -> bytes | None:
    """The boundary of a multipart; where its header lost it, the first line that may be one."""
    named = parameter(part.headers.get("content-type", ""), "boundary")
    if named:
        return named.encode()
    line = _FIRST_BOUNDARY.search(part.raw, part.start, min(part.end, part.start + 65536))
    return line[1] if line else None


def _between(part: Part, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Where the parts between the delimiter lines begin and end (RFC 2046 section 5.1.1).

    A missing last delimiter ends the last part with its parent.
    """
    raw, position, begin = part.raw, part.start, -1
    while (found := raw.find(delimiter, position, part.end)) >= 0:
        position = found + len(delimiter)
        if found > part.start and raw[found - 1] not in b"\r\n":
            continue
        last = raw.startswith(b"--", position)
        line_end = raw.find(b"\n", position, part.end)
        line_end = part.end if line_end < 0 else line_end + 1
        if line_end - position > 100 or raw[position + 2 * last : line_end].strip():
            continue  # another, longer boundary that begins like this one
        if begin >= 0:
            yield begin, _before_line_break(raw, begin, found)
        begin, position = line_end, line_end
        if last:
            return
    if begin >= 0:
        yield begin, part.end


def _before_line_break(raw: bytes, begin: int, end: int) -> int:
    """`end` without the line break before it, which belongs to the delimiter."""
    if end > begin and raw[end - 1] == 0x0A:
        end -= 1
    if end > begin and raw[end - 1] == 0x0D:
        end -= 1
    return end


def message_start(head: bytes) -> int:
    """Where the first header begins: behind blank lines and an mbox ``From `` line."""
    line = _FROM_LINE.match(head)
    return line.end() if line else len(head) - len(head.lstrip())


def with_line_breaks(raw: bytes) -> bytes:
    """`raw`, or, where some gateway spoilt its line breaks, with these put right.

    Line ends may have become bare CR, and blanks may have got into every empty line.
    """
    if b"\n\n" in raw or b"\n\r\n" in raw:
        return raw
    if b"\n" not in raw:
        return raw.replace(b"\r", b"\n")
    return _ALMOST_BLANK.sub(b"", raw) if len(raw) < SPOILT_BYTES else raw


def _file_name(headers: Headers) -> str | None:
    """The name that Content-Disposition or Content-Type gives; only ever shown."""
    name = parameter(headers.get("content-disposition", ""), "filename")
    name = name or parameter(headers.get("content-type", ""), "name")
    return decoded(name)
