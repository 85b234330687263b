"""A Slack message as plain text, for a terminal and for whoever has no token."""

from __future__ import annotations

import unicodedata

from dmarckit.slack.slack_blocks import Block, Message
from dmarckit.slack.slack_text import plain


def show(shown: Message, *, links: bool = True) -> str:
    """The message as plain text for the terminal, for when there is no token.

    Without `links` their addresses are left out: presigned ones are several lines long.
    """
    return "\n".join(line for block in shown.blocks for line in _plain(block, links)) + "\n"


def _plain(block: Block, links: bool) -> list[str]:
    kind = block["type"]
    if kind == "image":
        return [f"[chart] {block['alt_text']}" + (f": {block['image_url']}" if links else "")]
    if kind == "header":
        return [block["text"]["text"], ""]
    if kind == "table":
        return _table([[cell["text"] for cell in row] for row in block["rows"]])
    if "fields" in block:
        shown = [plain(text["text"], links=links) for text in block["fields"]]
        return ["  ".join(text.replace("\n", ": ") for text in shown)]
    texts = block.get("elements") or [block["text"]]
    return [plain(text["text"], links=links) for text in texts]


def _table(rows: list[list[str]]) -> list[str]:
    """Cells under each other; wide characters count twice, as terminals draw them."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(c + " " * (w - _width(c)) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)
