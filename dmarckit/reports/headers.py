"""The headers of a mail or a part: those that are looked at, from the top.

Lines are told apart here; what is within a value (RFC 2047 words, RFC 2231 parameters) is
read by the standard library.
"""

from __future__ import annotations

import re
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import collapse_rfc2231_value

from dmarckit.core.errors import LimitExceeded

HEADER_BYTES = 1_000_000
"""largest header block of a mail, and of all its parts together; real ones stay below 100 kB"""
PARAMETER_CHARACTERS = 8_000
"""of a header with encoded parameters, what is looked at"""

Headers = dict[str, str]
"""name in lower case → value of the topmost header with that name, unfolded"""

_HEADER = re.compile(rb"([!-9;-~]++)[ \t]*+:[ \t]*+([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?")
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


def read_headers(raw: bytes, start: int, end: int) -> tuple[Headers, int]:
    """The headers from `start` on, and where the body behind them begins.

    An empty line ends the headers, and so does a line that neither is a header nor is
    followed by one. Of several headers with one name the topmost is kept. Raises
    `LimitExceeded` when they are larger than `HEADER_BYTES`.
    """
    headers: Headers = {}
    position = start
    stop = min(end, start + HEADER_BYTES + 1)
    while position < stop:
        header = _HEADER.match(raw, position, stop)
        if header:
            name = header[1].lower()
            if name in _WANTED:
                headers.setdefault(name.decode("ascii"), _value(header[2]))
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


def _value(sent: bytes) -> str:
    """A header's value, unfolded; what is no UTF-8 is taken as Latin-1."""
    try:
        text = sent.decode()
    except UnicodeDecodeError:
        text = sent.decode("latin-1")
    return text.replace("\r", "").replace("\n", "").rstrip()


def parameter(header: str, name: str) -> str | None:
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


def decoded(value: str | None) -> str | None:
    """Header text with RFC 2047 words decoded; as sent where they cannot be."""
    if value is None or "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value[:2000])))
    except (MessageError, ValueError, LookupError, TypeError):
        return value
