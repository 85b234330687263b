"""The main job: mails → lake → page → Slack, with a real kernel, S3 server and Slack client."""

from __future__ import annotations

import json
import logging
import re
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_notebook

from dmarckit.core.errors import SettingsError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.jobs.run import run_job
from dmarckit.jobs.schedule import Schedule, load_schedule
from dmarckit.pages import build
from dmarckit.pages.build import BuiltPage
from dmarckit.reports.model import AggregateReport
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing
from tests.support.page_notebooks import write_notebook
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, slack_server

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's kernel asks the clock, which may have passed midnight since the tests began."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC))


DAILY = Schedule(name="daily", notebook="overview", parameters={"days": 7}, alerts=2)


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as running:
        yield running


def report(number: int, *, failing: int = 0) -> AggregateReport:
    begin = (NOW - timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    records = [make_record(messages=10)]
    if failing:
        records.append(make_failing("198.51.100.7", messages=failing))
    return make_report(*records, report_id=f"r-{number}", begin=begin, end=begin + timedelta(1))


def fill(settings: Settings, *reports: AggregateReport, **mail: Any) -> None:
    storage = open_storage(settings.mail_url)
    for i, made in enumerate(reports):
        raw = make_mail(gz(report_xml(made)), **mail)
        storage.put(f"m{i}", raw, content_type="message/rfc822")


def connected(home: str, slack: SlackServer, **more: Any) -> Settings:
    values = {"slack_token": TOKEN, "slack_channel": CHANNEL, "slack_url": slack.url, **more}
    return load_settings(home=home, trust="pass", **values)


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page without running a notebook, for tests of what comes after it."""
    page = BuiltPage(
        "overview", "overview/x.html", "DMARC overview", b"<p>page", new_notebook(), ()
    )
    monkeypatch.setattr(build, "build_page", lambda *_, **__: page)


@pytest.mark.slow
@pytest.mark.s3
def test_a_failing_report_in_a_bucket_is_in_slack_with_links_that_work(
    bucket: str, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", bucket)  # the notebook's kernel reads it too
    settings = connected(bucket, slack)
    fill(settings, report(1, failing=4), report(2))
    result = run_job(settings, DAILY, now=NOW)
    assert result.ingest.outcomes == {"stored": 2}
    alert, summary = slack.posted
    said = alert["text"].replace("\u2060", "")  # so that Slack does not link it
    assert "example.com: 4 of 14 messages fail DMARC" in said
    assert "83.3% of 24 messages pass" in summary["text"]
    assert fetched(alert, summary) == {*ALERT_FILES, "text/html; charset=utf-8"}


@pytest.mark.s3
def test_a_report_that_comes_in_is_in_slack_within_one_run_of_alerts(
    bucket: str, slack: SlackServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="dmarckit")
    settings = connected(bucket, slack)
    fill(settings, report(1, failing=4), report(2))
    alerts = load_schedule("alerts")
    result = run_job(settings, alerts)
    (alert,) = slack.posted
    assert "example.com: 4 of 14 messages fail DMARC" in slack.texts()[0]
    assert fetched(alert) == set(ALERT_FILES)
    run_job(settings, alerts)
    assert len(slack.posted) == 1
    slack.refuses = {"section"}
    fill(settings, report(3, failing=4))
    result = run_job(settings, alerts)
    assert result is not None
    assert "invalid_blocks" in result.delivery.warnings[0]
    assert "X-Amz-Signature" in json.dumps(slack.requests[-1])
    assert "X-Amz-Signature" not in caplog.text + json.dumps(result.delivery.warnings)


ALERT_FILES = ("application/json", "text/csv; charset=utf-8", "image/png")


def test_page_and_messages_are_made_from_one_analysis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path / "home"))
    settings = load_settings()
    fill(settings, report(1, failing=4))
    own = write_notebook(
        tmp_path / "mine.ipynb",
        "import dmarckit as dk\npage = dk.open_page(days=days, job=job)",
        "print(page.analysis.now)",
        parameters='days: int = 7\njob: str = ""',
    )
    for name, job in (("mine", "mine"), ("another", "mine")):
        schedule = Schedule(name=name, notebook=str(own), parameters={"days": 7, "job": job})
        result = run_job(settings, schedule, now=NOW)
        assert result is not None
        assert result.published is not None
        (printed,) = result.published.page.executed.cells[-1].outputs
        assert printed.text.strip() == str(NOW)


def fetched(*messages: dict[str, Any]) -> set[str]:
    """What the links of messages lead to, without any credentials."""
    links = re.findall(r"http://127[^|\"\\]+", json.dumps([m["blocks"] for m in messages]))
    kinds = set()
    for link in links:
        with urllib.request.urlopen(link.replace("&amp;", "&")) as answer:
            kinds.add(answer.headers["Content-Type"])
    return kinds


@pytest.mark.usefixtures("no_kernel")
def test_unreadable_and_untrusted_mails_are_in_the_summary(
    tmp_path: Path, slack: SlackServer
) -> None:
    settings = connected(str(tmp_path), slack)
    fill(settings, report(1), dmarc="fail")
    broken = make_mail(b"\x1f\x8b\x08broken")
    open_storage(settings.mail_url).put("bad", broken, content_type="message/rfc822")
    run_job(settings, DAILY, now=NOW)
    (summary,) = slack.posted
    shown = json.dumps(summary["blocks"])
    assert "1 report email could not be read" in shown
    assert "1 report email rejected: its sender could not be authenticated" in shown


@pytest.mark.usefixtures("no_kernel")
def test_a_mistyped_channel_loses_nothing(tmp_path: Path, slack: SlackServer) -> None:
    settings = connected(str(tmp_path), slack, slack_channel="C0WRONG")
    fill(settings, report(1, failing=4))
    result = run_job(settings, DAILY, now=NOW)
    assert result is not None
    assert any("C0WRONG: channel_not_found" in text for text in result.warnings)
    assert result.run is not None
    assert (result.run.result, result.run.waiting) == ("problems", 2)
    run_job(connected(str(tmp_path), slack), DAILY, now=NOW)
    assert len(slack.posted) == 3  # both, and the summary of this run


@pytest.mark.usefixtures("no_kernel")
def test_a_token_without_a_channel_is_said_before_any_work(
    tmp_path: Path, slack: SlackServer
) -> None:
    settings = connected(str(tmp_path), slack, slack_channel=None)
    with pytest.raises(SettingsError, match="slack_channel is not"):
        run_job(settings, DAILY, now=NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_kernel")
def test_a_stable_address_replaces_presigned_links(tmp_path: Path, slack: SlackServer) -> None:
    settings = connected(str(tmp_path), slack, page_base_url="https://dmarc.example.com/")
    fill(settings, report(1))
    result = run_job(settings, DAILY, now=NOW)
    assert result.published.link == "https://dmarc.example.com/overview/x.html"
