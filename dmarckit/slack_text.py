"""Slack's text and blocks: escaping, limits, and the same message for a terminal.

Outside text (names, domains, addresses, comments) comes in through `escape` or `code` and
can then neither format, mention nor link anything. Limits are those of Block Kit's
reference; what is too long is cut, never refused by Slack.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dmarckit.errors import one_line

Block = dict[str, Any]

SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
FIELDS_LIMIT = 10
HEADER_LIMIT = 150
ALT_LIMIT = 2000
URL_LIMIT = 3000
BLOCKS_LIMIT = 50

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


@dataclass(frozen=True)
class Message:
    """One Slack message."""

    text: str
    """one line for notifications and screen readers"""
    blocks: tuple[Block, ...]
    """Block Kit, what the channel shows"""

    def as_json(self) -> str:
        """The message as `chat.postMessage` takes it, without channel and token."""
        return json.dumps({"text": self.text, "blocks": list(self.blocks)}, indent=2)


def escape(text: object, limit: int = 200) -> str:
    """Outside text for mrkdwn: shown as it is, but it cannot format, mention or link.

    Control and bidirectional characters are shown as escapes, the text is cut at `limit`.

    >>> escape("<!channel> *now*")
    '&lt;!channel&gt; ∗now∗'
    """
    shown = one_line(text, limit).translate(_LOOKALIKES)
    shown = _EDGE_UNDERSCORE.sub("ˍ", shown)
    return _entities(_STARTS.sub(lambda found: found.group() + _JOINER, shown))


def code(text: object, limit: int = 100) -> str:
    """Outside text in a code span: copied as it is, and Slack reads nothing into it.

    >>> code("2001:db8:100::1")
    '`2001:db8:100::1`'
    """
    return f"`{_entities(one_line(text, limit).translate(_CODE_LOOKALIKES)) or '–'}`"


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
    if not url.lower().startswith(("https://", "http://")):
        return f"{label}: {code(url, SECTION_LIMIT // 2)}"
    return f"<{_entities(quote(url, safe=_URL_SAFE))}|{label}>"


# Everything that may stand in a URL; "|" and blanks would end it within <url|label>.
_URL_SAFE = "%:/?#[]@!$&'()*+,;=~"


def header(text: str) -> Block:
    """A heading of outside or own text; plain text, so nothing in it is read as markup."""
    shown = one_line(text, HEADER_LIMIT - 1)
    return {"type": "header", "text": {"type": "plain_text", "text": shown or "–", "emoji": False}}


def section(text: str) -> Block:
    """A paragraph of mrkdwn that was escaped by its maker."""
    return {"type": "section", "text": _mrkdwn(text, SECTION_LIMIT)}


def fields(pairs: Iterable[tuple[str, str]]) -> Block:
    """Up to ten label and value pairs, in two columns."""
    cells = [_mrkdwn(f"*{label}*\n{value}", FIELD_LIMIT) for label, value in pairs]
    return {"type": "section", "fields": cells[:FIELDS_LIMIT]}


def context(text: str) -> Block:
    """A line in small print."""
    return {"type": "context", "elements": [_mrkdwn(text, SECTION_LIMIT)]}


def lines(items: Sequence[str], limit: int = SECTION_LIMIT) -> str:
    """Escaped lines as a list; what does not fit is cut with "and N more"."""
    kept: list[str] = []
    room = limit - len("\nand 1,000,000 more")
    for item in items:
        room -= len(item) + 3
        if room < 0:
            break
        kept.append(f"• {item}")
    rest = len(items) - len(kept)
    return "\n".join([*kept, f"and {rest:,} more"] if rest else kept)


def links(pairs: Iterable[tuple[str, str | None]]) -> list[Block]:
    """Links (label, URL), each in a line of its own; one too long for Slack says so.

    Presigned URLs made with a role's session token can be longer than a text may be.
    """
    blocks = []
    for label, url in pairs:
        if url is None:
            continue
        text = link(url, label)
        if len(text) > SECTION_LIMIT:
            text = f"{label}: the link is too long for Slack ({len(url):,} characters)"
        blocks.append(section(text))
    return blocks


def image(url: str | None, alt: str) -> list[Block]:
    """A picture; none for no URL; a line instead for one that Slack would refuse."""
    if url is None:
        return []
    if not url.lower().startswith(("https://", "http://")):
        return [context(f"Chart: {code(url, SECTION_LIMIT // 2)}")]
    if len(url) > URL_LIMIT:
        return [
            context(f"Chart left out: its link is too long for Slack ({len(url):,} characters)")
        ]
    return [
        {"type": "image", "image_url": url, "alt_text": one_line(alt, ALT_LIMIT - 1) or "chart"}
    ]


def message(text: str, blocks: Sequence[Block]) -> Message:
    """A message of at most 50 blocks; what is beyond them is counted, not shown."""
    kept = list(blocks[:BLOCKS_LIMIT])
    if len(blocks) > BLOCKS_LIMIT:
        kept[-1] = context(f"and {len(blocks) - BLOCKS_LIMIT + 1} more")
    return Message(_cut(text, SECTION_LIMIT), tuple(kept))


def show(shown: Message, *, links: bool = True) -> str:
    """The message as plain text for the terminal, for when there is no token.

    Without `links` their addresses are left out: presigned ones are several lines long.
    """
    return "\n".join(line for block in shown.blocks for line in _plain(block, links)) + "\n"


def _plain(block: Block, links: bool) -> list[str]:
    if block["type"] == "image":
        return [f"[chart] {block['alt_text']}" + (f": {block['image_url']}" if links else "")]
    if block["type"] == "header":
        return [block["text"]["text"], ""]
    texts = block.get("fields") or block.get("elements") or [block["text"]]
    if "fields" in block:
        return ["  ".join(_plain_text(t["text"], links).replace("\n", ": ") for t in texts)]
    return [_plain_text(text["text"], links) for text in texts]


def _plain_text(mrkdwn: str, links: bool) -> str:
    """Undoes what `section` and its like were given: only our own markup is in there."""
    text = re.sub(r"<([^|>]+)\|([^>]+)>", r"\2: \1" if links else r"[\2]", mrkdwn)
    text = re.sub(r"\*([^*\n]+)\*", r"\1", text).replace("`", "").replace(_JOINER, "")
    return html.unescape(text)


def _mrkdwn(text: str, limit: int) -> Block:
    # verbatim: Slack links no bare URL, channel or name on its own
    return {"type": "mrkdwn", "text": _cut(text, limit) or "–", "verbatim": True}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
