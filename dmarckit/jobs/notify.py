"""Messages of a run: alerts about failing reports, its summaries, its failure.

The order keeps everything from being lost: a message is written into the outbox before its matter
is settled (findings recorded, reports noted), and recorded as sent right after it went out. A run
that dies between posting and recording repeats one message at most; one that dies elsewhere none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from dmarckit import core, facts, findings, pages, slack
from dmarckit.core import Settings, _, later, ngettext
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake import Lake
from dmarckit.slack import OutboxMessage, StoredFile

_OUTCOMES = """
    SELECT outcome, count(*) AS mails FROM mails
    WHERE outcome IN ('unreadable', 'unreachable', 'untrusted') AND (run = $run OR run IN (
        SELECT run FROM runs WHERE started > (
            SELECT max(started) FROM runs WHERE job = $job AND result IN ('ok', 'problems'))))
    GROUP BY outcome
"""
_LAST_SUMMARY = """
    SELECT outbox.subject, outbox.channel, outbox.message FROM outbox
        JOIN runs ON split_part(outbox.subject, '@', 1) = 'run:' || runs.run
    WHERE runs.job = $job AND outbox.message IS NOT NULL
        AND NOT regexp_matches(outbox.subject, '@(mail|webhook)$')
    QUALIFY outbox.made = max(outbox.made) OVER () ORDER BY outbox.position
"""
SEVERITY_WORDS = {
    "critical": later("critical"),
    "warning": later("warning"),
    "info": later("info"),
    "good": later("good"),
}
STATUS_WORDS = {"NEW": later("new"), "WORSE": later("worse")}
AFTER_ALERTS = 1000  # position of what a run says of itself, behind its alerts


def check_slack(settings: Settings, schedule: Schedule | None = None) -> None:
    """Raise SettingsError if there is a token of Slack, but no channel."""
    channel = (schedule and schedule.slack.channel) or settings.slack_channel
    if settings.slack_token and not channel:
        raise core.SettingsError("slack_token is set, but slack_channel is not: name the channel")


class Notifier:
    """Build the messages of one run, and deliver what waits in the outbox.

    `clock` gives the time while it goes on; without it, it goes on from `now`. What a channel
    does or refuses raises nothing: see `DeliveryResult`.
    """

    def __init__(
        self,
        settings: Settings,
        schedule: Schedule,
        *,
        run: str,
        now: datetime,
        step: Callable[[str], None] = lambda text: None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        started = time.monotonic()
        self._settings, self._schedule = settings, schedule
        self._run, self._now, self._step = run, now, step
        self._clock = clock or (lambda: now + timedelta(seconds=time.monotonic() - started))
        self._routes = slack.channel_routes(settings, schedule.slack.channel)
        self._result = slack.DeliveryResult(channel=self._routes.main)

    @cached_property
    def analysis(self) -> findings.Analysis:
        """What is wrong and what changed, as of the run: found once, for page and messages."""
        self._step("Looking for what is wrong and what changed")
        window, end = self._window()
        job, now = self._schedule.name, self._now
        return findings.page_analysis(
            self._settings, self._lake, window, end, job=job, now=now, hand_on=True
        )

    @cached_property
    def _lake(self) -> Lake:
        return Lake(self._settings.lake_url)

    def _unsent(self) -> list[Mapping[str, Any]]:
        return slack.unsent_reports(self._settings, self._lake, self._now)

    def notify_run(self, published: pages.StoredPage | None) -> slack.DeliveryResult:
        """Deliver what waits, alerts about failing reports, and the summary of a good run.

        Many alerts are one digest. If the job had failed, that it works again comes first. A
        schedule without a notebook has no summary: its alerts are its messages. When
        `published` is a page, the findings are judged and recorded as those of this run. After a
        LakeError or StorageError what is in the outbox goes out with the next run.
        """
        self._result = slack.DeliveryResult(channel=self._routes.main)  # called again: anew
        self._queue_own(published)
        self._step("Sending messages" if self._routes.main else "Saving Slack messages")
        if slack.queued_messages(self._lake) or self._unsent():
            self._deliver(with_alerts=True)
        if self._result.sent and (warning := slack.presign_warning(self._settings, self._now)):
            self._result.notes.append(warning)
        return self._result

    def repeat_summary(self) -> slack.DeliveryResult:
        """Deliver the job's last summary once more, with links that open now.

        Raises SettingsError when there is none.
        """
        job, run = self._schedule.name, self._run
        last = self._lake.rows(_LAST_SUMMARY, job=job)
        if not last:
            why = f"has made no summary yet; make one: dmarckit run {job}"
            none = "makes no summary, since it has no notebook"
            why = why if self._schedule.notebook else none
            raise core.SettingsError(f"--again: {job} {why}")
        dues: list[OutboxMessage] = []
        for n, row in enumerate(last):
            message = slack.Message.from_json(row["message"])
            due = OutboxMessage(f"again:{run}:{n}", row["channel"], message)
            dues += [due] if "@" in row["subject"] else self._routes.copies([due])
        slack.queue_messages(self._lake, dues, run, self._now, first=AFTER_ALERTS)
        self._deliver()
        return self._result

    def notify_failure(
        self, error: str, *, since: datetime, notebook: str | None = None
    ) -> slack.DeliveryResult:
        """Deliver the error of a run, since when, what to do; and what waits.

        `since` is the start of the first failed run since the last good one. There is one
        message a day as long as it lasts. Nothing of dmarckit's is raised: with a failure that
        has to do with the lake itself, the message goes out past the outbox.
        """
        job, now, result = self._schedule.name, self._now, self._result
        message = slack.failure_message(
            job, error, since, now, run=self._run, notebook=notebook, owner=self._schedule.owner
        )
        subject = slack.failure_subject(job, since, now)
        self._step("Sending the failure")
        try:
            due = OutboxMessage(subject, self._routes.main, message)
            slack.queue_messages(self._lake, self._routes.copies([due]), self._run, now)
            self._deliver()
        except (core.LakeError, core.StorageError) as reason:
            result.warnings.append(f"the outbox cannot be used: {reason}")
            self._post_past_outbox(subject, message)
        except core.DmarckitError as reason:
            result.warnings.append(str(reason))
        return result

    def _queue_own(self, published: pages.StoredPage | None) -> None:
        """Write what the run says of itself into the outbox, then record its findings."""
        job, main = self._schedule.name, self._routes.main
        dues: list[OutboxMessage] = []
        if since := slack.failing_since(self._lake, job):
            # what keeps messages from going out is part of the failure
            slack.record_marked(self._settings, self._lake, run=self._run, now=self._now)
            works = slack.recovery_message(job, since=since, now=self._now)
            recovery = OutboxMessage(f"recovery:{job}:{self._run}", main, works)
            dues += self._routes.copies([recovery])
        found: list[findings.Finding] = []
        if published is not None:
            analysis = self.analysis
            found = [item.finding for item in analysis.findings if item.status != "RESOLVED"]
            self._result.open_findings = len(findings.urgent(analysis.findings))
            if self._schedule.slack.when != "failing" or self._unsent():
                dues += self.build_summaries(published, analysis)
        slack.queue_messages(self._lake, dues, self._run, self._now, first=AFTER_ALERTS)
        if published is not None:
            findings.record_findings(self._lake, found, run=self._run, job=job, now=self._now)

    def _deliver(self, *, with_alerts: bool = False) -> None:
        """Send all that is in the outbox, alerts about new reports too, while no other does."""
        settings, lake, run, now = self._settings, self._lake, self._run, self._now
        try:
            with slack.delivery_lock(settings, run, self._clock) as holds:
                if with_alerts and (rows := self._unsent()):
                    alerts, silent = slack.build_alerts(
                        settings, lake, rows, self._routes, run, self._schedule.alerts
                    )
                    slack.queue_messages(lake, self._routes.copies(alerts), run, now)
                    slack.record_sent(lake, silent, run=run, now=now, channel=None)
                slack.Delivery(settings, lake, self._result, run=run, now=now).deliver(holds)
        except core.JobBusy as error:
            self._result.waiting = len(slack.queued_messages(lake))
            busy = f"another run is still sending messages, so this one does not: {error}"
            self._result.warnings.append(busy)

    def _post_past_outbox(self, subject: str, message: slack.Message) -> None:
        """Send without the lake; marks below the home, else here, keep it to once a day each."""
        settings, result = self._settings, self._result
        if result.channel is None or result.messages:
            return
        folder = os.environ.get("STATE_DIRECTORY") or tempfile.gettempdir()  # systemd's stays
        for due in self._routes.copies([OutboxMessage(subject, result.channel, message)]):
            about = f"{os.getuid()} {settings.home} {due.subject}"
            name = hashlib.sha256(about.encode()).hexdigest()[:24]
            here = core.open_storage(folder), f"dmarckit-told-{name}"
            there = core.open_storage(settings.home), slack.sent_mark(due.subject)
            is_new = True  # without a place for a mark: rather sent at each run than never
            for storage, mark in (there, here):
                with contextlib.suppress(core.StorageError):
                    text = due.subject.encode()
                    is_new = storage.put_new(mark, text, content_type="text/plain")
                    break
            if not is_new:
                continue
            try:
                place = due.channel or ""
                slack.send_message(settings, message, place, subject=due.subject, now=self._now)
            except core.DeliveryError as error:
                with contextlib.suppress(core.StorageError):
                    storage.delete(mark)
                result.warnings.append(str(error))
            else:
                result.messages.append(message)
                result.sent += 1
                result.places[place] += 1

    def build_summaries(
        self, published: pages.StoredPage, analysis: findings.Analysis
    ) -> list[OutboxMessage]:
        """Return the summaries of a run, one a channel; with `when: findings` those with news.

        The main channel gets everything, that of a group what concerns its domains. The charts
        are stored. Nothing is written to the lake.
        """
        window, _end = self._window()
        known = analysis.facts
        notes = [*self._notes(), *filter(None, [findings.too_many(known.beyond)])]
        additions = self._additions(published, window)
        dues = []
        for group in (None, *self._routes.groups):
            seen, found, channel, place = known, analysis.findings, self._routes.main, ""
            if group is not None:
                channel, place = group.channel, f"@{group.channel}"
                counted = (known.messages, known.reports)
                messages, reports = (f[f["domain"].isin(group.domains)] for f in counted)
                seen = replace(known, messages=messages, reports=reports)
                found = [f for f in found if f.finding.domain in group.domains]
                notes, additions = [], []
            news, old = [], 0
            for cause in pages.by_cause(found):
                fresh = [item for item in cause if item.status in STATUS_WORDS]
                if fresh:
                    news.append(_news(fresh))
                else:
                    old += cause[0].finding.severity in findings.URGENT
            if self._schedule.slack.when == "findings" and not (news or notes or additions):
                continue
            message = slack.summary_message(
                pages.measure(seen, window),
                window,
                StoredFile("pages", published.key),
                self._daily_chart(seen, window, group),
                news,
                notes,
                old,
                group.name if group else "",
                additions,
                self._schedule.name,
                published.page.title,
                analysis.days,
            )
            due = OutboxMessage(f"run:{self._run}{place}", channel, message)
            dues += [due] if group else self._routes.copies([due])
        return dues

    def _window(self) -> tuple[core.Window, str]:
        """Return the window of the page, and the `end` that was asked for."""
        parameters: Mapping[str, object] = self._schedule.parameters_at(self._now)
        days, end = parameters.get("days", 30), str(parameters.get("end") or "")
        days = days if isinstance(days, int) else 30
        return core.last_days(days, end, today=self._now.date()), end

    def _notes(self) -> list[str]:
        """Return lines about mails that need a person's eye, since the job last ended well."""
        found = self._lake.arrow(_OUTCOMES, job=self._schedule.name, run=self._run).to_pylist()
        mails = Counter({row["outcome"]: row["mails"] for row in found})
        unreadable, unreachable = mails["unreadable"], mails["unreachable"]
        untrusted = mails["untrusted"]
        read = ngettext(
            "{n} report email could not be read", "{n} report emails could not be read", unreadable
        )
        reached = ngettext(
            "{n} email could not be fetched from storage and will be retried",
            "{n} emails could not be fetched from storage and will be retried",
            unreachable,
        )
        refused = ngettext(
            "{n} report email rejected: its sender could not be authenticated",
            "{n} report emails rejected: their senders could not be authenticated",
            untrusted,
        )
        numbers = ((read, unreadable), (reached, unreachable), (refused, untrusted))
        return [text.format(n=core.count(n)) for text, n in numbers if n]

    def _daily_chart(
        self, known: facts.Facts, window: core.Window, group: slack.ChannelGroup | None
    ) -> StoredFile:
        messages = facts.in_window(known.messages, window)
        passing = messages["messages"].where(messages["da"] | messages["sa"], 0)
        days = (
            messages.assign(passing=passing, failing=messages["messages"] - passing)
            .groupby("day", observed=True)[["passing", "failing"]]
            .sum()
            .reindex(facts.days_of(window), fill_value=0)
            .round()
            .reset_index()
        )
        part = f"-{hashlib.sha256(group.channel.encode()).hexdigest()[:8]}" if group else ""
        return self._stored_chart(window, part, slack.daily_chart(days))

    def _additions(self, published: pages.StoredPage, window: core.Window) -> list[slack.Addition]:
        """Return what the notebook adds to the message (`Page.tell`); its charts are stored."""
        found = []
        for number, note in enumerate(pages.slack_notes(published.page.executed), start=1):
            chart = None
            if note.chart:
                picture = slack.note_chart(note.chart)
                chart = self._stored_chart(window, f"-note{number}", picture)
            found.append(slack.Addition(note.headline, note.numbers, chart))
        return found

    def _stored_chart(self, window: core.Window, part: str, picture: bytes) -> StoredFile:
        # a run's own file: a message that is late shows what it was about
        key = f"charts/{self._schedule.name}-{window.last_day:%Y-%m-%d}-{self._run}{part}.png"
        core.open_storage(self._settings.exports_url).put(key, picture, content_type="image/png")
        return StoredFile("exports", key)


def record_old_news(
    settings: Settings,
    lake: Lake,
    lost: Collection[str],
    schedules: Sequence[Schedule],
    *,
    run: str,
    now: datetime,
) -> None:
    """Record what Slack has to be taken to know, where the lake has `lost` what it was told.

    Without all of `alerts` that is every failing report and waiting message; without all of
    `findings`, for the schedules with a page, whatever is found now.
    """
    if "alerts" in lost:
        subjects = [due.subject for due, _made in slack.queued_messages(lake)]
        unsent = slack.unsent_reports(settings, lake, now)
        subjects += [f"report:{row['report_uid']}" for row in unsent]
        slack.record_sent(lake, subjects, run=run, now=now, channel=None)
    for schedule in schedules if "findings" in lost else ():
        if schedule.notebook is not None:
            job = schedule.name
            analysis = findings.analyse(settings, lake, now=now, job=job)
            found = [item.finding for item in analysis.findings if item.status != "RESOLVED"]
            findings.record_findings(lake, found, run=f"{run}-{job}", job=job, now=now)


def _news(cause: Sequence[findings.LedgerEntry]) -> slack.News:
    """Return findings of one cause: where, how much, since when; if urgent, what to do."""
    item, found = cause[0], [entry.finding for entry in cause]
    finding, domains = item.finding, list(dict.fromkeys(f.domain for f in found if f.domain))
    where = domains[0] if domains and domains[0] not in finding.title else ""
    if len(domains) > 1:
        where = _("{n} domains: {names}").format(
            n=core.count(len(domains)), names=findings.join_names(domains)
        )
    since = min((day for f in found if (day := f.since or f.first_day)), default=None)
    about = [where, pages.amount(found)]
    about.append(_("since {day}").format(day=core.short_day(since)) if since else "")
    is_urgent = finding.severity in findings.URGENT
    records = [f"{r.name} {r.type} {r.value}" for r in finding.record] if len(found) == 1 else []
    return slack.News(
        finding.title,
        _("{severity}, {status}").format(
            severity=_(SEVERITY_WORDS[finding.severity]), status=_(STATUS_WORDS[item.status])
        ),
        " · ".join(filter(None, about)),
        finding.action if is_urgent else "",
        records if is_urgent else (),
    )
