"""Figures: what they say, what they show, and that outside text stays text."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

from dmarckit import charts, summary
from dmarckit.window import Window
from tests.frames import DAY, FAILS, lake, records

WINDOW = Window(DAY, DAY + pd.Timedelta(days=1))
ROWS = records(
    {"messages": 80},
    {"messages": 10, "spf_aligned": False},
    FAILS | {"messages": 6},
    FAILS | {"messages": 4, "disposition": "reject"},
)


def texts(figure: go.Figure) -> tuple[str, str]:
    return figure.layout.title.text, figure.layout.title.subtitle.text


def values(figure: go.Figure) -> dict[str, list[float]]:
    return {trace.name: list(trace.y) for trace in figure.data}


def test_results_by_day() -> None:
    figure = charts.results_by_day(summary.by_day(ROWS, WINDOW))
    assert texts(figure)[0] == "90.0 % of 100 messages pass DMARC; 10 fail"
    assert values(figure) == {"DKIM and SPF pass": [80], "only DKIM passes": [10], "fails": [10]}
    assert list(figure.data[0].x) == ["2026-11-23"]


def test_the_title_names_a_day_that_stands_out() -> None:
    rows, _, _ = lake(days=20, domains=1, reporters=2)
    window = Window(DAY - pd.Timedelta(days=19), DAY + pd.Timedelta(days=1))
    title = texts(charts.results_by_day(summary.by_day(rows, window)))[0]
    assert "most failures on" in title
    assert "November 2026" in title


def test_failing_by_day() -> None:
    figure = charts.failing_by_day(summary.by_day(ROWS, WINDOW))
    title = "10 messages failed DMARC; 60.0 % were delivered all the same"
    assert texts(figure)[0] == title
    assert values(figure) == {"delivered": [6], "rejected": [4]}


def test_results_by_check() -> None:
    figure = charts.results_by_check(summary.by_check(ROWS))
    assert texts(figure)[0] == "DKIM passes for 90.0 % of the messages, SPF for 80.0 %"
    assert list(figure.data[0].y) == ["SPF", "DKIM", "DMARC"]
    assert [trace.name for trace in figure.data] == [
        "passes for the author's domain",
        "passes for another domain",
        "fails",
        "missing",
    ]
    assert figure.data[0].customdata[0] == "80.0 % (80 messages)"


def test_the_same_meaning_has_the_same_colour() -> None:
    daily = summary.by_day(ROWS, WINDOW)
    figures = [
        charts.results_by_day(daily),
        charts.failing_by_day(daily),
        charts.results_by_check(summary.by_check(ROWS)),
    ]
    colours = {(trace.name, trace.marker.color) for figure in figures for trace in figure.data}
    assert len({name for name, _ in colours}) == len(colours)
    assert {colour for _, colour in colours} <= set(charts.DARK)


@pytest.mark.parametrize("rows", [records(), records({"messages": 0})])
def test_without_messages_there_is_a_sentence_and_no_axes(rows: pd.DataFrame) -> None:
    daily = summary.by_day(rows, WINDOW)
    for figure in (
        charts.results_by_day(daily),
        charts.failing_by_day(daily),
        charts.results_by_check(summary.by_check(rows)),
    ):
        assert len(figure.data) == 0
        assert texts(figure)[1] == "There were no messages on these days."


def test_nothing_fails() -> None:
    daily = summary.by_day(records({}), WINDOW)
    assert texts(charts.results_by_day(daily))[0] == "All 10 messages pass DMARC"
    assert texts(charts.failing_by_day(daily))[1] == "No message failed DMARC on these days."


@pytest.mark.parametrize("days", [1, 400])
def test_bars_fill_the_window_whatever_its_length(days: int) -> None:
    window = Window(DAY - pd.Timedelta(days=days - 1), DAY + pd.Timedelta(days=1))
    figure = charts.results_by_day(summary.by_day(records({}), window))
    assert len(figure.data[0].x) == days
    assert figure.layout.xaxis.range[1] == "2026-11-23 12:00"


def test_outside_text_is_neither_markup_nor_endless() -> None:
    shown = charts.outside_text("<b>x</b> & \u202e" + "y" * 100)
    assert shown.startswith("&lt;b&gt;x&lt;/b&gt; &amp; \\u202e")
    assert shown.endswith("…")
