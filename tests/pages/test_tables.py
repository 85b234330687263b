"""Parts of pages: tables and macros escape, bound and print on one line what they are given."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from dmarckit.pages.html import MIMETYPE, REACHED, SHOWN, Column, Html, render_part, table
from tests.support.pages import text


def test_markup_of_a_small_table() -> None:
    frame = pd.DataFrame({"name": ["a & b"], "number": [1234]})
    columns = [Column("name", "Name"), Column("number", "Number", "count")]
    found = table(frame, columns, caption="All", empty="None.")
    assert found.markup == (
        '<div class="dk-scroll" role="group" aria-label="All" tabindex="0">'
        "<table class=\"dk-table\" style=\"--h1:'Name';--h2:'Number';\"><caption>All</caption>"
        '<thead><tr><th scope="col" class="text">Name</th>'
        '<th scope="col" class="count">Number</th></tr></thead>'
        '<tbody><tr><th scope="row" class="text"><bdi>a &amp; b</bdi></th>'
        '<td class="count" data-sort="1234">1,234</td></tr></tbody></table></div>'
    )


def numbered(n: int, **other: Any) -> Html:
    frame = pd.DataFrame({"number": range(n)})
    return table(frame, [Column("number", "Number", "count")], caption="", empty="", **other)


@pytest.mark.parametrize("n", [SHOWN, SHOWN + 1])
def test_rows_beyond_the_first_are_there_and_hidden(n: int) -> None:
    found = numbered(n).markup
    assert found.count("<tr>") == 1 + n
    assert ("<tbody hidden>" in found) == (n > SHOWN)
    assert ("1 more row<" in found) == (n > SHOWN)
    in_notebook = numbered(n)._repr_mimebundle_()["text/html"]
    assert in_notebook.count("</tr>") == 1 + SHOWN, "where no script can show them"


def test_a_table_without_all_rows_says_so_and_how_to_get_them() -> None:
    assert "Filter and sort" not in numbered(REACHED).markup
    found = text(numbered(REACHED + 1, query="SELECT 1"))
    assert "Filter and sort see 5,000 of 5,001 rows. All of them:|SELECT 1" in found
    assert "see 3 of 7 rows" in text(numbered(3, number=7))


def test_a_heading_stays_within_its_style() -> None:
    column = Column("a", """');} </style>"\\ x""")
    found = table(pd.DataFrame({"a": [1]}), [column], caption="", empty="").markup
    style = found.partition('style="')[2].partition('"')[0]
    assert re.fullmatch(r"--h1:'[\w\\ ]+';", style)


def test_notebooks_get_styles_inline_and_pages_none() -> None:
    bundle = Html("<p>x</p>")._repr_mimebundle_()
    assert bundle[MIMETYPE] == "<p>x</p>"
    assert re.fullmatch(r'<div><p style="[^"]+">x</p></div>', bundle["text/html"])


def test_whatever_a_macro_prints_is_escaped_on_one_line_and_bounded() -> None:
    attack = "<b>\n\u202e" + "x" * 10_000
    for shown in (
        render_part("note", attack),
        render_part("answer", "good", attack, [attack]),
        render_part("facts", [(attack, attack)]),
        render_part("record", attack, attack),
        render_part("days", attack, attack, [(attack, "1")], [(attack, [("a", attack)])], []),
    ):
        assert "<b>" not in shown.markup
        assert "\n" not in shown.markup.replace(">\n<", "><")
        assert "\u202e" not in shown.markup
        assert len(shown.markup) < 5000


def test_parts_are_put_together() -> None:
    both = render_part("note", "<1>") + render_part("fold", "2", render_part("empty", "<3>"))
    assert both.markup == (
        '<p class="dk-note">&lt;1&gt;</p><details class="dk-fold"><summary>2</summary>'
        '<p class="dk-empty">&lt;3&gt;</p></details>'
    )
