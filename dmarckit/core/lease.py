"""One run of a job at a time, on any number of machines: a lease below the home.

Whoever stores the next ``leases/<job>/<number>.json`` (`put_new` succeeds for one only) holds the
job, moves its `until` forward, and marks the object as released at its end. Numbers are never
used twice: a holder that slept too long finds a higher one and knows that it lost the job.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from dmarckit.core.errors import JobBusy, LeaseLost, MissingObject, StorageError, one_line
from dmarckit.core.storage import Storage

LENGTH = timedelta(minutes=3)  # how far `until` is ahead at each renewal
RENEWAL = timedelta(seconds=30)  # a few storage errors in a row lose no lease
SKEW = timedelta(minutes=2)  # clocks of two machines may differ by this much
ABSURD = timedelta(days=1)  # no clock of a running machine is wrong by as much
FOLDER = "leases"

log = logging.getLogger("dmarckit")


@dataclass(frozen=True)
class DeadRun:
    """What the record of a dead run needs."""

    run: str
    slot: AwareDatetime | None
    since: AwareDatetime
    host: str


@dataclass(frozen=True)
class Holder:
    """Who runs a job, and until when it is taken to be alive (times in UTC)."""

    job: str
    run: str
    slot: datetime | None
    since: AwareDatetime
    until: AwareDatetime
    host: str
    machine: str | None
    """boot and process namespace, within which `pid` means one process; None: not known"""
    pid: int
    released: bool = False
    dead: tuple[DeadRun, ...] = ()  # runs of holders before it that died, until that is recorded


_HOLDER = TypeAdapter(Holder)


def new_holder(job: str, run: str, slot: datetime | None, now: datetime) -> Holder:
    """Return this process as the holder of a job from now on."""
    return Holder(
        job, run, slot, now, now + LENGTH, socket.gethostname(), machine_id(), os.getpid()
    )


class Lease:
    """A lease that this process has taken."""

    def __init__(self, storage: Storage, number: int, holder: Holder) -> None:
        self._storage = storage
        self._number = number
        self._lock = threading.Lock()  # the heartbeat and the job renew it
        self._renewed = holder.since
        self.holder = holder

    def renew(self, now: datetime) -> None:
        """Move `until` forward, unless that was done a moment ago.

        Raises LeaseLost when another has taken the job, or when `until` has passed and
        the storage still cannot be reached.
        """
        with self._lock:
            if now - self._renewed < RENEWAL:
                return
            try:
                highest = max(_numbers(self._storage, self.holder.job), default=0)
                if highest > self._number:  # none: somebody has emptied the folder
                    raise LeaseLost(f"{self.holder.job} was taken over: run {self.holder.run} ends")
                self._write(replace(self.holder, until=now + LENGTH))
            except StorageError as error:
                if now > self.holder.until:
                    raise LeaseLost(f"lease of {self.holder.job} not renewed: {error}") from error
                log.warning("lease of %s not renewed yet: %s", self.holder.job, error)
            else:
                self._renewed = now

    def forget_dead(self) -> None:
        """Take the holders that died from the lease: they are recorded elsewhere."""
        with self._lock:
            self._write(replace(self.holder, dead=()))

    def release(self) -> None:
        """Set the job free; where that cannot be stored, it is free when `until` has passed."""
        with self._lock:
            try:
                self._write(replace(self.holder, released=True))
            except StorageError as error:
                log.warning("lease of %s not released: %s", self.holder.job, error)

    def _write(self, holder: Holder) -> None:
        key = _key(holder.job, self._number)
        content = _HOLDER.dump_json(holder, indent=1)
        self._storage.put(key, content, content_type="application/json")
        self.holder = holder


def take_lease(storage: Storage, holder: Holder) -> Lease:
    """Take a job that nobody holds, or whose holder is dead (then `holder.dead` names it).

    Raises JobBusy when another holds it, StorageError when the storage cannot be reached.
    """
    job, now = holder.job, holder.since
    numbers = _numbers(storage, job)
    number = max(numbers, default=0)
    last = read(storage, job, number)
    if last is not None and not last.released:
        # what the same run in the same process could not release is its own
        same = all(getattr(last, n) == getattr(holder, n) for n in ("run", "machine", "pid"))
        ended = (
            last.machine is not None and last.machine == machine_id() and not process_runs(last.pid)
        )
        if not (same or ended or now - SKEW > _honest_until(last, numbers[number], now)):
            raise JobBusy(_held(last, job))
        died = DeadRun(last.run, last.slot, last.since, last.host)
        holder = replace(holder, dead=(*last.dead, died))
    content = _HOLDER.dump_json(holder, indent=1)
    if not storage.put_new(_key(job, number + 1), content, content_type="application/json"):
        winner = read(storage, job, number + 1)
        # a request that is sent again after a lost answer finds what it has stored itself
        if winner is None or winner.run != holder.run:
            raise JobBusy(_held(winner, job))
    # who slept since `numbers` may have got a number that is over, and was taken away again
    if (newest := max(_numbers(storage, job), default=0)) > number + 1:
        raise JobBusy(_held(read(storage, job, newest), job))
    for old in numbers:
        with contextlib.suppress(StorageError):
            storage.delete(_key(job, old))
    return Lease(storage, number + 1, holder)


def _honest_until(holder: Holder, written: datetime, now: datetime) -> datetime:
    """Return until when a lease holds that was `written` then.

    Where its own time is by no clock near ours, that is `LENGTH` after it was written; where it
    is by none at all, after it was taken.
    """
    ahead = holder.until - now
    if ahead <= LENGTH + SKEW:
        return holder.until
    absurd = ahead > ABSURD or written > now + SKEW
    return (min(holder.since, written) if absurd else written) + LENGTH


@contextlib.contextmanager
def heartbeat(
    lease: Lease, clock: Callable[[], datetime], lost: Callable[[LeaseLost], None]
) -> Iterator[None]:
    """Renew the lease from a thread while the block runs; `lost` is called when that fails."""

    def renew() -> bool:
        try:
            lease.renew(clock())
            return True
        except LeaseLost as error:
            lost(error)
            return False

    with repeated(renew, RENEWAL.total_seconds(), "lease"):
        yield


@contextlib.contextmanager
def repeated(action: Callable[[], bool], seconds: float, name: str) -> Iterator[None]:
    """Call the action every so many seconds from a thread, while it returns True in the block."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(seconds) and action():
            pass

    thread = threading.Thread(target=beat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _held(holder: Holder | None, job: str) -> str:
    if holder is None:
        return f"{job} was just started by another"
    return (
        f"{holder.job} runs since {holder.since:%Y-%m-%d %H:%M:%S} UTC on {one_line(holder.host)} "
        f"(process {holder.pid}, run {one_line(holder.run)}); wait for its end"
    )


def _numbers(storage: Storage, job: str) -> dict[int, datetime]:
    """Return the numbers of a job's leases → when each was written."""
    prefix = f"{FOLDER}/{job}/"
    try:
        found = list(storage.list(prefix))
    except StorageError:
        # a home that is new has no folder to list; other trouble shows itself again here
        storage.put_new(f"{FOLDER}/about.txt", b"who runs which job\n", content_type="text/plain")
        found = list(storage.list(prefix))
    names = {s.key.removeprefix(prefix).removesuffix(".json"): s.modified for s in found}
    return {int(name): when for name, when in names.items() if re.fullmatch("[0-9]{1,18}", name)}


def read(storage: Storage, job: str, number: int) -> Holder | None:
    """Return the lease of that number; None when it is not there or cannot be understood."""
    try:
        return _HOLDER.validate_json(storage.get(_key(job, number)))
    except (MissingObject, ValidationError):
        return None


def _key(job: str, number: int) -> str:
    return f"{FOLDER}/{job}/{number:09d}.json"


def machine_id() -> str | None:
    """Return what tells two boots apart, and two containers on one boot; None off Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def process_runs(pid: int) -> bool:
    """Return True if this machine runs a process of that id, be it another user's."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0
