"""The first sentence of a page."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dmarckit import summary
from dmarckit.answer import Answer, answer
from tests.frames import FAILS, mails, records, reports


def answered(
    *rows: dict[str, Any], before: pd.DataFrame | None = None, posts: pd.DataFrame | None = None
) -> Answer:
    now, earlier = records(*rows), records() if before is None else before
    names = list(dict.fromkeys(now["domain"]))
    heads = reports(*({"domain": name} for name in names))
    return answer(
        summary.headline(now, heads, earlier, reports()),
        summary.by_domain(now, heads, earlier),
        summary.failing_sources(now),
        summary.refused_mails(mails() if posts is None else posts),
    )


def test_all_is_well() -> None:
    found = answered({"messages": 1000}, FAILS | {"messages": 5})
    assert found.level == "good"
    assert found.sentence == "Nothing needs doing."
    assert found.points[0].startswith("99.5 % of 1,005 messages pass DMARC")


def test_a_domain_with_many_delivered_failures_needs_a_look() -> None:
    found = answered({"messages": 80}, FAILS | {"messages": 20, "source_ip": "203.0.113.4"})
    assert found == Answer(
        "warning",
        "example.com needs a look.",
        (
            "example.com: 80.0 % pass DMARC; all 20 failing messages were delivered all the same "
            "(its policy is p=none).",
            "Most failing messages came from 203.0.113.4: 20 messages as example.com.",
        ),
    )


def test_what_the_policy_stopped_needs_no_look() -> None:
    blocked = FAILS | {"messages": 500, "disposition": "reject"}
    assert answered({"messages": 80}, blocked).level == "good"


def test_a_fall_needs_a_look_even_above_the_usual_level() -> None:
    now = [{"messages": 9800}, FAILS | {"messages": 200}]
    assert answered(*now).level == "good"
    fallen = answered(*now, before=records({"messages": 10}))
    assert fallen.level == "warning"
    assert "98.0 % pass DMARC, 100 % before" in fallen.points[0]


def test_many_domains_are_counted() -> None:
    bad = [FAILS | {"domain": f"d{n}.example", "messages": 20} for n in range(9)]
    sentence = answered(*bad).sentence
    assert sentence == "d0.example, d1.example, d2.example and 6 other domains need a look."


def test_refused_mails_are_told_and_turn_good_into_a_warning() -> None:
    posts = mails({"outcome": "unreadable"}, {"outcome": "untrusted"}, {"outcome": "untrusted"})
    found = answered({}, posts=posts)
    assert found.level == "warning"
    assert found.points[-2:] == (
        "2 mails were not trusted, so the reports in them do not count.",
        "1 mail was not readable, so the numbers here may lack it.",
    )


def test_nothing_at_all() -> None:
    found = answered()
    assert (found.level, found.sentence) == ("none", "There are no reports for these days.")
    assert answered({"messages": 0}).sentence == "There were no messages on these days."
