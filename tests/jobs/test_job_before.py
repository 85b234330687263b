"""What a job asks before its page: Postmaster Tools and DNS, which may not be there."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nbformat.v4 import new_notebook

from dmarckit.core.errors import LakeError, LeaseLost, SettingsError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.jobs.run import NAMED, refresh_outside, run_job
from dmarckit.jobs.schedule import Schedule, SlackRules, load_schedule
from dmarckit.lake.lake import Lake
from dmarckit.pages import build
from dmarckit.pages.build import BuiltPage
from tests.support.dns_server import serving
from tests.support.postmaster_server import postmaster_server, service_account

NOW = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
BOTH = ("postmaster", "dns")
ZONE = {"_dmarc.example.com TXT": ["v=DMARC1; p=none"]}


def asked(settings: Settings, *names: str) -> tuple[list[str], list[str]]:
    """The sentences, and the steps."""
    steps: list[str] = []
    problems, notes = refresh_outside(
        settings, names or BOTH, now=NOW, run="run1", step=steps.append
    )
    return [*problems, *notes], steps


def in_lake(settings: Settings, table: str) -> int:
    return int(Lake(settings.lake_url).sql(f"SELECT count(*) AS n FROM {table}")["n"].iloc[0])


def test_both_are_asked_and_kept_with_the_id_of_the_run(tmp_path: Path) -> None:
    with serving(ZONE) as dns, postmaster_server() as google:
        google.add("example.com")
        google.says("example.com", NOW.date().replace(day=22), "SPAM_RATE", doubleValue=0.001)
        settings = Settings(  # type: ignore[call-arg]
            home=str(tmp_path / "home"),
            domains=("example.com",),
            resolvers=(dns.address,),
            google_credentials=service_account(google, tmp_path),
            postmaster_url=google.url,
        )
        said = asked(settings)
    assert said == ([], ["Asking Google Postmaster Tools", "Asking DNS"])
    for table in BOTH:
        runs = Lake(settings.lake_url).sql(f"SELECT DISTINCT run FROM {table}")["run"]
        assert list(runs) == ["run1"]


def test_what_is_not_connected_is_a_sentence_and_the_other_is_asked(tmp_path: Path) -> None:
    with serving(ZONE) as dns:
        settings = Settings(  # type: ignore[call-arg]
            home=str(tmp_path), domains=("example.com",), resolvers=(dns.address,)
        )
        (sentence,), _steps = asked(settings)
    assert sentence.startswith("Postmaster Tools is not connected: set google_credentials")
    assert in_lake(settings, "dns") > 0


def test_a_missing_extra_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "checkdmarc", None)
    monkeypatch.delitem(sys.modules, "dmarckit.checks.resolver", raising=False)
    settings = Settings(home=str(tmp_path), domains=("example.com",))  # type: ignore[call-arg]
    problems, (sentence,) = refresh_outside(
        settings, ["dns"], now=NOW, run="run1", step=lambda _: None
    )
    assert problems == [], "a plain install is no reason to look at every run"
    assert "pip install 'dmarckit[dns]'" in sentence


def test_dns_that_does_not_answer_is_named(tmp_path: Path) -> None:
    names = tuple(f"d{n}.example" for n in range(NAMED + 2))
    with serving({}) as dns:
        dns.everything = "REFUSED"
        settings = Settings(  # type: ignore[call-arg]
            home=str(tmp_path), domains=names, resolvers=(dns.address,), dns_timeout=0.5
        )
        (sentence,), _steps = asked(settings, "dns")
    assert sentence == (
        "DNS did not answer for d0.example, d1.example, d2.example and 2 more; check the setting "
        "resolvers"
    )


def test_a_lake_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "lake" / "dns" / "_delta_log"
    broken.mkdir(parents=True)
    (broken / f"{0:020}.json").write_text("no log")
    with serving({}) as dns:
        settings = Settings(  # type: ignore[call-arg]
            home=str(tmp_path), domains=("example.com",), resolvers=(dns.address,)
        )
        with pytest.raises(LakeError):
            asked(settings, "dns")


def test_a_fault_in_what_reads_the_answers_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault\nof ours")

    monkeypatch.setattr("dmarckit.checks.check_dns", broken)
    said, _steps = asked(load_settings(home=str(tmp_path)), "dns")
    assert said == [r"asking dns: ZeroDivisionError: a fault\x0aof ours"]


def test_a_job_that_another_machine_has_taken_asks_nobody(tmp_path: Path) -> None:
    def lost(_text: str) -> None:
        raise LeaseLost("another has it")

    settings = load_settings(home=str(tmp_path))
    with pytest.raises(LeaseLost):
        refresh_outside(settings, ("dns",), now=NOW, run="run1", step=lost)


def test_a_job_goes_on_and_its_run_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = BuiltPage(
        "requirements", "requirements/x.html", "Sender requirements", b"<p>", new_notebook(), ()
    )
    monkeypatch.setattr(build, "build_page", lambda *_, **__: page)
    (tmp_path / "mail").mkdir()
    schedule = Schedule(
        name="requirements",
        notebook="requirements",
        before=("postmaster",),
        slack=SlackRules(when="failing"),
    )
    result = run_job(load_settings(home=str(tmp_path)), schedule)
    assert result is not None
    assert result.run is not None
    assert result.run.result == "ok"  # it is so every day until somebody connects it
    assert "Postmaster Tools is not connected" in result.run.warnings[0]
    assert result.published is not None


def test_the_schedule_that_comes_along_asks_both() -> None:
    assert load_schedule("requirements").before == BOTH


def test_nobody_else_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules/mine.yaml").write_text("before: [whois]\n")
    with pytest.raises(SettingsError, match=r"mine\.yaml:1: before\.0: .*'postmaster' or 'dns'"):
        load_schedule("mine")
