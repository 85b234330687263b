"""What a run tells: alerts about failing reports, then its summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

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
from dmarckit.ingest_commit import IngestResult
from dmarckit.lake import Lake
from dmarckit.publishing import Published
from dmarckit.schedules import Schedule
from dmarckit.settings import Settings
from dmarckit.slack import post
from dmarckit.slack_messages import summary_message
from dmarckit.slack_text import Message
from dmarckit.storage import open_storage
from dmarckit.window import Window, last_days


@dataclass
class Told:
    """What went out, in order."""

    messages: list[Message] = field(default_factory=list)
    """alerts, then the summary"""
    channel: str | None = None
    """None: no token, so the messages are only saved"""
    saved: str | None = None
    """where the messages were saved as JSON when there is no token"""


def check_slack(settings: Settings) -> None:
    """Raises SettingsError when there is a token and no channel."""
    if settings.slack_token and not settings.slack_channel:
        raise SettingsError("slack_token is set, but slack_channel is not: name the channel")


def tell(
    settings: Settings,
    schedule: Schedule,
    ingested: IngestResult,
    published: Published,
    *,
    now: datetime,
    step: Callable[[str], None] = lambda text: None,
) -> Told:
    """Alerts about failing reports that were not told yet, then the summary of the run."""
    told = Told(channel=settings.slack_channel)
    deliver = _delivery(settings, told, ingested.run)
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
    return told


def _delivery(settings: Settings, told: Told, run: str) -> Callable[[Message], str | None]:
    """Posts with a token; without one, saves each message as JSON."""

    def deliver(message: Message) -> str | None:
        told.messages.append(message)
        if settings.slack_token and settings.slack_channel:
            token = settings.slack_token.get_secret_value()
            post(message, token=token, channel=settings.slack_channel, base_url=settings.slack_url)
            return settings.slack_channel
        storage = open_storage(f"{settings.home}/slack")
        key = f"{run}-{len(told.messages)}.json"
        storage.put(key, message.as_json().encode(), content_type="application/json")
        told.saved = storage.url
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
