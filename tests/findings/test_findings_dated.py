"""Rows of which the day is known, and fractions of reports over several days."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dmarckit.findings.rows import Rows
from dmarckit.findings.senders import drop_vague_days
from tests.support.finding_facts import (
    FOUR,
    NOW,
    SERVICE,
    day,
    facts,
    found,
    messages,
    only,
    reported,
)

WEEKLY = "Village Net"
SINCE = pd.Timestamp(day(3))


def over(first: int, last: int, reporter: str = WEEKLY) -> dict[str, Any]:
    """A report over the days from `first` to `last` before today."""
    return {
        "domain": "example.com",
        "reporter": reporter,
        "begin": day(first),
        "end": day(last - 1),
        "received": NOW,
    }


def kept(days: range, *reports: dict[str, Any]) -> list[int]:
    """How many days ago the rows of the weekly reporter are that stay."""
    some = facts(messages=messages(days, reporters=[WEEKLY]), reports=list(reports))
    rest = drop_vague_days(Rows.of(some.messages), Rows.of(some.reports), SINCE)
    return [(day(0) - d).days for d in rest["day"]]


def test_reports_of_a_day_are_dated() -> None:
    assert kept(range(1, 4), over(1, 1), over(2, 2), over(3, 3)) == [1, 2, 3]


def test_a_week_has_no_days() -> None:
    assert kept(range(1, 10), over(8, 2)) == [1, 9]


def test_a_long_report_of_the_last_days_alone_says_that_mail_came() -> None:
    assert kept(range(1, 4), over(3, 1)) == [1, 2, 3]


def test_what_is_told_of_the_day_itself_too_is_dated() -> None:
    assert kept(range(1, 9), over(8, 2), over(5, 5)) == [1, 5]


def test_other_reporters_do_not_matter() -> None:
    assert kept(range(1, 4), over(8, 1, reporter="Another")) == [1, 2, 3]


def test_a_report_may_claim_centuries() -> None:
    endless = over(8, 2) | {"begin": day(300_000), "end": day(-2_000_000)}
    assert kept(range(1, 10), endless) == []


def service(days: range, *weeks: dict[str, Any]) -> Any:
    """A service that sends on these days, and a weekly reporter that saw a little of it."""
    fractions = [(week["begin"], week["end"]) for week in weeks]
    rows = messages(days, **SERVICE)
    for ago in range(1, 61):
        if any(begin <= day(ago) < end for begin, end in fractions):
            rows += messages([ago], **{**SERVICE, "messages": 2}, reporters=[WEEKLY])
    return facts(messages=messages() + rows, reports=[*reported(), *weeks])


def test_fractions_of_a_week_do_not_hide_that_a_sender_has_stopped() -> None:
    some = service(range(6, 61), over(8, 2), over(15, 9))
    finding = only(some, "sender_stopped")
    assert "since 18 Nov. Before that: 2,268 messages on 28 of 28 days." in finding.summary
    assert finding.messages == 28 * 4 * 20 + 14 * 2


def test_a_reporter_that_saw_it_in_the_quiet_week_has_not_told_that_it_is_quiet() -> None:
    weeks = [over(8, 2), over(15, 9), over(22, 16)]
    some = service(range(6, 61), *weeks)
    loud = some.messages["reporter"] == WEEKLY
    some.messages.loc[loud, "messages"] = 60
    assert not found(some, "sender_stopped")


def test_a_reporter_of_weeks_alone_still_tells_that_a_sender_has_stopped() -> None:
    weeks = [over(first, first - 6, FOUR[0]) for first in range(8, 60, 7)]
    rows = messages(range(9, 61), **SERVICE, reporters=FOUR[:1])
    daily = reported(reporters=FOUR[1:])
    some = facts(messages=messages() + rows, reports=[*daily, *weeks, over(1, 1, FOUR[0])])
    assert "since 15 Nov." in only(some, "sender_stopped").summary
