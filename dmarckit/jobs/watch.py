"""Arrivals in the queue → lake → Slack, within seconds: `dmarckit watch`.

Alerts follow each batch, when its messages are off the queue: what Slack does or does not
do keeps no message there. Alerts that a killed watcher left unsent, the next one sends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from dmarckit.core import (
    DmarckitError,
    LakeError,
    Settings,
    log_step,
    new_run,
    one_line,
    redacted,
    secrets_of,
)
from dmarckit.ingest import (
    BATCH_SIZE,
    BatchResult,
    IngestResult,
    Queue,
    QueueIngest,
    QueueMessage,
)
from dmarckit.jobs.notify import Notifier, check_slack
from dmarckit.jobs.run import publish_and_notify, utc_now
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake import Lake
from dmarckit.slack import failing_since

ALERT_PAUSE = 60.0  # seconds for which alerts wait while full batches come, or after trouble
COMPACTED_EVERY = 20  # batches; each leaves a small file in some tables

log = logging.getLogger("dmarckit")


@dataclass
class WatchTotals:
    """Counts of what a watcher has done."""

    messages: int = 0  # messages received; one that came twice counts twice
    outcomes: Counter[str] = field(default_factory=Counter)  # outcome → mails
    dead: int = 0  # messages that could not be taken and stay in the queue
    troubles: int = 0  # times that sending to Slack failed or left something waiting


class Arrivals:
    """Takes messages about mails that have come, one batch after the other, and sends alerts.

    `queue` is the name of where they come from; `hand_over` as `QueueIngest` has it.
    """

    def __init__(
        self,
        settings: Settings,
        schedule: Schedule,
        queue: str,
        *,
        stop: threading.Event,
        once: bool = False,
        clock: Callable[[], datetime] = utc_now,
        hand_over: Callable[[str], bool] = lambda key: False,
    ) -> None:
        check_slack(settings, schedule)
        self._settings = settings
        # alerts that the watcher sends say nothing about how the job `alerts` fares
        self._schedule = schedule.model_copy(update={"name": "watch", "notebook": None})
        self._clock = clock
        self._lake = Lake(settings.lake_url)
        self._ingest = QueueIngest(
            settings, self._lake, queue, stop=stop, clock=clock, once=once, hand_over=hand_over
        )
        self.batches = 0  # since files were merged
        self._owes = True  # what an earlier process left unsent
        self._failing: datetime | None = None  # since when alerts fail
        self._alerted_at = self._not_before = 0.0
        self.watched = WatchTotals()

    def take(self, messages: Sequence[QueueMessage], run: str) -> BatchResult:
        """Ingest a batch; messages that are not `dead` may be deleted then.

        Raises LakeError and StorageError as `QueueIngest.ingest` does.
        """
        batch = self._ingest.ingest(messages, run)
        self.watched.messages += batch.messages
        self.watched.outcomes += batch.outcomes
        self.watched.dead += len(batch.dead)
        self._owes |= bool(batch.keys)
        self.batches += 1
        return batch

    def alert(self, run: str) -> None:
        """Send alerts; a failure is logged and tried again later: the mails are off the queue.

        Slack is told of one, as of any job's, once it has failed twice in a row.
        """
        trouble = True
        ingested, now = IngestResult(run), self._clock()
        try:
            result = publish_and_notify(self._settings, self._schedule, ingested, now=now)
        except Exception as error:  # a fault in one alert must not end the reading of mails
            known = isinstance(error, DmarckitError)
            log.error("not posted to Slack: %s", error, exc_info=not known)
            if self._failing:
                reason = str(error) if known else f"{type(error).__name__}: {error}"
                self._tell(run, reason, self._failing, now)
            self._failing = self._failing or now
        else:
            self._failing = None
            trouble = result.delivery.waiting > 0
            for warning in result.warnings:
                log.warning("%s", warning)
            if sent := result.delivery.sent:
                log_step("Slack is told", sent=sent, waiting=result.delivery.waiting)
        self._owes = trouble
        self.watched.troubles += trouble
        self._alerted_at = time.monotonic()
        self._not_before = self._alerted_at + ALERT_PAUSE if trouble else 0.0

    def _tell(self, run: str, reason: str, since: datetime, now: datetime) -> None:
        text = redacted(one_line(reason, 600), secrets_of(self._settings))
        try:
            since = failing_since(self._lake, self._schedule.name) or since
        except DmarckitError as error:
            log.warning("since when alerts fail is not known: %s", error)
        try:
            notifier = Notifier(self._settings, self._schedule, run=run, now=now)
            warnings = notifier.notify_failure(text, since=since).warnings
        except DmarckitError as error:
            warnings = [str(error)]
        for warning in warnings:
            log.warning("%s", warning)

    def compact(self) -> None:
        """Merge small files; where that fails they stay as they are."""
        self.batches = 0
        try:
            self._lake.write.compact()
        except LakeError as error:
            log.warning("small files stay as they are: %s", error)


class Watcher(Arrivals):
    """Takes batches from a queue, and deletes their messages when they are in the lake.

    `stop` ends it after the batch in work. `begin` starts a run and gives its id.
    """

    def __init__(
        self,
        settings: Settings,
        schedule: Schedule,
        queue: Queue,
        *,
        stop: threading.Event,
        once: bool = False,
        begin: Callable[[], str] = new_run,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(settings, schedule, queue.name, stop=stop, once=once, clock=clock)
        self._queue, self._stop, self._once, self._begin = queue, stop, once, begin

    def run(self) -> WatchTotals:
        """Take batches until stopped, or with `once` until the queue is empty.

        Storage, lake and queue may go out of reach: a batch is held until they are back. An
        outage is raised when stopped meanwhile, or with `once` after a few tries.
        """
        self._queue.read_rules()
        if not self._queue.has_dead_letters:
            text = (
                "the queue %s has no queue of dead letters: what cannot be taken comes again "
                "until it expires; give it a redrive policy"
            )
            log.warning(text, self._queue.name)
        self.alert(self._begin())
        while not self._stop.is_set():
            messages = self._ingest.retry(self._queue.receive_batch)
            run = self._begin() if messages else ""
            if messages:
                with self._queue.keep_invisible(messages):
                    batch = self.take(messages, run)
                    done = [message for message in messages if message.id not in batch.dead]
                    self._ingest.retry(partial(self._queue.delete, done))
            elif self._once:
                break
            now = time.monotonic()
            # one digest rather than ten
            waits = len(messages) >= BATCH_SIZE and now - self._alerted_at < ALERT_PAUSE
            if self._owes and not waits and now >= self._not_before:
                self.alert(run or self._begin())
            if self.batches >= COMPACTED_EVERY:
                self.compact()
        if self._owes:
            self.alert(self._begin())
        self.compact()
        return self.watched
