"""What people read in Japanese: numbers, days, sentences, and a whole page of them."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pandas as pd
import pytest

from dmarckit.core import text as words
from dmarckit.core.language import _, current_language, ngettext, speaking
from dmarckit.core.text import period
from dmarckit.core.window import last_days
from dmarckit.pages import charts
from dmarckit.pages.render import translated
from dmarckit.pages.sections.findings import findings_html, issues_html
from dmarckit.slack import chart
from dmarckit.slack.chart import daily_chart
from tests.pages.test_answer import answered, judged
from tests.support import frames
from tests.support.finished_pages import FinishedPages
from tests.support.pages import markup, page_about
from tests.support.translations import read_catalog

JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")


@pytest.fixture
def in_japanese() -> Iterator[None]:
    with speaking("ja"):
        yield


def text(markup: str) -> str:
    """What a reader sees, and what a screen reader says, of a page or a part of it."""
    shown = re.sub(r"<(script|style|pre)\b.*?</\1>", "", markup, flags=re.DOTALL)
    said = "\n".join(re.findall(r'(?:aria-label|title|alt)="([^"]*)"', shown))
    return html.unescape(re.sub(r"<[^>]+>", "\n", shown) + said)


def english_sentences() -> set[str]:
    """Texts of the catalog that are too long to be a name or a word of both languages."""
    ids = [m.id if isinstance(m.id, str) else m.id[1] for m in read_catalog() if m.id]
    parts = [part.strip(" .,;:()") for text in ids for part in re.split(r"\{\w+\}", text)]
    return {
        part for part in parts if part.count(" ") >= 2 and re.search(r"[a-z]{3} [a-z]{2}", part)
    }


def test_the_language_ends_with_its_block() -> None:
    with speaking("ja"):
        assert (current_language(), _("Copy")) == ("ja", "コピー")
    assert (current_language(), _("Copy")) == ("en", "Copy")


def test_another_thread_keeps_its_language() -> None:
    with speaking("ja"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(current_language).result() == "en"
        with speaking("en"):
            assert current_language() == "en"
        assert current_language() == "ja"


def test_an_empty_text_stays_empty(in_japanese: None) -> None:
    assert _("") == ""


def test_a_text_without_translation_is_english(in_japanese: None) -> None:
    assert _("a name of a user's own") == "a name of a user's own"
    assert ngettext("{n} thingy", "{n} thingies", 2) == "{n} thingies"


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.98249, "98.2%"), (0.99996, "99.9%"), (0.0001, "<0.1%"), (1, "100%"), (0, "0%")],
)
def test_shares(in_japanese: None, share: float, shown: str) -> None:
    assert words.percent(share) == shown


def test_numbers_and_changes(in_japanese: None) -> None:
    assert words.count(1234567) == "1,234,567"
    assert [words.n_messages(1), words.n_messages(1200)] == ["1 通", "1,200 通"]
    assert words.percent(None) == "データなし"
    assert words.points(0.0123) == "+1.2 ポイント"
    assert [words.change(150, 100), words.change(7, 7)] == ["+50%", "変化なし"]


def test_days(in_japanese: None) -> None:
    assert words.short_day(datetime(2026, 11, 3, tzinfo=UTC)) == "11/3"
    assert str(last_days(7, end="2026-11-23")) == "2026/11/17〜11/23"
    begin, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 8, tzinfo=UTC)
    assert period(begin, end) == "2026-11-01 〜 2026-11-07"


def test_a_notebook_s_markdown_is_translated_by_paragraph(in_japanese: None) -> None:
    source = "## Findings\n\nProblems, changes and next steps from the last 7 days."
    heading, paragraph = translated(source + "\n\nA user's *own* words.").split("\n\n")[:2]
    assert heading == "## 検出事項"
    assert JAPANESE.search(paragraph)
    assert translated(source).count("\n\n") == 1


def test_a_finding_and_the_answer(in_japanese: None) -> None:
    found = [judged("WORSE", summary="要約", action="対応内容")]
    card = text(findings_html(found, date(2026, 12, 24), page_about().facts.reports).markup)
    for part in ("警告", "悪化", "Example Mail からの送信を初めて検出", "対応:"):
        assert part in card
    assert "WORSE" not in card
    said = answered(*found)
    assert said.sentence == "1 件の対応が必要です。"
    shown = text(issues_html(found).markup)
    assert "example.com" in shown
    assert "悪化" in shown


def test_tables_and_charts_have_no_english_sentence(in_japanese: None) -> None:
    day = {"day": pd.Timestamp("2026-11-03"), "messages": 20, "fail": 9, "complete": True}
    done = {"delivered": 6, "quarantined": 2, "rejected": 1, "unstated": 0}
    series = {name: (label, "#000") for name, (label, _colour) in charts.OUTCOMES.items()}
    figure = charts.daily_bars(pd.DataFrame([day | done]), series, title="", subtitle="")
    assert [trace.name for trace in figure.data] == ["配信", "隔離", "拒否"]
    mails = frames.mails({"outcome": "untrusted", "error": "x"})
    refused = page_about(_stored_mails=mails).refused_mails()
    for shown in (markup(refused),):
        assert JAPANESE.search(shown)
        assert [s for s in english_sentences() if s in shown] == []


def test_names_of_classes_are_words_and_their_keys_stay() -> None:
    with speaking("ja"):
        assert all(JAPANESE.search(_(label)) for label, _colour in charts.CLASSES.values())
    assert "broken_dkim" in charts.CLASSES


@pytest.mark.parametrize("name", ["overview-demo-ja", "domain-demo-ja", "sender-demo-ja"])
def test_a_whole_page_holds_no_english_sentence(finished: FinishedPages, name: str) -> None:
    page = finished(name).read_text("utf-8")
    shown = text(page)
    assert '<html lang="ja">' in page
    assert len(JAPANESE.findall(shown)) > 1000
    assert [sentence for sentence in english_sentences() if sentence in shown] == []


def test_a_chart_is_in_english_where_no_font_draws_japanese(
    in_japanese: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "_characters", lambda: set(range(0x10000)))
    with chart.drawable_language():
        assert current_language() == "ja"
    monkeypatch.setattr(chart, "_characters", lambda: {ord("a")})
    with chart.drawable_language():
        assert current_language() == "en"
    assert current_language() == "ja"


def test_a_chart_holds_no_boxes(in_japanese: None) -> None:
    """matplotlib warns of a character that no font has, and warnings are errors here."""
    days = pd.DataFrame({"day": ["2026-11-01"], "passing": [9], "failing": [1]})
    assert daily_chart(days).startswith(b"\x89PNG")


def test_commands_start_without_babel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMARCKIT_LANGUAGE", "ja")
    program = (
        "import sys, dmarckit.cli; from dmarckit.core.settings import load_settings; "
        "from dmarckit.core.language import _; load_settings(); "
        "print(_('Copy') != 'Copy', 'babel' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"True", b"False"]
