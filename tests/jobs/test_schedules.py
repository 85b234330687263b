"""Schedules: what a file may say, what is wrong with one, and when it is due."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from dmarckit.core.errors import SettingsError
from dmarckit.jobs.schedule import (
    Schedule,
    find_schedules,
    load_schedule,
    load_schedules,
    resolve_dates,
)

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def write(text: str, name: str = "mine") -> None:
    Path("schedules").mkdir(exist_ok=True)
    Path(f"schedules/{name}.yaml").write_text(text, "utf-8")


def schedule(cron: str, timezone: str = "UTC") -> Schedule:
    return Schedule(name="mine", cron=cron, timezone=timezone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_shipped_schedules_are_valid_and_each_says_when_it_runs() -> None:
    shipped = {schedule.name: schedule for schedule in load_schedules()}
    assert list(shipped) == ["alerts", "daily", "monthly", "requirements", "weekly"]
    assert all(schedule.cron for schedule in shipped.values())
    assert shipped["alerts"].notebook is None
    assert shipped["alerts"].slack.when == "failing"


def test_an_own_schedule_comes_before_the_shipped_one_of_its_name() -> None:
    write("cron: 0 9 * * *\nnotebook: tls\n", "daily")
    assert load_schedule("daily").notebook == "tls"
    assert list(find_schedules()) == ["alerts", "daily", "monthly", "requirements", "weekly"]


def test_all_keys_of_a_file() -> None:
    write(
        """
name: mine
cron: "*/10 7-18 * * mon-fri"
timezone: Europe/Berlin
notebook: overview
parameters: {days: last 7 days, domains: [example.com]}
fleet: true
slack: {channel: C0TEAM, when: findings}
alerts: 3
timeout: 30 min
owner: mail team
"""
    )
    schedule = load_schedule("mine")
    assert (schedule.timeout, schedule.alerts, schedule.fleet) == (1800, 3, True)
    assert schedule.slack.model_dump() == {"channel": "C0TEAM", "when": "findings"}
    assert schedule.parameters_at(utc("2026-11-24T07:00")) == {
        "days": 7,
        "domains": ["example.com"],
        "end": "2026-11-23",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebook: overview\nchron: 1\n", r"mine\.yaml:2: unknown key chron; did you mean cron\?"),
        ("slack:\n  when: never\n", r"mine\.yaml:2: slack\.when: 'never': .*'always', 'findings'"),
        (
            "slack:\n  chanel: C0\n",
            r"mine\.yaml:2: unknown key slack\.chanel; did you mean channel",
        ),
        ("cron: 0 7 * *\n", r"mine\.yaml:1: cron: '0 7 \* \*' has 4 fields; write five"),
        ("cron: 0 25 * * *\n", r"mine\.yaml:1: cron.*hour '25': it is 0 to 23"),
        ("cron: 0 7 L * *\n", r"mine\.yaml:1: cron.*day of the month 'L': it is 1 to 31"),
        ("cron: 0 7 * * 1#2\n", r"mine\.yaml:1: cron.*day of the week '1#2': it is 0 to 7 or sun"),
        ("cron: 0 7 30 2 *\n", r"mine\.yaml:1: cron.* is never due"),
        ("cron: 0 7 1 * mon\n", r"mine\.yaml:1: cron.* write two schedules"),
        ("\n\ntimezone: Europe/Berln\n", r"mine\.yaml:3: timezone.*did you mean Europe/Berlin\?"),
        ("timezone: ../../etc/passwd\n", r"mine\.yaml:1: timezone: no time zone"),
        (
            "notebook: overvew\n",
            r"mine\.yaml:1: notebook: the notebook overvew is not known; did you mean overview\?",
        ),
        (
            "notebook: overview\nparameters:\n  days: 7\n  dommains: [a]\n",
            r"mine\.yaml:4: notebook overview has no parameter dommains; did you mean domains\?",
        ),
        (
            "notebook: overview\nparameters:\n  days: seven\n",
            r"mine\.yaml:3: days: 'seven' is no int as notebook overview takes it \(length",
        ),
        ("notebook: overview\nparameters: {days: true}\n", r"mine\.yaml:2: days: True is no int"),
        (
            "notebook: overview\nparameters:\n  end: today\n  days: last week\n",
            r"mine\.yaml:4: days: last week sets end as well; leave end out",
        ),
        ("parameters: {days: 7}\n", r"mine\.yaml:1: parameters belongs to a notebook"),
        ("timeout: soon\n", r"mine\.yaml:1: timeout: 'soon': write seconds"),
        ("name: other\n", r"mine\.yaml:1: name 'other' is not the file's name; write mine"),
        ("cron: [\n", r"mine\.yaml:2: this is not YAML"),
        ("just text\n", r"mine\.yaml:1: write keys and values"),
    ],
)
def test_what_is_wrong_gives_file_line_and_fix_in_one_line(text: str, said: str) -> None:
    write(text)
    with pytest.raises(SettingsError, match=said) as caught:
        load_schedule("mine")
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_schedules() -> None:
    with pytest.raises(SettingsError, match=r"'dayly'; did you mean daily\?; there are: alerts, "):
        load_schedule("dayly")


def test_sunday_is_0_and_7() -> None:
    for sunday in ("0", "7", "sun"):
        (slot,) = schedule(f"0 7 * * {sunday}").next_slots(utc("2026-11-24T00:00"))
        assert slot == utc("2026-11-29T07:00")


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, "UTC", "Asia/Kolkata"])
@pytest.mark.parametrize(
    "line",
    [
        "0 7 * * *",
        "*/15 * * * *",
        "15 */6 * * *",
        "0 0 1 * *",
        "30 1 * * *",
        "0 8 * * 1-5/2",
        "@weekly",
    ],
)
def test_slots_are_crons_through_clock_changes(line: str, zone: str) -> None:
    for start in (utc("2026-03-01T00:00"), utc("2026-10-20T00:00")):
        cron = CronSim(line.replace("@weekly", "0 0 * * 0"), start.astimezone(ZoneInfo(zone)))
        assert schedule(line, zone).next_slots(start, 1_000) == [
            next(cron).astimezone(UTC) for _ in range(1_000)
        ]


def test_a_time_that_is_skipped_is_due_once_and_one_that_comes_twice_too() -> None:
    early = schedule("30 2 * * *", BERLIN)
    spring = early.next_slots(utc("2026-03-28T12:00"), 2)
    assert spring == [utc("2026-03-29T01:30"), utc("2026-03-30T00:30")]
    autumn = early.next_slots(utc("2026-10-24T12:00"), 2)
    assert autumn == [utc("2026-10-25T00:30"), utc("2026-10-26T01:30")]


def test_the_newest_slot_is_the_last_of_those_before() -> None:
    for line in ("0 7 * * *", "*/15 * * * *", "0 9 2 * *", "30 2 29 2 *"):
        job = schedule(line, NEW_YORK)
        (slot,) = job.next_slots(utc("2026-11-24T12:34"))
        (after,) = job.next_slots(slot)
        assert job.newest_slot(slot) == slot
        assert job.newest_slot(after.replace(second=0)) == after
        assert job.newest_slot(slot.replace(second=1)) == slot


def test_a_schedule_without_cron_is_never_due() -> None:
    schedule = Schedule(name="byhand", notebook="overview")
    assert schedule.newest_slot(utc("2026-11-24T00:00")) is None
    assert schedule.next_slots(utc("2026-11-24T00:00")) == []


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ({"end": "yesterday"}, {"end": "2026-11-23"}),
        ({"end": "3 days ago", "days": 7}, {"end": "2026-11-21", "days": 7}),
        ({"since": "today"}, {"since": "2026-11-24"}),
        ({"days": "last 7 days"}, {"days": 7, "end": "2026-11-23"}),
        ({"days": "last week"}, {"days": 7, "end": "2026-11-22"}),
        ({"days": "this week"}, {"days": 1, "end": "2026-11-23"}),
        ({"days": "last month"}, {"days": 31, "end": "2026-10-31"}),
        ({"days": "this month"}, {"days": 23, "end": "2026-11-23"}),
        ({"domain": "last week"}, {"domain": "last week"}),  # a period is for `days` only
    ],
)
def test_relative_dates(given: dict[str, object], resolved: dict[str, object]) -> None:
    before = dict(given)
    assert resolve_dates(given, date(2026, 11, 24)) == resolved  # a Tuesday
    assert given == before


def test_relative_dates_are_of_the_schedules_time_zone() -> None:
    moment = utc("2026-11-24T03:00")
    for zone, day in (("America/New_York", "2026-11-22"), ("Asia/Tokyo", "2026-11-23")):
        schedule = Schedule(
            name="x", notebook="overview", parameters={"end": "yesterday"}, timezone=zone
        )
        assert schedule.parameters_at(moment) == {"end": day}


def test_a_schedule_may_end_in_yml_and_a_star_without_quotes_is_named() -> None:
    Path("schedules").mkdir()
    Path("schedules/mine.yml").write_text('cron: "*/15 * * * *"\n')
    assert load_schedule("mine").cron == "*/15 * * * *"
    Path("schedules/mine.yml").write_text("timezone: UTC\ncron: */15 * * * *\n")
    with pytest.raises(SettingsError, match=r"mine\.yml:2: .*quote it, .* cron: \"\*/15"):
        load_schedule("mine")
