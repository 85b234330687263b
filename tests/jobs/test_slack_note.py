"""What a notebook of one's own adds to the Slack message of its run (`Page.tell`)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.window import last_days
from dmarckit.findings.analysis import analyse
from dmarckit.jobs.notify import Notifier
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake.lake import Lake
from dmarckit.pages.build import build_page
from dmarckit.pages.publish import StoredPage
from dmarckit.pages.slack_note import SLACK_MIMETYPE, SlackNote, slack_notes
from dmarckit.slack.chart import note_chart
from dmarckit.slack.client import block_kit
from dmarckit.slack.summary import Addition, News, summary_message
from tests.support import frames
from tests.support.page_notebooks import write_notebook
from tests.support.pages import FAILS, messages, page_about
from tests.support.telling import addressed, stored

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
PNG = b"\x89PNG\r\n"


def executed(*notes: SlackNote) -> nbformat.NotebookNode:
    """A notebook whose cells have shown these notes, as papermill keeps it."""
    bundles = [json.loads(json.dumps(note._repr_mimebundle_())) for note in notes]
    outputs = [new_output("display_data", data=bundle) for bundle in bundles]
    return new_notebook(cells=[new_code_cell("page.tell()", outputs=outputs)])


def test_a_note_survives_the_notebook() -> None:
    page = page_about(messages(FAILS | {"messages": 1200}))
    note = page.tell(
        "Forged mail", {"forged": np.int64(1200), "share": 0.25}, page.classes_by_day()
    )
    (found,) = slack_notes(executed(note))
    assert found == note
    assert found.numbers == {"forged": "1,200", "share": "0.25"}
    assert found.chart is not None
    assert found.chart["title"] == "Failing: 0 own or unidentified, 1,200 forged, of 1,200 messages"
    assert [one["name"] for one in found.chart["series"]] == ["forged"], "no line, no marks"


def test_a_single_number_stands_behind_the_headline() -> None:
    page = page_about()
    assert page.tell("Senders", 3).headline == "Senders: 3"
    assert page.tell(number="none").headline == "none"
    assert slack_notes(new_notebook(cells=[new_code_cell("1")])) == []


def test_texts_and_charts_are_bounded() -> None:
    figure = go.Figure([go.Bar(x=list(range(9000)), y=[1] * 9000)] * 50)
    note = page_about().tell("x" * 9000, dict.fromkeys(map(str, range(99)), "y" * 999), figure)
    assert len(json.dumps(note._repr_mimebundle_()[SLACK_MIMETYPE])) < 300_000
    assert len(note.headline) <= 301
    assert len(note.numbers) == 10


@pytest.mark.parametrize(
    "figure",
    [
        go.Figure([go.Bar(x=[1, 2], y=["<b>a", "b\u202e"], orientation="h", name="n")]),
        go.Figure([go.Scatter(x=["2026-11-22", "2026-11-23"], y=[1, None])]),
        go.Figure([go.Bar(x=pd.to_datetime(["2026-11-22"]), y=np.array([3])), go.Pie()]),
        go.Figure(),
    ],
)
def test_bars_and_lines_become_a_picture(figure: go.Figure) -> None:
    chart = page_about().tell(chart=figure).chart
    assert chart is not None
    assert note_chart(chart).startswith(PNG)


def test_the_message_holds_it_and_nothing_of_it_is_markup() -> None:
    headline = page_about(messages({})).headline().data
    added = Addition("<!channel> *all*", {"<http://x|y>": "1"}, stored("https://x.example/c.png"))
    for news in ([], [News("X", "warning, new", "")]):
        made = addressed(
            summary_message(
                headline, last_days(3, "2026-11-23"), None, news=news, additions=[added]
            )
        )
        blocks = block_kit(made)
        mrkdwn = json.dumps([block for block in blocks if block["type"] == "section"])
        assert "<!channel>" not in mrkdwn
        assert "<http://x|y>" not in mrkdwn
        assert "&lt;!channel&gt;" in mrkdwn
        assert [b["image_url"] for b in blocks if b["type"] == "image"] == [
            "https://x.example/c.png"
        ]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    path = frames.fill(tmp_path, *frames.lake(days=10, domains=1, reporters=2))
    monkeypatch.setenv("DMARCKIT_CONFIG", str(path))
    return load_settings()


def test_a_notebook_of_fifteen_lines_puts_a_number_into_slack(
    tmp_path: Path, settings: Settings
) -> None:
    own = write_notebook(
        tmp_path / "mine.ipynb",
        "import dmarckit as dk\npage = dk.open_page(days=days, end='2026-11-23')",
        "forged = page.senders()\nforged",
        "page.tell('Forged mail', {'senders': len(forged.data)}, page.classes_by_day())",
        parameters="days: int = 7  # length of the window in days",
        title="# Forged mail",
    )
    page = build_page(own, {}, config=str(tmp_path / "dmarckit.toml"), now=NOW)
    assert "In the Slack message" not in page.html.decode()
    schedule = Schedule(
        name="mine", cron="0 7 * * *", notebook=str(own), slack={"when": "findings"}
    )
    lake = Lake(settings.lake_url)
    (due,) = Notifier(settings, schedule, run="r1", now=NOW).build_summaries(
        StoredPage(page, page.key, "x"), analyse(settings, lake, now=NOW)
    )
    said = json.dumps(due.message.blocks)
    assert "*Forged mail*" in said
    assert "charts/mine-2026-11-23-r1-note1.png" in said
    (picture,) = Path(settings.exports_url).glob("charts/*-note1.png")
    assert picture.read_bytes().startswith(PNG)
