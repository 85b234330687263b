"""The Japanese catalog kept in step with the texts of the code: ``make translations``.

Texts are taken from the package's Python, its templates and the notebooks. New ones are added
without a translation, which means English until somebody writes one; those that no file has
any more go. Then the catalog is compiled, so that an installation needs no build step.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from dmarckit.core import DOMAIN, FOLDER

ROOT = Path(__file__).parent.parent
PO = FOLDER / f"ja/LC_MESSAGES/{DOMAIN}.po"
_METHODS = [
    ("dmarckit/**.py", "python"),
    ("dmarckit/pages/template/**.j2", "jinja2.ext.babel_extract"),
    ("notebooks/*.ipynb", "dmarckit.pages.render.extract_notebook"),
]
_FOLDERS = ("dmarckit", "notebooks")


def extracted(root: Path = ROOT) -> Catalog:
    """All texts of a checkout, each with the files that have it."""
    found = Catalog()
    keywords = DEFAULT_KEYWORDS | {"later": None}
    for folder in _FOLDERS:
        methods = [(pattern.removeprefix(f"{folder}/"), how) for pattern, how in _METHODS]
        texts = extract_from_dir(root / folder, methods, keywords=keywords)
        for name, _line, text, comments, context in texts:
            place = (f"{folder}/{name}", 0)
            found.add(text, None, [place], auto_comments=comments, context=context)
    return found


def read() -> Catalog:
    """The catalog as it is written."""
    with PO.open("rb") as file:
        return read_po(file, locale="ja")


def compiled(catalog: Catalog) -> bytes:
    """What an installation reads."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def untranslated(catalog: Catalog) -> list[str]:
    """Texts that have no translation, or only a guess."""
    found = []
    for message in catalog:
        said = message.string or ""
        texts = [said] if isinstance(said, str) else list(said)
        if message.id and (message.fuzzy or not all(texts)):
            found.append(message.id if isinstance(message.id, str) else message.id[0])
    return found


def update() -> Catalog:
    """Brings the catalog's file into step with the texts; returns it."""
    catalog = read()
    catalog.update(extracted(), no_fuzzy_matching=True, update_creation_date=False)
    catalog.obsolete.clear()
    for message in catalog:
        message.flags.discard("python-format")  # "80 % of" is none
    with PO.open("wb") as file:
        write_po(file, catalog, width=0, sort_by_file=True)
    written = read()
    PO.with_suffix(".mo").write_bytes(compiled(written))
    return written


if __name__ == "__main__":
    missing = untranslated(update())
    print(*missing, f"{len(missing)} texts without a translation", sep="\n", file=sys.stderr)
