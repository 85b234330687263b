"""The Japanese catalog as it is written."""

from __future__ import annotations

from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from dmarckit.core.language import DOMAIN, FOLDER

PO = FOLDER / f"ja/LC_MESSAGES/{DOMAIN}.po"


def read_catalog(path: Path = PO, locale: str | None = "ja") -> Catalog:
    """The catalog, or another file of texts, which then has no locale."""
    with path.open("rb") as file:
        return read_po(file, locale)
