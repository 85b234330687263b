"""Block Kit: the blocks that messages are made of, within Slack's limits, and `Message`.

What is too long is cut and says so (limits: docs.slack.dev/reference/block-kit). Stored files get
their address, a signed one that ends, only when a message is posted (`with_addresses`). Outside
text comes in through `mrkdwn` or `code`, and can then neither format, mention nor link anything.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

from dmarckit.core import _, count, current_language, one_line

Block = dict[str, Any]

FIELD_LIMIT, FIELDS_LIMIT, BLOCKS_LIMIT = 2000, 10, 50
HEADER_LIMIT, ALT_LIMIT, URL_LIMIT = 150, 2000, 3000
TABLE_ROWS = 25  # beyond which nobody reads; Slack takes 100
TABLE_TEXT = 5000  # characters; Slack takes 10,000, but with a message's other texts 12,000
CELL_LIMIT = 80
MIN_PARAGRAPH = 100  # characters of a paragraph that is not shortened any more
MESSAGE_TEXT = 11_000  # characters; beyond some 12,000 Slack answers `msg_blocks_too_long`
SECTION_LIMIT = 3000  # characters of a text, by Block Kit's reference
LIST_LIMIT = 2900  # characters of a list; its heading needs some room too

_JOINER = "\u2060"  # word joiner: takes no room, and ends a mention, a link or an emoji
_LOOKALIKES = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ"})

# Where Slack would start something: @here, #channel, ://, :emoji:
_STARTS = re.compile(r"[@#](?=\w)|:(?=//)|:(?=[\w+'-]+:)")
_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
# What people copy, and Slack would link: a record as findings write it, a domain, an address.
_COPIED = re.compile(
    r"(v=DMARC1(?:; ?[A-Za-z]+=[\w:/@.,!+-]+)*|v=spf1(?: [\w:/.+~?=-]+)*"
    r"|(?:[\w-]+\.)+(?=[\w-]*[^\W\d])[\w-]*\w|\d+(?:\.\d+){3})"
)

_quoted = partial(html.escape, quote=False)  # Slack's three special characters


def mrkdwn(text: object, limit: int = 200) -> str:
    """Return outside text for mrkdwn as it is, but unable to format, mention or link.

    Domains and DNS records become code spans: nothing invisible is copied with them, and Slack
    links none. Control and bidirectional characters are shown as escapes, the text is cut at
    `limit`.

    >>> mrkdwn("<!channel> *now*"), mrkdwn("set _dmarc.example.com to v=DMARC1; p=reject")
    ('&lt;!channel&gt; ∗now∗', 'set `_dmarc.example.com` to `v=DMARC1; p=reject`')
    """
    parts = _COPIED.split(one_line(text, limit))  # each other one is copied
    return "".join(code(part, limit) if n % 2 else _inert(part) for n, part in enumerate(parts))


def _inert(text: str) -> str:
    shown = _EDGE_UNDERSCORE.sub("ˍ", text.translate(_LOOKALIKES))
    return _quoted(_STARTS.sub(lambda found: found.group() + _JOINER, shown))


def code(text: object, limit: int = 100) -> str:
    """Return outside text in a code span: copied as it is, and Slack reads nothing into it.

    >>> code("2001:db8:100::1")
    '`2001:db8:100::1`'
    """
    return f"`{_quoted(one_line(text, limit).replace('`', 'ˋ')) or '–'}`"


def link(url: str, label: str) -> str:
    """Return a link; a place that no browser opens (a folder's path) is shown as code."""
    if not is_web_address(url):
        return f"{label}: {code(url, SECTION_LIMIT // 2)}"
    # all that may stand in a URL; "|" and blanks would end it within <url|label>
    quoted = quote(url, safe="%:/?#[]@!$&'()*+,;=~")
    return f"<{_quoted(quoted)}|{label}>"


def is_web_address(address: str) -> bool:
    """Return True if a browser opens it; else it is a folder's path or an object's name."""
    return address.lower().startswith(("https://", "http://"))


def bullet_list(items: Sequence[str], limit: int = LIST_LIMIT, most: int | None = None) -> str:
    """Return escaped lines as a list; beyond `most`, or the limit, there is "and N more"."""
    more = _("and {n} more")
    kept: list[str] = []
    room = limit - len("\n") - len(more.format(n="1,000,000,000"))
    for item in items[:most]:
        room -= len(item) + 3
        if room < 0:
            break
        kept.append(f"• {item}")
    rest = len(items) - len(kept)
    return "\n".join([*kept, more.format(n=count(rest))] if rest > 0 else kept)


def plain_text(mrkdwn: str, *, links: bool = True) -> str:
    """Return mrkdwn of this module as plain text; without `links` no addresses."""
    text = re.sub(r"<([^|>]+)\|([^>]+)>", r"\2: \1" if links else r"[\2]", mrkdwn)
    text = re.sub(r"\*([^*\n]+)\*", r"\1", text).replace("`", "").replace(_JOINER, "")
    return html.unescape(text)


@dataclass(frozen=True)
class StoredFile:
    """A file of ours: its address is made when the message goes out."""

    place: str  # ``pages`` or ``exports``
    key: str


@dataclass(frozen=True)
class Message:
    """One Slack message."""

    text: str  # one line for notifications and screen readers
    blocks: tuple[Block, ...]  # Block Kit; links to stored files as blocks of our own

    def as_json(self) -> str:
        """Return the message as `chat.postMessage` takes it, without channel and token."""
        return json.dumps({"text": self.text, "blocks": list(self.blocks)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Message:
        """Return the message that `as_json` wrote."""
        content = json.loads(text)
        return cls(content["text"], tuple(content["blocks"]))


def build_message(text: str, blocks: Sequence[Block]) -> Message:
    """Return a message of at most 50 blocks; what is beyond them is counted, not shown.

    Notifications show `text` as it is, so its code spans lose their marks.
    """
    kept = list(blocks[:BLOCKS_LIMIT])
    if len(blocks) > BLOCKS_LIMIT:
        kept[-1] = context(_("and {n} more").format(n=len(blocks) - BLOCKS_LIMIT + 1))
    return Message(_cut(text.replace("`", ""), SECTION_LIMIT), _fitting(kept))


def _fitting(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Shorten the longest paragraphs, then leave out links, until Slack takes all blocks together.

    Escaped text is longer than it looks. Tables, and the first link, stay: they are short enough.
    """
    kept = list(blocks)
    while sum(map(_size, kept)) > MESSAGE_TEXT:
        shown = [block.get("text", {}) if block["type"] == "section" else {} for block in kept]
        texts = [text.get("text", "") for text in shown]
        links = [n for n, text in enumerate(texts) if text.startswith("<")]
        spare = [0 if n in links else len(text) for n, text in enumerate(texts)]
        if (longest := max(spare)) >= MIN_PARAGRAPH:
            place = spare.index(longest)
            shorter = texts[place][: longest // 2].rpartition("\n")[0]
            kept[place] = section(f"{shorter}\n…".lstrip())
        elif len(links) > 1:
            del kept[links[-1]]
        else:
            break
    return tuple(kept)


def _size(block: Block) -> int:
    cells = [cell for row in block.get("rows", ()) for cell in row]
    texts = [*block.get("fields", ()), *block.get("elements", ()), *cells]
    texts += [block["text"]] if "text" in block else []
    return sum(len(text["text"]) for text in texts) + len(block.get("alt_text", ""))


def header(text: str) -> Block:
    """Return a heading of any text; plain text, so nothing in it is read as markup."""
    shown = _line(text, HEADER_LIMIT)
    return {"type": "header", "text": {"type": "plain_text", "text": shown or "–", "emoji": False}}


def section(text: str) -> Block:
    """Return a paragraph of mrkdwn that was escaped by its maker."""
    return {"type": "section", "text": _mrkdwn(text, SECTION_LIMIT)}


def fields(pairs: Iterable[tuple[str, str]]) -> Block:
    """Return up to ten label and value pairs, in two columns."""
    cells = [_mrkdwn(f"*{label}*\n{value}", FIELD_LIMIT) for label, value in pairs]
    return {"type": "section", "fields": cells[:FIELDS_LIMIT]}


def context(text: str) -> Block:
    """Return a line in small print."""
    return {"type": "context", "elements": [_mrkdwn(text, SECTION_LIMIT)]}


def text_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Block]:
    """Return a table of outside text, its numbers to the right, and "and N more".

    Cells that are all digits and separators count as numbers. Rows that are too many, or do not
    fit into Slack's limits, are counted, not shown.
    """
    shown: list[list[Block]] = []
    room = TABLE_TEXT
    for row in (names, *rows[:TABLE_ROWS]):
        # raw text: Slack reads nothing into it
        texts = [_line(value, CELL_LIMIT) or "–" for value in row]
        room -= sum(map(len, texts))
        if room < 0:
            break
        shown.append([{"type": "raw_text", "text": text} for text in texts])
    settings = [
        {"align": "right" if all(c["text"].replace(",", "").isdigit() for c in column) else "left"}
        for column in zip(*shown[1:], strict=True)
    ]
    block: Block = {"type": "table", "rows": shown, "column_settings": settings}
    rest = len(rows) - (len(shown) - 1)
    return [block, context(_("and {n} more").format(n=count(rest)))] if rest > 0 else [block]


def link_lines(pairs: Iterable[tuple[str, StoredFile | None]]) -> list[Block]:
    """Return links (label, target), each in its own line; one to nothing is left out."""
    return [{"type": "link", "label": label, **asdict(to)} for label, to in pairs if to]


def image(to: StoredFile | None, alt: str) -> list[Block]:
    """Return a picture; none for no target."""
    return [{"type": "picture", "alt": alt, **asdict(to)}] if to else []


def with_addresses(
    message: Message, address: Callable[[StoredFile], str], above: str = ""
) -> Message:
    """Return the message as Slack takes it: every stored file an address, a line `above` it.

    One that is too long for Slack is a line that says so: presigned URLs made with a role's
    session token can be longer than a text may be.
    """
    blocks = [context(above)] if above else []
    for block in message.blocks:
        if block["type"] in ("link", "picture"):
            url = address(StoredFile(block["place"], block["key"]))
            block = _link(url, block["label"]) if "label" in block else _image(url, block["alt"])
        blocks.append(block)
    return replace(message, blocks=_fitting(blocks[:BLOCKS_LIMIT]))


def _link(url: str, label: str) -> Block:
    text = link(url, label)
    if len(text) > SECTION_LIMIT:
        too_long = _("{label}: the link is too long for Slack ({n} characters)")
        text = too_long.format(label=label, n=count(len(url)))
    return section(text)


def _image(url: str, alt: str) -> Block:
    if not is_web_address(url) or len(url) > URL_LIMIT:
        return _link(url, _("Chart"))
    return {"type": "image", "image_url": url, "alt_text": _line(alt, ALT_LIMIT) or _("chart")}


def simplified(message: Message) -> Message:
    """Return the message with links for pictures, and lists for tables.

    Pictures that Slack cannot fetch (of a bucket that only a company's network reaches) and
    tables, where they are not known yet, are what it refuses most.
    """
    blocks: list[Block] = []
    for block in message.blocks:
        if block["type"] == "image":
            blocks.append(_link(block["image_url"], _("Chart")))
        elif block["type"] == "table":
            rows = [" · ".join(_quoted(cell["text"]) for cell in row) for row in block["rows"]]
            blocks.append(section(bullet_list(rows)))
        else:
            blocks.append(block)
    return replace(message, blocks=_fitting(blocks))


def _mrkdwn(text: str, limit: int) -> Block:
    # verbatim: Slack links no bare URL, channel or name on its own
    return {"type": "mrkdwn", "text": _cut(text, limit) or "–", "verbatim": True}


def _line(text: str, limit: int) -> str:
    return _cut(one_line(text, limit), limit)  # escapes make it longer


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def duration(length: timedelta) -> str:
    """Return a length of time in the largest unit of which it has two.

    >>> duration(timedelta(minutes=90)), duration(timedelta(days=3)), duration(timedelta(0))
    ('90 minutes', '3 days', '0 minutes')
    """
    from babel.dates import format_timedelta

    shown: str = format_timedelta(length, "minute", threshold=2, locale=current_language())
    return shown
