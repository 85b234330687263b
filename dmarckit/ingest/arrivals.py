"""Batches of messages from a queue into the lake; whoever received them deletes them then.

A message that cannot be taken is noted in the table `dead_letters` and stays: the queue's own
rules bring it to its queue of dead letters in the end.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import pyarrow as pa

from dmarckit import core
from dmarckit.core import LakeError, StorageError, StoredObject, one_line
from dmarckit.ingest.commit import left_text
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.ingest.queue import NotAnEvent, QueueMessage, keys_within, read_event
from dmarckit.lake import DEAD_LETTERS, Lake, month_of

LONGEST = 300  # characters of a reason
LONGEST_PAUSE = 60.0  # seconds between tries while storage, lake or queue are out of reach

Value = TypeVar("Value")
log = logging.getLogger("dmarckit")


@dataclass
class BatchResult:
    """What became of the messages of a batch."""

    messages: int
    keys: dict[str, list[QueueMessage]] = field(default_factory=dict)
    """key of an object below the mails → the messages that name it"""
    outcomes: Counter[str] = field(default_factory=Counter)
    """outcome → mails that the ledger did not know"""
    dead: dict[str, str] = field(default_factory=dict)  # id of a message → why it cannot be taken
    elsewhere: int = 0  # objects in other places
    others: Counter[str] = field(default_factory=Counter)  # events of other kinds
    gone: int = 0  # objects that are not there any more


class QueueIngest:
    """Ingests what messages of a queue name; `stop` ends waits for what is out of reach.

    `hand_over` is given the key of each mail that is larger than this machine takes, and returns
    True when another one takes it.
    """

    def __init__(
        self,
        settings: core.Settings,
        lake: Lake,
        queue: str,
        *,
        stop: threading.Event,
        clock: Callable[[], datetime],
        once: bool,
        hand_over: Callable[[str], bool] = lambda key: False,
    ) -> None:
        mails = core.open_storage(settings.mail_url)
        if not isinstance(mails, core.S3Storage):
            raise core.SettingsError(f"mail is {settings.mail_url}; watch needs mails in s3://…")
        self._settings, self._lake, self._queue, self._mails = settings, lake, queue, mails
        self._stop, self._clock, self._once = stop, clock, once
        self._hand_over = hand_over

    def ingest(self, messages: Sequence[QueueMessage], run: str) -> BatchResult:
        """Ingest one batch; all its messages but those that are `dead` may be deleted then.

        What storage or lake fail is tried again until they are back. Raises their errors when
        `stop` is set meanwhile, and with `once` after a few tries.
        """
        started = time.monotonic()
        batch = self._read(messages)
        objects = self._find(batch)
        failed = self._ingest(batch, objects, run) if objects else {}
        for key, reason in failed.items():
            batch.dead |= {m.id: f"{one_line(key, 120)}: {reason}" for m in batch.keys[key]}
        if batch.dead:
            self._note_dead(batch.dead)
        core.log_step(
            "Arrivals are taken",
            messages=batch.messages,
            **batch.outcomes,
            known=len(objects) - len(failed) - batch.outcomes.total(),
            gone=batch.gone,
            elsewhere=batch.elsewhere,
            dead=len(batch.dead),
            seconds=round(time.monotonic() - started, 3),
        )
        return batch

    def retry(self, action: Callable[[], Value]) -> Value:
        """Return the action's result, however long storage, lake and queue are out of reach."""
        pauses: Iterable[float] = core.PAUSES
        if not self._once:
            pauses = itertools.chain(pauses, itertools.repeat(LONGEST_PAUSE))
        once_more = True  # the storage may have come back just before it was asked
        for pause in pauses:
            try:
                return action()
            except (LakeError, core.QueueError, StorageError) as error:
                if isinstance(error, StorageError) and self._mails_answer():
                    if not once_more:
                        raise
                    once_more = False
                    continue
                log.warning("trying again in %g s: %s", pause, error)
                if self._stop.wait(pause):
                    raise
        return action()

    def _read(self, messages: Sequence[QueueMessage]) -> BatchResult:
        batch = BatchResult(len(messages))
        for message in messages:
            try:
                event = read_event(message.body)
            except NotAnEvent as error:
                batch.dead[message.id] = str(error)
                continue
            keys, elsewhere = keys_within(event, self._mails.bucket, self._mails.prefix)
            for key in keys:
                batch.keys.setdefault(key, []).append(message)
            batch.elsewhere += len(elsewhere)
            batch.others.update(event.others)
            if elsewhere:
                first = f"s3://{elsewhere[0].bucket}/{elsewhere[0].key}"
                log.info("not below %s: %s", self._mails.url, one_line(first))
        for name, count in batch.others.items():
            log.info("no arrival: %s, %d times", name, count)
        return batch

    def _find(self, batch: BatchResult) -> list[StoredObject]:
        """Return the objects as they are now: events may be older, and come in any order."""
        with ThreadPoolExecutor(core.POOL) as pool:
            states = self.retry(lambda: list(pool.map(self._state, batch.keys)))
        found = []
        for key, state in zip(batch.keys, states, strict=True):
            if isinstance(state, StoredObject):
                found.append(state)
            elif state is None:
                batch.gone += 1
                log.info("gone before it was read: %s", one_line(key))
            else:
                batch.dead |= {m.id: state for m in batch.keys[key]}
        return found

    def _state(self, key: str, once_more: bool = True) -> StoredObject | str | None:
        """Return the object; None when there is none; else why it alone cannot be looked at."""
        try:
            return self._mails.head(key)
        except core.MissingObject:
            return None
        except StorageError as error:
            if not self._mails_answer():
                raise
            return self._state(key, once_more=False) if once_more else str(error)

    def _ingest(
        self, batch: BatchResult, objects: Sequence[StoredObject], run: str
    ) -> dict[str, str]:
        """Ingest them; return key → reason of those that are left or whose reading raises.

        The latter are found by halving.
        """
        try:
            result = self.retry(
                lambda: ingest_mails(self._settings, run=run, objects=objects, lake=self._lake)
            )
        except LakeError:
            raise
        except Exception as error:
            if isinstance(error, StorageError) and not self._mails_answer():
                raise
            if len(objects) > 1:
                half = len(objects) // 2
                first = self._ingest(batch, objects[:half], run)
                return first | self._ingest(batch, objects[half:], run)
            if not isinstance(error, core.DmarckitError):
                log.exception("a mail cannot be taken: %s", one_line(objects[0].key))
            return {objects[0].key: one_line(f"{type(error).__name__}: {error}")}
        batch.outcomes += result.outcomes
        return {o.key: left_text(o) for o in result.left if not self._hand_over(o.key)}

    def _note_dead(self, dead: Mapping[str, str]) -> None:
        """Note messages that cannot be taken in the lake, and in the log when they are new.

        A message that was noted this month keeps its row: none lives longer than 14 days.
        """
        now = self._clock()
        shared = {"queue": self._queue, "seen": now, "month": month_of(now)}
        rows = [{"message": m, "reason": one_line(r, LONGEST), **shared} for m, r in dead.items()]
        table = pa.Table.from_pylist(rows, schema=DEAD_LETTERS.schema)
        new = self.retry(lambda: self._lake.write.append_new("dead_letters", table))
        for message in sorted(new):
            log.warning("message %s stays in the queue: %s", message, dead[message])

    def _mails_answer(self) -> bool:
        """Return True if the storage can be read: then it is one object that cannot."""
        try:
            next(self._mails.list(), None)
        except StorageError:
            return False
        return True
