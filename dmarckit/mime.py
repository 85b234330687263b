"""The parts of a mail, split on its bytes.

Header blocks are read by the standard library. Bodies are not: its parser holds every line
as an object and recurses into every level, so that a hostile mail costs far more than its
size. Here a mail costs its size and is held to the limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import collapse_rfc2231_value

from dmarckit.errors import LimitExceeded
from dmarckit.models import Attachment, Limits
from dmarckit.transfer import transfer_decoded, uuencoded

HEADER_BYTES = 1_000_000
"""largest header block of a mail, and of all its parts together; real ones stay below 100 kB"""
PARAMETER_CHARACTERS = 8_000
"""of a header with encoded parameters, what is looked at"""
DEPTH = 20
"""multiparts within multiparts"""

Headers = dict[str, str]
"""name in lower case → value of the topmost header with that name, unfolded"""

_FROM_LINE = re.compile(rb"\s*>?From [^\r\n]*\r?\n")
_HEADER = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*([^\n]*(?:\n[ \t][^\n]*)*)\n?")
_BODY = (b"<", b"--", b"{")
_PARAMETERS = {
    name: re.compile(rf'(?:^|[;\s]){name}\s*=\s*(?:"([^"\\]*)"|([^\s;"]+))', re.IGNORECASE)
    for name in ("boundary", "filename", "name")
}
_WANTED = frozenset(
    {
        b"authentication-results",
        b"content-disposition",
        b"content-transfer-encoding",
        b"content-type",
        b"from",
        b"message-id",
        b"subject",
        b"x-ses-spam-verdict",
        b"x-ses-virus-verdict",
    }
)
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
    """The part that lies between `start` and `end`: its headers, and the body behind them.

    An empty line ends the headers, and so does a line that neither is a header nor is
    followed by one. Of several headers with one name the topmost is kept.
    """
    headers: Headers = {}
    position = start
    while position < end:
        header = _HEADER.match(raw, position, end)
        if header:
            name = header[1].lower()
            if name in _WANTED:
                headers.setdefault(name.decode("ascii"), _value(header[2]))
            position = header.end()
        else:
            line_end = raw.find(b"\n", position, end) + 1 or end
            line = raw[position:line_end].strip()
            if not line:
                position = line_end
                break
            if line.startswith(_BODY) or not _HEADER.match(raw, line_end, end):
                break
            position = line_end
        if position - start > HEADER_BYTES:
            raise LimitExceeded(f"a header block is larger than {HEADER_BYTES:,} bytes")
    return Part(headers, raw, position, end)


def _value(sent: bytes) -> str:
    """A header's value, unfolded; what is no UTF-8 is taken as Latin-1."""
    try:
        text = sent.decode()
    except UnicodeDecodeError:
        text = sent.decode("latin-1")
    return text.replace("\r", "").replace("\n", "").rstrip()


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
    named = _parameter(part.headers.get("content-type", ""), "boundary")
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


def _file_name(headers: Headers) -> str | None:
    """The name that Content-Disposition or Content-Type gives; only ever shown."""
    name = _parameter(headers.get("content-disposition", ""), "filename")
    name = name or _parameter(headers.get("content-type", ""), "name")
    return decoded(name)


def _parameter(header: str, name: str) -> str | None:
    """A parameter of a header; encoded and continued ones (RFC 2231) as well."""
    found = _PARAMETERS[name].search(header)
    if found:
        return found[1] or found[2]
    if f"{name}*" not in header.lower():
        return None
    message = Message()
    # the standard library takes quadratic time for many parameters
    message["Content-Type"] = header[:PARAMETER_CHARACTERS]
    try:
        value = message.get_param(name)
        return collapse_rfc2231_value(value) if value else None
    except (ValueError, LookupError, TypeError):
        return None


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
    return _ALMOST_BLANK.sub(b"", raw)


def decoded(value: str | None) -> str | None:
    """Header text with RFC 2047 words decoded; as sent where they cannot be."""
    if value is None or "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value[:2000])))
    except (MessageError, ValueError, LookupError, TypeError):
        return value
