"""The lease of a job: one holder, taken over when dead, lost by who slept too long."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dmarckit.core import lease as leases
from dmarckit.core.errors import JobBusy, LeaseLost, StorageError
from dmarckit.core.lease import (
    LENGTH,
    RENEWAL,
    SKEW,
    DeadRun,
    Holder,
    Lease,
    heartbeat,
    new_holder,
    take_lease,
)
from dmarckit.core.storage import FolderStorage, Storage, open_storage

NOW = datetime(2026, 11, 24, 7, tzinfo=UTC)
DEAD = LENGTH + SKEW + timedelta(seconds=1)


def holder(run: str, now: datetime = NOW, **other: Any) -> Holder:
    """A holder on another machine, where its process cannot be looked at."""
    made = new_holder("daily", run, NOW, now)
    return replace(made, **{"machine": "another", "host": "host-a", **other})


def current_holder(storage: Storage, job: str) -> Holder | None:
    numbers = [int(Path(stored.key).stem) for stored in storage.list(f"leases/{job}/")]
    return leases.read(storage, job, max(numbers))


def test_one_takes_the_job_and_others_are_told_who(storage: Storage) -> None:
    take_lease(storage, holder("r1"))
    with pytest.raises(
        JobBusy, match=r"daily runs since 2026-11-24 07:00:00 UTC on host-a .*run r1"
    ):
        take_lease(storage, holder("r2", NOW + timedelta(minutes=1)))


def test_jobs_do_not_wait_for_each_other(storage: Storage) -> None:
    take_lease(storage, holder("r1"))
    take_lease(storage, holder("r2", job="weekly"))


def test_who_sleeps_while_others_take_the_job_does_not_get_an_old_number(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_lease(storage, holder("r1")).release()
    listed = leases._numbers

    def sleeps(place: Storage, job: str) -> list[int]:
        found = listed(place, job)
        monkeypatch.setattr(leases, "_numbers", listed)
        take_lease(storage, holder("r2")).release()
        take_lease(storage, holder("r3"))
        return found

    monkeypatch.setattr(leases, "_numbers", sleeps)
    with pytest.raises(JobBusy, match="run r3"):
        take_lease(storage, holder("late"))
    kept = current_holder(storage, "daily")
    assert kept is not None
    assert kept.run == "r3"


def test_a_lease_whose_folder_was_emptied_is_written_again(storage: Storage) -> None:
    lease = take_lease(storage, holder("r1"))
    for item in list(storage.list("leases/")):
        storage.delete(item.key)
    lease.renew(NOW + RENEWAL)
    with pytest.raises(JobBusy):
        take_lease(storage, holder("r2", NOW + RENEWAL))


def test_a_released_job_is_free_at_once(storage: Storage) -> None:
    take_lease(storage, holder("r1")).release()
    again = take_lease(storage, holder("r2"))
    assert again.holder.dead == ()
    assert [item.key for item in storage.list("leases/daily/")] == ["leases/daily/000000002.json"]


def test_of_many_at_once_exactly_one_takes_it(storage: Storage) -> None:
    def attempt(number: int) -> Lease | None:
        with contextlib.suppress(JobBusy):
            return take_lease(storage, holder(f"r{number}"))
        return None

    with ThreadPoolExecutor(8) as pool:
        taken = [lease for lease in pool.map(attempt, range(8)) if lease]
    assert len(taken) == 1


def test_a_dead_one_is_taken_over_by_exactly_one_and_named(storage: Storage) -> None:
    take_lease(storage, holder("r1"))
    later = NOW + DEAD

    def attempt(number: int) -> Lease | None:
        with contextlib.suppress(JobBusy):
            return take_lease(storage, holder(f"t{number}", later))
        return None

    with ThreadPoolExecutor(8) as pool:
        (lease,) = [lease for lease in pool.map(attempt, range(8)) if lease]
    (dead,) = lease.holder.dead
    assert dead == DeadRun("r1", NOW, NOW, "host-a")


def test_the_dead_are_handed_on_until_somebody_has_recorded_them(storage: Storage) -> None:
    take_lease(storage, holder("r1"))
    take_lease(storage, holder("r2", NOW + DEAD))  # dies before it could
    lease = take_lease(storage, holder("r3", NOW + 2 * DEAD))
    assert [dead.run for dead in lease.holder.dead] == ["r1", "r2"]
    lease.forget_dead()
    assert take_lease(storage, holder("r4", NOW + 3 * DEAD)).holder.dead[0].run == "r3"


def test_who_renews_lives(storage: Storage) -> None:
    lease = take_lease(storage, holder("r1"))
    for minutes in range(1, 20):
        lease.renew(NOW + timedelta(minutes=minutes))
    with pytest.raises(JobBusy):
        take_lease(storage, holder("r2", NOW + timedelta(minutes=20)))


def test_clocks_may_differ_by_a_minute(storage: Storage) -> None:
    take_lease(storage, holder("r1"))
    fast = NOW + LENGTH + timedelta(minutes=1)
    with pytest.raises(JobBusy):
        take_lease(storage, holder("r2", fast))


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=365), None])
def test_a_lease_is_held_no_longer_than_an_honest_one(
    tmp_path: Path, ahead: timedelta | None
) -> None:
    """Whatever time stands in it: a clock that was wrong, or no clock at all."""
    storage, now = FolderStorage(tmp_path), datetime.now(UTC)
    until = datetime.max.replace(tzinfo=UTC) if ahead is None else now + ahead
    take_lease(storage, holder("r1", now, until=until))
    with pytest.raises(JobBusy):
        take_lease(storage, holder("r2", now + timedelta(minutes=2)))
    assert take_lease(storage, holder("r2", now + DEAD)).holder.dead[0].run == "r1"


def test_a_clock_an_hour_ahead_is_renewed_as_any_other(tmp_path: Path) -> None:
    storage, now = FolderStorage(tmp_path), datetime.now(UTC)
    fast = now + timedelta(hours=1)
    lease = take_lease(storage, holder("r1", fast))
    os.utime(tmp_path / "leases/daily/000000001.json", (now.timestamp() - 3600,) * 2)
    lease.renew(fast + timedelta(minutes=1))  # its file is written anew
    with pytest.raises(JobBusy):
        take_lease(storage, holder("r2", now + timedelta(minutes=2)))


@pytest.mark.parametrize("until", ["2099-01-01T00:00:00", "never", 1e300])
def test_a_lease_whose_times_are_none_holds_nothing(tmp_path: Path, until: object) -> None:
    storage = FolderStorage(tmp_path)
    take_lease(storage, holder("r1"))
    file = tmp_path / "leases/daily/000000001.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"until": until}))
    assert take_lease(storage, holder("r2")).holder.run == "r2"


def test_who_slept_too_long_finds_that_it_has_lost(storage: Storage) -> None:
    sleeper = take_lease(storage, holder("r1"))
    take_lease(storage, holder("r2", NOW + DEAD)).release()
    with pytest.raises(LeaseLost, match="daily was taken over: run r1 ends"):
        sleeper.renew(NOW + DEAD)
    last = current_holder(storage, "daily")
    assert last is not None
    assert last.run == "r2"


def test_storage_errors_lose_no_lease_until_its_time_has_passed(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FolderStorage(tmp_path)
    lease = take_lease(storage, holder("r1"))

    def fails(*_: object, **__: object) -> None:
        raise StorageError("the network is away")

    monkeypatch.setattr(storage, "put", fails)
    lease.renew(NOW + RENEWAL)
    with pytest.raises(LeaseLost, match="the network is away"):
        lease.renew(NOW + LENGTH + RENEWAL)


def test_a_run_takes_again_what_it_could_not_release(storage: Storage) -> None:
    take_lease(storage, holder("r1"))
    take_lease(storage, holder("r1"))
    with pytest.raises(JobBusy):
        take_lease(storage, holder("r1", pid=1))


def test_the_heartbeat_renews_and_says_when_the_job_is_lost(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWAL", timedelta(seconds=0.01))
    storage = FolderStorage(tmp_path)
    lease = take_lease(storage, holder("r1"))
    lost, times = threading.Event(), iter(NOW + timedelta(minutes=i) for i in range(1_000_000))
    with heartbeat(lease, lambda: next(times), lambda error: lost.set()):
        deadline = time.monotonic() + 60
        while lease.holder.until < NOW + timedelta(minutes=10):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        storage.put("leases/daily/000000002.json", b"{}", content_type="application/json")
        assert lost.wait(60)


def test_a_process_that_has_ended_on_this_machine_is_dead_at_once(storage: Storage) -> None:
    if leases.machine_id() is None:
        pytest.skip("this system does not say which boot it is")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = leases.machine_id()
    take_lease(storage, holder("r1", machine=mine, pid=ended.pid))
    assert take_lease(storage, holder("r2", machine=mine)).holder.dead[0].run == "r1"


def _hold_and_wait(home: str, ready: Any) -> None:
    take_lease(open_storage(home), new_holder("daily", "killed", NOW, datetime.now(UTC)))
    ready.set()
    signal.pause()


@pytest.mark.s3
def test_kill_9_leaves_a_lease_that_one_of_two_takes_over(home: str) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold_and_wait, args=(home, ready))
    process.start()
    assert ready.wait(60)
    storage = open_storage(home)
    with pytest.raises(JobBusy):
        take_lease(storage, new_holder("daily", "mine", NOW, datetime.now(UTC)))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lease = take_lease(storage, new_holder("daily", "mine", NOW, datetime.now(UTC)))
    assert [dead.run for dead in lease.holder.dead] == ["killed"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [t for t in threading.enumerate() if t.name == "lease"]
