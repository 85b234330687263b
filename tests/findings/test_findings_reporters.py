"""Silent reporters and broken ingest: one alarm for one cause."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.support.finding_facts import ALL, FOUR, NOW, day, facts, found, messages, only, reported

OLD = range(6, 61)


def seen(reports: list[dict[str, Any]], **frames: Any) -> Any:
    return facts(messages=messages(), reports=reports, **frames)


def test_a_reporter_that_falls_silent() -> None:
    some = seen(reported(ALL, FOUR[1:]) + reported(OLD, FOUR[:1]))
    finding = only(some, "reporter_silent")
    assert (finding.domain, finding.subject) == ("example.com", FOUR[0])
    assert finding.severity == "warning"  # a quarter of all messages
    assert finding.summary == (
        "Receiver One sent 25 reports for example.com in 30 days, but none for 129 hours (the "
        "last ends 19 Nov 00:00 UTC); it saw 25.0% of the messages."
    )
    assert not found(some, "ingest_broken")


def test_a_small_reporter_is_only_worth_knowing() -> None:
    small = messages(reporters=FOUR[:1], messages=1) + messages(reporters=FOUR[1:])
    some = facts(messages=small, reports=reported(ALL, FOUR[1:]) + reported(OLD, FOUR[:1]))
    assert only(some, "reporter_silent").severity == "info"


def test_three_days_are_the_least() -> None:
    assert not found(
        seen(reported(ALL, FOUR[1:]) + reported(range(3, 61), FOUR[:1])), "reporter_silent"
    )


def test_a_rare_or_weekly_reporter_is_not_missed() -> None:
    weekly = reported(range(8, 61, 7), ["Weekly"]) + reported(range(20, 29), ["Rare"])
    assert not found(seen(reported() + weekly), "reporter_silent")


def test_no_reports_at_weekends_is_a_rhythm() -> None:
    workdays = [d for d in range(4, 61) if day(d).weekday() < 5]
    assert not found(seen(reported() + reported(workdays, ["Office"])), "reporter_silent")


def test_a_reporter_that_is_always_late() -> None:
    late = [
        r | {"received": r["end"] + timedelta(hours=60)} for r in reported(range(4, 61), ["Late"])
    ]
    assert not found(seen(reported() + late), "reporter_silent")


def test_another_spelling_is_the_same_reporter() -> None:
    respelt = reported(OLD, FOUR[:1]) + reported(range(1, 6), [FOUR[0].upper()])
    assert not found(seen(reported(ALL, FOUR[1:]) + respelt), "reporter_silent")


def test_half_of_the_reporters_silent_is_about_us() -> None:
    some = seen(reported(ALL, FOUR[2:]) + reported(OLD, FOUR[:2]))
    finding = only(some, "ingest_broken")
    assert (finding.domain, finding.subject, finding.severity) == ("", "", "critical")
    assert "2 of 4 regular reporters have gone silent" in finding.summary
    assert not found(some, "reporter_silent")


def test_one_domain_of_two_is_named() -> None:
    other = reported(domain="shop.example")
    finding = only(seen(reported(OLD) + other), "ingest_broken")
    assert (finding.domain, finding.severity) == ("example.com", "warning")


def test_three_domains_are_one_finding() -> None:
    silent = [r for name in ("a", "b", "c") for r in reported(OLD, domain=f"{name}.example")]
    assert only(seen(reported() + silent), "ingest_broken").domain == ""


def test_one_reporter_silent_about_many_domains_is_one_finding() -> None:
    names = [f"brand{i}.example" for i in range(4)]
    rows = [r for n in names for r in reported(ALL, FOUR[1:], n) + reported(OLD, FOUR[:1], n)]
    finding = only(seen(rows), "reporter_silent")
    assert (finding.domain, finding.subject) == ("", FOUR[0])
    assert "100 reports for 4 domains" in finding.summary


def test_no_mail_for_two_days() -> None:
    some = seen(reported(range(3, 61)))
    finding = only(some, "ingest_broken")
    assert finding.summary.endswith("until then one came every day.")
    assert finding.summary.startswith("No report email for 57 hours (since")


def test_mails_without_reports_show_that_mail_still_comes() -> None:
    mail = {
        "received": NOW - timedelta(hours=5),
        "from_domain": "x.example",
        "outcome": "unreadable",
    }
    assert not found(seen(reported(range(3, 61)), mails=[mail | {"error": "?"}]), "ingest_broken")


def test_mail_twice_a_week_may_pause_for_three_days() -> None:
    assert not found(seen(reported(range(4, 61, 3), FOUR[:1])), "ingest_broken")


def test_a_new_installation_may_pause() -> None:
    assert not found(seen(reported(range(4, 14))), "ingest_broken")


def test_blind_findings_are_silent_while_ingest_is_broken() -> None:
    some = facts(messages=messages(OLD), reports=reported(OLD))
    assert [f.kind for f in found(some, "ingest_broken")] == ["ingest_broken"]
    assert not found(some, "sender_stopped")
