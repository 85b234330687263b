"""Fonts of the charts that matplotlib draws, and the language that they can write."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib import font_manager

from dmarckit.core.errors import one_line
from dmarckit.core.language import language, speaking

# Only what is installed is used; DejaVu comes with matplotlib, the others know Japanese.
_FAMILIES = (
    *("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", "IPAGothic"),
    *("TakaoGothic", "VL Gothic", "Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic"),
)
_SAMPLE = {"en": "", "ja": "合否あアー～"}
"""characters without which a language cannot be written"""


@contextmanager
def drawable_language() -> Iterator[None]:
    """Texts are in the language in use if an installed font can draw it, else in English.

    English words can be read; a row of boxes cannot.
    """
    with speaking(language() if can_draw(_SAMPLE[language()]) else "en"):
        yield


def drawable(text: str, limit: int) -> str:
    """Outside text on one line, cut, with a box for what no installed font can draw."""
    known = _characters()
    shown = one_line(unicodedata.normalize("NFC", text), limit)
    return "".join(c if ord(c) in known else "□" for c in shown)


def can_draw(text: str) -> bool:
    """Whether an installed font knows each character of the text."""
    return all(ord(c) in _characters() for c in text)


@cache
def fonts() -> list[str]:
    """The installed families, in the order in which a character is looked for."""
    # that a Japanese font has no bold letters is nothing to tell anybody
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [family for family in _FAMILIES if family in installed]


@cache
def _characters() -> frozenset[int]:
    """Code points that the fonts in use can draw."""
    paths = [font_manager.findfont(family) for family in fonts()]
    return frozenset(c for path in paths for c in font_manager.get_font(path).get_charmap())
