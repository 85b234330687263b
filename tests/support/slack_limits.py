"""What Slack takes: the limits of the Block Kit reference, as a check of a whole message.

docs.slack.dev/reference/block-kit/blocks, one page a block; the limit of a message as a
whole is what `msg_blocks_too_long` means in practice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

MESSAGE_TEXT = 12_000
TABLE_TEXT = 10_000

Block = dict[str, Any]


def block_faults(blocks: list[Block]) -> Iterator[str]:
    """What Slack would not take, one text a fault; nothing for a good message."""
    if not 1 <= len(blocks) <= 50:
        yield f"{len(blocks)} blocks"
    for number, block in enumerate(blocks):
        check = _CHECKS.get(block["type"])
        faults = check(block) if check else [f"no block {block['type']!r}"]
        yield from (f"blocks/{number}: {fault}" for fault in faults)
    if sum(block["type"] == "table" for block in blocks) > 1:
        yield "only one table is allowed"
    if (total := sum(len(text) for block in blocks for text in texts_of(block))) > MESSAGE_TEXT:
        yield f"texts of {total} characters"


def texts_of(block: Block) -> Iterator[str]:
    """Every text in a block, cells of tables too."""
    single = [block["text"]] if "text" in block else []
    cells = [cell for row in block.get("rows", []) for cell in row]
    for text in (*single, *block.get("fields", []), *block.get("elements", []), *cells):
        yield text["text"]
    yield block.get("alt_text", "")


def _header(block: Block) -> Iterator[str]:
    yield from _keys(block, {"type", "text"})
    if block["text"]["type"] != "plain_text":
        yield "a header is plain text"
    yield from _text(block["text"], 150)


def _section(block: Block) -> Iterator[str]:
    yield from _keys(block, {"type", "text", "fields"})
    if ("text" in block) + ("fields" in block) == 0:
        yield "neither text nor fields"
    if "text" in block:
        yield from _text(block["text"], 3000)
    if not 1 <= len(block.get("fields", [None])) <= 10:
        yield f"{len(block['fields'])} fields"
    for field in block.get("fields", []):
        yield from _text(field, 2000)


def _context(block: Block) -> Iterator[str]:
    yield from _keys(block, {"type", "elements"})
    if not 1 <= len(block["elements"]) <= 10:
        yield f"{len(block['elements'])} elements"
    for element in block["elements"]:
        yield from _text(element, 3000)


def _image(block: Block) -> Iterator[str]:
    yield from _keys(block, {"type", "image_url", "alt_text"})
    if not 1 <= len(block["alt_text"]) <= 2000:
        yield f"alt_text of {len(block['alt_text'])} characters"
    if len(block["image_url"]) > 3000 or not block["image_url"].startswith(("http:", "https:")):
        yield "image_url"


def _table(block: Block) -> Iterator[str]:
    yield from _keys(block, {"type", "rows", "column_settings"})
    rows = block["rows"]
    if not 1 <= len(rows) <= 100:
        yield f"{len(rows)} rows"
    if len({len(row) for row in rows}) != 1 or not 1 <= len(rows[0]) <= 20:
        yield "columns"
    if len(block.get("column_settings", [])) > 20:
        yield "column_settings"
    for cell in (cell for row in rows for cell in row):
        if cell.keys() != {"type", "text"} or cell["type"] != "raw_text" or not cell["text"]:
            yield f"cell {cell}"
    if (total := sum(len(cell["text"]) for row in rows for cell in row)) > TABLE_TEXT:
        yield f"cells of {total} characters"


def _text(text: Block, limit: int) -> Iterator[str]:
    if text["type"] not in ("mrkdwn", "plain_text"):
        yield f"no text {text['type']!r}"
    if not 1 <= len(text["text"]) <= limit:
        yield f"text of {len(text['text'])} characters"


def _keys(block: Block, known: set[str]) -> Iterator[str]:
    if unknown := block.keys() - known:
        yield f"unknown {sorted(unknown)}"


_CHECKS: dict[str, Callable[[Block], Iterator[str]]] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "image": _image,
    "table": _table,
}
