"""Is the work being done? ``/health`` for a watchdog, ``/metrics`` for Prometheus.

`schedules start` serves them. Both read the lake, not the memory of this process, so that
a restart forgets nothing. The answer is kept for some seconds: whoever asks more often
costs nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dmarckit.core.errors import DmarckitError, SettingsError
from dmarckit.core.logs import clean
from dmarckit.core.redact import secrets_of
from dmarckit.core.settings import Settings
from dmarckit.jobs.health_server import Answer, HealthServer
from dmarckit.jobs.metrics import SUCCESSES, Facts, LastRun, exposition, read_facts
from dmarckit.jobs.schedules import Schedule
from dmarckit.lake.lake import open_lake

GRACE = timedelta(minutes=5)
"""beyond the timeout of a job, before its run counts as missing"""
FRESH = timedelta(seconds=15)
"""how long an answer of the lake is used again"""
PATIENCE = 20.0
"""seconds that a request waits for the lake"""
PROMETHEUS = "text/plain; version=1.0.0; charset=utf-8"

log = logging.getLogger(__name__)
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class State:
    """What the runner has taken on."""

    schedules: Sequence[Schedule]
    started: datetime
    """when the runner started; slots before that are not missed by a job that is new"""


@dataclass(frozen=True, slots=True)
class Job:
    """How a job stands."""

    name: str
    last: LastRun | None
    overdue: bool
    """the newest slot passed longer ago than timeout and grace, and nothing ran for it"""

    @property
    def failing(self) -> bool:
        """Its run is missing, or the newest one did not do its work."""
        return self.overdue or (self.last is not None and self.last.result not in SUCCESSES)


def judge(state: State, facts: Facts, now: datetime) -> list[Job]:
    """How each scheduled job stands at a moment; jobs without cron are never overdue."""
    return [
        Job(s.name, facts.last.get(s.name), _overdue(s, facts.last.get(s.name), state, now))
        for s in state.schedules
    ]


def _overdue(schedule: Schedule, last: LastRun | None, state: State, now: datetime) -> bool:
    # the newest slot may be a moment old; the one that should be done by now counts
    slot = schedule.newest_slot(now - timedelta(seconds=schedule.timeout) - GRACE)
    if slot is None:
        return False
    if last is None:
        return slot >= state.started
    return max(last.started, last.slot or last.started) < slot


def report(jobs: Sequence[Job], now: datetime) -> dict[str, Any]:
    """What ``/health`` says: `status`, and of each job its last result and how old it is."""
    return {
        "status": "failing" if any(job.failing for job in jobs) else "ok",
        "time": now.isoformat(timespec="seconds"),
        "jobs": {
            job.name: {
                "result": job.last.result if job.last else None,
                "ended": _time(job.last.ended if job.last else None),
                "last_success": _time(success := job.last.success if job.last else None),
                "age_seconds": round((now - success).total_seconds()) if success else None,
                "overdue": job.overdue,
            }
            for job in jobs
        },
    }


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else None


@contextlib.contextmanager
def serve(settings: Settings, state: State, clock: Clock | None = None) -> Iterator[str | None]:
    """The server at `health_host`:`health_port` while the block runs; its address.

    Port 0 means off: nothing listens, and the address is None. Raises SettingsError when
    the address cannot be used.
    """
    if not settings.health_port:
        yield None
        return
    answers = _Answers(settings, state, clock or (lambda: datetime.now(UTC)))
    host = f"[{settings.health_host}]" if ":" in settings.health_host else settings.health_host
    place = f"{host}:{settings.health_port}"
    try:
        server = HealthServer((settings.health_host, settings.health_port), answers.answer)
    except OSError as error:
        raise SettingsError(
            f"cannot serve /health at {place}: {error.strerror}; set health_port to a free port "
            "(0: off), and health_host to an address of this machine"
        ) from error
    with server.running():
        yield f"http://{place}"


class _Answers:
    """What is said to which path. One thread at a time asks the lake; others wait for it."""

    def __init__(self, settings: Settings, state: State, clock: Clock) -> None:
        self.settings = settings
        self.state = state
        self.clock = clock
        self._turn = threading.Lock()
        self._read: datetime | None = None
        self._facts: Facts | None = None
        self._problem = "the lake has not answered yet"

    def answer(self, path: str) -> Answer:
        """The answer to GET `path`."""
        if path == "/health":
            return self._health()
        if path == "/metrics":
            facts = self._current()
            jobs = judge(self.state, facts, self.clock()) if facts else []
            return Answer(200, PROMETHEUS, exposition(facts, {j.name: j.overdue for j in jobs}))
        return Answer(404, "text/plain; charset=utf-8", b"there are /health and /metrics\n")

    def _health(self) -> Answer:
        facts, now = self._current(), self.clock()
        if facts is None:
            said: dict[str, Any] = {"status": "failing", "error": self._problem}
        else:
            said = report(judge(self.state, facts, now), now)
        status = 200 if said["status"] == "ok" else 503
        return Answer(status, "application/json", json.dumps(said, indent=1).encode() + b"\n")

    def _current(self) -> Facts | None:
        """The facts, not older than `FRESH`; None: the lake cannot be read, or not in time."""
        if not self._turn.acquire(timeout=PATIENCE):
            self._problem = f"the lake did not answer within {PATIENCE:.0f} s"
            return None
        try:
            if self._read is None or self.clock() - self._read >= FRESH:
                self._facts = self._asked()
                self._read = self.clock()
            return self._facts
        finally:
            self._turn.release()

    def _asked(self) -> Facts | None:
        try:
            return read_facts(open_lake(self.settings))
        except DmarckitError as error:
            self._problem = clean(str(error), secrets_of(self.settings))
            log.warning("cannot read the lake for /health: %s", error)
        except Exception:
            self._problem = "the lake could not be read; the log says why"
            log.exception("cannot read the lake for /health")
        return None
