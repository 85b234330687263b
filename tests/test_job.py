"""The main job: mails → lake → page → Slack, with a real kernel, S3 server and Slack client."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dmarckit import publishing
from dmarckit.alerts import send_alerts, untold_reports
from dmarckit.errors import SettingsError, SlackError
from dmarckit.ingest import ingest
from dmarckit.job import run_job
from dmarckit.lake import Lake
from dmarckit.models import AggregateReport
from dmarckit.pages import Page
from dmarckit.schedules import Schedule
from dmarckit.settings import Settings, load_settings
from dmarckit.slack_text import Message
from dmarckit.storage import open_storage
from tests.builders import gz, make_mail, make_record, make_report, report_xml
from tests.model_builders import make_failing
from tests.slack_server import CHANNEL, TOKEN, SlackServer, slack_server

NOW = datetime.now(UTC)
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
    page = Page("overview", "overview/x.html", "DMARC overview", b"<p>page", None, ())  # type: ignore[arg-type]
    monkeypatch.setattr(publishing, "build_page", lambda *_, **__: page)


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
    assert "83.3 % of 24 messages pass" in summary["text"]
    links = re.findall(r"http://127[^|\"\\]+", json.dumps([alert["blocks"], summary["blocks"]]))
    kinds = set()
    for link in links:
        with urllib.request.urlopen(link.replace("&amp;", "&")) as answer:
            kinds.add(answer.headers["Content-Type"])
    assert kinds == {
        "application/json",
        "text/csv; charset=utf-8",
        "image/png",
        "text/html; charset=utf-8",
    }


@pytest.mark.usefixtures("no_kernel")
def test_nothing_is_told_twice(tmp_path: Path, slack: SlackServer) -> None:
    settings = connected(str(tmp_path), slack)
    fill(settings, report(1, failing=4))
    run_job(settings, DAILY, now=NOW)
    run_job(settings, DAILY, now=NOW)
    assert len([m for m in slack.posted if "fail DMARC" in m["text"]]) == 1


@pytest.mark.usefixtures("no_kernel")
def test_beyond_a_few_alerts_the_rest_is_a_number(tmp_path: Path, slack: SlackServer) -> None:
    settings = connected(str(tmp_path), slack)
    fill(settings, *(report(i, failing=1) for i in range(5)))
    run_job(settings, DAILY, now=NOW)
    *alerts, summary = slack.posted
    assert len(alerts) == 2
    assert "3 more reports with failing messages" in json.dumps(summary["blocks"])
    run_job(settings, DAILY, now=NOW)
    assert len(slack.posted) == 4  # only another summary


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
    assert "1 report mail could not be read" in shown
    assert "1 report mail refused: the sender is not authentic" in shown


@pytest.mark.usefixtures("no_kernel")
def test_without_a_token_messages_are_saved(tmp_path: Path) -> None:
    settings = load_settings(home=str(tmp_path), trust="pass")
    fill(settings, report(1, failing=4))
    result = run_job(settings, DAILY, now=NOW)
    saved = sorted((tmp_path / "slack").iterdir())
    assert [json.loads(path.read_text())["text"] for path in saved] == [
        message.text for message in result.told.messages
    ]
    assert result.told.saved == str(tmp_path / "slack")


@pytest.mark.usefixtures("no_kernel")
def test_a_refused_alert_is_told_again_next_time(tmp_path: Path, slack: SlackServer) -> None:
    settings = connected(str(tmp_path), slack, slack_channel="C0WRONG")
    fill(settings, report(1, failing=4))
    with pytest.raises(SlackError, match="C0WRONG: channel_not_found"):
        run_job(settings, DAILY, now=NOW)
    run_job(connected(str(tmp_path), slack), DAILY, now=NOW)
    assert len(slack.posted) == 2


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


def test_a_crash_after_posting_repeats_at_most_that_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(home=str(tmp_path), trust="pass")
    fill(settings, *(report(i, failing=1) for i in range(3)))
    ingest(settings)
    lake = Lake(settings.lake_url)
    told: list[str] = []

    def deliver(message: Message) -> None:
        told.append(message.as_json())
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_alerts(settings, lake, NOW, "run", 5, deliver)
    assert len(untold_reports(lake, NOW)) == 2
    send_alerts(settings, lake, NOW, "run", 5, deliver)
    assert len(told) == 4  # three reports, one of them twice
    assert untold_reports(lake, NOW).empty


def test_history_does_not_alert(tmp_path: Path) -> None:
    settings = load_settings(home=str(tmp_path), trust="pass")
    fill(settings, report(1, failing=1))
    ingest(settings)
    lake = Lake(settings.lake_url)
    assert len(untold_reports(lake, NOW)) == 1
    assert untold_reports(lake, NOW + timedelta(days=4)).empty
