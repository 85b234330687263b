"""What pages look at: as of when, and what is new against which run."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dmarckit.core.language import speaking
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.window import last_days
from dmarckit.findings.analysis import HANDED, Analysis, analyse, as_of, left_out, page_analysis
from dmarckit.lake.lake import Lake
from dmarckit.reports.model import Policy, TlsFailure, TlsPolicy, TlsReport
from tests.support import frames
from tests.support.lakes import NOW as NOW_OF_LAKES, day, lake_of, report
from tests.support.model_builders import make_failing

WINDOW = last_days(30, "2026-11-23")
NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, Lake]:
    """A fleet of three domains in which some things are wrong."""
    config = frames.fill(tmp_path, *frames.lake(days=40, reporters=3))
    monkeypatch.setenv("DMARCKIT_CONFIG", str(config))
    settings = load_settings()
    return settings, Lake(settings.lake_url)


def test_a_page_with_an_end_looks_from_there() -> None:
    assert as_of(WINDOW, "2026-11-23") == datetime(2026, 11, 24, tzinfo=UTC)
    assert as_of(WINDOW, "", NOW) == NOW


def test_a_page_says_what_the_command_says(place: tuple[Settings, Lake]) -> None:
    page = page_analysis(*place, WINDOW, now=NOW)
    told = analyse(*place, now=NOW)
    assert page.findings
    assert page.findings == told.findings
    assert page.facts.start <= WINDOW.before.start


def test_a_domain_s_page_knows_what_the_run_of_all_found(place: tuple[Settings, Lake]) -> None:
    analyse(*place, now=NOW - timedelta(hours=1), job="daily", recorded=True)
    fleet = page_analysis(*place, WINDOW, job="daily", now=NOW)
    assert {item.status for item in fleet.findings} == {"SAME"}
    mine = page_analysis(*place, WINDOW, domains=["example.com"], job="daily", now=NOW)
    assert {item.status for item in mine.findings} == {"SAME"}
    assert {item.finding.domain for item in mine.findings} <= {"example.com", ""}
    assert {i.finding.fingerprint for i in fleet.findings if i.finding.domain == "example.com"} == {
        i.finding.fingerprint for i in mine.findings if i.finding.domain == "example.com"
    }


def handed_on(
    file: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, lake: Lake, **how: Any
) -> Analysis:
    """What a run leaves for the kernel of its page, which then finds it."""
    made = page_analysis(settings, lake, WINDOW, job="daily", now=NOW, hand_on=True, **how)
    file.write_bytes(pickle.dumps(made))
    monkeypatch.setenv(HANDED, str(file))
    return made


def test_the_page_of_a_run_takes_over_what_the_run_found(
    place: tuple[Settings, Lake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = handed_on(tmp_path / "left", monkeypatch, *place)
    page = page_analysis(*place, WINDOW, job="daily")
    assert (page.now, page.findings) == (NOW, made.findings)
    assert page.facts.messages.equals(made.facts.messages)


def test_a_page_that_is_compared_with_another_job_takes_over_the_facts(
    place: tuple[Settings, Lake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse(*place, now=NOW - timedelta(hours=1), job="weekly", recorded=True)
    made = handed_on(tmp_path / "left", monkeypatch, *place)
    page = page_analysis(*place, WINDOW, job="weekly")
    assert page.now == NOW
    assert page.facts.messages.equals(made.facts.messages)
    assert {item.status for item in made.findings} == {"NEW"}
    assert "SAME" in {item.status for item in page.findings}
    monkeypatch.delenv(HANDED)
    assert page.findings == page_analysis(*place, WINDOW, job="weekly", now=NOW).findings


@pytest.mark.parametrize(
    "other",
    [
        {"domains": ["example.com"]},
        {"end": "2026-11-23"},
        {"window": last_days(7, "2026-11-23")},
    ],
)
def test_a_page_that_asks_something_else_finds_it_itself(
    place: tuple[Settings, Lake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Any
) -> None:
    handed_on(tmp_path / "left", monkeypatch, *place)
    assert page_analysis(*place, **{"window": WINDOW, "job": "daily", **other}).now != NOW


def test_a_page_finds_anew_what_is_not_as_it_was(
    place: tuple[Settings, Lake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, lake = place
    handed_on(tmp_path / "left", monkeypatch, settings, lake)
    stricter = settings.model_copy(update={"domains": ("example.com",)})
    assert page_analysis(stricter, lake, WINDOW, job="daily").now != NOW
    with speaking("ja"):
        assert page_analysis(settings, lake, WINDOW, job="daily").now != NOW
    assert page_analysis(settings, lake, WINDOW, job="daily").now == NOW
    analyse(settings, lake, now=NOW, job="daily", recorded=True)
    assert page_analysis(settings, lake, WINDOW, job="daily").now != NOW


def test_what_is_handed_on_holds_no_secret(
    place: tuple[Settings, Lake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, lake = load_settings(slack_token="xoxb-1234567890"), place[1]
    handed_on(tmp_path / "left", monkeypatch, settings, lake)
    assert b"xoxb" not in (tmp_path / "left").read_bytes()
    assert page_analysis(place[0], lake, WINDOW, job="daily").now == NOW  # a kernel has none


@pytest.mark.parametrize("domains", [(), ("example.com", "Quiet.example.")])
def test_what_names_no_domain_is_in_an_answer_whatever_the_settings(
    tmp_path: Path, domains: tuple[str, ...]
) -> None:
    failure = TlsFailure("certificate-expired", 240)
    policy = TlsPolicy("sts", None, (), (), 60, 240, (failure,))
    tls = TlsReport("Receiver One", None, "1", day(1), day(0), (policy,))
    failing = make_failing(messages=7)
    lake = lake_of(
        tmp_path,
        report(failing),
        report(failing, domain=""),
        replace(report(failing), policy=Policy(None), report_id="2"),
        report(failing, domain="stranger.example"),
        tls=(tls,),
    )
    settings = load_settings(home=str(tmp_path), domains=domains)
    found = analyse(settings, lake, now=NOW_OF_LAKES)
    assert set(found.facts.reports["domain"]) == {"example.com"} | (
        set() if domains else {"stranger.example", ""}
    )
    (item,) = (i.finding for i in found.findings if i.finding.kind == "tls_failures")
    assert item.summary.startswith("240 TLS sessions of 300 to an unnamed domain (80.0%) failed")
    assert lake.sql(item.evidence["query"]).iloc[0, 0] == 240
    said = left_out(settings, lake, found.facts, day(2), NOW_OF_LAKES)
    others = "1 report with 7 messages about domains that the settings do not name. "
    assert said == (others if domains else "") + "3 reports with 14 messages name no domain."
    assert left_out(settings, lake, found.facts, day(-5), day(-6)) == ""
