"""The published policy day by day, as reporters quoted it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dmarckit.core.window import last_days
from dmarckit.facts.frames import empty_facts
from dmarckit.pages.sections.base import Section
from tests.support.lakes import NOW, day
from tests.support.pages import markup, page_about


def quoted(*rows: tuple[str, int, str], days: int = 4, **tags: Any) -> Section:
    """The strip of quotes (reporter, days ago, p)."""
    usual = dict.fromkeys(["sp", "np", "testing", "adkim", "aspf"], "") | {"pct": None} | tags
    policies = pd.DataFrame(
        [
            {"domain": "example.com", "reporter": name, "begin": day(ago), "end": day(ago - 1)}
            | usual
            | {"p": p}
            for name, ago, p in rows
        ]
    )
    facts = empty_facts(NOW, day(90), **({"policies": policies} if rows else {}))
    return page_about(facts, "example.com", last_days(days, "2026-11-23")).policy_days()


def test_the_day_of_a_change_is_marked_for_each_reporter_and_for_most_of_them() -> None:
    found = quoted(
        *[("a", ago, "none" if ago > 2 else "reject") for ago in range(1, 6)],
        *[("b", ago, "none" if ago > 1 else "reject") for ago in range(1, 6)],
        *[("c", ago, "none" if ago > 2 else "reject") for ago in range(1, 6)],
    )
    rows = found.data
    changed = rows[rows["changed"]]
    assert changed[["reporter", "day", "policy"]].values.tolist() == [
        ["", pd.Timestamp(day(2)), "p=reject"],
        ["a", pd.Timestamp(day(2)), "p=reject"],
        ["b", pd.Timestamp(day(1)), "p=reject"],
        ["c", pd.Timestamp(day(2)), "p=reject"],
    ]
    assert len(rows) == 20


def test_a_change_on_the_first_day_is_seen_against_the_days_before() -> None:
    found = quoted(("a", 9, "none"), ("a", 4, "quarantine"))
    assert found.data["changed"].tolist() == [False, True, False, True]


def test_only_tags_that_say_something_are_named() -> None:
    found = quoted(("a", 1, "quarantine"), sp="none", testing="y", adkim="s", pct=50)
    assert found.data["policy"].tolist()[0] == "p=quarantine; sp=none; pct=50; t=y; adkim=s"


def test_the_strip_says_in_words_what_it_shows() -> None:
    other = ("b", 1, "none")
    shown = markup(quoted(("<b>a</b>", 2, "none"), ("<b>a</b>", 1, "reject"), other))
    assert "2026-11-23: p=reject (changed)" in shown
    assert "&lt;b&gt;a&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert 'class="c-rejected changed"' in shown


def test_without_reports_there_is_a_sentence() -> None:
    assert "dk-empty" in markup(quoted())


def test_reporters_that_agree_with_most_are_not_repeated() -> None:
    shown = markup(quoted(("a", 2, "none"), ("b", 2, "none"), ("c", 2, "reject")))
    assert [name in shown for name in (">a<", ">b<", ">c<", "most reporters")] == [0, 0, 1, 1]
    assert "all reporters" in markup(quoted(("a", 2, "none"), ("b", 2, "none")))


def test_the_strip_is_long_enough_to_show_a_change() -> None:
    once = ("a", 1, "none")
    assert markup(quoted(once)).count("<span>") == 90
    assert markup(quoted(once, days=200)).count("<span>") == 200
