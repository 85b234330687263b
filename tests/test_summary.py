"""Frames of the lake → the numbers of a page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from dmarckit import summary
from dmarckit.errors import SettingsError
from dmarckit.window import Window, last_days
from tests.frames import DAY, FAILS, mails, records, reports

WINDOW = Window(DAY - timedelta(days=1), DAY + timedelta(days=1))
OTHER_SPF = [{"domain": "mailer.example", "scope": "mfrom", "result": "pass", "human_result": None}]


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert_frame_equal(found, expected, check_dtype=False)


def test_headline_counts_messages_not_rows() -> None:
    found = summary.headline(
        records({"messages": 90}, FAILS | {"messages": 10}),
        reports({}, {"reporter": "Receiver Two", "domain": "example.net"}),
        records({"messages": 40}),
        reports({}),
    )
    same(
        found,
        frame(
            [
                {"measure": "messages", "value": 100, "before": 40},
                {"measure": "pass_share", "value": 0.9, "before": 1},
                {"measure": "failing", "value": 10, "before": 0},
                {"measure": "reports", "value": 2, "before": 1},
                {"measure": "reporters", "value": 2, "before": 1},
                {"measure": "domains", "value": 2, "before": 1},
            ]
        ),
    )


def test_no_messages_is_no_data_and_not_zero_percent() -> None:
    found = summary.headline(records({"messages": 0}), reports({}), records(), reports())
    values = found.set_index("measure")["value"]
    assert values["messages"] == 0
    assert pd.isna(values["pass_share"])


def test_a_result_that_the_receiver_did_not_give_does_not_pass() -> None:
    rows = records({"dkim_aligned": None, "spf_aligned": None, "messages": 4})
    found = summary.headline(rows, reports(), records(), reports())
    assert found.set_index("measure")["value"]["failing"] == 4


def test_every_day_of_the_window_has_a_row() -> None:
    found = summary.by_day(
        records(
            {"messages": 5},
            {"messages": 3, "spf_aligned": False},
            {"messages": 2, "dkim_aligned": False},
            FAILS | {"messages": 7, "disposition": "reject"},
            FAILS | {"messages": 1, "disposition": None},
            # the report runs into the next day: it belongs to the day of its begin
            {"messages": 11, "begin": DAY + timedelta(hours=23), "end": DAY + timedelta(hours=47)},
        ),
        WINDOW,
    )
    empty = dict.fromkeys(["messages", *summary.RESULTS, *summary.OUTCOMES], 0)
    full = {"messages": 29, "both": 16, "dkim_only": 3, "spf_only": 2, "fail": 8}
    full |= {"rejected": 7, "unstated": 1}
    same(found, frame([{"day": WINDOW.start} | empty, {"day": DAY} | empty | full]))


def test_checks_tell_unaligned_from_failed_and_missing() -> None:
    broken = [{"domain": "example.com", "selector": "s", "result": "fail", "human_result": None}]
    unsigned = [{"domain": None, "selector": None, "result": "none", "human_result": None}]
    found = summary.by_check(
        records(
            {"messages": 6},
            FAILS | {"messages": 2, "dkim": broken, "spf": OTHER_SPF},
            FAILS | {"messages": 1, "dkim": unsigned},
            FAILS | {"messages": 1, "dkim": None, "spf": None},
        )
    )
    columns = ["check", "messages", *summary.STATES, "pass_share"]
    rows = [
        ["DMARC", 10, 6, 0, 4, 0, 0.6],
        ["DKIM", 10, 6, 0, 2, 2, 0.6],
        ["SPF", 10, 6, 2, 1, 1, 0.6],
    ]
    same(found, pd.DataFrame(rows, columns=columns))


def test_domains_carry_their_newest_policy_and_the_share_before() -> None:
    early, late = {"end": DAY}, {"end": DAY + timedelta(days=1)}
    found = summary.by_domain(
        records({"messages": 30}, FAILS | {"messages": 10}, FAILS | {"disposition": "reject"}),
        reports(
            late | {"p": "reject"},
            early | {"reporter": "Receiver Two"},
            {"domain": "quiet.example"},
        ),
        records({"messages": 1}),
    )
    columns = ["domain", "messages", "failing", "delivered", "pass_share", "before", "policy"]
    columns += ["reporters", "last_end"]
    rows = [
        ["example.com", 50, 20, 10, 0.6, 1.0, "reject", 2, late["end"]],
        ["quiet.example", 0, 0, 0, None, None, "none", 1, late["end"]],
    ]
    same(found, pd.DataFrame(rows, columns=columns))


def test_failing_sources_are_networks() -> None:
    found = summary.failing_sources(
        records(
            {"messages": 1000},  # passes: not here
            FAILS | {"source_ip": "203.0.113.5", "messages": 4, "begin": DAY - timedelta(days=1)},
            FAILS | {"source_ip": "203.0.113.9", "messages": 5, "disposition": "quarantine"},
            FAILS | {"source_ip": "2001:db8::1", "messages": 7, "spf": OTHER_SPF},
            FAILS | {"source_ip": None, "messages": 1, "reporter": "Receiver Two"},
            FAILS | {"messages": 0},
        )
    )
    columns = ["source", "domain", "messages", *summary.OUTCOMES, "dkim", "spf", "addresses"]
    columns += ["reporters", "first_day", "last_day"]
    before = DAY - timedelta(days=1)
    rows = [
        ["203.0.113.0/24", "example.com", 9, 4, 5, 0, 0, "none", "fail", 2, 1, before, DAY],
        ["2001:db8::1", "example.com", 7, 7, 0, 0, 0, "none", "other_domain", 1, 1, DAY, DAY],
        [None, "example.com", 1, 1, 0, 0, 0, "none", "fail", 0, 1, DAY, DAY],
    ]
    same(found, pd.DataFrame(rows, columns=columns))


def test_newest_reports_first() -> None:
    found = summary.newest_reports(
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
    found = summary.refused_mails(
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


def test_inputs_of_a_page() -> None:
    found = summary.inputs(records({}, {}), reports({}), mails())
    assert found[["input", "number"]].values.tolist() == [
        ["mails", 0],
        ["reports", 1],
        ["records", 2],
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: summary.by_domain(records(), reports(), records()),
        lambda: summary.failing_sources(records()),
        lambda: summary.newest_reports(reports()),
        lambda: summary.refused_mails(mails()),
    ],
)
def test_nothing_in_gives_the_same_columns_out(make: Callable[[], pd.DataFrame]) -> None:
    found = make()
    assert found.empty
    assert len(found.columns) > 5


def test_inputs_are_not_changed() -> None:
    rows, heads, posts = records({}, FAILS), reports({}), mails({"outcome": "unreadable"})
    copies = [rows.copy(deep=True), heads.copy(deep=True), posts.copy(deep=True)]
    summary.headline(rows, heads, rows, heads)
    summary.by_day(rows, WINDOW)
    summary.by_check(rows)
    summary.by_domain(rows, heads, rows)
    summary.failing_sources(rows)
    summary.newest_reports(heads)
    summary.refused_mails(posts)
    for found, copy in zip([rows, heads, posts], copies, strict=True):
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
