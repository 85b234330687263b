"""Which days are complete for a domain."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from dmarckit.facts.completeness import complete_days
from dmarckit.facts.frames import COLUMNS, Facts, empty_facts
from tests.support.lakes import NOW, day

FIVE = ("A", "B", "C", "D", "E")


def reported(
    reporters: tuple[str, ...] = FIVE,
    days: range = range(1, 31),
    domain: str = "example.com",
    missing: Callable[[str, int], bool] = lambda reporter, days_ago: False,
    length: float = 1,
) -> list[dict[str, Any]]:
    """A report of each reporter on each day (counted back from today)."""
    return [
        {"domain": domain, "reporter": r, "begin": day(d), "end": day(d) + timedelta(days=length)}
        for r in reporters
        for d in days
        if not missing(r, d)
    ]


def facts_with(rows: list[dict[str, Any]]) -> Facts:
    reports = pd.DataFrame(rows, columns=list(COLUMNS["reports"]))
    return empty_facts(NOW, day(90), reports=reports)


def judged(rows: list[dict[str, Any]]) -> dict[int, bool]:
    """Days ago → is it complete for example.com?"""
    found = complete_days(facts_with(rows))
    found = found[found["domain"] == "example.com"]
    ago = [(day(0) - d.to_pydatetime()).days for d in found["day"]]
    return dict(zip(ago, found["complete"], strict=True))


def test_a_day_of_which_all_have_told_is_complete_and_today_never_is() -> None:
    rows = reported(days=range(31))
    found = judged(rows)
    assert found == {d: d > 0 for d in range(31)}


@pytest.mark.parametrize(("late", "complete"), [(("A",), True), (("A", "B"), False)])
def test_four_of_five_usual_reporters_are_enough(late: tuple[str, ...], complete: bool) -> None:
    rows = reported(missing=lambda r, d: d == 1 and r in late)
    assert judged(rows)[1] is complete


def test_who_reports_now_and_then_is_not_waited_for() -> None:
    rows = reported() + reported(("F", "G", "H"), range(2, 31, 3))
    assert judged(rows)[1]
    found = complete_days(facts_with(rows)).set_index("day")
    assert found.loc[pd.Timestamp(day(1)), ["delivered", "usual"]].tolist() == [5, 5]


def test_a_reporter_counts_as_usual_after_most_of_two_weeks() -> None:
    found = complete_days(facts_with(reported() + reported(("F",), range(2, 13)))).set_index("day")
    assert found.loc[pd.Timestamp(day(1)), "usual"] == 5
    found = complete_days(facts_with(reported() + reported(("F",), range(2, 14)))).set_index("day")
    assert found.loc[pd.Timestamp(day(1)), "usual"] == 6


def test_a_long_report_tells_of_all_its_days() -> None:
    weekly = reported(("W",), range(8, 30, 7), length=7) + reported(("A",), range(1, 30))
    found = complete_days(facts_with(weekly)).set_index("day")
    assert found.loc[pd.Timestamp(day(2)), ["delivered", "usual"]].tolist() == [2, 2]


def test_a_day_that_is_over_for_long_misses_nobody_who_told_of_other_domains() -> None:
    """A reporter writes nothing about a domain that sent it nothing."""
    quiet = reported(missing=lambda r, d: d in (1, 4) and r in "AB")
    others = reported(domain="other.example")
    assert judged(quiet)[4] is False
    found = judged(quiet + others)
    assert (found[4], found[1]) == (True, False)


def test_without_usual_reporters_a_day_settles_when_later_days_are_told_of() -> None:
    rows = reported(("A",), range(3, 30, 4))
    found = judged(rows)
    assert [d for d, complete in found.items() if not complete] == [2, 1, 0]
    silent = judged(reported(("A",), range(10, 30, 4)))
    assert not any(silent[d] for d in range(10))
    assert silent[10]


def test_a_new_domain_has_no_usual_reporters_for_a_week() -> None:
    found = complete_days(facts_with(reported(days=range(1, 10))))
    assert found["usual"].tolist() == [0] * 7 + [5, 5, 5]


def test_days_before_the_first_report_are_not_judged() -> None:
    assert len(judged(reported(days=range(1, 4)))) == 4


def test_no_report_no_row() -> None:
    found = complete_days(empty_facts(NOW, day(90)))
    assert found.empty
    assert found.dtypes.astype(str).to_dict() == {
        "domain": "str",
        "day": "datetime64[us, UTC]",
        "delivered": "int64",
        "usual": "int64",
        "complete": "bool",
    }


def test_reports_are_not_changed() -> None:
    facts = facts_with(reported())
    before = facts.reports.copy(deep=True)
    complete_days(facts)
    pd.testing.assert_frame_equal(before, facts.reports)
