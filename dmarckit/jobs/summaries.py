"""The summary of a run, one for each channel: what is new, what is still open, the chart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import pandas as pd

from dmarckit.core.language import _, later, ngettext
from dmarckit.core.settings import Settings
from dmarckit.core.storage import open_storage
from dmarckit.core.window import Window, last_days
from dmarckit.core.words import count
from dmarckit.facts.class_summary import days_of, in_window
from dmarckit.facts.facts import Facts
from dmarckit.findings.analysis import Analysis, read_facts
from dmarckit.findings.finding_words import urgent
from dmarckit.findings.findings_ledger import Judged
from dmarckit.jobs.schedules import Schedule
from dmarckit.lake.lake import Lake
from dmarckit.pages.publishing import Published
from dmarckit.pages.sections.domain_summary import headline
from dmarckit.slack.alert_chart import daily_chart
from dmarckit.slack.outbox import Due
from dmarckit.slack.routing import Group, Routes
from dmarckit.slack.slack_blocks import Stored
from dmarckit.slack.slack_summary import summary_message

_OUTCOMES = """
    SELECT outcome, count(*) AS mails FROM mails
    WHERE outcome IN ('unreadable', 'untrusted') AND (run = $run OR run IN (
        SELECT run FROM runs WHERE started > (
            SELECT max(started) FROM runs WHERE job = $job AND result IN ('ok', 'problems'))))
    GROUP BY outcome
"""
SEVERITIES = {
    "critical": later("critical"),
    "warning": later("warning"),
    "info": later("info"),
    "good": later("good"),
}
STATUSES = {"NEW": later("new"), "WORSE": later("worse")}


def summaries(
    settings: Settings,
    lake: Lake,
    schedule: Schedule,
    published: Published,
    analysis: Analysis,
    routes: Routes,
    *,
    run: str,
    now: datetime,
) -> list[Due]:
    """The messages about a run: of everything for the main channel, and for each channel of
    a group of what concerns its domains. With `when: findings` only those with news.

    The charts are stored. Nothing is written to the lake.
    """
    window = _window(schedule, now)
    facts = analysis.facts
    if window.before.start < facts.start:  # a window longer than the analysis looks back
        facts = read_facts(settings, lake, now, 2 * window.days)
    notes = _notes(lake, schedule.name, run)
    dues = []
    for group in (None, *routes.groups):
        judged = analysis.findings if group is None else _of_group(analysis.findings, group)
        own = notes if group is None else []
        news = finding_lines(judged)
        if schedule.slack.when == "findings" and not news and not own:
            continue
        seen = facts if group is None else _facts_of(facts, group)
        message = summary_message(
            headline(seen, window),
            window,
            Stored("pages", published.key),
            _chart(settings, schedule, run, seen, window, group),
            news,
            own,
            len(urgent(judged)) - _urgent_news(judged),
            group.name if group else "",
        )
        place = f"@{group.channel}" if group else ""
        dues.append(Due(f"run:{run}{place}", group.channel if group else routes.main, message))
    return dues


def finding_lines(judged: Sequence[Judged]) -> list[str]:
    """What is new or worse, the most urgent first, each with what to do about it.

    Muted findings are told to nobody. Of steps forward and things worth knowing only the
    sentence is told: they are on the page.
    """
    lines = []
    for item in _news(judged):
        finding = item.finding
        text = _("{severity}, {status}: {summary}")
        if finding.severity in ("critical", "warning"):
            text = _("{severity}, {status}: {summary} → {action}")
        lines.append(
            text.format(
                severity=_(SEVERITIES[finding.severity]),
                status=_(STATUSES[item.status]),
                summary=finding.summary,
                action=finding.action,
            )
        )
    return lines


def _news(judged: Sequence[Judged]) -> list[Judged]:
    return [item for item in judged if item.status in STATUSES and not item.finding.muted]


def _urgent_news(judged: Sequence[Judged]) -> int:
    return len(urgent(_news(judged)))


def _of_group(judged: Sequence[Judged], group: Group) -> list[Judged]:
    return [item for item in judged if item.finding.domain in group.domains]


def _facts_of(facts: Facts, group: Group) -> Facts:
    """Facts with the messages and reports of a group's domains, which is what is counted."""
    return replace(
        facts,
        messages=facts.messages[facts.messages["domain"].isin(group.domains)],
        reports=facts.reports[facts.reports["domain"].isin(group.domains)],
    )


def _window(schedule: Schedule, now: datetime) -> Window:
    """The days that the run's page is about."""
    parameters: Mapping[str, object] = schedule.parameters_at(now)
    days = parameters.get("days", 30)
    end = str(parameters.get("end") or "")
    return last_days(days if isinstance(days, int) else 30, end, today=now.date())


def _notes(lake: Lake, job: str, run: str) -> list[str]:
    """Lines about mails that need a person's eye, read since the job last ended well."""
    found = lake.sql(_OUTCOMES, job=job, run=run)
    mails = dict(zip(found["outcome"], found["mails"], strict=True))
    notes = []
    if n := mails.get("unreadable"):
        text = ngettext(
            "{n} report mail could not be read", "{n} report mails could not be read", n
        )
        notes.append(text.format(n=count(n)))
    if n := mails.get("untrusted"):
        text = ngettext(
            "{n} report mail refused: the sender is not authentic",
            "{n} report mails refused: the sender is not authentic",
            n,
        )
        notes.append(text.format(n=count(n)))
    return notes


def _chart(
    settings: Settings,
    schedule: Schedule,
    run: str,
    facts: Facts,
    window: Window,
    group: Group | None,
) -> Stored:
    messages = in_window(facts.messages, window)
    passing = messages["messages"].where(messages["da"] | messages["sa"], 0)
    days: pd.DataFrame = (
        messages.assign(passing=passing, failing=messages["messages"] - passing)
        .groupby("day", observed=True)[["passing", "failing"]]
        .sum()
        .reindex(days_of(window), fill_value=0)
        .round()
        .reset_index()
    )
    # a run's own file: a message that is late shows what it was about
    part = f"-{hashlib.sha256(group.channel.encode()).hexdigest()[:8]}" if group else ""
    key = f"charts/{schedule.name}-{window.last_day:%Y-%m-%d}-{run}{part}.png"
    open_storage(settings.exports_url).put(key, daily_chart(days), content_type="image/png")
    return Stored("exports", key)
