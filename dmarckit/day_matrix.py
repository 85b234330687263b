"""Tables of one cell a day: pass rates by domain, reports by reporter."""

from __future__ import annotations

import pandas as pd

from dmarckit import words
from dmarckit.class_summary import days_of
from dmarckit.language import _
from dmarckit.markup import Html, escape
from dmarckit.window import Window

ROWS = 100
"""names of a table; the rest is only counted"""

_SHARES = {"a": "99 % or more pass", "b": "95 % or more", "c": "80 % or more", "d": "less"}
_BOUNDS = ((0.99, "a"), (0.95, "b"), (0.80, "c"), (0.0, "d"))
_GREY = {"grey": "reports are still missing", "none": "no messages"}


def pass_rates(shares: pd.DataFrame, window: Window) -> Html:
    """Domain × day, coloured by the share that passes DMARC; incomplete days are grey.

    Takes `class_summary.pass_shares`. Domains with the most messages first.
    """
    level = [
        next(name for bound, name in _BOUNDS if share >= bound) if complete else "grey"
        for share, complete in zip(shares["pass_share"], shares["complete"], strict=True)
    ]
    text = [
        f"{words.percent(share)} of {words.plural(n, 'message')} pass"
        + ("" if complete else "; reports are still missing")
        for share, n, complete in zip(
            shares["pass_share"], shares["messages"], shares["complete"], strict=True
        )
    ]
    cells = shares.assign(name=shares["domain"], level=level, text=text)
    caption = _("Share of messages that pass DMARC, by domain and day")
    return matrix(cells, window, caption=caption, first=_("Domain"), key=_SHARES | _GREY)


def reporter_days(reports: pd.DataFrame, window: Window) -> Html:
    """Reporter × day: on which days a reporter's reports are there.

    Takes `domain_summary.reporter_days`.
    """
    cells = reports.assign(
        name=reports["reporter"],
        level="a",
        text=[words.plural(n, "message") for n in reports["messages"]],
    )
    key = {"a": "reported", "none": "no report"}
    caption = _("Reporters and the days that they reported on")
    return matrix(cells, window, caption=caption, first=_("Reporter"), key=key)


def matrix(
    cells: pd.DataFrame, window: Window, *, caption: str, first: str, key: dict[str, str]
) -> Html:
    """One row a `name`, one column a day; `level` is the colour of a cell, `text` what it says.

    `cells` also has `day` and `messages`, by which the rows are sorted. A day without a cell
    is of the level ``none``.
    """
    if cells.empty:
        return Html('<p class="dk-empty">There is nothing to show for these days.</p>')
    order = cells.groupby("name")["messages"].sum().sort_values(ascending=False, kind="stable")
    days = days_of(window)
    label = escape(caption)
    found = {
        (str(name), day): (level, text)
        for name, day, level, text in cells[["name", "day", "level", "text"]].itertuples(
            index=False
        )
    }
    body = "".join(_row(str(name), days, found, key["none"]) for name in order.index[:ROWS])
    legend = "".join(f'<li><i class="{level}"></i>{text}</li>' for level, text in key.items())
    more = len(order) - ROWS
    note = f'<p class="dk-note">And {words.count(more)} more.</p>' if more > 0 else ""
    return Html(
        f'<div class="dk-scroll" role="region" aria-label="{label}" tabindex="0">'
        f'<table class="dk-days"><caption>{label}</caption><thead><tr>'
        f'<th scope="col">{escape(first)}</th>{_heads(days)}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><ul class="dk-key">{legend}</ul>{note}'
    )


def _heads(days: pd.DatetimeIndex) -> str:
    """The day of the month; one a week when there are many."""
    step = 1 if len(days) <= 14 else 7
    return "".join(
        f'<th scope="col"><abbr title="{day:%Y-%m-%d}">{day.day}</abbr></th>'
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
        said = f"{day:%Y-%m-%d}: {escape(text)}"
        cells.append(f'<td class="{level}" title="{said}"><span>{said}</span></td>')
    head = f'<th scope="row" title="{escape(name)}"><bdi>{escape(name, 60)}</bdi></th>'
    return f"<tr>{head}{''.join(cells)}</tr>"
