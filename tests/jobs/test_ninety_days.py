"""Ninety days of a runner, with and without faults: in the end both have done the same.

Simulated are an `alerts` job every third day by New York's clock, and a page and summary twice a
month by Berlin's, at a time that the change to summer time skips on one of these days. (The shipped
schedules run more often; what a slot does is the same, and 8,640 slots would take an hour.)
"""

from __future__ import annotations

import pickle
import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dmarckit.jobs.record import TRIES
from dmarckit.jobs.schedule import Schedule
from tests.support.once import Once
from tests.support.simulation import (
    DAY,
    MINUTE,
    TICKS,
    Faults,
    FunctionWorld,
    World,
    install,
    pages,
    tables,
    told,
)
from tests.support.slack_server import CHANNEL, slack_server

START = datetime(2026, 2, 10, 12, tzinfo=UTC)
DAYS = 90
END = START + DAYS * DAY
SLACK_IS_DOWN = (START + 20 * DAY, START + 21 * DAY)
S3_IS_ILL = (START + 46 * DAY, START + 60 * DAY)  # Berlin's clock changes in these weeks
SCHEDULES = [
    Schedule(
        name="alerts",
        cron="15 19 */3 * *",
        timezone="America/New_York",
        slack={"when": "failing"},
    ),
    Schedule(
        name="summary",
        cron="30 2 1,15,29 * *",
        timezone="Europe/Berlin",
        notebook="overview",
        parameters={"days": 7, "job": "summary"},
    ),
]


def live(world: World, chaos: bool) -> None:
    """Mails come in, slots pass by; with `chaos` all that can go wrong does."""
    moments = sorted(
        {slot + k * MINUTE for s in SCHEDULES for slot in s.next_slots(START, 200) for k in TICKS}
    )
    faults, chance = world.faults, random.Random(7)
    world.now = START
    world.start()
    day = 0
    for moment in (m for m in moments if m < END):
        while START + day * DAY <= moment:
            world.now = START + day * DAY
            arrivals(world, day)
            day += 1
        world.now = max(moment, world.now)
        if any(moment in s.next_slots(moment - MINUTE) for s in SCHEDULES):
            faults.kills_left = TRIES - 1
        world.slack.down = {CHANNEL} if chaos and within(moment, SLACK_IS_DOWN) else set()
        faults.errors = world.error_rate if chaos and within(moment, S3_IS_ILL) else 0.0
        faults.kill_posting = 0.1 if chaos else 0.0
        if chaos and faults.kill_in is None and chance.random() < 0.03:
            faults.kill_in = chance.randrange(60)
        world.look()


def within(moment: datetime, span: tuple[datetime, datetime]) -> bool:
    return span[0] <= moment < span[1]


def arrivals(world: World, day: int) -> None:
    """The mails of a day: two reports, some failing, and once more failing ones than alerts."""
    yesterday = (world.now - DAY).date()
    for n in range(8 if day == 40 else 2):
        failing = 3 + day % 4 if (day % 5 == n or day == 40) else 0
        domain = f"d{n % 2}.example"
        world.mail(f"m-{day:03d}-{n}", yesterday, failing=failing, domain=domain)


@dataclass(frozen=True)
class Outcome:
    """What there is after ninety days."""

    tables: dict[str, list[str]]
    pages: dict[str, bytes]
    told: Counter[str]

    @classmethod
    def of(cls, world: World) -> Outcome:
        return cls(tables(world), pages(world), told(world))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("by", ["runners", "function"])
def test_ninety_days_with_every_fault_end_like_ninety_days_without(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once: Once
) -> None:
    faults = Faults(random.Random(1))
    with monkeypatch.context() as patch, slack_server() as slack:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        install(patch, faults)
        rough = World(tmp_path / "rough", slack, SCHEDULES, faults, runners=2)
        if by == "function":
            rough = FunctionWorld(tmp_path / "called", slack, SCHEDULES, faults)
            patch.setattr("dmarckit.core.log_step", rough.step)
        live(rough, chaos=True)
    calm = once("ninety-calm-days", without_faults)  # most likely made by the other by now
    compare(pickle.loads(calm.read_bytes()), rough)


def without_faults(made: Path) -> None:
    """The same days where nothing goes wrong, by one runner."""
    faults = Faults(random.Random(1))
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as folder,
        slack_server() as slack,
    ):
        install(patch, faults)
        calm = World(Path(folder) / "calm", slack, SCHEDULES, faults)
        live(calm, chaos=False)
        made.write_bytes(pickle.dumps(Outcome.of(calm)))


def compare(calm: Outcome, rough: World) -> None:
    faults, end = rough.faults, Outcome.of(rough)
    # the faults were there
    assert faults.kills >= 10
    assert faults.failed >= 10
    assert rough.interleaved >= 20
    expected = [
        str([f"{s.name} {slot:%Y-%m-%d %H:%M}"])
        for s in SCHEDULES
        for slot in s.next_slots(START, 200)
        if slot < END - timedelta(hours=1)
    ]
    # every slot ran, and exactly once to its end
    assert calm.tables["slots"] == expected
    assert end.tables == calm.tables
    assert end.pages == calm.pages
    missing, repeated = calm.told - end.told, end.told - calm.told
    assert missing == Counter()
    assert repeated.total() <= faults.kills_after_posting
