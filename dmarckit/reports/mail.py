"""Raw mail bytes → what the mail carries, who sent it, what the receiver found.

The mail is split on its bytes, under limits: the standard library's parser holds every line as an
object and recurses into every level, and takes three times as long. What is within a header's
value (RFC 2047 words, RFC 2231 parameters) it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import collapse_rfc2231_value

from dmarckit.core import LimitExceeded, Limits, NotAReport, normalize_domain
from dmarckit.reports.model import Attachment, Mail
from dmarckit.reports.unpack import transfer_decoded, uuencoded
from dmarckit.reports.values import domain
from dmarckit.reports.verdict import verdict, without_comments

HEADER_BYTES = 1_000_000
"""largest header block of a mail, and of all its parts together; real ones stay below 100 kB"""
PARAMETER_CHARACTERS = 8_000  # of a header with encoded parameters, what is looked at

Headers = dict[str, str]
"""name in lower case → value of the topmost header with that name, unfolded"""

_HEADER = re.compile(rb"([!-9;-~]++)[ \t]*+:[ \t]*+([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?")
_BODY = (b"<", b"--", b"{")
_PARAMETERS = {
    name: re.compile(rf'(?:^|[;\s]){name}\s*=\s*(?:"([^"\\]*)"|([^\s;"]+))', re.IGNORECASE)
    for name in ("boundary", "filename", "name")
}
_WANTED = frozenset({
    b"from", b"subject", b"message-id", b"content-type", b"content-disposition",
    b"content-transfer-encoding", b"authentication-results",
    b"x-ses-spam-verdict", b"x-ses-virus-verdict", b"tls-report-domain",
})  # fmt: skip
SPOILT_BYTES = 5_000_000  # largest mail whose empty lines are put right
DEPTH = 20  # multiparts within multiparts
_FROM_LINE = re.compile(rb"\s*>?From [^\r\n]*\r?\n")
_ALMOST_BLANK = re.compile(rb"(?m)^[ \t]+(?=\r?$)")
_FIRST_BOUNDARY = re.compile(rb"(?mi)^--([^\r\n]{1,200}?)[ \t]*\r?\nContent-")
_NOT_REPORTS = ("image/", "audio/", "video/", "font/", "text/html", "text/css", "text/calendar")
_KNOWN_HEADER = re.compile(
    rb"(?im)^(?:from|to|subject|date|received|message-id|return-path|mime-version|content-type"
    rb"|delivered-to|dkim-signature)[ \t]*:"
)
_HEADER_LINE = re.compile(rb"[!-9;-~]+[ \t]*:")
_ADDRESS = re.compile(r"@([^\s@<>,;:\"()\[\]]+)")


def read_headers(raw: bytes, start: int, end: int) -> tuple[Headers, int]:
    """Return the headers from `start` on, the topmost of each name, and where the body begins.

    An empty line ends the headers, and so does a line that neither is a header nor is
    followed by one. Raises `LimitExceeded` when they are larger than `HEADER_BYTES`.
    """
    headers: Headers = {}
    position = start
    stop = min(end, start + HEADER_BYTES + 1)
    while position < stop:
        header = _HEADER.match(raw, position, stop)
        if header:
            name = header[1].lower()
            if name in _WANTED:
                value = utf8_or_latin1(header[2]).replace("\r", "").replace("\n", "").rstrip()
                headers.setdefault(name.decode("ascii"), value)
            position = header.end()
        else:
            line_end = raw.find(b"\n", position, stop) + 1 or stop
            line = raw[position:line_end].strip()
            if not line:
                position = line_end
                break
            if line.startswith(_BODY) or not _HEADER.match(raw, line_end, stop):
                break
            position = line_end
    if position - start > HEADER_BYTES:
        raise LimitExceeded(f"a header block is larger than {HEADER_BYTES:,} bytes")
    return headers, position


def utf8_or_latin1(sent: bytes) -> str:
    """Return the text of the bytes; those that are no UTF-8 are taken as Latin-1."""
    try:
        return sent.decode()
    except UnicodeDecodeError:
        return sent.decode("latin-1")


def parameter(header: str, name: str) -> str | None:
    """Return a parameter of a header; encoded and continued ones (RFC 2231) as well."""
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


def decode_words(value: str | None) -> str | None:
    """Return header text with RFC 2047 words decoded; as sent where they cannot be."""
    if value is None or "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value[:2000])))
    except (MessageError, ValueError, LookupError, TypeError):
        return value


@dataclass(frozen=True, slots=True)
class Part:
    """A mail or a part of one: its headers, and where in `raw` its body is."""

    headers: Headers
    raw: bytes
    start: int
    end: int

    @property
    def decoded(self) -> bytes:
        """Return the body without its content transfer encoding."""
        encoding = self.headers.get("content-transfer-encoding", "")
        return transfer_decoded(self.raw[self.start : self.end], encoding)

    @property
    def content_type(self) -> str:
        """Return it in lower case, without parameters; ``text/plain`` by default (RFC 2045)."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind if kind.count("/") == 1 else "text/plain"


def split_parts(raw: bytes, start: int, end: int) -> Part:
    """Return the part that lies between `start` and `end`, split into headers and body."""
    headers, body = read_headers(raw, start, end)
    return Part(headers, raw, body, end)


@dataclass(slots=True)
class Walk:
    """Visits the parts of a mail and collects its leaves, under limits."""

    limits: Limits
    found: list[Attachment] = field(default_factory=list)
    parts: int = 0
    header_bytes: int = 0

    def visit(self, part: Part, kind: str, depth: int, mails: int) -> None:
        """Collect the leaves of a part, of this type, within so many multiparts and mails."""
        if children := list(self._children(part)) if kind.startswith("multipart/") else []:
            if depth >= DEPTH:
                raise LimitExceeded(f"MIME parts are nested deeper than {DEPTH} levels")
            kinds = [child.content_type for child in children]
            sort = part.headers.get("content-type", "").lower()
            failure_report = "feedback-report" in sort or "message/feedback-report" in kinds
            for child, inner in zip(children, kinds, strict=True):
                if failure_report and not inner.startswith("multipart/"):
                    self._keep(child, inner)
                else:
                    self.visit(child, inner, depth + 1, mails)
        elif kind in ("message/rfc822", "message/global"):
            if mails >= self.limits.nesting:
                raise LimitExceeded(
                    f"mails are nested deeper than {self.limits.nesting} levels (limit 'nesting')"
                )
            body = part.decoded
            inside = split_parts(body, message_start(body[:4096]), len(body))
            self.visit(inside, inside.content_type, depth, mails + 1)
        elif not kind.startswith(_NOT_REPORTS):
            self._keep(part, "text/plain" if kind.startswith("multipart/") else kind)

    def _children(self, part: Part) -> Iterator[Part]:
        boundary = (parameter(part.headers.get("content-type", ""), "boundary") or "").encode()
        if not boundary:  # its header lost it: the first line that may be one
            end = min(part.end, part.start + 65536)
            line = _FIRST_BOUNDARY.search(part.raw, part.start, end)
            boundary = line[1] if line else b""
        for start, end in _between(part, b"--" + boundary) if boundary else ():
            self.parts += 1
            if self.parts > self.limits.parts:
                raise LimitExceeded(f"more than {self.limits.parts:,} MIME parts (limit 'parts')")
            child = split_parts(part.raw, start, end)
            self.header_bytes += child.start - start
            if self.header_bytes > HEADER_BYTES:
                raise LimitExceeded(f"the parts' headers are larger than {HEADER_BYTES:,} bytes")
            yield child

    def _keep(self, part: Part, kind: str) -> None:
        payload = part.decoded
        name = parameter(part.headers.get("content-disposition", ""), "filename")
        name = name or parameter(part.headers.get("content-type", ""), "name")
        self.found.append(Attachment(decode_words(name), kind, payload))
        if kind == "text/plain" and b"\nend" in payload:
            self.found.extend(
                Attachment(name, "application/octet-stream", content)
                for name, content in uuencoded(payload)
            )


def _between(part: Part, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the parts between the delimiter lines begin and end (RFC 2046 section 5.1.1).

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
            ending = raw[max(begin, found - 2) : found]  # its line break is the delimiter's
            without = ending.removesuffix(b"\n").removesuffix(b"\r")
            yield begin, found - len(ending) + len(without)
        begin, position = line_end, line_end
        if last:
            return
    if begin >= 0:
        yield begin, part.end


def message_start(head: bytes) -> int:
    """Return where the first header begins: behind blank lines and an mbox ``From `` line."""
    line = _FROM_LINE.match(head)
    return line.end() if line else len(head) - len(head.lstrip())


def is_mail(raw: bytes) -> bool:
    """Return True if `raw` looks like an RFC 5322 message rather than a bare report file.

    A leading mbox ``From `` line and blank lines are allowed for.
    """
    start = message_start(raw[:4096])
    head = raw[start : start + 65536]
    if b"\n" not in head:
        head = head.replace(b"\r", b"\n")
    if not _HEADER_LINE.match(head):
        return False
    ends = [end for end in (head.find(b"\n\n"), head.find(b"\n\r\n")) if end >= 0]
    return _KNOWN_HEADER.search(head, 0, min(ends, default=len(head))) is not None


def read_mail(raw: bytes, limits: Limits, authserv_id: str = "amazonses.com") -> Mail:
    """Return the mail in `raw`: its leaf parts in order, decoded, without pictures and HTML.

    Forwarded mails (message/rfc822) are opened, except in a failure report (ARF), whose
    original message stays one attachment. Raises `NotAReport` when `raw` is no mail,
    `LimitExceeded`, and `UnreadableReport` when it cannot be split.
    """
    if len(raw) > limits.mail_bytes:
        raise LimitExceeded(
            f"{len(raw):,} bytes, more than {limits.mail_bytes:,} (limit 'mail_bytes')"
        )
    if not is_mail(raw):
        raise NotAReport("not a mail: it does not begin with mail headers")
    if b"\n" not in raw:  # some gateways make bare CR of line ends
        raw = raw.replace(b"\r", b"\n")
    elif b"\n\n" not in raw and b"\n\r\n" not in raw and len(raw) < SPOILT_BYTES:
        raw = _ALMOST_BLANK.sub(b"", raw)  # and others put blanks into every empty line
    part = split_parts(raw, message_start(raw[:4096]), len(raw))
    headers = part.headers
    walk = Walk(limits)
    walk.visit(part, part.content_type, 0, 0)
    return Mail(
        from_domain=_from_domain(headers.get("from")),
        verdict=verdict(headers, authserv_id),
        attachments=tuple(walk.found),
        subject=decode_words(headers.get("subject")),
        message_id=headers.get("message-id"),
        tls_domain=domain(without_comments(headers.get("tls-report-domain", ""))),
    )


def _from_domain(value: str | None) -> str | None:
    """Return the domain of the first address in a From header, in lower case."""
    for text in (value or "", decode_words(value) or ""):
        bare = without_comments(text[:10_000])
        found = _ADDRESS.search(bare, bare.find("<") + 1) or _ADDRESS.search(bare)
        if found:
            return normalize_domain(found[1]) or None
    return None
