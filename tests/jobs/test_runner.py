"""The runner: which slot of a job is run when, and how it stops."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dmarckit.core.errors import JobTimeout, LakeError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.jobs import runner
from dmarckit.jobs.record import TRIES, Result, Run, record_run, runs_of_slot
from dmarckit.jobs.runner import PAUSES, Processes, Runner, run_forever
from dmarckit.jobs.schedule import Schedule
from dmarckit.jobs.timeout import end_reason, time_limit
from dmarckit.lake.lake import Lake

MORNING = datetime(2026, 11, 24, 7, tzinfo=UTC)
DAY = timedelta(days=1)


class Bench:
    """A runner of one job whose runs end as a test says, and a clock that a test moves."""

    def __init__(self, home: Path, cron: str = "0 7 * * *") -> None:
        self.settings: Settings = load_settings(home=str(home))
        self.lake = Lake(self.settings.lake_url)
        self.now = MORNING - timedelta(hours=1)
        self.schedule = Schedule(name="daily", cron=cron)
        self.results: list[Result | None] = []
        """of the next runs; None: it ends without a row (busy elsewhere); then all are ok"""
        self.ran: list[datetime] = []
        self.runner = self.restarted()

    def restarted(self) -> Runner:
        self.runner = Runner(self.settings, [self.schedule], self.launch, lambda: self.now)
        self.runner.begin()
        return self.runner

    def launch(self, schedule: Schedule, slot: datetime) -> None:
        self.ran.append(slot)
        result = self.results.pop(0) if self.results else "ok"
        if result:
            run = f"r{len(self.ran)}"
            record_run(self.lake, Run(run, schedule.name, slot, self.now, self.now, result))

    def until(self, end: datetime, step: timedelta = timedelta(minutes=1)) -> None:
        while self.now < end:
            self.now += step
            self.runner.attempt("daily")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "home")
    record_run(made.lake, Run("r0", "daily", MORNING - DAY, MORNING - DAY, MORNING - DAY, "ok"))
    return made


def test_each_slot_is_run_at_its_time_and_once(bench: Bench) -> None:
    bench.until(MORNING + 2 * DAY + timedelta(minutes=5), timedelta(minutes=5))
    assert bench.ran == [MORNING, MORNING + DAY, MORNING + 2 * DAY]


def test_after_a_long_sleep_only_the_newest_slot_is_run(bench: Bench) -> None:
    bench.now = MORNING + 5 * DAY + timedelta(hours=3)
    bench.until(bench.now + timedelta(minutes=5))
    assert bench.ran == [MORNING + 5 * DAY]


def test_a_restart_catches_up_the_slot_that_was_missed_and_no_other(bench: Bench) -> None:
    bench.now = MORNING + timedelta(hours=2)
    bench.restarted()
    bench.until(bench.now + timedelta(minutes=3))
    bench.restarted()
    bench.until(bench.now + timedelta(minutes=3))
    assert bench.ran == [MORNING]


@pytest.mark.parametrize(("cron", "runs"), [("0 7 * * *", 1), ("0 9 2 * *", 0)])
def test_a_job_that_has_never_run_starts_with_a_slot_of_the_last_day(
    tmp_path: Path, cron: str, runs: int
) -> None:
    bench = Bench(tmp_path / "home", cron)
    bench.until(bench.now + timedelta(minutes=3))
    assert len(bench.ran) == runs


def test_a_slot_that_failed_is_tried_again_with_pauses_and_then_left(bench: Bench) -> None:
    bench.now = MORNING - timedelta(minutes=1)
    bench.results = ["failed"] * 9
    times: list[datetime] = []
    plain = bench.launch
    bench.runner._launch = lambda *given: (times.append(bench.now), plain(*given))[1]
    bench.until(MORNING + timedelta(hours=5))
    assert [(t - MORNING) for t in times] == [timedelta(0), PAUSES[1], PAUSES[1] + PAUSES[2]]
    assert len(times) == TRIES


def test_a_slot_that_runs_elsewhere_is_looked_at_again(bench: Bench) -> None:
    bench.results = [None, None]  # busy there, and then its machine dies
    bench.until(MORNING + timedelta(minutes=10))
    assert bench.ran == [MORNING] * 3
    assert [run.result for run in runs_of_slot(bench.lake, "daily", MORNING)] == ["ok"]


def test_a_slot_that_another_machine_has_run_is_not_started(bench: Bench) -> None:
    record_run(bench.lake, Run("theirs", "daily", MORNING, MORNING, MORNING, "problems"))
    bench.until(MORNING + timedelta(minutes=10))
    assert bench.ran == []


def test_the_pause_of_a_slot_does_not_hold_up_the_next(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", "*/15 * * * *")
    bench.results = ["ok", "failed", "failed", "failed"]
    bench.until(MORNING + timedelta(minutes=16))
    assert bench.ran[-1] == MORNING + timedelta(minutes=15)


def test_a_job_never_overlaps_itself(bench: Bench) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow(schedule: Schedule, slot: datetime) -> None:
        inside.set()
        leave.wait(60)
        bench.launch(schedule, slot)

    bench.runner._launch = slow
    bench.now = MORNING
    first = threading.Thread(target=bench.runner.attempt, args=["daily"])
    first.start()
    assert inside.wait(60)
    bench.now += DAY
    bench.runner.attempt("daily")
    assert bench.ran == []
    leave.set()
    first.join()
    bench.runner.attempt("daily")
    assert bench.ran == [MORNING, MORNING + DAY]


def test_a_lake_that_cannot_be_read_is_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> list[Run]:
        raise LakeError("the bucket does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(runner, "runs_of_slot", fails)
        bench.until(MORNING + timedelta(minutes=5))
    assert bench.ran == []
    bench.until(MORNING + timedelta(minutes=9))
    assert bench.ran == [MORNING]


def script(folder: Path, body: str) -> Processes:
    """Processes whose program is a small script of the test."""
    file = folder / "program.py"
    file.write_text(f"import pathlib, signal, sys, time\n{body}\n")
    return Processes([sys.executable, str(file)])


def test_a_run_is_a_process_that_gets_job_and_slot(tmp_path: Path) -> None:
    processes = script(tmp_path, "pathlib.Path('said').write_text(' '.join(sys.argv[1:]))")
    processes.launch(Schedule(name="daily"), MORNING)
    assert Path("said").read_text() == "run daily --slot 2026-11-24T07:00:00+00:00"


def test_a_run_that_does_not_heed_its_timeout_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GRACE", -9.5)
    body = "pathlib.Path('at').touch(); time.sleep(600); pathlib.Path('ended').touch()"
    script(tmp_path, body).launch(Schedule(name="daily", timeout=10), MORNING)
    assert not Path("ended").exists()


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("pathlib.Path('at').touch(); time.sleep(0.3); pathlib.Path('ended').touch()", "ended"),
        (
            "def end(*_): pathlib.Path('told').touch(); sys.exit(1)\n"
            "signal.signal(signal.SIGTERM, end)\n"
            "pathlib.Path('at').touch(); time.sleep(60)",
            "told",
        ),
        (
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "pathlib.Path('at').touch(); time.sleep(60)",
            "at",
        ),
    ],
    ids=["ends in time", "is interrupted", "is killed"],
)
def test_when_the_runner_stops_a_running_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, left: str
) -> None:
    # long where the program is to end by itself: how fast it does is the machine's business
    monkeypatch.setattr(runner, "STOP", 60 if left == "ended" else 0.2)
    monkeypatch.setattr(runner, "KILL", 60 if left == "told" else 0.2)
    processes = script(tmp_path, body)
    thread = threading.Thread(target=processes.launch, args=[Schedule(name="daily"), MORNING])
    thread.start()
    wait_for(Path("at").exists)
    processes.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert Path(left).exists()
    processes.launch(Schedule(name="daily"), MORNING)  # nothing starts any more


def test_a_job_that_starts_while_the_runner_stops_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "STOP", 0.2)
    monkeypatch.setattr(runner, "KILL", 0.2)
    processes, popen = script(tmp_path, "time.sleep(600)"), subprocess.Popen
    stops = threading.Thread(target=processes.stop)

    def slow(*given: Any, **how: Any) -> Any:
        stops.start()
        time.sleep(0.5)  # a machine is busiest at the full hour
        return popen(*given, **how)

    monkeypatch.setattr(subprocess, "Popen", slow)
    thread = threading.Thread(target=processes.launch, args=[Schedule(name="daily"), MORNING])
    thread.start()
    thread.join(300)
    assert not thread.is_alive(), "it was left running"
    stops.join()


def test_it_attempts_each_job_at_once_and_stops_when_told(bench: Bench) -> None:
    bench.now = MORNING + timedelta(minutes=1)
    stop = threading.Event()
    thread = threading.Thread(target=run_forever, args=[bench.runner, Processes(), stop])
    thread.start()
    wait_for(lambda: bench.ran == [MORNING])
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_a_fault_in_one_attempt_is_not_the_last_of_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: object) -> list[Run]:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(runner, "runs_of_slot", faulty)
        bench.until(MORNING + timedelta(minutes=5))
    bench.until(MORNING + timedelta(minutes=9))
    assert bench.ran == [MORNING]


def test_the_next_attempt_is_at_the_next_slot_and_within_a_minute(bench: Bench) -> None:
    bench.now = MORNING - timedelta(seconds=20)
    assert bench.runner.pause("daily") == 20
    bench.now = MORNING
    assert bench.runner.pause("daily") == 60


def test_a_run_ends_itself_after_its_timeout() -> None:
    before = signal.getsignal(signal.SIGTERM)
    said = r"daily took longer than its timeout of 0\.1 s"
    waited = threading.Event()

    def waits() -> None:
        time.sleep(120)
        waited.set()

    with pytest.raises(JobTimeout, match=said), time_limit(0.1, "daily"):
        waits()
    assert not waited.is_set(), "what waits is ended too, not after its wait"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_that_is_terminated_leaves_like_an_exit() -> None:
    def waits() -> None:
        # started in here: sooner, on a busy machine, it would end the tests themselves
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
        time.sleep(20)

    with pytest.raises(SystemExit) as end, time_limit(60, "daily"):
        waits()
    assert end.value.code == 128 + signal.SIGTERM


def test_no_handler_of_errors_takes_the_end_of_a_run_for_its_own() -> None:
    def goes_on() -> None:
        with contextlib.suppress(Exception):  # as who asks DNS does
            time.sleep(20)
        raise AssertionError("it went on")

    with pytest.raises(JobTimeout), time_limit(0.1, "daily"):
        goes_on()
    assert end_reason() is None


@pytest.mark.slow
def test_schedules_start_runs_what_is_due_and_ends_on_sigterm(tmp_path: Path) -> None:
    Path("schedules").mkdir()
    for name in ("daily", "weekly", "monthly", "requirements"):
        Path(f"schedules/{name}.yaml").write_text("notebook: overview\n")  # by hand only
    (tmp_path / "home/mail").mkdir(parents=True)
    settings = load_settings(home=str(tmp_path / "home"))
    environment: dict[str, Any] = {
        **os.environ,
        "DMARCKIT_HOME": str(tmp_path / "home"),
        "DMARCKIT_HEALTH_PORT": "0",
    }
    command = [sys.executable, "-m", "dmarckit", "schedules", "start"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        lake = Lake(settings.lake_url)
        wait_for(lambda: not lake.sql("SELECT run FROM runs").empty, 120)  # two at a quarter hour
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "alerts: next at " in said
    assert "daily" not in said
    assert "Stopped" in said


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)
