"""Cron lines for a clock in another time zone, where the scheduler cannot be told the zone.

A slot at 07:00 in Berlin is at 05:00 UTC in summer and at 06:00 in winter, and one on the
1st may be on the last of the month before. A line that fires at all of these is right at
each of them, since `dmarckit run --slot newest` does nothing when the newest slot is done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, tzinfo

from dmarckit.jobs.schedule_cron import WEEKDAYS, Cron

_DAY = 24 * 60
_EVERY = {
    "minute": range(60),
    "hour": range(24),
    "day": range(1, 32),
    "month": range(1, 13),
    "weekday": range(7),
}


def cron_lines(cron: Cron, zone: tzinfo, clock: tzinfo, now: datetime) -> list[str]:
    """The lines, in crontab's words, that fire at every slot by a clock in zone `clock`.

    Where the zones differ, they may fire at other times as well.
    """
    lines = {line for shift in shifts(zone, clock, now) for line in _shifted(cron, shift)}
    return sorted(lines, key=lambda line: [word.zfill(3) for word in line.split()])


def shifts(zone: tzinfo, clock: tzinfo, now: datetime) -> list[int]:
    """Minutes that `clock` is ahead of `zone`, at some time in the next two years."""
    found = set()
    for day in range(731):
        moment = now + timedelta(days=day)
        ahead, behind = moment.astimezone(clock).utcoffset(), moment.astimezone(zone).utcoffset()
        if ahead is not None and behind is not None:
            found.add(round((ahead - behind) / timedelta(minutes=1)))
    return sorted(found)


def _shifted(cron: Cron, shift: int) -> list[str]:
    """The lines of one shift: minutes that share their hours and days stand together."""
    hours: dict[tuple[int, int], set[int]] = defaultdict(set)
    for hour in cron.hours:
        for minute in cron.minutes:
            days, rest = divmod(hour * 60 + minute + shift, _DAY)
            hours[rest % 60, days].add(rest // 60)
    minutes: dict[tuple[tuple[int, ...], tuple[str, ...]], list[int]] = defaultdict(list)
    for (minute, days), found in sorted(hours.items()):
        minutes[tuple(sorted(found)), _days(cron, days)].append(minute)
    return [
        " ".join((words(same, "minute"), words(found, "hour"), *days))
        for (found, days), same in minutes.items()
    ]


def _days(cron: Cron, later: int) -> tuple[str, str, str]:
    """Day, month and weekday, as many days later; what has no such line is every day."""
    weekdays = [WEEKDAYS[(day + later) % 7] for day in cron.weekdays]
    named = "*" if len(weekdays) == 7 else ",".join(weekdays)
    if later:
        return "*", "*", named
    return words(cron.days, "day"), words(cron.months, "month"), named


def words(numbers: Collection[int], field: str) -> str:
    """Numbers as crontab writes them: ``*``, ``*/15`` or ``1,15``."""
    every = _EVERY[field]
    wanted: Sequence[int] = sorted(numbers)
    for step in range(1, len(every) // 2 + 1):
        if wanted == list(every[::step]):
            return "*" if step == 1 else f"*/{step}"
    return ",".join(map(str, wanted))
