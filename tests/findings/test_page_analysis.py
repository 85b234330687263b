"""What pages look at: as of when, and what is new against which run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.window import last_days
from dmarckit.findings.analysis import analyse, as_of, page_analysis
from dmarckit.lake.lake import Lake
from tests.support import frames

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
