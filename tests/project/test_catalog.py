"""The Japanese catalog holds every text, translated and compiled. `make translations` mends it."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path

import papermill
import pytest
from babel.messages.catalog import Message
from babel.messages.frontend import CommandLineInterface
from babel.messages.mofile import write_mo

from dmarckit.core.language import FOLDER, later
from tests.pages.test_notebooks import NOTEBOOKS
from tests.support.translations import PO, read_catalog

ROOT = Path(__file__).parent.parent.parent
SOURCES = sorted((ROOT / "dmarckit").rglob("*.py"))
MARKS = {"_", "ngettext", later.__name__}


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return [message for message in read_catalog() if message.id]


def texts(of: object) -> list[str]:
    return [of] if isinstance(of, str) else [str(text) for text in of or ()]  # type: ignore[attr-defined]


def test_every_text_of_the_code_is_in_the_catalog_and_no_other(
    messages: list[Message], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `make translations` extracts them: code, templates and notebooks."""
    monkeypatch.chdir(ROOT)
    found = tmp_path / "texts.pot"
    mapping = str(FOLDER / "babel.cfg")
    CommandLineInterface().run(
        [
            "pybabel",
            "--quiet",
            "extract",
            "-F",
            mapping,
            "-k",
            "later",
            "-k",
            "phrase",
            "-o",
            str(found),
            ".",
        ]
    )
    assert {m.id for m in read_catalog(found, None) if m.id} == {m.id for m in messages}


def test_every_text_is_translated_and_none_is_guessed(messages: list[Message]) -> None:
    assert [m.id for m in messages if m.fuzzy or not all(texts(m.string) or [""])] == []


def test_the_compiled_catalog_is_that_of_the_written_one() -> None:
    compiled = io.BytesIO()
    write_mo(compiled, read_catalog())
    assert PO.with_suffix(".mo").read_bytes() == compiled.getvalue()


def test_a_translation_has_the_places_of_its_text(messages: list[Message]) -> None:
    def places(of: object) -> set[str]:
        return {place for text in texts(of) for place in re.findall(r"\{[^{}]*\}", text)}

    assert [m.id for m in messages if places(m.id) != places(m.string)] == []


def test_the_help_of_every_parameter_is_a_text(messages: list[Message]) -> None:
    known = {message.id for message in messages}
    for path in NOTEBOOKS:
        for about in papermill.inspect_notebook(path).values():
            assert about["help"] in known


def calls(node: ast.AST) -> Iterator[ast.Call]:
    for found in ast.walk(node):
        if (
            isinstance(found, ast.Call)
            and isinstance(found.func, ast.Name)
            and found.func.id in MARKS
        ):
            yield found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_texts_stand_where_the_catalog_sees_them(path: Path) -> None:
    """Not inside an f-string, which Python 3.11 reads as one word, nor is one an f-string."""
    tree = ast.parse(path.read_text("utf-8"))
    for string in ast.walk(tree):
        if isinstance(string, ast.JoinedStr):
            inside = [c.lineno for c in calls(string) if isinstance(c.args[0], ast.Constant)]
            assert inside == []
    assert [c.lineno for c in calls(tree) if isinstance(c.args[0], ast.JoinedStr)] == []
