"""Whether the numbers can be trusted: what came in, against what usually comes."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from dmarckit.core.window import last_days
from dmarckit.facts.completeness import Coverage, complete_days, coverage
from dmarckit.facts.frames import COLUMNS, empty_facts
from tests.support.lakes import NOW, TODAY, day
from tests.support.pages import markup, page_about

WINDOW = last_days(14, "2026-11-23")
NAMES = ["mail.example", "inbox.example", "post.example", "letter.example", "five.example"]


def reports(
    names: list[str] = NAMES, back: int = 40, without: tuple[tuple[str, int], ...] = ()
) -> list[dict[str, Any]]:
    """A report of each reporter about each of the last days, without some (name, days ago)."""
    return [
        {
            "domain": "example.com",
            "reporter": name,
            "begin": day(ago),
            "end": day(ago - 1),
            "received": day(ago - 1, 3),
        }
        for ago in range(1, back + 1)
        for name in names
        if (name, ago) not in without
    ]


def covered(
    rows: list[dict[str, Any]],
    mails: list[tuple[datetime, str]] | None = None,
    now: datetime = NOW,
) -> Coverage:
    came = mails if mails is not None else [(NOW - timedelta(hours=1), "stored")]
    frame = pd.DataFrame(came, columns=["received", "outcome"]).assign(from_domain="", error="")
    given = pd.DataFrame(rows, columns=list(COLUMNS["reports"]))
    facts = empty_facts(now, TODAY - timedelta(days=90), reports=given, mails=frame)
    return coverage(facts, complete_days(facts), WINDOW)


def text(found: Coverage) -> str:
    shown = re.sub(r"<[^>]*>", "|", markup(page_about(_coverage=found).coverage()))
    return shown.replace("\N{NO-BREAK SPACE}", " ")


def test_all_is_there() -> None:
    found = covered(reports())
    assert (found.trust, found.expected, found.came) == ("whole", 70, 70)
    assert (found.reports, found.reporters, found.usual) == (70, 5, 5)
    shown = text(found)
    assert "Complete: the usual reporters have reported on every day." in shown
    assert "70 of 70 received (100%)" in shown
    assert "70 reports, covering 10–23 Nov" in shown
    assert "24 Nov 08:00 UTC" in shown
    assert "none" in shown


def test_what_is_missing_of_whole_days_is_counted() -> None:
    found = covered(reports(without=(("post.example", 1),)))
    assert (found.trust, found.expected, found.came) == ("whole", 70, 69)
    assert "Nearly complete: 69 of 70 expected reports have arrived." in text(found)


def test_the_newest_day_waits_for_more() -> None:
    late = (("inbox.example", 1), ("post.example", 1))
    found = covered(reports(without=late))
    assert found.trust == "incomplete"
    assert found.missing["reporter"].tolist() == ["inbox.example", "post.example"]
    shown = text(found)
    assert "Complete through 22 Nov; reports for 23 Nov are still arriving" in shown
    assert "3 of the 5 usual ones have reported for 23 Nov" in shown
    assert "inbox.example| (last report covers up to 23 Nov 00:00 UTC)" in shown


def test_a_day_in_the_middle_lacks_reports() -> None:
    lost = tuple((name, 6) for name in NAMES[:3])
    found = covered(reports(without=lost))
    assert found.trust == "gaps"
    assert "Incomplete: 3 of 70 expected reports are missing." in text(found)


def test_no_mail_comes_in_any_more() -> None:
    found = covered(reports(back=40), mails=[(day(3), "stored")])
    assert found.trust == "silent"
    assert "Last report email arrived 21 Nov 00:00 UTC" in text(found)


def test_too_few_days_to_know_who_reports_usually() -> None:
    found = covered(reports(back=4))
    assert (found.trust, found.expected) == ("unknown", 0)
    assert "Not enough history yet" in text(found)


def test_nothing_at_all() -> None:
    found = covered([], mails=[])
    assert found.trust == "nothing"
    assert text(found).strip("|") == "No reports for this period."


def test_mails_that_gave_no_report_are_counted() -> None:
    came = [(day(1, 5), "stored"), (day(1, 6), "unreadable"), (day(1, 7), "untrusted")]
    assert "1 unreadable, 1 not trusted, of 3 emails (all domains)" in text(
        covered(reports(), mails=came)
    )


def test_many_missing_reporters_are_counted_and_hostile_names_stay_text() -> None:
    names = [f"<b>{n:02}</b>" for n in range(20)]
    lost = tuple((name, 1) for name in names[:12])
    shown = markup(page_about(_coverage=covered(reports(names, without=lost))).coverage())
    assert "&lt;b&gt;07&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert "and 4 more" in shown
