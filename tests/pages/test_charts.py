"""Figures: what they say, what they show, and that outside text stays text."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

from dmarckit.pages import charts
from dmarckit.pages.charts import OUTCOMES
from tests.support.frames import DAY


def daily(days: int = 1, messages: int = 100, **failing: int) -> pd.DataFrame:
    """As `Page.failing_by_day`: the same numbers on each of some days."""
    done = dict.fromkeys(OUTCOMES, 0) | failing
    row = {"messages": messages, "fail": sum(failing.values()), "complete": True} | done
    dates = pd.date_range(end=DAY, periods=days, freq="D")
    return pd.DataFrame([row] * days).assign(day=dates)


def texts(figure: go.Figure) -> tuple[str, str]:
    return figure.layout.title.text, figure.layout.title.subtitle.text


def values(figure: go.Figure) -> dict[str, list[float]]:
    return {trace.name: list(trace.y) for trace in figure.data}


def test_failing_by_day() -> None:
    figure = charts.failing_by_day(daily(delivered=6, rejected=4))
    title = "10 messages failed DMARC; 60.0% were delivered anyway"
    assert texts(figure)[0] == title
    assert values(figure) == {"delivered": [6], "rejected": [4]}
    assert list(figure.data[0].x) == ["2026-11-23"]


def test_without_messages_there_is_a_sentence_and_no_axes() -> None:
    figure = charts.failing_by_day(daily(messages=0))
    assert len(figure.data) == 0
    assert texts(figure)[1] == "There were no messages in this period."


def test_nothing_fails() -> None:
    assert texts(charts.failing_by_day(daily()))[1] == "No message failed DMARC in this period."


@pytest.mark.parametrize("days", [1, 400])
def test_bars_fill_the_window_whatever_its_length(days: int) -> None:
    figure = charts.failing_by_day(daily(days, delivered=1))
    assert len(figure.data[0].x) == days
    assert figure.layout.xaxis.range[1] == "2026-11-23 12:00"


def test_outside_text_is_neither_markup_nor_endless() -> None:
    shown = charts.outside_text("<b>x</b> & \u202e" + "y" * 100)
    assert shown.startswith("&lt;b&gt;x&lt;/b&gt; &amp; \\u202e")
    assert shown.endswith("…")
