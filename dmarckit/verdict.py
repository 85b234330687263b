"""What the receiving server found: its ``Authentication-Results`` and SES's own headers.

Anyone can write any header, so only the topmost ``Authentication-Results`` counts, and only
when its authserv-id is the expected one (RFC 8601 section 5): a receiving server puts its
own above all that came with the mail. Comments and quoted strings are taken out before
anything is looked for, and where several results disagree the worse one counts, so that an
envelope sender such as ``"; dmarc=pass"@example.net`` changes nothing.
"""

from __future__ import annotations

import re

from dmarckit.models import Verdict

Headers = list[tuple[str, str]]
"""(name in lower case, unfolded value), topmost first"""

_RESULT = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:/\s*\d+\s*)?=\s*([A-Za-z][\w-]*)(?=\s|$)")
_HEADER_FROM = re.compile(r"(?:^|\s)header\.from\s*=\s*(\S+)", re.IGNORECASE)
_SPECIAL = re.compile(r'[()"\\]')
# from worst to best; an unknown word ranks with the errors, never above none
_RANK = {"fail": 0, "permerror": 1, "temperror": 2, "none": 4, "bestguesspass": 4, "pass": 5}


def verdict(headers: Headers, authserv_id: str) -> Verdict:
    """The verdict in `headers`; every field is None that no trustworthy header gives."""
    spam = first(headers, "x-ses-spam-verdict")
    virus = first(headers, "x-ses-virus-verdict")
    dmarc, dmarc_domain, spf, dkim = _results(first(headers, "authentication-results"), authserv_id)
    return Verdict(
        dmarc=dmarc,
        dmarc_domain=dmarc_domain,
        spf=spf,
        dkim=dkim,
        spam=spam.strip().upper() or None if spam else None,
        virus=virus.strip().upper() or None if virus else None,
    )


def first(headers: Headers, name: str) -> str | None:
    """The topmost header `name` (lower case)."""
    for each, value in headers:
        if each == name:
            return value
    return None


def without_comments(text: str) -> str:
    """`text` without RFC 5322 comments (nested, escaped) and quoted strings.

    An unfinished one reaches to the end.

    >>> without_comments('a (b (c) d) "e; (f" g')
    'a     g'
    """
    if not _SPECIAL.search(text):
        return text
    kept = []
    depth = 0
    quoted = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif quoted:
            quoted = character != '"'
        elif character == "(":
            depth += 1
            kept.append(" ")
        elif character == ")" and depth:
            depth -= 1
        elif depth:
            pass
        elif character == '"':
            quoted = True
            kept.append(" ")
        else:
            kept.append(character)
    return "".join(kept)


def _results(
    header: str | None, authserv_id: str
) -> tuple[str | None, str | None, str | None, str | None]:
    """dmarc, its header.from, spf and dkim of one ``Authentication-Results`` header."""
    if not header:
        return None, None, None, None
    server, *pieces = without_comments(header).split(";")
    words = server.split()
    if not words or words[0].lower() != authserv_id.lower() or len(words) > 2:
        return None, None, None, None
    dmarc: tuple[str, str | None] | None = None
    found: dict[str, list[str]] = {"spf": [], "dkim": []}
    for piece in pieces:
        match = _RESULT.match(piece)
        if not match:
            continue
        method, result = match[1].lower(), match[2].lower()
        if method == "dmarc":
            domain = _HEADER_FROM.search(piece)
            mine = result, domain[1].lower().rstrip(".") if domain else None
            if dmarc is None or _rank(result) < _rank(dmarc[0]):
                dmarc = mine
        elif method in found:
            found[method].append(result)
    spf, dkim = (
        "pass" if "pass" in results else results[0] if results else None
        for results in (found["spf"][:1], found["dkim"])
    )
    return dmarc[0] if dmarc else None, dmarc[1] if dmarc else None, spf, dkim


def _rank(result: str) -> int:
    return _RANK.get(result, 3)
