"""A report's period in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dmarckit.core.language import _
from dmarckit.core.words import day, minute


def period(begin: datetime, end: datetime) -> str:
    """A period in UTC: whole days as dates, the last one included; else with its times.

    Reporters end a day with its last second as often as with the next midnight.

    >>> period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC))
    '2026-11-01'
    >>> period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 8, tzinfo=UTC))
    '2026-11-01 to 2026-11-07'
    >>> period(datetime(2026, 11, 1, 6, tzinfo=UTC), datetime(2026, 11, 2, 6, tzinfo=UTC))
    '2026-11-01 06:00 to 2026-11-02 06:00 UTC'
    """
    first, last = begin.astimezone(UTC), end.astimezone(UTC)
    if last.second == 59 and last > first:
        last += timedelta(seconds=1)
    if _is_midnight(first) and _is_midnight(last) and last > first:
        final = last - timedelta(days=1)
        if final == first:
            return day(first)
        return _("{first} to {last}").format(first=day(first), last=day(final))
    return _("{first} to {last} UTC").format(first=minute(first), last=minute(last))


def _is_midnight(moment: datetime) -> bool:
    return (moment.hour, moment.minute, moment.second) == (0, 0, 0)
