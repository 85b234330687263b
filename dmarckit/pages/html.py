"""Parts of pages: macros of ``template/dmarckit/parts.html.j2``, the table that all share, scripts.

Whatever a macro prints is escaped, made one line and bounded, except `Html`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import css_inline
import jinja2
from markupsafe import Markup, escape as escape_html

from dmarckit import __version__
from dmarckit.checks import VERDICTS
from dmarckit.core import (
    _,
    current_language,
    later,
    ngettext,
    one_line,
    rate_text,
    show_domain,
    text as words,
)
from dmarckit.pages.links import HIDDEN
from dmarckit.pages.marks import COLOURS, styles

TEMPLATES = Path(__file__).parent / "template/dmarckit"
# how a page takes an `Html` from a notebook: its style sheet comes with the page
MIMETYPE = "application/vnd.dmarckit.v1+html"
# how plotly's figures are given to viewers
FIGURE_MIMETYPE = "application/vnd.plotly.v1+json"
# plain text beside an `Html`: what the page is about, for its title
TITLE_MIMETYPE = "application/vnd.dmarckit.title"
LONG = 28  # characters from which a text may be broken anywhere instead of widening its column
SHOWN = 25  # rows of a table in sight; the others come when they are asked, sorted or filtered for
REACHED = 5000  # rows of a table that can be asked for
# counts with a bar against the largest: of what is bad, and of what is neither good nor bad
_BARS = ("bar", "volume")
_FORMATS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("text", "period"), str),
    **dict.fromkeys(("count", *_BARS), words.count),
    "share": words.percent,
    "rate": rate_text,
    "day": words.day,
    "minute": words.minute,
    "mark": lambda drawn: drawn,  # a small chart (`marks`)
}
# kinds that are shown as a pill: value → what it says (itself else), and its level
_PILLS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "policy": ({}, {"none": "warning", "quarantine": "plain", "reject": "good"}),
    "compliance": (
        {"NEEDS_WORK": later("needs work"), "COMPLIANT": later("met")},
        {"NEEDS_WORK": "warning", "COMPLIANT": "good"},
    ),
    "dns": (
        {
            "ok": later("in place"),
            "missing": later("missing"),
            "weak": later("weak"),
            "invalid": later("invalid"),
            "unknown": later("no answer"),
        },
        {"ok": "good", "weak": "warning", "invalid": "warning"},
    ),
    "verdict": (VERDICTS, {"met": "good", "not met": "bad"}),
    "outcome": (
        {
            "not_a_report": later("no report"),
            "untrusted": later("untrusted"),
            "unreadable": later("unreadable"),
            "unreachable": later("unreachable"),
        },
        {"untrusted": "warning", "unreadable": "warning", "unreachable": "warning"},
    ),
}
_DOMAINS = {"domain", "name", "sender", "header_from", "policy_domain", "spf_domain"}
_DOMAINS |= {"dkim_domain", "from_domain"}  # columns whose A-labels are shown as people read them
NOTEBOOKS = {  # in the order of the list of pages
    "overview": later("Overview"),
    "domain": later("Domains"),
    "sender": later("Senders"),
    "report": later("Reports"),
    "tls": later("TLS reports"),
    "requirements": later("Sender requirements"),
    "postmaster": later("Google Postmaster Tools"),
    "explore": later("Explore"),
}

if TYPE_CHECKING:
    import pandas as pd


class CompiledTemplates(jinja2.FileSystemBytecodeCache):
    """Templates as Python code, kept for the next process where Python keeps that of modules.

    What compiles them in its own way needs a `use` of its own, and so does each version.
    """

    def __init__(self, use: str) -> None:
        name = f"{use}-{__version__}-{jinja2.__version__}-%s.cache"
        super().__init__(str(TEMPLATES / "__pycache__"), name)

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        """Keep it, if that is wanted and there is a place for it."""
        if not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):
                Path(self.directory).mkdir(exist_ok=True)
                super().dump_bytecode(bucket)


@dataclass(frozen=True)
class Html:
    """A finished piece of HTML that notebooks and pages show as it is."""

    # what is no `Markup` is not escaped yet, and mypy refuses it
    markup: Markup = field(default_factory=Markup)
    title: str = ""  # title of a page that shows this, plain text; empty: the notebook's own

    def __html__(self) -> Markup:
        return self.markup

    def __add__(self, other: Html) -> Html:
        return Html(self.markup + other.markup, self.title or other.title)

    def __repr__(self) -> str:
        return f"<Html: {len(self.markup):,} characters>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the part for pages, and one with its styles inline: viewers drop style sheets."""
        title = {TITLE_MIMETYPE: self.title} if self.title else {}
        return {MIMETYPE: self.markup, "text/html": self._repr_html_()} | title

    def _repr_html_(self) -> str:
        style = script_source("notebook.css") + styles()
        text = f"<div>{HIDDEN.sub('', self.markup)}</div>"
        return css_inline.inline_fragment(
            text, style, minify_css=True, load_remote_stylesheets=False
        )


def render_part(macro: str, *values: Any, title: str = "", **named: Any) -> Html:
    """Return what a macro of ``parts.html.j2`` makes of these values.

    >>> print(render_part("note", '"><img onerror=x>').markup)
    <p class="dk-note">&#34;&gt;&lt;img onerror=x&gt;</p>
    """
    macros: Any = templates().get_template("parts.html.j2").module
    return Html(getattr(macros, macro)(*values, **named).strip(), title)


@cache
def templates() -> jinja2.Environment:
    """Return the templates of parts and of the index, which escape and bound every value."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=escape,
        bytecode_cache=CompiledTemplates("part"),
    )
    environment.globals.update(_=_, ngettext=ngettext, colours=COLOURS)
    environment.filters |= {"upto": escape, "css": _css_text}
    return environment


def escape(value: object, limit: int = 300) -> Markup:
    """Return outside text as HTML text or attribute value, on one line; `Html` as it is.

    >>> escape('"><img onerror=x>')
    Markup('&#34;&gt;&lt;img onerror=x&gt;')
    """
    return escape_html(value if hasattr(value, "__html__") else one_line(value, limit))


def plain(text: object) -> str:
    """Return a plotly label as plain text: without its markup, its entities resolved."""
    return one_line(html.unescape(re.sub(r"<[^>]*>", "", str(text))), 500)


def _css_text(text: str) -> Markup:
    """Return a text in quotes, as CSS takes it whatever is in it."""
    plain = re.sub(r"[^\w ]", lambda found: f"\\{ord(found[0]):x} ", text[:60])
    return Markup("'{}'").format(plain)


def value_text(value: Any, limit: int = 200) -> str:
    """Return a number with thousands separators, anything else as text on one line."""
    value = value.item() if hasattr(value, "item") else value  # of numpy
    if isinstance(value, int) and not isinstance(value, bool):
        return words.count(value)
    return one_line(f"{value:.4g}" if isinstance(value, float) else value, limit)


@dataclass(frozen=True)
class Column:
    """One column of a table: the frame's column, its heading, and how a value is written."""

    key: str
    heading: str
    kind: str = "text"  # a key of `_FORMATS` or `_PILLS`
    # small print under the value: another column, or row → plain text
    under: str | Callable[[Any], str] = ""
    link: Callable[[Any], str] | None = None  # row → the page about it (`links.page_target`)
    # row → the value in words; unless given it is that of the frame
    text: Callable[[Any], str] | None = None


def table(
    frame: pd.DataFrame,
    columns: Sequence[Column],
    *,
    caption: str,
    empty: str,
    number: int = 0,
    query: str = "",
) -> Html:
    """Return a table with one row a row of `frame`; without rows only the sentence `empty`.

    Filter and sort of a page reach `REACHED` rows. `number` is how many there are if not all are
    in the frame; below a table without all of them stands `query`, which gives them.
    """
    if frame.empty:
        return render_part("empty", empty)
    number = max(number, len(frame))
    frame = frame.head(REACHED)
    largest = {c.key: frame[c.key].max() for c in columns if c.kind in _BARS}
    rows = [
        [_cell(column, row, largest.get(column.key)) for column in columns]
        for row in frame.itertuples(index=False)
    ]
    more = len(frame) - SHOWN
    text = ngettext("{n} more row", "{n} more rows", more).format(n=words.count(more))
    shown = render_part("table", caption, columns, rows, shown=SHOWN, more=text)
    if number == len(frame):
        return shown
    text = _("Filter and sort see {n} of {all} rows. All of them:")
    text = text.format(n=words.count(len(frame)), all=words.count(number))
    shown += render_part("note", text)
    return shown + render_part("record", query or _(".data of this section, in dmarckit lab"))


def _cell(column: Column, row: Any, largest: float | None) -> SimpleNamespace:
    """Return one value as the macro ``cell`` prints it."""
    kind = column.kind
    value: Any = column.text(row) if column.text else getattr(row, column.key)
    below: object = ""
    if column.under:
        below = column.under(row) if callable(column.under) else getattr(row, column.under)
    is_missing = words.is_missing(value) or value == ""
    level = ""
    if is_missing:
        text = _(words.NO_DATA) if kind in ("share", "rate") else words.MISSING
    elif kind in _PILLS:
        names, levels = _PILLS[kind]
        text, level = _(names[value]) if value in names else value, levels.get(value, "plain")
    else:
        text = _FORMATS[kind](value)
        text = show_domain(text) if column.key in _DOMAINS else text
    return SimpleNamespace(
        text=text,
        is_missing=is_missing,
        kind=kind,
        level=level,
        width=None if largest is None else f"{value / largest if largest else 0:.1%}",
        is_long=kind == "text" and len(str(value)) > LONG,
        sort=None if kind in ("text", "mark") or words.is_missing(value) else value,
        under="" if words.is_missing(below) else below,
        link=column.link(row) if column.link else "",
    )


def notebook_word(name: str) -> str:
    """Return what a list of pages calls a notebook; one of the user's own by its file name.

    >>> notebook_word("overview"), notebook_word("my_own")
    ('Overview', 'My own')
    """
    return _(NOTEBOOKS[name]) if name in NOTEBOOKS else name.replace("_", " ").capitalize()


def text_script() -> str:
    """Return the script that the others need: ``TEXTS`` in the language in use."""
    calendar: dict[str, list[str]] = {}
    if (language := current_language()) != "en":  # which plotly knows
        from babel.dates import get_day_names, get_month_names

        widths: tuple[Literal["wide", "abbreviated"], ...] = ("wide", "abbreviated")
        keys = (("days", "months"), ("shortDays", "shortMonths"))
        for width, (days, months) in zip(widths, keys, strict=True):
            names = get_day_names(width, locale=language)
            calendar[days] = [names[(place - 1) % 7] for place in range(7)]  # from Sunday on
            names = get_month_names(width, locale=language)
            calendar[months] = [names[number] for number in range(1, 13)]
    texts = {
        "filter": _("Filter"),
        "filter_of": _("Filter: {table}"),
        "all": _("Show all {n}"),
        "some": _("{n} of {all}"),
        "copy": _("Copy"),
        "copied": _("Copied"),
        "selected": _("Selected: copy it now"),
        "calendar": calendar or None,
    }
    return f"const TEXTS = {script_json(texts)};\n{script_source('texts.js')}"


@cache
def script_source(*names: str) -> str:
    """Return the text of scripts or styles of the template."""
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def script_json(value: object) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def script_hash(script: str) -> str:
    """Return what allows exactly this script in the page's Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
