"""Raw mail bytes → what the mail carries, who sent it, what the receiver found."""

from __future__ import annotations

import re

from dmarckit.core.errors import LimitExceeded, NotAReport
from dmarckit.core.limits import Limits
from dmarckit.reports.headers import decoded
from dmarckit.reports.mime import Walk, message_start, split, with_line_breaks
from dmarckit.reports.models import Mail
from dmarckit.reports.verdict import verdict, without_comments

_KNOWN_HEADER = re.compile(
    rb"(?im)^(?:from|to|subject|date|received|message-id|return-path|mime-version|content-type"
    rb"|delivered-to|dkim-signature)[ \t]*:"
)
_HEADER_LINE = re.compile(rb"[!-9;-~]+[ \t]*:")
_ADDRESS = re.compile(r"@([^\s@<>,;:\"()\[\]]+)")


def is_mail(raw: bytes) -> bool:
    """Whether `raw` looks like an RFC 5322 message rather than a bare report file.

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
    """The mail in `raw`: its leaf parts in order, decoded, without pictures and HTML.

    Forwarded mails (message/rfc822) are opened, except in a failure report (ARF), whose
    original message stays one attachment. Of several From headers the first one is taken,
    as of several Authentication-Results; see `dmarckit.verdict`. Raises `NotAReport` when
    `raw` is no mail, `LimitExceeded`, and `UnreadableReport` when it cannot be split.
    """
    if len(raw) > limits.mail_bytes:
        raise LimitExceeded(
            f"{len(raw):,} bytes, more than {limits.mail_bytes:,} (limit 'mail_bytes')"
        )
    if not is_mail(raw):
        raise NotAReport("not a mail: it does not begin with mail headers")
    raw = with_line_breaks(raw)
    part = split(raw, message_start(raw[:4096]), len(raw))
    headers = part.headers
    walk = Walk(limits)
    walk.visit(part, 0, 0)
    return Mail(
        from_domain=_from_domain(headers.get("from")),
        verdict=verdict(headers, authserv_id),
        attachments=tuple(walk.found),
        subject=decoded(headers.get("subject")),
        message_id=headers.get("message-id"),
    )


def _from_domain(value: str | None) -> str | None:
    """The domain of the first address in a From header, in lower case."""
    if not value:
        return None
    for text in (value, decoded(value) or ""):
        bare = without_comments(text[:10_000])
        found = _ADDRESS.search(bare, bare.find("<") + 1) or _ADDRESS.search(bare)
        if found:
            return found[1].lower().rstrip(".") or None
    return None
