"""The blocks that messages are made of, the same for every channel, and `Message`.

The kinds of blocks are header, section, fields, context, table, link and picture; each channel
shows them in its own form. Texts of sections, fields and contexts, and the labels of links, are
a subset of Slack's mrkdwn: escaped as HTML, with ``*bold*`` and ``` `code` ``` within a line
(`spans`). Outside text comes in through `mrkdwn` or `code`, and can then neither format, mention
nor link anything. What is too long is cut and says so. Stored files get their address, a signed
one that ends, only when a message goes out (`with_addresses`).
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from dmarckit.core import _, count, current_language, one_line

Block = dict[str, Any]

FIELD_LIMIT, FIELDS_LIMIT, BLOCKS_LIMIT = 2000, 10, 50
HEADER_LIMIT, ALT_LIMIT = 150, 2000
TABLE_ROWS = 25  # beyond which nobody reads; Slack takes 100
TABLE_TEXT = 5000  # characters; Slack takes 10,000, but with a message's other texts 12,000
CELL_LIMIT = 80
MIN_PARAGRAPH = 100  # characters of a paragraph that is not shortened any more
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


def spans(line: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a line of mrkdwn as text, each with its style: bold, code, or none.

    >>> list(spans("*98%* of `example.com` &lt;b&gt;"))
    [('98%', 'bold'), (' of ', ''), ('example.com', 'code'), (' <b>', '')]
    """
    bold = False
    for n, part in enumerate(line.split("`")):
        for m, text in enumerate([part] if n % 2 else part.split("*")):
            bold ^= m > 0
            if text:
                yield html.unescape(text), "code" if n % 2 else "bold" if bold else ""


def plain_text(mrkdwn: str, *, inert: bool = False) -> str:
    """Return mrkdwn as plain text; if `inert`, what ends foreign links stays in it, invisible."""
    lines = ("".join(text for text, _style in spans(line)) for line in mrkdwn.split("\n"))
    text = "\n".join(lines)
    return text if inert else text.replace(_JOINER, "")


@dataclass(frozen=True)
class StoredFile:
    """A file of ours: its address is made when the message goes out."""

    place: str  # ``pages`` or ``exports``
    key: str


@dataclass(frozen=True)
class Message:
    """One message, for any channel."""

    text: str  # one line of mrkdwn for notifications, subjects and screen readers
    blocks: tuple[Block, ...]

    def as_json(self) -> str:
        """Return the message as the outbox keeps it."""
        return json.dumps({"text": self.text, "parts": list(self.blocks)})

    @classmethod
    def from_json(cls, text: str) -> Message:
        """Return the message that `as_json` wrote."""
        content = json.loads(text)
        return cls(content["text"], tuple(content.get("parts", ())) or (section(content["text"]),))

    @property
    def title(self) -> str:
        """Return `text` as plain text on one line: a subject, a notification."""
        return one_line(plain_text(self.text), HEADER_LIMIT)


def build_message(text: str, blocks: Sequence[Block]) -> Message:
    """Return a message of at most 50 blocks; what is beyond them is counted, not shown.

    Notifications show `text` as it is, so its code spans lose their marks.
    """
    kept = list(blocks[:BLOCKS_LIMIT])
    if len(blocks) > BLOCKS_LIMIT:
        kept[-1] = context(_("and {n} more").format(n=len(blocks) - BLOCKS_LIMIT + 1))
    return Message(_cut(text.replace("`", ""), SECTION_LIMIT), tuple(kept))


def fitting(message: Message, size: Callable[[Message], int], limit: int) -> Message:
    """Return the message cut until its `size` in a channel is at most that channel's `limit`.

    The longest paragraphs become shorter, then links are left out but for the first, then the
    largest of the other blocks but for headers.
    """
    kept = list(message.blocks)
    while size(message) > limit and kept:
        texts = [block["text"] if block["type"] == "section" else "" for block in kept]
        links = [n for n, block in enumerate(kept) if block["type"] == "link"]
        place = max(range(len(kept)), key=lambda n: len(texts[n]))
        if (longest := len(texts[place])) >= MIN_PARAGRAPH:
            shorter = texts[place][: longest // 2].rpartition("\n")[0]
            kept[place] = section(f"{shorter}\n…".lstrip())
        elif len(links) > 1:
            del kept[links[-1]]
        elif others := [n for n, b in enumerate(kept) if b["type"] not in ("header", "link")]:
            del kept[max(others, key=lambda n: len(json.dumps(kept[n])))]
        else:
            break
        message = replace(message, blocks=tuple(kept))
    return message


def header(text: str) -> Block:
    """Return a heading of any text; plain text, so nothing in it is read as markup."""
    return {"type": "header", "text": cut_line(text, HEADER_LIMIT) or "–"}


def section(text: str) -> Block:
    """Return a paragraph of mrkdwn that was escaped by its maker."""
    return {"type": "section", "text": _cut(text, SECTION_LIMIT) or "–"}


def fields(pairs: Iterable[tuple[str, str]]) -> Block:
    """Return up to ten label and value pairs, in two columns."""
    cells = [[label, _cut(value, FIELD_LIMIT - len(label) - 3)] for label, value in pairs]
    return {"type": "fields", "pairs": cells[:FIELDS_LIMIT]}


def context(text: str) -> Block:
    """Return a line in small print."""
    return {"type": "context", "text": _cut(text, SECTION_LIMIT) or "–"}


def text_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Block]:
    """Return a table of outside text, and "and N more".

    Rows that are too many, or do not fit into Slack's limits, are counted, not shown.
    """
    shown: list[list[str]] = []
    room = TABLE_TEXT
    for row in (names, *rows[:TABLE_ROWS]):
        texts = [cut_line(value, CELL_LIMIT) or "–" for value in row]
        room -= sum(map(len, texts))
        if room < 0:
            break
        shown.append(texts)
    rest = len(rows) - (len(shown) - 1)
    more = [context(_("and {n} more").format(n=count(rest)))] if rest > 0 else []
    return [{"type": "table", "rows": shown}, *more]


def is_number(text: str) -> bool:
    """Return True if a cell is all digits and separators; such columns are set to the right."""
    return text.replace(",", "").isdigit()


def link_lines(pairs: Iterable[tuple[str, StoredFile | None]]) -> list[Block]:
    """Return links (label, target), each in its own line; one to nothing is left out."""
    return [{"type": "link", "label": label, **asdict(to)} for label, to in pairs if to]


def image(to: StoredFile | None, alt: str) -> list[Block]:
    """Return a picture; none for no target."""
    return (
        [{"type": "picture", "alt": cut_line(alt, ALT_LIMIT) or _("chart"), **asdict(to)}]
        if to
        else []
    )


def with_addresses(
    message: Message, address: Callable[[StoredFile], str], above: str = ""
) -> Message:
    """Return the message with the address of every stored file as `url`, and a line `above` it."""
    blocks = [context(above)] if above else []
    for block in message.blocks:
        if block["type"] in ("link", "picture"):
            block = block | {"url": address(StoredFile(block["place"], block["key"]))}
        blocks.append(block)
    return replace(message, blocks=tuple(blocks[:BLOCKS_LIMIT]))


def simplified(message: Message, *, pictures: bool = False) -> Message:
    """Return the message with lists for tables and, unless `pictures`, links for pictures."""
    return replace(message, blocks=tuple(_simple(block, pictures) for block in message.blocks))


def _simple(block: Block, pictures: bool) -> Block:
    if block["type"] == "picture" and not pictures:
        return block | {"type": "link", "label": _("Chart")}
    if block["type"] != "table":
        return block
    return section(bullet_list([" · ".join(map(_quoted, row)) for row in block["rows"]]))


def message_text(shown: Message, *, links: bool = True, inert: bool = False) -> str:
    """Return the message as plain text, for terminals and as a mail's second form.

    Without `links` their addresses are left out: presigned ones are several lines long.
    If `inert`, a reader of mails makes no link of what others wrote.
    """
    plain = partial(plain_text, inert=inert)
    return "\n".join(line for block in shown.blocks for line in _plain(block, links, plain)) + "\n"


def _plain(block: Block, links: bool, plain: Callable[[str], str]) -> list[str]:
    kind, url = block["type"], f": {block.get('url', '')}" if links else ""
    if kind == "picture":
        return [f"[chart] {block['alt']}{url}"]
    if kind == "link":
        label = plain(block["label"])
        return [f"{label}{url}" if links else f"[{label}]"]
    if kind == "header":
        return [block["text"], ""]
    if kind == "table":
        return _aligned(block["rows"])
    if kind == "fields":
        return ["  ".join(f"{plain(x)}: {plain(y)}" for x, y in block["pairs"])]
    return [plain(block["text"])]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Align cells under each other; wide characters count twice, as terminals draw them."""

    def width(text: str) -> int:
        return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)

    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(c + " " * (w - width(c)) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def cut_line(text: str, limit: int) -> str:
    """Return outside text on one line of at most `limit` characters; escapes make it longer."""
    return _cut(one_line(text, limit), limit)


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
