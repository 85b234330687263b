"""Messages by class and day, and the charts of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from dmarckit.core.window import last_days
from dmarckit.facts import frames
from dmarckit.facts.classify import CLASSES
from dmarckit.facts.frames import Facts, empty_facts
from dmarckit.pages import charts
from tests.support.finding_facts import MESSAGES
from tests.support.pages import markup, page_about

DAY = datetime(2026, 11, 23, tzinfo=UTC)
WINDOW = last_days(3, "2026-11-23")


def facts(*rows: dict[str, Any]) -> Facts:
    """Facts with these rows of messages; what is not said is that of `MESSAGES`."""
    base = MESSAGES | {"day": DAY, "reporter": "Receiver One", "ours": True}
    frame = pd.DataFrame([base | row for row in rows], columns=list(base))
    return empty_facts(WINDOW.end, WINDOW.start, messages=frame)


def complete(*rows: tuple[str, int, bool]) -> pd.DataFrame:
    """Domain, days before the last one, and whether it is complete."""
    frame = pd.DataFrame(rows, columns=["domain", "day", "complete"])
    days = [DAY - timedelta(days=int(n)) for n in frame["day"]]
    return frame.assign(day=pd.Series(days, dtype="datetime64[us, UTC]"))


def test_each_day_has_its_messages_by_class() -> None:
    made = facts(
        {"messages": 5},
        {"messages": 2, "class": "unauthenticated", "da": False, "sa": False},
        {"messages": 3, "day": DAY - timedelta(days=2)},
        {"messages": 9, "day": DAY - timedelta(days=3)},
    )
    found = frames.classes_by_day(made.messages, complete(), WINDOW)
    assert list(found.columns) == ["day", "messages", *CLASSES, "complete"]
    assert found["messages"].tolist() == [3, 0, 7]
    assert found["aligned"].tolist() == [3, 0, 5]
    assert found["unauthenticated"].tolist() == [0, 0, 2]
    assert found["complete"].all()


def test_a_day_is_incomplete_when_too_few_domains_are_complete() -> None:
    known = complete(("a.example", 0, True), ("b.example", 0, False), ("a.example", 1, True))
    found = frames.classes_by_day(facts({}).messages, known, WINDOW)
    assert found["complete"].tolist() == [True, True, False]


def test_without_facts_there_are_days_of_zeros() -> None:
    found = frames.classes_by_day(facts().messages, complete(), WINDOW)
    assert found["messages"].tolist() == [0, 0, 0]
    assert charts.class_chart(found).data == ()
    assert frames.pass_shares(facts(), complete(), WINDOW).empty


def test_pass_shares_by_domain_and_day() -> None:
    made = facts({"messages": 3}, {"messages": 1, "da": False, "sa": False})
    found = frames.pass_shares(made, complete(("example.com", 0, True)), WINDOW)
    assert found.to_dict("records") == [
        {
            "domain": "example.com",
            "day": pd.Timestamp(DAY),
            "messages": 4,
            "passing": 3,
            "pass_share": 0.75,
            "complete": True,
        }
    ]


def test_incomplete_days_have_a_grey_ground_and_the_chart_says_so() -> None:
    known = complete(("example.com", 0, False), ("example.com", 1, True))
    daily = frames.classes_by_day(facts({}).messages, known, WINDOW)
    figure = charts.class_chart(daily)
    assert [shape.x0 for shape in figure.layout.shapes] == ["2026-11-22 12:00"]
    assert "Grey:" in figure.layout.title.subtitle.text


def test_the_title_counts_what_fails() -> None:
    bad = {"class": "broken_dkim", "da": False, "sa": False, "messages": 20}
    daily = frames.classes_by_day(facts({"messages": 80}, bad).messages, complete(), WINDOW)
    title = "Failing: 20 own or unidentified, 0 forged, of 100 messages"
    assert charts.class_chart(daily).layout.title.text == title


def test_every_class_has_a_colour_and_words() -> None:
    assert set(charts.CLASSES) == set(CLASSES)


def test_pass_rates_are_cells_that_say_their_number() -> None:
    made = facts({"messages": 3}, {"messages": 1, "da": False, "sa": False})
    known = complete(("example.com", 0, True))
    shown = markup(page_about(made, window=WINDOW, _complete=known).pass_rates())
    assert 'class="c-failing" title="2026-11-23: 75.0% of 4 messages pass"' in shown
    assert shown.count('class="none" title=') == 2


def test_incomplete_cells_are_grey() -> None:
    shown = markup(page_about(facts({}), window=WINDOW, _complete=complete()).pass_rates())
    assert 'class="c-unknown" title="2026-11-23: 100% of 20 messages pass; reports' in shown
