"""`dmarckit schedules start`: every schedule at its slots, for months.

The runner asks, at each slot and once a minute, which slot of a job is the newest and whether
it is done; if not, it starts a run of it in a process of its own. So a slot that was missed,
failed, or died is caught up by the same rule, once. The lease and the table `runs` see to it
that of several runners one runs a slot.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from dmarckit.core import DmarckitError, Settings
from dmarckit.jobs.record import Clock, is_done, last_runs, runs_of_slot
from dmarckit.jobs.run import utc_now
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake import Lake

LOOK = timedelta(seconds=60)  # how often it is asked what is due, slots aside
PAUSES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
"""before a slot is tried again: no run of it yet (busy elsewhere), one that failed, two"""
FIRST = timedelta(days=1)  # a job that has never run starts with a slot at most this old
STOP = 20  # seconds that a running job gets to end when the runner is stopped
KILL = 15  # seconds that it gets after that to write that it was interrupted
GRACE = 90  # seconds beyond its timeout after which a run is killed from outside

log = logging.getLogger("dmarckit")


class Runner:
    """The schedules of an installation, and what is known of their newest slots.

    `launch` runs a slot to its end, whatever that is.
    """

    def __init__(
        self,
        settings: Settings,
        schedules: Sequence[Schedule],
        launch: Callable[[Schedule, datetime], None],
        clock: Clock = utc_now,
    ) -> None:
        self.schedules = {schedule.name: schedule for schedule in schedules if schedule.cron}
        self._settings = settings
        self._launch = launch
        self._clock = clock
        self._done: dict[str, datetime] = {}
        self._not_before: dict[str, tuple[datetime, datetime]] = {}  # job → slot, and when
        self._locks = {name: threading.Lock() for name in self.schedules}

    def begin(self) -> None:
        """Find out which jobs have never run: they do not start with an old slot."""
        now = self._clock()
        known = last_runs(Lake(self._settings.lake_url).location, now)
        for name, schedule in self.schedules.items():
            slot = schedule.newest_slot(now)
            if slot is not None and name not in known and now - slot > FIRST:
                self._done[name] = slot

    def due(self, name: str) -> datetime | None:
        """Return the newest slot of a job when it is not known to be done, else None."""
        now = self._clock()
        slot = self.schedules[name].newest_slot(now)
        if slot is None or slot <= self._done.get(name, slot - LOOK):
            return None
        held, until = self._not_before.get(name, (slot, now))
        return None if held == slot and now < until else slot

    def attempt(self, name: str) -> None:
        """Run the job's newest slot when it is due and this process does not run it already."""
        if not self._locks[name].acquire(blocking=False):
            return
        try:
            if slot := self.due(name):
                self._not_before[name] = slot, self._clock() + PAUSES[0]  # also when this fails
                lake = Lake(self._settings.lake_url)
                runs = runs_of_slot(lake, name, slot)
                if not is_done(runs):
                    self._launch(self.schedules[name], slot)
                    runs = runs_of_slot(lake, name, slot)
                if is_done(runs):
                    self._done[name] = slot
                else:
                    pause = PAUSES[min(len(runs), len(PAUSES) - 1)]
                    self._not_before[name] = slot, self._clock() + pause
        except DmarckitError as error:
            log.warning("%s: %s", name, error)
        except Exception:  # a fault in one attempt must not be the last of the job
            log.exception("%s: the attempt failed", name)
        finally:
            self._locks[name].release()

    def pause(self, name: str) -> float:
        """Return the seconds until the job's next slot, `LOOK` at most."""
        now = self._clock()
        slots = self.schedules[name].next_slots(now)
        return (min([*slots, now + LOOK]) - now).total_seconds()


class Processes:
    """Runs as processes of their own, so that each can be ended for certain."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "dmarckit")) -> None:
        self._command = command
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._starting = threading.Lock()  # what starts is known to `stop`, or does not start

    def launch(self, schedule: Schedule, slot: datetime) -> None:
        """Run a slot; it is killed when its own timeout did not end it."""
        with self._starting:
            if self._stopping.is_set():
                return
            process = subprocess.Popen(
                [*self._command, "run", schedule.name, "--slot", slot.isoformat()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # its own workers and kernels end with it
            )
            self._running[process.pid] = process
        try:
            status = process.wait(schedule.timeout + GRACE)
            log.info("%s, slot %s: ended with status %d", schedule.name, slot.isoformat(), status)
        except subprocess.TimeoutExpired:
            log.error("%s, slot %s: killed after its timeout", schedule.name, slot.isoformat())
        finally:
            _kill(process)
            process.wait()
            del self._running[process.pid]

    def stop(self) -> None:
        """Let what runs end; what does not in time is interrupted, and then killed."""
        with self._starting:
            self._stopping.set()
            running = list(self._running.values())
        if _ended(running, STOP):
            return
        for process in running:
            process.terminate()  # its own children are its own business
        if not _ended(running, KILL):
            for process in running:
                _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)


def _ended(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> bool:
    """Return True if all of them end within that time."""
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.05))
        except subprocess.TimeoutExpired:
            return False
    return True


def run_forever(runner: Runner, processes: Processes, stop: threading.Event) -> None:
    """Attempt each job at its slots and once a minute, in a thread a job, until `stop` is set."""

    def attempts(name: str) -> None:
        while not stop.is_set():
            runner.attempt(name)
            stop.wait(runner.pause(name))

    threads = [threading.Thread(target=attempts, args=[n], name=n) for n in runner.schedules]
    for thread in threads:
        thread.start()
    try:
        stop.wait()
    finally:
        stop.set()
        processes.stop()
        for thread in threads:
            thread.join()
