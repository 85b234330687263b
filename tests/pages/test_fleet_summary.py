"""Facts of all domains → the frames of the overview."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from dmarckit.pages import charts
from dmarckit.pages.sections import overview
from tests.facts.test_class_summary import complete
from tests.pages.test_domain_summary import (
    BEFORE,
    DAY,
    FAILS,
    OTHER,
    QUOTED,
    REPORT,
    WINDOW,
    frame,
    messages,
)
from tests.pages.test_tables import HOSTILE, text
from tests.support import frames

REPORTS = REPORT | {"received": None}


def test_failing_messages_by_day_and_what_became_of_them() -> None:
    made = messages(
        {"messages": 9},
        FAILS | {"messages": 4},
        FAILS | {"messages": 2, "disposition": "reject"},
        FAILS | {"messages": 1, "disposition": "odd"},
    )
    found = overview.failing_by_day(made.messages, complete(), WINDOW)
    assert found.iloc[-1].to_dict() == {
        "day": pd.Timestamp(DAY),
        "messages": 16,
        "fail": 7,
        "delivered": 4,
        "quarantined": 0,
        "rejected": 2,
        "unstated": 1,
        "complete": True,
    }
    assert found["messages"].tolist() == [0, 0, 16]
    title = charts.failing_by_day(found).layout.title.text
    assert title.startswith("7 messages failed DMARC")


def test_domains_with_their_change_and_policy() -> None:
    reports = frame(REPORTS, ({}, {"domain": "quiet.example"}, {"reporter": "Two"}))
    made = messages(
        {"messages": 8},
        FAILS | {"messages": 2},
        {"messages": 5, "day": BEFORE},
        reports=reports,
        policies=frame(QUOTED, ({"p": "reject"},)),
    )
    found = overview.domains_frame(made, WINDOW)
    expected = pd.DataFrame(
        {
            "domain": ["example.com", "quiet.example"],
            "messages": [10, 0],
            "failing": [2, 0],
            "delivered": [2, 0],
            "pass_share": [0.8, float("nan")],
            "before": [1.0, float("nan")],
            "policy": ["reject", None],
            "not_met": [float("nan")] * 2,
            "reporters": [2, 1],
            "last_end": [pd.Timestamp(DAY + timedelta(days=1))] * 2,
        }
    )
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_senders_of_failing_messages() -> None:
    made = messages(
        {"messages": 50},
        OTHER | FAILS | {"messages": 6, "class": "broken_dkim"},
        OTHER | FAILS | {"messages": 3, "disposition": "quarantine", "day": BEFORE},
        OTHER | FAILS | {"messages": 2, "disposition": "reject", "reporter": "Two"},
    )
    found = overview.failing_senders_frame(made, WINDOW)
    assert found.to_dict("records") == [
        {
            "domain": "example.com",
            "sender": "Example Mail",
            "sender_kind": "email service",
            "class": "broken_dkim",
            "messages": 8,
            "delivered": 6,
            "quarantined": 0,
            "rejected": 2,
            "unstated": 0,
            "reporters": 2,
            "first_day": pd.Timestamp(DAY),
            "last_day": pd.Timestamp(DAY),
        }
    ]
    assert "own mail, DKIM breaks" in text(overview.failing_senders(found))
    assert "And 1 smaller sender with 8 failing messages" in text(
        overview.failing_senders(pd.concat([found, found]), limit=1)
    )


def test_the_ladder_counts_domains_by_policy() -> None:
    names = ["a.example", "b.example", "c.example", "d.example"]
    policies = frame(
        QUOTED,
        (
            {"domain": "a.example", "p": "none"},
            {"domain": "b.example", "p": "quarantine", "pct": 50},
            {"domain": "c.example", "p": "reject"},
        ),
    )
    made = messages(
        reports=frame(REPORTS, tuple({"domain": name} for name in names)), policies=policies
    )
    found = overview.ladder_frame(made)
    assert found["step"].tolist() == list(overview.STEPS)
    assert found["names"].tolist() == ["d.example", "a.example", "b.example", "", "", "c.example"]
    assert found["domains"].sum() == 4


def test_inputs_count_the_records_of_the_reports() -> None:
    reports = frames.reports({"records": 3}, {"report_uid": "r2", "records": 4})
    found = overview.inputs_frame(reports, frames.mails({}))
    assert found["number"].tolist() == [1, 2, 7]
    assert "1 mail with 2 reports and 7 records" in text(overview.inputs(found))


def test_without_facts_there_are_no_rows() -> None:
    made = messages()
    assert overview.failing_by_day(made.messages, complete(), WINDOW)["messages"].tolist() == [
        0,
        0,
        0,
    ]
    assert "No domain has a report" in overview.domains(overview.domains_frame(made, WINDOW)).markup
    shown = overview.failing_senders(overview.failing_senders_frame(made, WINDOW))
    assert "No message failed DMARC" in shown.markup
    assert "No domain has a report." in overview.ladder(overview.ladder_frame(made)).markup
    assert overview.inputs_frame(frames.reports(), frames.mails())["number"].sum() == 0


def test_outside_text_is_escaped() -> None:
    for evil in HOSTILE:
        names = dict.fromkeys(["domain", "sender", "sender_kind"], evil)
        made = messages(names | FAILS, reports=frame(REPORTS, ({"domain": evil},)))
        markup = overview.failing_senders(overview.failing_senders_frame(made, WINDOW)).markup
        markup += overview.ladder(overview.ladder_frame(made)).markup
        markup += overview.domains(overview.domains_frame(made, WINDOW)).markup
        for unsafe in ("<script", "<img", "\u202e", "\x1b"):
            assert unsafe not in markup
