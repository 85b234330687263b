"""The language that people read: English, or a translation of it (gettext catalogs).

Texts stand in the code in English, as ``_("…")`` or ``ngettext("…", "…", n)`` with
``{names}`` that `str.format` fills in afterwards. Names of kinds, classes, commands and
settings, and all that came with a mail, are not translated.
"""

from __future__ import annotations

import gettext
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "ja")
DOMAIN = "dmarckit"
FOLDER = Path(__file__).parent / "locale"

_language = "en"


def use(language: str) -> None:
    """All texts from now on are in this language; English where a translation is missing.

    Raises ValueError for one that is not in `LANGUAGES`.
    """
    global _language
    if language not in LANGUAGES:
        raise ValueError(f"no language {language!r}; there are {', '.join(LANGUAGES)}")
    _language = language


def language() -> str:
    """The language in use, such as ``en``."""
    return _language


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Texts made within are in this language, those after it in the one from before."""
    before = _language
    use(name)
    try:
        yield
    finally:
        use(before)


@cache
def _catalog(name: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, FOLDER, [name], fallback=True)


def _(text: str) -> str:
    """The text in the language in use."""
    # the catalog has its own data under the empty text
    return text if _language == "en" or not text else _catalog(_language).gettext(text)


def ngettext(one: str, many: str, number: float) -> str:
    """The text for a number of things in the language in use."""
    whole = round(number)
    if _language == "en":
        return one if whole == 1 else many
    return _catalog(_language).ngettext(one, many, whole)


def later(text: str) -> str:
    """The text as it is: marks one of a table for the catalog; `_` translates it on use."""
    return text
