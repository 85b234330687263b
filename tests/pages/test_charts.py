"""Figures: what they say, what they show, and that outside text stays text."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

from dmarckit.pages import charts
from dmarckit.pages.charts import OUTCOMES
from dmarckit.pages.marks import LIGHT
from tests.support.frames import DAY


def daily(days: int = 1, messages: int = 100, **failing: int) -> pd.DataFrame:
    """The same numbers on each of some days, by what receivers did."""
    done = dict.fromkeys(OUTCOMES, 0) | failing
    row = {"messages": messages, "fail": sum(failing.values()), "complete": True} | done
    dates = pd.date_range(end=DAY, periods=days, freq="D")
    return pd.DataFrame([row] * days).assign(day=dates)


def texts(figure: go.Figure) -> tuple[str, str]:
    return figure.layout.title.text, figure.layout.title.subtitle.text


def values(figure: go.Figure) -> dict[str, list[float]]:
    return {trace.name: list(trace.y) for trace in figure.data}


def drawn(daily: pd.DataFrame) -> go.Figure:
    series = {name: (label, LIGHT[colour]) for name, (label, colour) in OUTCOMES.items()}
    return charts.daily_bars(daily, series, title="Failing", subtitle="By outcome")


def test_bars_by_day_have_only_what_is_there() -> None:
    figure = drawn(daily(delivered=6, rejected=4))
    assert texts(figure) == ("Failing", "By outcome")
    assert values(figure) == {"delivered": [6], "rejected": [4]}
    assert list(figure.data[0].x) == ["2026-11-23"]


def test_without_messages_there_is_a_sentence_and_no_axes() -> None:
    figure = charts.nothing("Messages per day")
    assert len(figure.data) == 0
    assert texts(figure)[1] == "There were no messages in this period."


@pytest.mark.parametrize("days", [1, 400])
def test_bars_fill_the_window_whatever_its_length(days: int) -> None:
    figure = drawn(daily(days, delivered=1))
    assert len(figure.data[0].x) == days
    assert figure.layout.xaxis.range[1] == "2026-11-23 12:00"


def test_outside_text_is_neither_markup_nor_endless() -> None:
    shown = charts.outside_text("<b>x</b> & \u202e" + "y" * 100)
    assert shown.startswith("&lt;b&gt;x&lt;/b&gt; &amp; \\u202e")
    assert shown.endswith("…")
