"""What the receiving server found: its ``Authentication-Results`` and SES's own headers.

Anyone can write any header: only the topmost ``Authentication-Results`` counts, with the expected
authserv-id (RFC 8601 section 5), without comments and quoted strings, and of several results the
worse one, so that an envelope sender such as ``"; dmarc=pass"@example.net`` changes nothing. One
that is unfinished, or says of DMARC what cannot be read, is odd: it may hide a fail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from dmarckit.core import normalize_domain
from dmarckit.reports.model import Verdict

_RESULT = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:/\s*\d+\s*)?=\s*([A-Za-z][\w-]*)(?=\s|$)")
_HEADER_FROM = re.compile(r"(?:^|\s)header\.from\s*=\s*(\S+)", re.IGNORECASE)
_PIECES = re.compile(r'[()"]|\\.?|[^()"\\]+', re.DOTALL)
# from worst to best; an unknown word is odd, and ranks as fail
_RANK = {"fail": 0, "permerror": 1, "temperror": 2, "none": 4, "bestguesspass": 4, "pass": 5}


def verdict(headers: Mapping[str, str], authserv_id: str) -> Verdict:
    """Return the verdict in `headers` (lower-case name → topmost value).

    Every field is None that no trustworthy header gives.
    """
    spam, virus = (
        headers.get(f"x-ses-{name}-verdict", "").strip().upper() or None
        for name in ("spam", "virus")
    )
    header = headers.get("authentication-results")
    results = _results(header, authserv_id) if header is not None else Verdict()
    return replace(results, spam=spam, virus=virus)


def without_comments(text: str) -> str:
    """Return `text` without RFC 5322 comments (nested, escaped) and quoted strings.

    An unfinished one reaches to the end.

    >>> without_comments('a (b (c) d) "e; (f" g').split()
    ['a', 'g']
    """
    return _stripped(text)[0]


def _stripped(text: str) -> tuple[str, bool]:
    """Return what `without_comments` does, and whether the last one is unfinished."""
    kept, depth, quoted = [], 0, False
    for piece in _PIECES.findall(text):
        if piece[0] == "\\":
            continue
        if quoted:
            quoted = piece != '"'
        elif piece == "(":
            depth += 1
            kept.append(" ")
        elif piece == ")":
            depth = max(depth - 1, 0)
        elif depth:
            continue
        elif piece == '"':
            quoted = True
            kept.append(" ")
        else:
            kept.append(piece)
    return "".join(kept), quoted or depth > 0


def _results(header: str, authserv_id: str) -> Verdict:
    """Return dmarc, its header.from, spf and dkim of a header, and whether it is odd."""
    text, unfinished = _stripped(header)
    server, *pieces = text.split(";")
    words = server.split()
    if words and words[0].lower() != authserv_id.lower():
        return Verdict()
    if unfinished or not words or len(words) > 2:
        return Verdict(odd=True)
    dmarc: tuple[str | None, str | None] = None, None
    found: dict[str, list[str]] = {"spf": [], "dkim": []}
    odd = unread = False
    for piece in pieces:
        if not (match := _RESULT.match(piece)):
            said = piece.strip().lower()
            odd = odd or said.startswith("dmarc")
            unread = unread or said not in ("", "none")
            continue
        method, result = match[1].lower(), match[2].lower()
        if method == "dmarc":
            domain = _HEADER_FROM.search(piece)
            odd = odd or result not in _RANK
            if dmarc[0] is None or _RANK.get(result, 0) < _RANK.get(dmarc[0], 0):
                dmarc = result, normalize_domain(domain[1]) if domain else None
        elif method in found:
            found[method].append(result)
    spf, dkim = (
        "pass" if "pass" in results else results[0] if results else None
        for results in (found["spf"][:1], found["dkim"])
    )
    return Verdict(*dmarc, spf, dkim, odd=odd or (unread and dmarc[0] is None))
