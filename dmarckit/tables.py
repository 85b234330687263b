"""Small frames (from `summary`) → HTML tables and the headline, every value escaped.

This is the only place that writes HTML by hand: `_escape` is applied to whatever comes from
a frame, and the few fixed tags are in the functions below.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

from dmarckit import words
from dmarckit.answer import Answer
from dmarckit.errors import one_line
from dmarckit.periods import period
from dmarckit.window import Window

MIMETYPE = "application/vnd.dmarckit.v1+html"
"""how a page takes an `Html` from a notebook: without the style sheet, which it has already"""


LONG = 28
"""characters from which a text may be broken anywhere instead of widening its column"""


@dataclass(frozen=True)
class Html:
    """A finished piece of HTML that notebooks and pages show as it is."""

    markup: str

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        styled = f'<style>{_style()}</style><div class="dk">{self.markup}</div>'
        return {MIMETYPE: self.markup, "text/html": styled}

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]


@dataclass(frozen=True)
class Column:
    """One column of a table: the frame's column, its heading, and how a value is written."""

    key: str
    heading: str
    kind: str = "text"
    """a key of `_KINDS`"""
    under: Callable[[Any], str] | None = None
    """row → plain text in small print under the value"""


def table(frame: pd.DataFrame, columns: Sequence[Column], *, caption: str, empty: str) -> Html:
    """One row a row of `frame`; without rows only the sentence `empty`."""
    if frame.empty:
        return Html(f'<p class="dk-empty">{_escape(empty)}</p>')
    head = "".join(
        f'<th scope="col" class="{column.kind}">{_escape(column.heading)}</th>'
        for column in columns
    )
    largest = {c.key: frame[c.key].max() for c in columns if c.kind == "bar"}
    body = "".join(
        f"<tr>{''.join(_cell(c, row, largest.get(c.key), c is columns[0]) for c in columns)}</tr>"
        for row in frame.itertuples(index=False)
    )
    label = _escape(caption)
    return Html(
        f'<div class="dk-scroll" role="region" aria-label="{label}" tabindex="0">'
        f'<table class="dk-table"><caption>{label}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def headline(answer: Answer, measures: pd.DataFrame, window: Window) -> Html:
    """The answer, its reasons and six figures with their change. Takes `summary.headline`."""
    points = "".join(f"<li>{_escape(point)}</li>" for point in answer.points)
    rows = measures.set_index("measure")
    cards = "".join(_card(name, label, rows.loc[name]) for name, label in _CARDS.items())
    help_text = f"<p>{_NO_DATA}</p>" if answer.level == "none" else ""
    return Html(
        f'<div class="dk-answer {answer.level}"><p class="dk-sentence">{_escape(answer.sentence)}'
        f"</p>{f'<ul>{points}</ul>' if points else ''}{help_text}</div>"
        f'<dl class="dk-cards">{cards}</dl>'
        f'<p class="dk-note">{_escape(window)} (UTC), compared with the '
        f"{'day' if window.days == 1 else words.plural(window.days, 'day')} before.</p>"
    )


_CARDS = {
    "pass_share": "pass DMARC",
    "failing": "failing messages",
    "messages": "messages",
    "domains": "domains",
    "reporters": "reporters",
    "reports": "reports",
}
_NO_DATA = (
    "Reports come once a day from each receiver. If mails have arrived, run "
    "<code>dmarckit ingest</code>; if none have, check that the <code>rua</code> address in the "
    "DMARC record of each domain leads to the bucket in the settings, or ask for more days."
)
_GOOD_IS = {"pass_share": 1, "failing": -1}


def domains(frame: pd.DataFrame) -> Html:
    """Takes `summary.by_domain`."""
    columns = [
        Column("domain", "Domain"),
        Column("messages", "Messages", "count"),
        Column("pass_share", "Pass DMARC", "share", lambda r: _before(r.pass_share, r.before)),
        Column("failing", "Failing", "bar"),
        Column("delivered", "Failing, delivered", "count"),
        Column("policy", "Policy", "policy"),
        Column("reporters", "Reporters", "count"),
        Column("last_end", "Reported until", "minute"),
    ]
    caption = "Domains, the one with the most failing messages first"
    return table(frame, columns, caption=caption, empty="No domain has a report on these days.")


def failing_sources(frame: pd.DataFrame) -> Html:
    """Takes `summary.failing_sources`."""
    what = [_what_failed(row) for row in frame.itertuples(index=False)]
    done = [_what_was_done(row) for row in frame.itertuples(index=False)]
    columns = [
        Column("source", "Source", under=lambda r: _addresses(r.addresses)),
        Column("messages", "Failing", "bar"),
        Column("domain", "Sent as"),
        Column("what", "What failed"),
        Column("done", "What receivers did"),
        Column("reporters", "Reporters", "count"),
        Column("first_day", "First seen", "day"),
        Column("last_day", "Last seen", "day"),
    ]
    caption = "Sources of failing messages, the largest first"
    empty = "No message failed DMARC on these days."
    return table(frame.assign(what=what, done=done), columns, caption=caption, empty=empty)


def reports(frame: pd.DataFrame) -> Html:
    """Takes `summary.newest_reports`."""
    columns = [
        Column("reporter", "Reporter"),
        Column("domain", "Domain"),
        Column("period", "Period (UTC)", "period"),
        Column("messages", "Messages", "count"),
        Column("failing", "Failing", "count"),
        Column("pass_share", "Pass DMARC", "share"),
        Column("report_id", "Report ID"),
    ]
    caption = "The newest reports"
    periods = [period(begin, end) for begin, end in zip(frame["begin"], frame["end"], strict=True)]
    return table(
        frame.assign(period=periods), columns, caption=caption, empty="No report covers these days."
    )


def refused(frame: pd.DataFrame) -> Html:
    """Takes `summary.refused_mails`."""
    columns = [
        Column("outcome", "Outcome", "outcome"),
        Column("from_domain", "Sent by"),
        Column("reason", "Why", under=lambda r: f"newest: {r.key}"),
        Column("mails", "Mails", "count"),
        Column("last", "Last received (UTC)", "minute"),
    ]
    caption = "Mails that gave no report"
    empty = "No mail of these days was refused or unreadable."
    return table(frame, columns, caption=caption, empty=empty)


def inputs(frame: pd.DataFrame) -> Html:
    """What the page was made from, in a sentence. Takes `summary.inputs`."""
    rows = frame.set_index("input")
    number = rows["number"]
    parts = [words.plural(number[name], name[:-1]) for name in ("mails", "reports", "records")]
    newest = rows.loc["mails", "last"]
    text = f"Made from {parts[0]} with {parts[1]} and {parts[2]}"
    if not words.is_missing(newest):
        text += f"; the newest mail came on {words.minute(newest)} UTC"
    return Html(f'<p class="dk-note">{_escape(text)}.</p>')


@cache
def _style() -> str:
    return files("dmarckit").joinpath("template/dmarckit/parts.css").read_text(encoding="utf-8")


def _escape(value: object, limit: int = 300) -> str:
    return html.escape(one_line(value, limit))


def _text(value: object) -> str:
    if words.is_missing(value) or value == "":
        return f'<span class="dk-missing">{words.MISSING}</span>'
    # bdi: right-to-left text in one cell must not turn its neighbours round
    return f"<bdi>{_escape(value)}</bdi>"


def _share(value: float) -> str:
    if words.is_missing(value):
        return f'<span class="dk-missing">{words.NO_DATA}</span>'
    return words.percent(value)


def _bar(value: float, largest: float) -> str:
    width = value / largest if largest else 0
    return f'{words.count(value)}<span class="dk-meter"><i style="width:{width:.1%}"></i></span>'


def _pill(names: dict[str, str], levels: dict[str, str]) -> Callable[[Any], str]:
    def cell(value: Any) -> str:
        if words.is_missing(value):
            return _text(None)
        shown = _escape(names.get(value, value), 40)
        return f'<span class="dk-pill {levels.get(value, "plain")}">{shown}</span>'

    return cell


_KINDS: dict[str, Callable[[Any], str]] = {
    "text": _text,
    "count": words.count,
    "share": _share,
    "day": words.day,
    "minute": words.minute,
    "period": _text,
    "policy": _pill({}, {"none": "warning", "quarantine": "plain", "reject": "good"}),
    "outcome": _pill(
        {"not_a_report": "no report"}, {"untrusted": "warning", "unreadable": "warning"}
    ),
}


def _cell(column: Column, row: Any, largest: float | None, is_head: bool) -> str:
    value = getattr(row, column.key)
    shown = _bar(value, largest) if largest is not None else _KINDS[column.kind](value)
    if column.under and (small := column.under(row)):
        shown += f"<small>{_escape(small)}</small>"
    sort = (
        "" if column.kind == "text" or words.is_missing(value) else f' data-sort="{_escape(value)}"'
    )
    tag = 'th scope="row"' if is_head else "td"
    long = " long" if column.kind == "text" and len(str(value)) > LONG else ""
    return f'<{tag} class="{column.kind}{long}"{sort}>{shown}</{tag[:2]}>'


def _card(name: str, label: str, row: pd.Series[Any]) -> str:
    is_share = name == "pass_share"
    value = words.percent(row["value"]) if is_share else words.count(row["value"])
    if is_share:
        change = words.points(row["value"] - row["before"])
    else:
        change = words.change(row["value"], row["before"])
    direction = _GOOD_IS.get(name, 0) * (row["value"] - row["before"])
    level = "good" if direction > 0 else "bad" if direction < 0 else "plain"
    if change == "unchanged":
        level = "plain"
    return (
        f"<div><dt>{label}</dt><dd>{value}</dd>"
        f'<dd class="dk-change {level}">{change or "no earlier data"}</dd></div>'
    )


def _before(now: float, before: float) -> str:
    return words.points(now - before)


def _addresses(number: int) -> str:
    return words.plural(number, "address", "addresses") if number > 1 else ""


_FAILED = {
    "dkim": {
        "none": "no DKIM signature",
        "fail": "DKIM signature does not verify",
        "other_domain": "DKIM passes for another domain only",
        "aligned": "",
    },
    "spf": {
        "none": "no SPF result",
        "fail": "SPF fails",
        "other_domain": "SPF passes for another domain only",
        "aligned": "",
    },
}


def _what_failed(row: Any) -> str:
    text = f"{_FAILED['dkim'][row.dkim]}; {_FAILED['spf'][row.spf]}"
    return text[0].upper() + text[1:]


def _what_was_done(row: Any) -> str:
    done = {
        "delivered": row.delivered,
        "sent to spam": row.quarantined,
        "rejected": row.rejected,
        "not said": row.unstated,
    }
    some = {name: number for name, number in done.items() if number}
    if len(some) == 1:
        return f"all {next(iter(some))}"
    return ", ".join(f"{words.count(number)} {name}" for name, number in some.items())
