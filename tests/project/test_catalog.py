"""The Japanese catalog holds every text, translated and compiled. `make translations` mends it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import papermill
import pytest
from babel.messages.catalog import Message

from dmarckit import catalog
from dmarckit.core.language import later
from tests.pages.test_notebooks import NOTEBOOKS

SOURCES = sorted((catalog.ROOT / "dmarckit").rglob("*.py"))
MARKS = {"_", "ngettext", later.__name__}


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return [message for message in catalog.read() if message.id]


def texts(of: object) -> list[str]:
    return [of] if isinstance(of, str) else [str(text) for text in of or ()]  # type: ignore[attr-defined]


def test_every_text_of_the_code_is_in_the_catalog_and_no_other(messages: list[Message]) -> None:
    wanted = {message.id for message in catalog.extracted() if message.id}
    assert wanted == {message.id for message in messages}


def test_every_text_is_translated_and_none_is_guessed() -> None:
    assert catalog.untranslated(catalog.read()) == []


def test_the_compiled_catalog_is_that_of_the_written_one() -> None:
    assert catalog.PO.with_suffix(".mo").read_bytes() == catalog.compiled(catalog.read())


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
