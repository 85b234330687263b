"""Charts for Slack: PNG bytes that say the right thing whatever a report holds."""

from __future__ import annotations

import struct
import sys
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from dmarckit.reports.model import Policy
from dmarckit.slack import chart
from dmarckit.slack.chart import FAIL, PASS, alert_chart, daily_chart
from tests.support.model_builders import make_failing, make_record, make_report


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def pixels(png: bytes, colour: str) -> int:
    """How many pixels have exactly this colour."""
    import io

    image = matplotlib.image.imread(io.BytesIO(png), format="png")[:, :, :3]
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.rint(image * 255) == wanted).all(axis=2).sum())


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn."""
    drawn: list[str] = []
    original = chart._words

    def note(where: Any, x: float, y: float, text: str, **style: Any) -> None:
        drawn.append(text)
        original(where, x, y, text, **style)

    monkeypatch.setattr(chart, "_words", note)
    return drawn


def test_the_bars_show_the_shares() -> None:
    png = alert_chart([make_report(make_record(messages=3), make_failing(messages=1))])
    assert size(png) == (1200, 720)
    assert pixels(png, PASS) / (pixels(png, PASS) + pixels(png, FAIL)) == pytest.approx(
        0.75, abs=0.01
    )


def test_one_failure_in_a_million_is_still_seen() -> None:
    report = make_report(make_record(messages=999_999), make_failing())
    assert pixels(alert_chart([report]), FAIL) > 100


def test_provider_domain_period_and_numbers_are_written(words: list[str]) -> None:
    alert_chart([make_report(make_record(messages=3), make_record(messages=1, dkim_aligned=False))])
    assert words[:2] == ["example.com", "Example Mail  ·  2026-11-01  ·  4 messages"]
    assert words[2:] == [
        *("DMARC", "4 pass (100%)", "0 fail (0%)"),
        *("SPF aligned", "4 pass (100%)", "0 fail (0%)"),
        *("SPF", "4 pass (100%)", "0 fail (0%)"),
        *("DKIM aligned", "3 pass (75.0%)", "1 fail, no effect", "0 fail (0%)"),
        *("DKIM", "3 pass (75.0%)", "1 fail, no effect", "0 fail (0%)"),
    ]


def test_no_messages_are_no_percentage(words: list[str]) -> None:
    png = alert_chart([make_report(make_record(messages=0))])
    assert words.count("no messages") == 5
    assert pixels(png, PASS) == pixels(png, FAIL) == 0


@pytest.mark.parametrize(
    "text", [r"$\frac{1}{0$", "$x$ $", "株式会社メール", "\x00\n\u202e", "W" * 5000, "{}%\\"]
)
def test_hostile_names_are_drawn_as_they_are(text: str) -> None:
    report = make_report(make_record(), reporter=text, policy=Policy(text))
    assert size(alert_chart([report])) == (1200, 720)


def test_absent_names_are_said_to_be_unknown(words: list[str]) -> None:
    alert_chart([make_report(make_record(), reporter=None, policy=Policy(None))])
    assert words[0] == "unknown domain"
    assert words[1].startswith("unknown reporter")


def test_the_same_report_gives_the_same_bytes() -> None:
    report = make_report(make_record())
    assert alert_chart([report]) == alert_chart([report])


def test_pyplot_is_not_touched() -> None:
    alert_chart([make_report(make_record())])
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def days(count: int) -> pd.DataFrame:
    start = pd.date_range("2026-11-01", periods=count, tz="UTC")
    return pd.DataFrame({"day": start, "passing": [30] * count, "failing": [10] * count})


@pytest.mark.parametrize("count", [1, 7, 60, 400])
def test_days_are_stacked_by_result(count: int) -> None:
    png = daily_chart(days(count))
    assert pixels(png, PASS) / pixels(png, FAIL) == pytest.approx(3, rel=0.1)


def test_the_period_and_totals_are_written(words: list[str]) -> None:
    daily_chart(days(7))
    assert words == [
        "Messages per day, 1–7 Nov",
        "",
        "■ 210 pass DMARC (75.0%)",
        "■ 70 fail (25.0%)",
    ]


@pytest.mark.parametrize("frame", [days(0), days(3).assign(passing=0, failing=0)])
def test_no_messages_in_the_period_are_said_to_be_none(
    frame: pd.DataFrame, words: list[str]
) -> None:
    daily_chart(frame)
    assert "No messages in this period" in words


def test_the_frame_is_not_changed() -> None:
    frame = days(3).assign(day=lambda d: d["day"].dt.tz_localize(None))
    before = frame.copy(deep=True)
    daily_chart(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_a_font_that_was_installed_after_matplotlib_made_its_list_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager = chart.font_manager.fontManager
    serif = next(f.fname for f in manager.ttflist if f.fname.endswith("DejaVuSerif.ttf"))
    known = [font for font in manager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(manager, "ttflist", known)
    monkeypatch.setattr(chart.font_manager, "findSystemFonts", lambda: [serif, "/no/font.ttf"])
    monkeypatch.setattr(chart, "_FAMILIES", ("DejaVu Sans", "DejaVu Serif"))
    chart.font_families.cache_clear()
    try:
        assert chart.font_families() == ["DejaVu Sans", "DejaVu Serif"]
    finally:
        chart.font_families.cache_clear()


def test_several_reports_about_a_domain_are_one_chart(words: list[str]) -> None:
    alert_chart([make_report(make_record(), reporter=f"Mail {n}") for n in range(4)])
    assert words[1] == "4 reporters  ·  2026-11-01  ·  4 messages"
