"""Cron lines as crontab(5) means them, and the slots they give in a time zone.

A slot is a moment at which a schedule is due. Clock changes are treated as Debian's and
cronie's cron do: where the hour is a ``*``, every matching minute that really passes is a
slot; else a time of day that the change skips is due as if the clock had not changed (02:30
becomes 03:30), and one that comes twice is due once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # cron's 0 is Sunday
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, WEEKDAYS),
)
_PART = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", re.ASCII)
_FARTHEST = 8 * 366  # days; 29 February is at most eight years away


@dataclass(frozen=True)
class Cron:
    """A cron line, its fields as the numbers that match."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    """0 is Sunday"""
    every_hour: bool
    """the hour is a ``*`` (also ``*/2``): slots follow real time through a clock change"""

    def matches(self, day: date) -> bool:
        """Whether the line has slots on this day."""
        weekday = day.isoweekday() % 7
        return day.day in self.days and day.month in self.months and weekday in self.weekdays


def parse_cron(line: str) -> Cron:
    """The five fields of a cron line, or a word such as ``@daily``.

    Raises ValueError that names the field, what it says and what it may say.

    >>> parse_cron("0 7 * * 1-5").weekdays
    (1, 2, 3, 4, 5)
    """
    words = MACROS.get(line.strip().lower(), line).split()
    if len(words) != 5:
        raise ValueError(
            f"{line!r} has {len(words)} fields; write five: minute, hour, day of the month, "
            "month, day of the week, such as '0 7 * * *'"
        )
    minutes, hours, days, months, weekdays = (
        _numbers(word, *field) for word, field in zip(words, _FIELDS, strict=True)
    )
    weekdays = tuple(sorted({number % 7 for number in weekdays}))
    if len(days) < 31 and len(weekdays) < 7:
        raise ValueError(
            f"{line!r} names a day of the month and a day of the week, and cron would take "
            "either; write two schedules, each with one of them"
        )
    cron = Cron(minutes, hours, days, months, weekdays, words[1].startswith("*"))
    first = date(2024, 1, 1)  # a leap year and those up to the next
    if not any(cron.matches(first + timedelta(days=n)) for n in range(_FARTHEST)):
        raise ValueError(f"{line!r} is never due: no such day is in those months")
    return cron


def _numbers(word: str, name: str, low: int, high: int, names: tuple[str, ...]) -> tuple[int, ...]:
    """The numbers that one field matches, in order."""
    found: set[int] = set()
    for part in word.lower().split(","):
        match = _PART.fullmatch(part)
        if match is None or (match[1] == "*" and match[2]):
            raise ValueError(f"{name} {part!r}: write *, 5, 1-5, */15 or a list such as 1,15")
        if match[1] == "*":
            first, last = low, high if name != "day of the week" else 6
        else:
            first = _number(match[1], name, low, high, names)
            last = _number(match[2], name, low, high, names) if match[2] else first
            if match[3] and not match[2]:
                last = high
        step = int(match[3] or 1)
        if step < 1 or first > last:
            raise ValueError(f"{name} {part!r} matches nothing; write the smaller number first")
        found.update(range(first, last + 1, step))
    return tuple(sorted(found))


def _number(word: str, name: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if word in names:
        return names.index(word) + (1 if low == 1 else 0)
    if word.isdecimal() and low <= int(word) <= high:
        return int(word)
    also = f" or {names[0]} to {names[-1]}" if names else ""
    raise ValueError(f"{name} {word!r}: it is {low} to {high}{also}")


def newest_slot(cron: Cron, zone: ZoneInfo, now: datetime) -> datetime | None:
    """The last slot at or before `now` (UTC); None when there was none for years."""
    day = now.astimezone(zone).date() + timedelta(days=1)
    for back in range(_FARTHEST):
        passed = [slot for slot in _slots_of(cron, zone, day - timedelta(days=back)) if slot <= now]
        if passed:
            return passed[-1]
    return None


def next_slots(cron: Cron, zone: ZoneInfo, after: datetime, count: int = 1) -> list[datetime]:
    """The next `count` slots after a moment, in UTC."""
    return list(islice(_slots_after(cron, zone, after), count))


def _slots_after(cron: Cron, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    day = after.astimezone(zone).date() - timedelta(days=1)
    last = after
    while day.year < 9000:
        for slot in _slots_of(cron, zone, day):
            if slot > last:
                last = slot
                yield slot
        day += timedelta(days=1)


@lru_cache(maxsize=64)
def _slots_of(cron: Cron, zone: ZoneInfo, day: date) -> tuple[datetime, ...]:
    """The slots of one day on the zone's calendar, in order, each once."""
    if not cron.matches(day):
        return ()
    found: set[datetime] = set()
    for hour in cron.hours:
        for minute in cron.minutes:
            wall = datetime.combine(day, time(hour, minute), zone)
            moment = wall.astimezone(UTC)
            if not cron.every_hour:
                found.add(moment)
            else:
                both = {moment, wall.replace(fold=1).astimezone(UTC)}
                found.update(m for m in both if _shows(m, wall))
    return tuple(sorted(found))


def _shows(moment: datetime, wall: datetime) -> bool:
    """Whether the zone's clock shows this time of day at this moment."""
    return moment.astimezone(wall.tzinfo).replace(tzinfo=None, fold=0) == wall.replace(tzinfo=None)
