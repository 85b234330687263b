"""What the receiving server found: its ``Authentication-Results`` and SES's own headers.

Anyone can write any header: only the topmost ``Authentication-Results`` counts, with the expected
authserv-id (RFC 8601 section 5), without comments and quoted strings, and of several results the
worse one, so that an envelope sender such as ``"; dmarc=pass"@example.net`` changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dmarckit.core import normalize_domain
from dmarckit.reports.model import Verdict

_RESULT = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:/\s*\d+\s*)?=\s*([A-Za-z][\w-]*)(?=\s|$)")
_HEADER_FROM = re.compile(r"(?:^|\s)header\.from\s*=\s*(\S+)", re.IGNORECASE)
_PIECES = re.compile(r'[()"]|\\.?|[^()"\\]+', re.DOTALL)
# from worst to best; an unknown word ranks with the errors, never above none
_RANK = {"fail": 0, "permerror": 1, "temperror": 2, "none": 4, "bestguesspass": 4, "pass": 5}


def verdict(headers: Mapping[str, str], authserv_id: str) -> Verdict:
    """Return the verdict in `headers` (lower-case name → topmost value).

    Every field is None that no trustworthy header gives.
    """
    spam, virus = (
        headers.get(f"x-ses-{name}-verdict", "").strip().upper() or None
        for name in ("spam", "virus")
    )
    results = _results(headers.get("authentication-results"), authserv_id)
    return Verdict(*results, spam=spam, virus=virus)


def without_comments(text: str) -> str:
    """Return `text` without RFC 5322 comments (nested, escaped) and quoted strings.

    An unfinished one reaches to the end.

    >>> without_comments('a (b (c) d) "e; (f" g').split()
    ['a', 'g']
    """
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
    return "".join(kept)


def _results(
    header: str | None, authserv_id: str
) -> tuple[str | None, str | None, str | None, str | None]:
    """Return dmarc, its header.from, spf and dkim of a header, as `Verdict` has them."""
    server, *pieces = without_comments(header or "").split(";")
    words = server.split()
    if not words or words[0].lower() != authserv_id.lower() or len(words) > 2:
        return None, None, None, None
    dmarc: tuple[str | None, str | None] = None, None
    found: dict[str, list[str]] = {"spf": [], "dkim": []}
    for piece in pieces:
        if not (match := _RESULT.match(piece)):
            continue
        method, result = match[1].lower(), match[2].lower()
        if method == "dmarc":
            domain = _HEADER_FROM.search(piece)
            if dmarc[0] is None or _RANK.get(result, 3) < _RANK.get(dmarc[0], 3):
                dmarc = result, normalize_domain(domain[1]) if domain else None
        elif method in found:
            found[method].append(result)
    spf, dkim = (
        "pass" if "pass" in results else results[0] if results else None
        for results in (found["spf"][:1], found["dkim"])
    )
    return *dmarc, spf, dkim
