"""The main job: new mails → lake → page → alerts and summary in Slack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd

from dmarckit.alert_chart import daily_chart
from dmarckit.alerts import send_alerts
from dmarckit.analysis import analyse, read_facts
from dmarckit.class_summary import days_of, in_window
from dmarckit.domain_summary import headline
from dmarckit.errors import SettingsError
from dmarckit.facts import Facts
from dmarckit.finding_words import urgent
from dmarckit.findings_ledger import Judged
from dmarckit.ingest import ingest
from dmarckit.ingest_commit import IngestResult, Progress
from dmarckit.lake import Lake
from dmarckit.publishing import Published, publish_notebook
from dmarckit.schedules import Schedule
from dmarckit.settings import Settings
from dmarckit.slack import post
from dmarckit.slack_messages import summary_message
from dmarckit.slack_text import Message
from dmarckit.storage import open_storage
from dmarckit.window import Window, last_days


@dataclass
class JobResult:
    """What a job did."""

    ingest: IngestResult
    published: Published
    messages: list[Message] = field(default_factory=list)
    """alerts, then the summary, as they went out"""
    channel: str | None = None
    """None: no token, so the messages are only saved"""
    saved: str | None = None
    """where the messages were saved as JSON when there is no token"""


def run_job(
    settings: Settings,
    schedule: Schedule,
    *,
    now: datetime | None = None,
    progress: Progress | None = None,
    step: Callable[[str], None] = lambda text: None,
) -> JobResult:
    """Ingest, publish the page, then tell: alerts about failing reports, and the summary.

    `step` hears of each step in words. Raises what its parts raise; what was stored stays,
    and what was told is not told again.
    """
    now = now or datetime.now(UTC)
    _check_slack(settings)
    step("Reading new mails")
    ingested = ingest(settings, progress=progress)
    return publish_and_tell(settings, schedule, ingested, now=now, step=step)


def publish_and_tell(
    settings: Settings,
    schedule: Schedule,
    ingested: IngestResult,
    *,
    now: datetime,
    step: Callable[[str], None] = lambda text: None,
) -> JobResult:
    """What follows an ingest: the page, alerts about failing reports, the summary."""
    step(f"Building the page {schedule.notebook}")
    published = publish_notebook(settings, schedule.notebook, schedule.parameters, now)
    result = JobResult(ingested, published, channel=settings.slack_channel)
    deliver = _delivery(settings, result)
    step("Telling Slack" if settings.slack_token else "Writing the Slack messages")
    lake = Lake(settings.lake_url)
    _, untold = send_alerts(settings, lake, now, ingested.run, schedule.alerts, deliver)
    step("Looking for what is wrong and what changed")
    analysis = analyse(settings, lake, now=now, job=schedule.name, run=ingested.run, recorded=True)
    news = finding_lines(analysis.findings)
    still_open = len(urgent(analysis.findings))
    notes = _notes(ingested, untold)
    facts = analysis.facts
    deliver(_summary(settings, facts, schedule, published, news, notes, still_open, now))
    return result


def _check_slack(settings: Settings) -> None:
    if settings.slack_token and not settings.slack_channel:
        raise SettingsError("slack_token is set, but slack_channel is not: name the channel")


def _delivery(settings: Settings, result: JobResult) -> Callable[[Message], str | None]:
    """Posts with a token; without one, saves each message as JSON."""

    def deliver(message: Message) -> str | None:
        result.messages.append(message)
        if settings.slack_token and settings.slack_channel:
            token = settings.slack_token.get_secret_value()
            post(message, token=token, channel=settings.slack_channel, base_url=settings.slack_url)
            return settings.slack_channel
        storage = open_storage(f"{settings.home}/slack")
        key = f"{result.ingest.run}-{len(result.messages)}.json"
        storage.put(key, message.as_json().encode(), content_type="application/json")
        result.saved = storage.url
        return None

    return deliver


def finding_lines(judged: Sequence[Judged]) -> list[str]:
    """What is new or worse, the most urgent first, each with what to do about it.

    Muted findings are told to nobody. Of steps forward and things worth knowing only the
    sentence is told: they are on the page.
    """
    lines = []
    for item in judged:
        if item.status in ("NEW", "WORSE") and not item.finding.muted:
            finding = item.finding
            urgent = finding.severity in ("critical", "warning")
            what_to_do = f" → {finding.action}" if urgent else ""
            lines.append(
                f"{finding.severity}, {item.status.lower()}: {finding.summary}{what_to_do}"
            )
    return lines


def _notes(result: IngestResult, untold: int) -> list[str]:
    """Lines about what needs a person's eye, beside the findings."""
    notes = []
    if result.outcomes["unreadable"]:
        notes.append(f"{_mails(result.outcomes['unreadable'])} could not be read")
    if result.outcomes["untrusted"]:
        notes.append(f"{_mails(result.outcomes['untrusted'])} refused: the sender is not authentic")
    if untold:
        notes.append(f"{untold:,} more reports with failing messages; they are on the page")
    return notes


def _mails(number: int) -> str:
    return f"{number:,} report mail" + ("" if number == 1 else "s")


def _summary(
    settings: Settings,
    facts: Facts,
    schedule: Schedule,
    published: Published,
    news: list[str],
    notes: list[str],
    still_open: int,
    now: datetime,
) -> Message:
    parameters = schedule.parameters
    window = last_days(
        int(parameters.get("days", 30)), str(parameters.get("end", "")), today=now.date()
    )
    if window.before.start < facts.start:  # a window longer than the analysis looks back
        facts = read_facts(settings, Lake(settings.lake_url), now, 2 * window.days)
    chart = _chart_link(settings, schedule, in_window(facts.messages, window), window, now)
    measures = headline(facts, window)
    return summary_message(measures, window, published.link, chart, news, notes, still_open)


def _chart_link(
    settings: Settings, schedule: Schedule, messages: pd.DataFrame, window: Window, now: datetime
) -> str:
    passing = messages["messages"].where(messages["da"] | messages["sa"], 0)
    days = (
        messages.assign(passing=passing, failing=messages["messages"] - passing)
        .groupby("day", observed=True)[["passing", "failing"]]
        .sum()
        .reindex(days_of(window), fill_value=0)
        .round()
        .reset_index()
    )
    storage = open_storage(settings.exports_url, settings.presign_keys())
    key = f"charts/{schedule.name}-{now:%Y-%m-%d}.png"
    storage.put(key, daily_chart(days), content_type="image/png")
    return storage.link(key, settings.presign_expires)
