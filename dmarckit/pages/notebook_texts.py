"""The texts of notebooks that people read on a page: headings, paragraphs, help of parameters.

Notebooks stay English; a page shows their texts in its language. What is a text of its own
here is also one in the catalog, because the catalog's extractor reads them the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any

from dmarckit.core.language import _

_HEADING = re.compile(r"(#{1,6})\s+(.+)")
_HELP = re.compile(r"^\w+\s*(?::[^=]+)?=.*?\s{2}#\s*(.+)$", re.MULTILINE)


def translated(markdown: str) -> str:
    """A markdown cell in the language in use, paragraph by paragraph.

    >>> translated("## Findings\\n\\nWhat is wrong.")
    '## Findings\\n\\nWhat is wrong.'
    """
    parts = (
        f"{mark} {_(text)}" if mark else _(text) if text else "" for mark, text in _parts(markdown)
    )
    return "\n\n".join(parts)


def extract_notebook(
    file: IO[bytes], keywords: Collection[str], tags: Collection[str], options: Mapping[str, Any]
) -> Iterator[tuple[int, None, str, list[str]]]:
    """The texts of an ``.ipynb`` file as Babel wants them from an extraction method."""
    for cell in json.load(file)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            texts = [text for _mark, text in _parts(source)]
        elif "parameters" in cell["metadata"].get("tags", []):
            texts = _HELP.findall(source)
        else:
            texts = []
        for text in filter(None, texts):
            yield 1, None, text, []


def _parts(markdown: str) -> Iterator[tuple[str, str]]:
    """Each heading as its marks and its text, each paragraph as ``""`` and its text."""
    for block in re.split(r"\n\s*\n", markdown.strip()):
        first, _sep, rest = block.partition("\n")
        if heading := _HEADING.fullmatch(first.strip()):
            yield heading[1], heading[2].strip()
            if rest.strip():
                yield "", rest.strip()
        else:
            yield "", block.strip()
