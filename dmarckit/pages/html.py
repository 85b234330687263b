"""Frames → HTML tables in general: cells, escaping, and how a notebook or page shows them.

`escape` is applied to whatever comes from a frame; a cell is written by the kind of its column.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

from dmarckit.checks import VERDICTS
from dmarckit.core import _, later, one_line, rate_text, text as words

MIMETYPE = "application/vnd.dmarckit.v1+html"
"""how a page takes an `Html` from a notebook: without the style sheet, which it has already"""

TITLE_MIMETYPE = "application/vnd.dmarckit.title"
"""plain text beside an `Html`: what the page is about, for its title"""


LONG = 28
"""characters from which a text may be broken anywhere instead of widening its column"""

TALL = 25
"""rows from which a table scrolls inside a box"""


@dataclass(frozen=True)
class Html:
    """A finished piece of HTML that notebooks and pages show as it is."""

    markup: str
    title: str = ""
    """title of a page that shows this, plain text; empty: the notebook's own"""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        styled = f'<style>{_style()}</style><div class="dk">{self.markup}</div>'
        title = {TITLE_MIMETYPE: self.title} if self.title else {}
        return {MIMETYPE: self.markup, "text/html": styled} | title

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]


@dataclass(frozen=True)
class Closer:
    """The page about one row of a table."""

    command: str
    """builds it"""
    address: str | None = None
    """of the newest one there is; None: there is none yet"""


@dataclass(frozen=True)
class Column:
    """One column of a table: the frame's column, its heading, and how a value is written."""

    key: str
    heading: str
    kind: str = "text"
    """a key of `_KINDS`, or one of `_BARS`: a count with a bar against the largest"""
    under: Callable[[Any], str] | None = None
    """row → plain text in small print under the value"""
    closer: Callable[[Any], Closer] | None = None
    """row → the page about it: a link if there is one, else the command to copy"""


def table(frame: pd.DataFrame, columns: Sequence[Column], *, caption: str, empty: str) -> Html:
    """One row a row of `frame`; without rows only the sentence `empty`."""
    if frame.empty:
        return Html(f'<p class="dk-empty">{escape(empty)}</p>')
    head = "".join(
        f'<th scope="col" class="{column.kind}">{escape(column.heading)}</th>' for column in columns
    )
    largest = {c.key: frame[c.key].max() for c in columns if c.kind in _BARS}
    body = "".join(
        f"<tr>{''.join(_cell(c, row, largest.get(c.key), c is columns[0]) for c in columns)}</tr>"
        for row in frame.itertuples(index=False)
    )
    label = escape(caption)
    tall = " tall" if len(frame) > TALL else ""
    return Html(
        f'<div class="dk-scroll{tall}" role="region" aria-label="{label}" tabindex="0">'
        f'<table class="dk-table"><caption>{label}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


@cache
def _style() -> str:
    return (
        files("dmarckit").joinpath("pages/template/dmarckit/parts.css").read_text(encoding="utf-8")
    )


def escape(value: object, limit: int = 300) -> str:
    """Outside text as HTML text or attribute value, on one line.

    >>> escape('"><img onerror=x>')
    '&quot;&gt;&lt;img onerror=x&gt;'
    """
    return html.escape(one_line(value, limit))


def _text(value: object) -> str:
    if words.is_missing(value) or value == "":
        return f'<span class="dk-missing">{words.MISSING}</span>'
    # bdi: right-to-left text in one cell must not turn its neighbours round
    return f"<bdi>{escape(value)}</bdi>"


def _share(value: float) -> str:
    if words.is_missing(value):
        return f'<span class="dk-missing">{escape(_(words.NO_DATA))}</span>'
    return words.percent(value)


def _rate(value: float) -> str:
    return _share(value) if words.is_missing(value) else rate_text(value)


_BARS = ("bar", "volume")
"""of what is bad, and of what is neither good nor bad"""


def _bar(value: float, largest: float) -> str:
    width = value / largest if largest else 0
    return f'{words.count(value)}<span class="dk-meter"><i style="width:{width:.1%}"></i></span>'


def _pill(names: dict[str, str], levels: dict[str, str]) -> Callable[[Any], str]:
    def cell(value: Any) -> str:
        if words.is_missing(value):
            return _text(None)
        shown = escape(_(names[value]) if value in names else value, 40)
        return f'<span class="dk-pill {levels.get(value, "plain")}">{shown}</span>'

    return cell


_KINDS: dict[str, Callable[[Any], str]] = {
    "text": _text,
    "count": words.count,
    "share": _share,
    "rate": _rate,
    "day": words.day,
    "minute": words.minute,
    "period": _text,
    "policy": _pill({}, {"none": "warning", "quarantine": "plain", "reject": "good"}),
    "compliance": _pill(
        {"NEEDS_WORK": later("needs work"), "COMPLIANT": later("met")},
        {"NEEDS_WORK": "warning", "COMPLIANT": "good"},
    ),
    "verdict": _pill(VERDICTS, {"met": "good", "not met": "bad"}),
    "outcome": _pill(
        {
            "not_a_report": later("no report"),
            "untrusted": later("untrusted"),
            "unreadable": later("unreadable"),
        },
        {"untrusted": "warning", "unreadable": "warning"},
    ),
}


def _command(text: str) -> str:
    label = _("look closer")
    return (
        f'<details class="dk-closer"><summary>{escape(label)}</summary>'
        f'<div class="dk-record"><code tabindex="0">{escape(text, 2000)}</code></div></details>'
    )


def _cell(column: Column, row: Any, largest: float | None, is_head: bool) -> str:
    value = getattr(row, column.key)
    shown = _bar(value, largest) if largest is not None else _KINDS[column.kind](value)
    closer = column.closer(row) if column.closer else None
    if closer and closer.address:
        shown = f'<a href="{escape(closer.address, 2000)}">{shown}</a>'
    if column.under and (small := column.under(row)):
        shown += f"<small>{escape(small)}</small>"
    if closer and not closer.address:
        shown += _command(closer.command)
    sort = (
        "" if column.kind == "text" or words.is_missing(value) else f' data-sort="{escape(value)}"'
    )
    tag = 'th scope="row"' if is_head else "td"
    long = " long" if column.kind == "text" and len(str(value)) > LONG else ""
    return f'<{tag} class="{column.kind}{long}"{sort}>{shown}</{tag[:2]}>'
