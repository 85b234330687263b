"""The first sentence of a page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from dmarckit.findings.find import title
from dmarckit.findings.ledger import LedgerEntry, Status
from dmarckit.findings.model import Finding
from dmarckit.pages.sections.findings import Answer, answer, issues_html
from tests.support.pages import text


def judged(status: Status = "NEW", **other: Any) -> LedgerEntry:
    """A finding; what is not said is that of a warning about a sender."""
    finding = Finding(
        "new_sender", "example.com", "Example Mail", "warning", 9, None, None, 1, "S.", "A."
    )
    finding = replace(finding, **other)
    finding = replace(finding, title=title(finding))
    return LedgerEntry(finding, status, finding.messages, finding.severity)


def answered(
    *findings: LedgerEntry, messages: int = 1000, failing: int | None = 0, reports: int = 1
) -> Answer:
    """The answer to these findings, and to the measures of `overview.measure`."""
    share = float("nan")  # of own mail, of which there is none
    if messages and failing is not None:
        share = (messages - failing) / messages
    measures = pd.DataFrame(
        {"measure": ["messages", "own_share", "reports"], "value": [messages, share, reports]}
    )
    return answer(findings, measures)


def test_all_is_well() -> None:
    found = answered(messages=1005, failing=5)
    assert found == Answer("good", "No action needed.", ("99.5% of own mail is authenticated.",))
    assert answered(messages=5, failing=None).points == ("There was no mail of your own.",)


def test_one_thing_needs_doing() -> None:
    found = answered(judged())
    assert found == Answer("warning", "One issue needs action.")


def test_what_has_one_cause_is_one_issue() -> None:
    many = [judged("SAME", subject=f"Sender {n}", cause=f"{n % 3}") for n in range(9)]
    assert answered(*many).sentence == "3 issues need action."
    shown = text(issues_html([judged("SAME", subject=f"Sender {n}") for n in range(11)]))
    assert "Sender 7" in shown
    assert shown.endswith("3 more below|")


def test_what_is_muted_resolved_or_only_good_to_know_needs_nothing() -> None:
    quiet = [judged(mute_reason="known"), judged("RESOLVED"), judged("SAME", severity="info")]
    found = answered(*quiet)
    assert found.sentence == "No action needed."
    assert found.points == ("100% of own mail is authenticated.", "1 note below.")


def test_nothing_is_good_while_own_mail_fails_whatever_the_findings() -> None:
    found = answered(messages=9, failing=2)
    assert (found.level, found.sentence) == ("plain", "22.2% of own mail is not authenticated.")
    assert found.points == ("No finding calls for action, from 1 report with 9 messages.",)
    muted = answered(judged(mute_reason="known"), messages=1000, failing=51)
    assert (muted.level, muted.sentence) == ("plain", "5.1% of own mail is not authenticated.")
    assert answered(messages=1000, failing=50).level == "good"
    assert answered(judged(), messages=9, failing=2).level == "warning"


def test_without_reports_there_is_no_answer() -> None:
    assert answered(messages=0, reports=0) == Answer("none", "No reports for this period.", ())
    broken = judged(kind="ingest_broken", domain="", subject="", severity="critical")
    assert answered(broken, messages=0, reports=0).sentence == "One issue needs action."


def test_reports_without_messages_are_no_answer() -> None:
    found = answered(messages=0)
    assert found.level == "none"
    assert found.points == ("1 report arrived, without messages.",)


def test_control_characters_in_names_are_shown() -> None:
    assert "New sender: a\\u202eb" in text(issues_html([judged(subject="a\u202eb")]))
