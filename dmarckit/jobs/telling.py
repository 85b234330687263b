"""What a run tells Slack: alerts about failing reports, its summary, its failure.

The order keeps everything from being lost. A message is written into the outbox before
anything says that its matter is settled (findings recorded, reports noted), and noted as
told right after it went out. A run that dies between posting and noting repeats one message
at most; one that dies anywhere else repeats none. Whoever tells holds a lease, so that two
runs at once do not tell the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from dmarckit.core.errors import (
    DmarckitError,
    JobBusy,
    LakeError,
    SettingsError,
    SlackError,
    StorageError,
)
from dmarckit.core.settings import Settings
from dmarckit.findings.analysis import Analysis, analyse
from dmarckit.findings.finding_words import urgent
from dmarckit.findings.findings_ledger import record
from dmarckit.ingest.ingest_commit import IngestResult
from dmarckit.jobs.schedules import Schedule
from dmarckit.jobs.summaries import summaries
from dmarckit.lake.lake import Lake
from dmarckit.pages.publishing import Published
from dmarckit.slack.alerts import alerts_about, untold_reports
from dmarckit.slack.delivery import Delivery, Told, alone
from dmarckit.slack.outbox import Due, failing_since, failure_subject, note, put, waiting
from dmarckit.slack.presign import lasting
from dmarckit.slack.routing import Routes, routes
from dmarckit.slack.slack import post
from dmarckit.slack.slack_blocks import Message
from dmarckit.slack.slack_failure import failure_message, recovery_message

__all__ = ["Told", "check_slack", "tell", "tell_failure"]

AFTER_ALERTS = 1000  # position of what a run says of itself, behind its alerts


def check_slack(settings: Settings, schedule: Schedule | None = None) -> None:
    """Raises SettingsError when there is a token and no channel."""
    channel = (schedule and schedule.slack.channel) or settings.slack_channel
    if settings.slack_token and not channel:
        raise SettingsError("slack_token is set, but slack_channel is not: name the channel")


def tell(
    settings: Settings,
    schedule: Schedule,
    ingested: IngestResult,
    published: Published | None,
    *,
    run: str,
    now: datetime,
    step: Callable[[str], None] = lambda text: None,
    clock: Callable[[], datetime] | None = None,
) -> Told:
    """What a run that went well tells: what waits in the outbox, alerts about failing reports
    or a digest of them, that the job works again, and the summary of the run.

    A schedule without a notebook has no summary: its alerts are its messages. When `published`
    is a page, the findings are judged and recorded as those of this run. `clock` tells the
    time while it goes on; without it, it goes on from `now`.

    Raises LakeError or StorageError when the lake or the storage cannot be used; what was
    written into the outbox goes out with the next run. Slack being down or refusing a message
    raises nothing: see `Told.waiting` and `Told.warnings`.
    """
    lake, where = Lake(settings.lake_url), routes(settings, schedule.slack.channel)
    told = Told(channel=where.main)
    _settle(settings, lake, schedule, published, where, told, run, now, step)
    step("Telling Slack" if settings.slack_token else "Writing the Slack messages")
    if waiting(lake) or not untold_reports(lake, now).empty:

        def collect() -> None:
            _collect(settings, lake, where, schedule.alerts, run, now)

        _deliver(settings, lake, told, run, now, clock, collect)
    if told.sent and (warning := lasting(settings, now)):
        told.notes.append(warning)
    return told


def _settle(
    settings: Settings,
    lake: Lake,
    schedule: Schedule,
    published: Published | None,
    where: Routes,
    told: Told,
    run: str,
    now: datetime,
    step: Callable[[str], None],
) -> None:
    """What the run says of itself into the outbox; then its findings are recorded."""
    dues: list[Due] = []
    if since := failing_since(lake, schedule.name):
        works = recovery_message(schedule.name, since=since, now=now)
        dues.append(Due(f"recovery:{schedule.name}:{run}", where.main, works))
    analysis: Analysis | None = None
    if published is not None:
        step("Looking for what is wrong and what changed")
        analysis = analyse(settings, lake, now=now, job=schedule.name)
        told.open_findings = len(urgent(analysis.findings))
        if schedule.slack.when != "failing" or not untold_reports(lake, now).empty:
            dues += summaries(
                settings, lake, schedule, published, analysis, where, run=run, now=now
            )
    put(lake, dues, run, now, first=AFTER_ALERTS)
    if analysis is not None:
        found = [item.finding for item in analysis.findings if item.status != "RESOLVED"]
        record(lake, found, run=run, job=schedule.name, now=now)


def _deliver(
    settings: Settings,
    lake: Lake,
    told: Told,
    run: str,
    now: datetime,
    clock: Callable[[], datetime] | None,
    collect: Callable[[], None] = lambda: None,
) -> None:
    """While nobody else does: more into the outbox (`collect`), and all that is in it out."""
    try:
        with alone(settings, run, clock or _going_on(now)) as holds:
            collect()
            Delivery(settings, lake, told, run=run, now=now).deliver(holds)
    except JobBusy as error:
        told.waiting = len(waiting(lake))
        told.warnings.append(f"another run is still telling Slack, so this one does not: {error}")


def _collect(
    settings: Settings, lake: Lake, where: Routes, at_most: int, run: str, now: datetime
) -> None:
    """Messages about untold reports into the outbox; those that need none are noted."""
    untold = untold_reports(lake, now)
    if untold.empty:
        return
    dues, silent = alerts_about(settings, lake, untold, where, run, at_most)
    put(lake, dues, run, now)
    note(lake, silent, run=run, now=now, channel=None)


def _going_on(now: datetime) -> Callable[[], datetime]:
    started = time.monotonic()
    return lambda: now + timedelta(seconds=time.monotonic() - started)


def tell_failure(
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
) -> Told:
    """What a run that failed tells: the error, since when, what to do; and what waits.

    `since` is the start of the first failed run since the last good one. There is one message
    a day as long as it lasts. Raises nothing that is dmarckit's: with a failure that has to
    do with the lake itself, the message goes out past the outbox.
    """
    where = routes(settings, schedule.slack.channel)
    told = Told(channel=where.main)
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
        put(lake, [Due(subject, where.main, message)], run, now)
        _deliver(settings, lake, told, run, now, clock)
    except (LakeError, StorageError) as reason:
        told.warnings.append(f"the outbox cannot be used: {reason}")
        _past_the_outbox(settings, told, subject, message)
    except DmarckitError as reason:
        told.warnings.append(str(reason))
    return told


def _past_the_outbox(settings: Settings, told: Told, subject: str, message: Message) -> None:
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
        post(message, token=token, channel=told.channel, base_url=settings.slack_url)
    except SlackError as error:
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)
        told.warnings.append(str(error))
    else:
        told.messages.append(message)
        told.sent += 1
