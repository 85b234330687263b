"""Text for Slack's mrkdwn: outside text that is only shown, links, lists that are cut.

Outside text (names, domains, addresses, comments) comes in through `escape` or `code` and
can then neither format, mention nor link anything.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from urllib.parse import quote

from dmarckit.core.errors import one_line
from dmarckit.core.language import _
from dmarckit.core.words import count

SECTION_LIMIT = 3000
"""characters of a text, by Block Kit's reference"""

_JOINER = "\u2060"  # word joiner: takes no room, and ends a mention, a link or an emoji
_LOOKALIKES = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ"})
_CODE_LOOKALIKES = str.maketrans({"`": "ˋ"})
# Where Slack would start something: @here, #channel, ://, example.com, :emoji:
_STARTS = re.compile(r"[@#](?=\w)|:(?=//)|(?<=\w)\.(?=\w)|:(?=[\w+'-]+:)")
_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
# A name that only DNS uses, and a record as findings write it.
_RECORD = re.compile(
    r"[\w.<>-]*_(?:dmarc|domainkey|report)\.[\w.-]*\w"
    r"|v=DMARC1(?:; [a-z]+=(?:<as in your present record>|[\w:/]+))*"
)
# Everything that may stand in a URL; "|" and blanks would end it within <url|label>.
_URL_SAFE = "%:/?#[]@!$&'()*+,;=~"


def escape(text: object, limit: int = 200) -> str:
    """Outside text for mrkdwn: shown as it is, but it cannot format, mention or link.

    Control and bidirectional characters are shown as escapes, the text is cut at `limit`.

    >>> escape("<!channel> *now*")
    '&lt;!channel&gt; ∗now∗'
    """
    shown = one_line(text, limit).translate(_LOOKALIKES)
    shown = _EDGE_UNDERSCORE.sub("ˍ", shown)
    return entities(_STARTS.sub(lambda found: found.group() + _JOINER, shown))


def code(text: object, limit: int = 100) -> str:
    """Outside text in a code span: copied as it is, and Slack reads nothing into it.

    >>> code("2001:db8:100::1")
    '`2001:db8:100::1`'
    """
    return f"`{entities(one_line(text, limit).translate(_CODE_LOOKALIKES)) or '–'}`"


def escape_with_records(text: object, limit: int = 500) -> str:
    """As `escape`, but DNS names and DMARC records in it are code spans, fit to be copied.

    `escape` puts invisible characters into names, which would go into the DNS with them.

    >>> escape_with_records("change _dmarc.example.com to: v=DMARC1; p=reject")
    'change `_dmarc.example.com` to: `v=DMARC1; p=reject`'
    """
    shown = one_line(text, limit)
    parts, at = [], 0
    for found in _RECORD.finditer(shown):
        parts += [escape(shown[at : found.start()], limit), code(found.group(), limit)]
        at = found.end()
    return "".join([*parts, escape(shown[at:], limit)])


def link(url: str, label: str) -> str:
    """A link; a place that no browser opens (a folder's path) is shown as code."""
    if not opens(url):
        return f"{label}: {code(url, SECTION_LIMIT // 2)}"
    return f"<{entities(quote(url, safe=_URL_SAFE))}|{label}>"


def opens(address: str) -> bool:
    """Whether a browser opens it; else it is a folder's path or an object's name."""
    return address.lower().startswith(("https://", "http://"))


def lines(items: Sequence[str], limit: int = SECTION_LIMIT, total: int | None = None) -> str:
    """Escaped lines as a list; what does not fit is cut with "and N more".

    `total` is how many there are when `items` are only the first of them.
    """
    more = _("and {n} more")
    kept: list[str] = []
    room = limit - len("\n") - len(more.format(n="1,000,000,000"))
    for item in items:
        room -= len(item) + 3
        if room < 0:
            break
        kept.append(f"• {item}")
    rest = (len(items) if total is None else total) - len(kept)
    return "\n".join([*kept, more.format(n=count(rest))] if rest > 0 else kept)


def entities(text: str) -> str:
    """Slack's three special characters as it wants them."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plain(mrkdwn: str, *, links: bool = True) -> str:
    """mrkdwn of this module as plain text; without `links` their addresses are left out."""
    text = re.sub(r"<([^|>]+)\|([^>]+)>", r"\2: \1" if links else r"[\2]", mrkdwn)
    text = re.sub(r"\*([^*\n]+)\*", r"\1", text).replace("`", "").replace(_JOINER, "")
    return html.unescape(text)
