"""Messages by class and day, and the charts of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dmarckit.core.window import last_days
from dmarckit.facts import frames
from dmarckit.facts.classify import CLASSES
from dmarckit.facts.frames import Facts, empty_facts
from dmarckit.pages import charts
from dmarckit.pages.charts import DARK
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


def test_the_title_names_the_largest_trouble() -> None:
    bad = {"class": "broken_dkim", "da": False, "sa": False, "messages": 20}
    daily = frames.classes_by_day(facts({"messages": 80}, bad).messages, complete(), WINDOW)
    assert charts.class_chart(daily).layout.title.text == (
        "80.0 % of 100 messages are in order; of the rest most is own mail whose DKIM breaks"
    )


def test_every_class_has_a_colour_and_words() -> None:
    assert set(charts.CLASSES) == set(CLASSES)


SIMULATED = {  # Machado, Oliveira and Fernandes 2009, severity 1
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(colour: str, eye: list[list[float]]) -> Any:
    """A colour as that eye sees it, in CIELAB."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = matrix @ np.clip(np.array(eye) @ linear, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("eye", SIMULATED)
def test_classes_are_told_apart_by_every_eye(eye: str, theme: str) -> None:
    found = [DARK.get(c, c) if theme == "dark" else c for _label, c in charts.CLASSES.values()]
    seen = [lab(colour, SIMULATED[eye]) for colour in found]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 10


def test_pass_rates_are_cells_that_say_their_number() -> None:
    made = facts({"messages": 3}, {"messages": 1, "da": False, "sa": False})
    known = complete(("example.com", 0, True))
    shown = markup(page_about(made, window=WINDOW, _complete=known).pass_rates())
    assert 'class="d" title="2026-11-23: 75.0 % of 4 messages pass"' in shown
    assert shown.count('class="none" title=') == 2


def test_incomplete_cells_are_grey() -> None:
    shown = markup(page_about(facts({}), window=WINDOW, _complete=complete()).pass_rates())
    assert 'class="grey" title="2026-11-23: 100 % of 20 messages pass; reports' in shown
