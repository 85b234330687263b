"""Frames of the lake → the numbers of a page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from dmarckit.core.errors import SettingsError
from dmarckit.core.window import Window, last_days
from dmarckit.pages.sections import overview
from tests.support.frames import DAY, mails, reports


def test_newest_reports_first() -> None:
    found = overview.newest_reports(
        reports(
            {"report_id": "old", "end": DAY},
            {"report_id": "new", "messages": 8, "failing": 2},
            {"report_id": "null", "messages": 0, "reporter": "Zeta"},
        ),
        limit=2,
    )
    assert found[["report_id", "pass_share"]].values.tolist()[0] == ["new", 0.75]
    assert found["report_id"].tolist() == ["new", "null"]
    assert pd.isna(found["pass_share"][1])


def test_refused_mails_by_kind_with_a_key_to_look_at() -> None:
    later = DAY + timedelta(days=2)
    broken = {"outcome": "unreadable", "error": "cut off"}
    found = overview.refused_mails(
        mails(
            {},
            {"outcome": "duplicate"},
            broken | {"key": "a"},
            broken | {"key": "b", "received": later},
            {"outcome": "untrusted", "error": "dmarc=fail", "key": "c", "from_domain": None},
        )
    )
    assert found[["outcome", "reason", "mails", "key"]].values.tolist() == [
        ["untrusted", "dmarc=fail", 1, "c"],
        ["unreadable", "cut off", 2, "b"],
    ]
    assert found["last"][1] == later


@pytest.mark.parametrize(
    "make",
    [
        lambda: overview.newest_reports(reports()),
        lambda: overview.refused_mails(mails()),
    ],
)
def test_nothing_in_gives_the_same_columns_out(make: Callable[[], pd.DataFrame]) -> None:
    found = make()
    assert found.empty
    assert len(found.columns) > 5


def test_inputs_are_not_changed() -> None:
    heads, posts = reports({}), mails({"outcome": "unreadable"})
    copies = [heads.copy(deep=True), posts.copy(deep=True)]
    overview.newest_reports(heads)
    overview.refused_mails(posts)
    for found, copy in zip([heads, posts], copies, strict=True):
        assert_frame_equal(found, copy)


def test_window_ends_yesterday_unless_told() -> None:
    found = last_days(7, today=date(2026, 11, 24))
    assert found == Window(datetime(2026, 11, 17, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC))
    assert found.before.end == found.start
    assert found.before.days == 7


@pytest.mark.parametrize(("days", "end"), [(0, ""), (True, "x"), (7, "24.11.2026"), (7, "soon")])
def test_window_that_is_none(days: int, end: str) -> None:
    with pytest.raises(SettingsError, match=r"days|YYYY-MM-DD"):
        last_days(days, end)
