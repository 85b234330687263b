"""The language that people read: English, or a translation of it (gettext catalogs).

Texts stand in the code in English, as ``_("…")`` or ``ngettext("…", "…", n)`` with
``{names}`` that `str.format` fills in afterwards. Names of kinds, classes, commands and
settings, and all that came with a mail, are not translated.
"""

from __future__ import annotations

import gettext
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import cast

LANGUAGES = ("en", "ja")
DOMAIN = "dmarckit"
FOLDER = Path(__file__).parent / "locale"

_language = "en"
_here = threading.local()  # `name`: the language of this thread alone, within `speaking`


def use(language: str) -> None:
    """Write all texts in this language from now on, in English where a translation is missing.

    Raises ValueError for one that is not in `LANGUAGES`.
    """
    global _language
    _language = _known(language)


def current_language() -> str:
    """Return the language in use, such as ``en``."""
    return cast(str, getattr(_here, "name", _language))


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Make the texts of this thread in this language within; other threads keep theirs.

    Raises ValueError for one that is not in `LANGUAGES`.
    """
    before = getattr(_here, "name", None)
    _here.name = _known(name)
    try:
        yield
    finally:
        if before is None:
            del _here.name
        else:
            _here.name = before


def _known(name: str) -> str:
    if name not in LANGUAGES:
        raise ValueError(f"no language {name!r}; there are {', '.join(LANGUAGES)}")
    return name


@cache
def _catalog(name: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, FOLDER, [name], fallback=True)


def _(text: str) -> str:
    """Return the text in the language in use."""
    spoken = current_language()
    # the catalog has its own data under the empty text
    return text if spoken == "en" or not text else _catalog(spoken).gettext(text)


def ngettext(one: str, many: str, number: float) -> str:
    """Return the text for a number of things in the language in use."""
    whole, spoken = round(number), current_language()
    if spoken == "en":
        return one if whole == 1 else many
    return _catalog(spoken).ngettext(one, many, whole)


def later(text: str) -> str:
    """Return the text as it is: marks one of a table for the catalog; `_` translates it on use."""
    return text
