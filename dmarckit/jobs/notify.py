"""What a run tells Slack: alerts about failing reports, its summary, its failure.

The order keeps everything from being lost. A message is written into the outbox before
anything says that its matter is settled (findings recorded, reports noted), and noted as
told right after it went out. A run that dies between posting and noting repeats one message
at most; one that dies anywhere else repeats none. Whoever tells holds a lease, so that two
runs at once do not tell the same.

The summary of a run, one for each channel: what is new, what is still open, the chart.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dmarckit.core import (
    DmarckitError,
    JobBusy,
    LakeError,
    Settings,
    SettingsError,
    SlackError,
    StorageError,
    Window,
    _,
    count,
    last_days,
    later,
    ngettext,
    open_storage,
)
from dmarckit.findings import URGENT
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake import Lake
from dmarckit.slack import (
    Addition,
    Delivery,
    DeliveryResult,
    Group,
    Message,
    OutboxMessage,
    Routes,
    StoredFile,
    build_alerts,
    channel_routes,
    delivery_lock,
    failing_since,
    failure_message,
    failure_subject,
    post_message,
    presign_warning,
    queue_messages,
    queued_messages,
    record_sent,
    recovery_message,
    summary_message,
    unsent_reports,
)

if TYPE_CHECKING:
    import pandas as pd

    from dmarckit.facts import Facts
    from dmarckit.findings import Analysis, LedgerEntry
    from dmarckit.ingest import IngestResult
    from dmarckit.pages import Published

_OUTCOMES = """
    SELECT outcome, count(*) AS mails FROM mails
    WHERE outcome IN ('unreadable', 'untrusted') AND (run = $run OR run IN (
        SELECT run FROM runs WHERE started > (
            SELECT max(started) FROM runs WHERE job = $job AND result IN ('ok', 'problems'))))
    GROUP BY outcome
"""
SEVERITY_WORDS = {
    "critical": later("critical"),
    "warning": later("warning"),
    "info": later("info"),
    "good": later("good"),
}
STATUS_WORDS = {"NEW": later("new"), "WORSE": later("worse")}


def build_summaries(
    settings: Settings,
    lake: Lake,
    schedule: Schedule,
    published: Published,
    analysis: Analysis,
    routes: Routes,
    *,
    run: str,
    now: datetime,
) -> list[OutboxMessage]:
    """The messages about a run: of everything for the main channel, and for each channel of
    a group of what concerns its domains. With `when: findings` only those with news.

    The charts are stored. Nothing is written to the lake.
    """
    from dmarckit.findings import read_facts, urgent
    from dmarckit.pages import measure

    window = _window(schedule, now)
    facts = analysis.facts
    if window.before.start < facts.start:  # a window longer than the analysis looks back
        facts = read_facts(settings, lake, now, 2 * window.days)
    notes = _notes(lake, schedule.name, run)
    additions = _additions(settings, schedule, run, published, window)
    dues = []
    for group in (None, *routes.groups):
        judged = analysis.findings if group is None else _of_group(analysis.findings, group)
        own = notes if group is None else []
        news = finding_lines(judged)
        added = additions if group is None else []
        if schedule.slack.when == "findings" and not (news or own or added):
            continue
        seen = facts if group is None else _facts_of(facts, group)
        message = summary_message(
            measure(seen, window),
            window,
            StoredFile("pages", published.key),
            _chart(settings, schedule, run, seen, window, group),
            news,
            own,
            len(urgent(judged)) - len(urgent(_news(judged))),
            group.name if group else "",
            added,
        )
        place = f"@{group.channel}" if group else ""
        dues.append(
            OutboxMessage(f"run:{run}{place}", group.channel if group else routes.main, message)
        )
    return dues


def finding_lines(judged: Sequence[LedgerEntry]) -> list[str]:
    """What is new or worse, the most urgent first, each with what to do about it.

    Muted findings are told to nobody. Of steps forward and things worth knowing only the
    sentence is told: they are on the page.
    """
    lines = []
    for item in _news(judged):
        finding = item.finding
        text = _("{severity}, {status}: {summary}")
        if finding.severity in URGENT:
            text = _("{severity}, {status}: {summary} → {action}")
        lines.append(
            text.format(
                severity=_(SEVERITY_WORDS[finding.severity]),
                status=_(STATUS_WORDS[item.status]),
                summary=finding.summary,
                action=finding.action,
            )
        )
    return lines


def _news(judged: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    return [item for item in judged if item.status in STATUS_WORDS and not item.finding.muted]


def _of_group(judged: Sequence[LedgerEntry], group: Group) -> list[LedgerEntry]:
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
) -> StoredFile:
    from dmarckit.facts import days_of, in_window
    from dmarckit.slack import daily_chart

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
    return StoredFile("exports", key)


def _additions(
    settings: Settings, schedule: Schedule, run: str, published: Published, window: Window
) -> list[Addition]:
    """Return what the notebook adds to the message (`Page.tell`); its charts are stored."""
    from dmarckit.pages import slack_notes
    from dmarckit.slack import note_chart

    found = []
    for number, said in enumerate(slack_notes(published.page.executed), start=1):
        chart = None
        if said.chart:
            key = f"charts/{schedule.name}-{window.last_day:%Y-%m-%d}-{run}-note{number}.png"
            picture = note_chart(said.chart)
            open_storage(settings.exports_url).put(key, picture, content_type="image/png")
            chart = StoredFile("exports", key)
        found.append(Addition(said.headline, said.numbers, chart))
    return found


AFTER_ALERTS = 1000  # position of what a run says of itself, behind its alerts


def check_slack(settings: Settings, schedule: Schedule | None = None) -> None:
    """Raises SettingsError when there is a token and no channel."""
    channel = (schedule and schedule.slack.channel) or settings.slack_channel
    if settings.slack_token and not channel:
        raise SettingsError("slack_token is set, but slack_channel is not: name the channel")


def notify_run(
    settings: Settings,
    schedule: Schedule,
    ingested: IngestResult,
    published: Published | None,
    *,
    run: str,
    now: datetime,
    step: Callable[[str], None] = lambda text: None,
    clock: Callable[[], datetime] | None = None,
) -> DeliveryResult:
    """What a run that went well tells: what waits in the outbox, alerts about failing reports
    or a digest of them, that the job works again, and the summary of the run.

    A schedule without a notebook has no summary: its alerts are its messages. When `published`
    is a page, the findings are judged and recorded as those of this run. `clock` tells the
    time while it goes on; without it, it goes on from `now`.

    Raises LakeError or StorageError when the lake or the storage cannot be used; what was
    written into the outbox goes out with the next run. Slack being down or refusing a message
    raises nothing: see `DeliveryResult`.
    """
    lake, where = Lake(settings.lake_url), channel_routes(settings, schedule.slack.channel)
    told = DeliveryResult(channel=where.main)
    _settle(settings, lake, schedule, published, where, told, run, now, step)
    step("Telling Slack" if settings.slack_token else "Writing the Slack messages")
    if queued_messages(lake) or unsent_reports(lake, now):

        def collect() -> None:
            _collect(settings, lake, where, schedule.alerts, run, now)

        _deliver(settings, lake, told, run, now, clock, collect)
    if told.sent and (warning := presign_warning(settings, now)):
        told.notes.append(warning)
    return told


def _settle(
    settings: Settings,
    lake: Lake,
    schedule: Schedule,
    published: Published | None,
    where: Routes,
    told: DeliveryResult,
    run: str,
    now: datetime,
    step: Callable[[str], None],
) -> None:
    """What the run says of itself into the outbox; then its findings are recorded."""
    dues: list[OutboxMessage] = []
    if since := failing_since(lake, schedule.name):
        works = recovery_message(schedule.name, since=since, now=now)
        dues.append(OutboxMessage(f"recovery:{schedule.name}:{run}", where.main, works))
    analysis: Analysis | None = None
    if published is not None:
        from dmarckit.findings import analyse, urgent

        step("Looking for what is wrong and what changed")
        analysis = analyse(settings, lake, now=now, job=schedule.name)
        told.open_findings = len(urgent(analysis.findings))
        if schedule.slack.when != "failing" or unsent_reports(lake, now):
            dues += build_summaries(
                settings, lake, schedule, published, analysis, where, run=run, now=now
            )
    queue_messages(lake, dues, run, now, first=AFTER_ALERTS)
    if analysis is not None:
        from dmarckit.findings import record_findings

        found = [item.finding for item in analysis.findings if item.status != "RESOLVED"]
        record_findings(lake, found, run=run, job=schedule.name, now=now)


def _deliver(
    settings: Settings,
    lake: Lake,
    told: DeliveryResult,
    run: str,
    now: datetime,
    clock: Callable[[], datetime] | None,
    collect: Callable[[], None] = lambda: None,
) -> None:
    """While nobody else does: more into the outbox (`collect`), and all that is in it out."""
    try:
        with delivery_lock(settings, run, clock or _going_on(now)) as holds:
            collect()
            Delivery(settings, lake, told, run=run, now=now).deliver(holds)
    except JobBusy as error:
        told.waiting = len(queued_messages(lake))
        told.warnings.append(f"another run is still telling Slack, so this one does not: {error}")


def _collect(
    settings: Settings, lake: Lake, where: Routes, at_most: int, run: str, now: datetime
) -> None:
    """Messages about untold reports into the outbox; those that need none are noted."""
    untold = unsent_reports(lake, now)
    if not untold:
        return
    dues, silent = build_alerts(settings, lake, untold, where, run, at_most)
    queue_messages(lake, dues, run, now)
    record_sent(lake, silent, run=run, now=now, channel=None)


def _going_on(now: datetime) -> Callable[[], datetime]:
    started = time.monotonic()
    return lambda: now + timedelta(seconds=time.monotonic() - started)


def notify_failure(
    settings: Settings,
    schedule: Schedule,
    *,
    run: str,
    now: datetime,
    error: str,
    notebook: str | None = None,
    since: datetime,
    step: Callable[[str], None] = lambda text: None,
    clock: Callable[[], datetime] | None = None,
) -> DeliveryResult:
    """What a run that failed tells: the error, since when, what to do; and what waits.

    `since` is the start of the first failed run since the last good one. There is one message
    a day as long as it lasts. Raises nothing that is dmarckit's: with a failure that has to
    do with the lake itself, the message goes out past the outbox.
    """
    where = channel_routes(settings, schedule.slack.channel)
    told = DeliveryResult(channel=where.main)
    message = failure_message(
        schedule.name,
        error=error,
        since=since,
        now=now,
        run=run,
        notebook=notebook,
        owner=schedule.owner,
    )
    subject = failure_subject(schedule.name, since, now)
    step("Telling Slack of the failure")
    try:
        lake = Lake(settings.lake_url)
        queue_messages(lake, [OutboxMessage(subject, where.main, message)], run, now)
        _deliver(settings, lake, told, run, now, clock)
    except (LakeError, StorageError) as reason:
        told.warnings.append(f"the outbox cannot be used: {reason}")
        _past_the_outbox(settings, told, subject, message)
    except DmarckitError as reason:
        told.warnings.append(str(reason))
    return told


def _past_the_outbox(
    settings: Settings, told: DeliveryResult, subject: str, message: Message
) -> None:
    """Post without the lake; a file on this machine keeps it to once a day."""
    if settings.slack_token is None or told.channel is None or told.messages:
        return
    name = hashlib.sha256(f"{os.getuid()} {settings.home} {subject}".encode()).hexdigest()[:24]
    mark = Path(tempfile.gettempdir()) / f"dmarckit-told-{name}"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:  # this was told
        return
    except OSError:  # no place for it: rather told at each run than never
        pass
    try:
        token = settings.slack_token.get_secret_value()
        post_message(message, token=token, channel=told.channel, base_url=settings.slack_url)
    except SlackError as error:
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)
        told.warnings.append(str(error))
    else:
        told.messages.append(message)
        told.sent += 1
