"""Parts and charts outside of dmarckit's own pages: in a stored notebook and plain nbconvert."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import papermill
import plotly.graph_objects as go
import pytest
from nbconvert import HTMLExporter

from dmarckit.pages import charts
from dmarckit.pages.build import build_page
from dmarckit.pages.charts import chart_svg
from dmarckit.pages.marks import LIGHT
from tests.support.frames import DAY
from tests.support.page_notebooks import write_notebook

CELLS = (
    """
import pandas as pd
from dmarckit.pages.html import render_part
from dmarckit.pages.sections.base import Section
from tests.pages.test_viewers import bars
Section(pd.DataFrame(), figure=bars(30))
""",
    'render_part("facts", [("Expected reports", "522 of 525 <there>")])',
)


def bars(days: int, name: str = "number") -> go.Figure:
    """A chart of all classes of messages."""
    dates = pd.date_range(end=DAY, periods=days, freq="D")
    counts = {one: [100 + place * day % 70 for day in range(days)] for place, one in NUMBERED}
    daily = pd.DataFrame(counts).assign(day=dates, complete=dates < dates[-1])
    series = {one: (name, LIGHT[colour]) for one, (_label, colour) in charts.CLASSES.items()}
    return charts.daily_bars(daily, series, title="A &lt;title&gt;", subtitle="B")


NUMBERED = list(enumerate(charts.CLASSES))


def svg(figure: go.Figure) -> str:
    return chart_svg(json.loads(figure.to_json()))


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewers")
    return write_notebook(folder / "small.ipynb", *CELLS, parameters="days: int = 3  # days")


def test_plain_nbconvert_shows_charts_and_parts(notebook: Path) -> None:
    executed = notebook.with_name("executed.ipynb")
    papermill.execute_notebook(notebook, executed, progress_bar=False, kernel_name="python3")
    page, _resources = HTMLExporter().from_filename(str(executed))
    assert 'src="data:image/svg+xml;base64,' in page
    shown = re.search(r"<dl[^>]*>.*?</dl>", page, re.DOTALL)
    assert shown
    assert "522 of 525 &lt;there&gt;" in shown[0]
    assert re.search(r'<dt style="[^"]*float:none;width:auto', shown[0]), "not a word a line"
    assert executed.stat().st_size < 60_000


def test_a_page_takes_nothing_of_it(notebook: Path) -> None:
    html = build_page(notebook, {}).html.decode()
    assert "<dt>Expected reports</dt><dd><bdi>522 of 525 &lt;there&gt;</bdi></dd>" in html
    assert "data-chart" in html
    assert "<svg" not in html.partition('<script type="text/plain"')[0]
    assert "image/svg" not in html.partition('<script type="text/plain"')[0]


@pytest.mark.parametrize(("days", "most"), [(1, 6_000), (30, 15_000), (120, 33_000), (400, 43_000)])
def test_the_image_of_a_chart_is_small(days: int, most: int) -> None:
    made = svg(bars(days))
    assert len(made) < most
    image = ElementTree.fromstring(made)
    assert image[1].text == "A <title>"


def test_bars_stand_on_each_other() -> None:
    tops = re.findall(r" 306V([\d.]+)h", svg(bars(1)))
    assert tops == sorted(tops, key=float), "painted from the top of the stack down"
    assert len(set(tops)) == len(NUMBERED)


def test_lines_have_gaps_and_limits() -> None:
    days = pd.date_range(end=DAY, periods=6, freq="D")
    shares = pd.DataFrame({"day": days, "rate": [0.001, None, 0.002, None, 0.003, 0.001]})
    limits = [0.003]
    series = {"rate": (charts.outside_text("spam <rate>"), LIGHT["failing"])}
    figure = charts.rate_lines(
        shares, series, title="T", subtitle="S", span=(0, 0.004), limits=limits
    )
    made = svg(figure)
    line = re.search(r'd="([^"]*)" fill="none" stroke="#b22a01"', made)
    assert line
    assert line[1].count("M") == 3
    assert 'stroke-dasharray="6 4"' in made
    assert "spam &lt;rate&gt;" in made
    assert [t for t in re.findall(r">([^<>]+)</text>", made) if "%" in t] == [
        *("0%", "0.10%", "0.20%", "0.30%", "0.40%"),
        "0.30%",
    ]


def test_a_chart_without_data_is_its_words() -> None:
    made = svg(charts.nothing("Messages per day", charts.outside_text("None <here>")))
    assert [text.text for text in ElementTree.fromstring(made)[1:]] == [
        "Messages per day",
        "None <here>",
    ]
