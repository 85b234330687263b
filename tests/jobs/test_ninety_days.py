"""Ninety days of a runner, with and without faults: in the end both have done the same.

Simulated are an `alerts` job every other day by New York's clock, and a page and summary on
Sundays by Berlin's, at a time that the change to summer time skips. (The shipped schedules run more
often; what a slot does is the same, and 8,640 slots would take an hour.)
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dmarckit.jobs.record import TRIES
from dmarckit.jobs.schedule import Schedule
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
from tests.support.slack_server import CHANNEL, SlackServer, slack_server

START = datetime(2026, 2, 10, 12, tzinfo=UTC)
DAYS = 90
END = START + DAYS * DAY
SLACK_IS_DOWN = (START + 20 * DAY, START + 21 * DAY)
S3_IS_ILL = (START + 46 * DAY, START + 60 * DAY)  # Berlin's clock changes in these weeks
SCHEDULES = [
    Schedule(
        name="alerts",
        cron="15 19 */2 * *",
        timezone="America/New_York",
        slack={"when": "failing"},
    ),
    Schedule(
        name="summary",
        cron="30 2 * * sun",
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
        if chaos and faults.kill_in is None and chance.random() < 0.02:
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


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("by", ["runners", "function"])
def test_ninety_days_with_every_fault_end_like_ninety_days_without(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    faults = Faults(random.Random(1))
    install(monkeypatch, faults)
    with slack_server() as calm_slack, slack_server() as rough_slack:
        calm = world(tmp_path / "calm", calm_slack, faults, runners=1)
        live(calm, chaos=False)
        faults.operations = 0
        rough = world(tmp_path / "rough", rough_slack, faults, runners=2)
        if by == "function":
            rough = FunctionWorld(tmp_path / "called", rough_slack, SCHEDULES, faults)
            monkeypatch.setattr("dmarckit.core.log_step", rough.step)
        live(rough, chaos=True)
        compare(calm, rough)


def world(home: Path, slack: SlackServer, faults: Faults, runners: int) -> World:
    return World(home, slack, SCHEDULES, faults, runners)


def compare(calm: World, rough: World) -> None:
    faults = rough.faults
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
    assert tables(calm)["slots"] == expected
    assert tables(rough) == tables(calm)
    assert pages(rough) == pages(calm)
    missing, repeated = told(calm) - told(rough), told(rough) - told(calm)
    assert missing == Counter()
    assert repeated.total() <= faults.kills_after_posting
