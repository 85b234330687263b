"""Tables of one cell a day: pass rates by domain, reports by reporter."""

from __future__ import annotations

import pandas as pd

from dmarckit.core import Window, _, later, text as words
from dmarckit.facts import days_of
from dmarckit.pages.html import Html, escape

ROWS = 100
"""names of a table; the rest is only counted"""
THIN = 45
"""days from which cells are slim, and the months are named"""

_SHARES = {
    "a": later("99 % or more pass"),
    "b": later("95 % or more"),
    "c": later("80 % or more"),
    "d": later("less"),
}
_BOUNDS = ((0.99, "a"), (0.95, "b"), (0.80, "c"), (0.0, "d"))
_GREY = {"grey": later("reports are still missing"), "none": later("no messages")}


def pass_rates(shares: pd.DataFrame, window: Window) -> Html:
    """Domain × day, coloured by the share that passes DMARC; incomplete days are grey.

    Takes `class_summary.pass_shares`. Domains with the most messages first.
    """
    level = [
        next(name for bound, name in _BOUNDS if share >= bound) if complete else "grey"
        for share, complete in zip(shares["pass_share"], shares["complete"], strict=True)
    ]
    text = [
        _said(complete).format(share=words.percent(share), messages=words.n_messages(n))
        for share, n, complete in zip(
            shares["pass_share"], shares["messages"], shares["complete"], strict=True
        )
    ]
    cells = shares.assign(name=shares["domain"], level=level, text=text)
    caption = _("Share of messages that pass DMARC, by domain and day")
    return matrix(cells, window, caption=caption, first=_("Domain"), key=_SHARES | _GREY)


def _said(complete: bool) -> str:
    if complete:
        return _("{share} of {messages} pass")
    return _("{share} of {messages} pass; reports are still missing")


def reporter_days(reports: pd.DataFrame, window: Window) -> Html:
    """Reporter × day: on which days a reporter's reports are there.

    Takes `domain_summary.reporter_days`.
    """
    cells = reports.assign(
        name=reports["reporter"],
        level="a",
        text=[words.n_messages(n) for n in reports["messages"]],
    )
    key = {"a": later("reported"), "none": later("no report")}
    caption = _("Reporters and the days that they reported on")
    return matrix(cells, window, caption=caption, first=_("Reporter"), key=key)


def matrix(
    cells: pd.DataFrame, window: Window, *, caption: str, first: str, key: dict[str, str]
) -> Html:
    """One row a `name`, one column a day; `level` is the colour of a cell, `text` what it says.

    `key` explains the levels; it is translated here.

    `cells` also has `day` and `messages`, by which the rows are sorted. A day without a cell
    is of the level ``none``.
    """
    if cells.empty:
        empty = _("There is nothing to show for these days.")
        return Html(f'<p class="dk-empty">{escape(empty)}</p>')
    order = cells.groupby("name")["messages"].sum().sort_values(ascending=False, kind="stable")
    days = days_of(window)
    label = escape(caption)
    found = {
        (str(name), day): (level, text)
        for name, day, level, text in cells[["name", "day", "level", "text"]].itertuples(
            index=False
        )
    }
    body = "".join(_row(str(name), days, found, _(key["none"])) for name in order.index[:ROWS])
    legend = "".join(
        f'<li><i class="{level}"></i>{escape(_(text))}</li>' for level, text in key.items()
    )
    thin = " thin" if len(days) > THIN else ""
    more = len(order) - ROWS
    rest = escape(_("And {n} more.").format(n=words.count(more)))
    note = f'<p class="dk-note">{rest}</p>' if more > 0 else ""
    return Html(
        f'<div class="dk-scroll" role="region" aria-label="{label}" tabindex="0">'
        f'<table class="dk-days{thin}"><caption>{label}</caption><thead><tr>'
        f'<th scope="col">{escape(first)}</th>{_heads(days)}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><ul class="dk-key">{legend}</ul>{note}'
    )


def _heads(days: pd.DatetimeIndex) -> str:
    """The day of the month; one a week when there are many, one in two with its month."""
    step = 1 if len(days) <= 14 else 7 if len(days) <= THIN else 14
    form = "%d" if len(days) <= THIN else "%m-%d"
    return "".join(
        f'<th scope="col"><abbr title="{day:%Y-%m-%d}">{day.strftime(form).lstrip("0")}</abbr></th>'
        if (len(days) - 1 - place) % step == 0
        else '<td class="none"></td>'
        for place, day in enumerate(days)
    )


def _row(
    name: str,
    days: pd.DatetimeIndex,
    found: dict[tuple[str, pd.Timestamp], tuple[str, str]],
    no: str,
) -> str:
    cells = []
    for day in days:
        level, text = found.get((name, day), ("none", no))
        said = escape(_("{day}: {text}").format(day=words.day(day), text=text))
        cells.append(f'<td class="{level}" title="{said}"><span>{said}</span></td>')
    head = f'<th scope="row" title="{escape(name)}"><bdi>{escape(name, 60)}</bdi></th>'
    return f"<tr>{head}{''.join(cells)}</tr>"
