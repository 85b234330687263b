"""Months of a runner in seconds: a clock that a test moves, faults at every storage operation.

Real are runner (or what a function does at a call), leases, ingest, lake, analysis, alerts, outbox
and the Slack client; made up are the clock, what is drawn (pages, their index, charts) and the
Slack server. A run is killed as kill -9 does it: from then on its process can do nothing any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_notebook

from dmarckit.core.errors import DmarckitError, JobBusy, LakeError, StorageError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import FolderStorage
from dmarckit.ingest import commit
from dmarckit.jobs import serverless
from dmarckit.jobs.run import run_job
from dmarckit.jobs.runner import Runner
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake.lake import Lake
from dmarckit.lake.location import Location
from dmarckit.lake.write import Writer
from dmarckit.pages import build
from dmarckit.pages.build import BuiltPage
from dmarckit.pages.links import page_key
from dmarckit.reports.model import Policy
from dmarckit.slack import outbox
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer
from tests.support.telling import leave_out_charts

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
TICKS = (0, 1, 2, 6, 7, 8, 13, 14, 30, 36, 45)  # minutes after a slot at which runners look


class Killed(BaseException):
    """The process is gone: no handler of the program runs after this."""


@dataclass
class Faults:
    """What goes wrong at operations of storage, lake and Slack."""

    chance: random.Random
    errors: float = 0.0
    """share of operations that fail"""
    kill_in: int | None = None
    """operations until the process is killed; None: it is not"""
    kill_posting: float = 0.0
    """share of messages after which the process is killed"""
    kills_left: int = 0
    """a slot that was killed three times is given up; here that is not meant to happen"""
    dead: bool = False
    quiet: bool = True
    """nothing goes wrong: a test sets something up or looks"""
    posting: bool = False
    """a message went out, and nothing was written since"""
    kills: int = 0
    kills_after_posting: int = 0
    failed: int = 0
    operations: int = 0

    def around(self, action: Callable[[], Any], error: type[DmarckitError] | None) -> Any:
        """The operation, or what happens to it: before it, or when it is done."""
        if self.quiet:
            return action()
        if self.dead:
            raise Killed
        self.operations += 1
        late = self.chance.random() < 0.5
        kill = self.kill_in == 0
        if self.kill_in is not None:
            self.kill_in = None if kill else self.kill_in - 1
        fail = error is not None and self.errors > 0 and self.chance.random() < self.errors
        if not late:
            self._hit(kill, fail, error)
        result = action()
        if error is None:
            self.posting = True
            kill = late = kill or self.chance.random() < self.kill_posting
        if late:
            self._hit(kill, fail, error)
        if error is not None:
            self.posting = False
        return result

    def _hit(self, kill: bool, fail: bool, error: type[DmarckitError] | None) -> None:
        if kill and self.kills_left > 0:
            self.dead = True
            self.kills_left -= 1
            self.kills += 1
            self.kills_after_posting += self.posting
            raise Killed
        if fail and error is not None:
            self.failed += 1
            raise error("S3 answers 503 Slow Down")


def install(monkeypatch: pytest.MonkeyPatch, faults: Faults) -> None:
    """Every operation on storage, tables and Slack passes by the faults."""

    def wrap(owner: Any, name: str, error: type[DmarckitError] | None) -> None:
        plain = getattr(owner, name)

        def around(*given: Any, **named: Any) -> Any:
            return faults.around(lambda: plain(*given, **named), error)

        monkeypatch.setattr(owner, name, around)

    for name in ("get", "put", "put_new", "delete"):
        wrap(FolderStorage, name, StorageError)
    for name in ("append_new", "compact"):
        wrap(Writer, name, LakeError)
    wrap(Lake, "snapshot", LakeError)
    wrap(outbox, "post_message", None)
    monkeypatch.setattr(commit, "AGAIN", (0.0, 0.0))  # seconds by a clock that nobody moves
    monkeypatch.setattr(build, "build_page", fake_page)
    monkeypatch.setattr(Location, "open", opened_once(Location.open))
    monkeypatch.setattr("dmarckit.pages.refresh_index", lambda _: None)
    leave_out_charts(monkeypatch)


def opened_once(plain: Callable[[Location, str], Any]) -> Callable[[Location, str], Any]:
    """Tables are opened once and then brought up to date, which is several times as fast."""
    known: dict[str, Any] = {}

    def open_(location: Location, name: str) -> Any:
        uri = location.table_uri(name)
        if known.get(uri) is None:
            known[uri] = plain(location, name)
        else:
            known[uri].update_incremental()
        return known[uri]

    return open_


@dataclass
class World:
    """An installation with its mails, its clock and its runners."""

    home: Path
    slack: SlackServer
    schedules: list[Schedule]
    faults: Faults
    runners: int = 1
    error_rate: float = 0.03
    """share of operations that fail while S3 is ill"""
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    _all: list[Runner] = field(default_factory=list)
    _inside: bool = False
    restarts: int = 0
    interleaved: int = 0

    def __post_init__(self) -> None:
        self.settings: Settings = load_settings(
            home=str(self.home),
            trust="any",
            slack_token=TOKEN,
            slack_channel=CHANNEL,
            slack_url=self.slack.url,
            page_base_url="https://pages.example",
        )
        (self.home / "mail").mkdir(parents=True)

    def clock(self) -> datetime:
        return self.now

    def start(self) -> None:
        self._all = [self._runner() for _ in range(self.runners)]

    def _runner(self) -> Runner:
        runner = Runner(self.settings, self.schedules, self.launch, self.clock)
        runner.begin()
        return runner

    def launch(self, schedule: Schedule, slot: datetime) -> None:
        """A run as the runner's child process makes it."""

        def step(_: str) -> None:
            if len(self._all) > 1 and not self._inside and self.faults.chance.random() < 0.3:
                self._inside = True
                self.interleaved += 1
                try:
                    other = self.faults.chance.choice(self._all)
                    for name in other.schedules:
                        other.attempt(name)
                finally:
                    self._inside = False

        with contextlib.suppress(DmarckitError):  # a process that ends with status 2
            run_job(
                self.settings,
                schedule,
                slot=slot,
                clock=self.clock,
                step=step,
                sleep=lambda _: None,
            )

    def look(self) -> None:
        """Every runner looks at every job; one that is killed starts again."""
        for place in self.faults.chance.sample(range(len(self._all)), len(self._all)):
            self.faults.quiet = False
            try:
                for name in self._all[place].schedules:
                    self._all[place].attempt(name)
            except Killed:
                self.restarts += 1
            finally:
                self.faults.quiet = True
                if self.faults.dead:
                    self.faults.dead = False
                    self._all[place] = self._runner()

    def mail(self, name: str, begin: date, *, failing: int, domain: str) -> None:
        """A report mail that comes in now."""
        start = datetime(begin.year, begin.month, begin.day, tzinfo=UTC)
        records = [make_record(messages=40), *([make_failing(messages=failing)] if failing else [])]
        report = make_report(
            *records,
            reporter=f"Mail {name[-1]}",
            report_id=name,
            begin=start,
            end=start + DAY,
            policy=Policy(domain, p="none"),
        )
        path = self.home / "mail" / name
        path.write_bytes(make_mail(gz(report_xml(report))))
        os.utime(path, (self.now.timestamp(), self.now.timestamp()))


@dataclass
class FunctionWorld(World):
    """The same, run by a function: EventBridge calls it at each slot, sometimes twice at once.

    A call that fails or is killed is made again after a minute, and once more after two.
    """

    error_rate: float = 0.06  # a function looks but at its slots, so that there are fewer
    _calls: list[tuple[datetime, Schedule, datetime, int]] = field(default_factory=list)
    _seen: datetime | None = None
    _current: tuple[Schedule, datetime] | None = None

    def start(self) -> None:
        self._seen = self.now

    def look(self) -> None:
        """Make the calls that are due."""
        assert self._seen is not None
        for schedule in self.schedules:
            slots = schedule.next_slots(self._seen, 10)
            self._calls += [(slot, schedule, slot, 0) for slot in slots if slot <= self.now]
        self._seen = self.now
        for call in [call for call in self._calls if call[0] <= self.now]:
            self._calls.remove(call)
            self._call(*call[1:])

    def _call(self, schedule: Schedule, slot: datetime, tries: int) -> None:
        self.faults.quiet = False
        self._current = schedule, slot
        if tries == 2:  # after a third failure the slot is given up: that is not meant to happen
            self.faults.errors, self.faults.kills_left = 0.0, 0
        try:
            self._run(self._wait)
        except (DmarckitError, Killed) as error:
            self.restarts += isinstance(error, Killed)
            if tries < 2:
                again = self.now + (tries + 1) * MINUTE
                self._calls.append((again, schedule, slot, tries + 1))
        finally:
            self.faults.quiet, self.faults.dead = True, False

    def _run(self, sleep: Callable[[float], None]) -> None:
        assert self._current is not None
        schedule, slot = self._current
        serverless.run_slot(
            self.settings, schedule, slot.isoformat(), seconds=840, clock=self.clock, sleep=sleep
        )

    def _wait(self, seconds: float) -> None:
        """Pass the time for which a call waits while another seems to hold its job."""
        self.now += timedelta(seconds=seconds)

    def step(self, *_: object, **__: object) -> None:
        """What stands for a line of the log at each step: a moment for a second call."""

        def give_up(_: float) -> None:
            raise JobBusy("it is not waited for")

        if not self.faults.quiet and not self._inside and self.faults.chance.random() < 0.3:
            self._inside = True
            self.interleaved += 1
            try:
                with contextlib.suppress(DmarckitError):
                    self._run(give_up)
            finally:
                self._inside = False


def fake_page(notebook: Path, parameters: dict[str, Any], *, now: datetime, **_: Any) -> BuiltPage:
    """A page that shows its parameters, at the key where the real one would be."""
    shown = {name: value for name, value in parameters.items() if name != "job"}
    html = f"<title>{notebook.stem}</title><p>{sorted(shown.items())}".encode()
    key = page_key(notebook.stem, shown, now.date())
    return BuiltPage(notebook.stem, key, notebook.stem, html, new_notebook(), ())


def told(world: World) -> Counter[str]:
    """The messages that people got, without what says that a job fails, works again, or is late."""
    bodies = (body for body in world.slack.posted if not _about_the_job(body["text"]))
    return Counter(_without_times(body, str(world.home)) for body in bodies)


def _about_the_job(text: str) -> bool:
    plain = text.replace("\u2060", "")
    return plain.startswith("Job ") and ("failed" in plain or "has recovered" in plain)


def _without_times(body: dict[str, Any], home: str) -> str:
    blocks = [b for b in body["blocks"] if " late (created " not in json.dumps(b)]
    text = json.dumps([body["text"], blocks]).replace(home, "HOME")
    return re.sub(r"-[0-9a-f]{12}\.png", "-RUN.png", text)


def tables(world: World) -> dict[str, list[str]]:
    """What the tables hold, in order, without times, machines and ids of runs."""
    queries = {
        "mails": "SELECT key, etag, outcome, reports FROM mails ORDER BY ALL",
        "reports": "SELECT * EXCLUDE (month) FROM reports ORDER BY report_uid",
        "records": "SELECT * EXCLUDE (month) FROM records ORDER BY report_uid, position",
        "findings": 'SELECT job, "at", fingerprint, status, messages, severity FROM findings '
        "ORDER BY ALL",
        "alerts": "SELECT subject FROM alerts WHERE starts_with(subject, 'report:') ORDER BY ALL",
        "slots": "SELECT job || ' ' || strftime(slot, '%Y-%m-%d %H:%M') AS slot FROM runs "
        "WHERE result IN ('ok', 'problems') ORDER BY ALL",
    }
    lake = Lake(world.settings.lake_url)
    return {
        name: [str(list(row.values())) for row in lake.arrow(query).to_pylist()]
        for name, query in queries.items()
    }


def pages(world: World) -> dict[str, bytes]:
    """Key → page, the index aside."""
    storage = FolderStorage(world.home / "pages")
    return {o.key: storage.get(o.key) for o in storage.list() if o.key != "index.html"}
