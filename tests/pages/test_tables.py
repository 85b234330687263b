"""Parts of pages: tables and macros escape, bound and print on one line what they are given."""

from __future__ import annotations

import re

import pandas as pd

from dmarckit.pages.html import MIMETYPE, Column, Html, render_part, table


def test_markup_of_a_small_table() -> None:
    frame = pd.DataFrame({"name": ["a & b"], "number": [1234]})
    columns = [Column("name", "Name"), Column("number", "Number", "count")]
    found = table(frame, columns, caption="All", empty="None.")
    assert found.markup == (
        '<div class="dk-scroll" role="region" aria-label="All" tabindex="0">'
        '<table class="dk-table"><caption>All</caption>'
        '<thead><tr><th scope="col" class="text">Name</th>'
        '<th scope="col" class="count">Number</th></tr></thead>'
        '<tbody><tr><th scope="row" class="text"><bdi>a &amp; b</bdi></th>'
        '<td class="count" data-sort="1234">1,234</td></tr></tbody></table></div>'
    )


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
