"""How numbers, shares and days are written for people, everywhere the same."""

from __future__ import annotations

import math
from datetime import datetime

NO_DATA = "no data"
MISSING = "–"


def is_missing(value: object) -> bool:
    """None, NaN and NaT: there is no value to show.

    >>> is_missing(float("nan")), is_missing(0)
    (True, False)
    """
    return value is None or value != value


def count(value: float | None) -> str:
    """A whole number with thousands separators.

    >>> count(1234567)
    '1,234,567'
    """
    if value is None or is_missing(value):
        return MISSING
    return f"{round(value):,}"


def plural(value: float, one: str, many: str | None = None) -> str:
    """A number with its noun.

    >>> plural(1, "message"), plural(1200, "message"), plural(2, "reply", "replies")
    ('1 message', '1,200 messages', '2 replies')
    """
    return f"{count(value)} {one if round(value) == 1 else many or one + 's'}"


def percent(value: float | None) -> str:
    """A share [0-1] as a percentage that is 0 or 100 only when it is exactly that.

    >>> percent(0.98249), percent(0.99996), percent(0.0001), percent(1), percent(None)
    ('98.2 %', '99.9 %', '<0.1 %', '100 %', 'no data')
    """
    if value is None or is_missing(value):
        return NO_DATA
    if value in (0, 1):
        return f"{value * 100:.0f} %"
    if value < 0.001:
        return "<0.1 %"
    return (
        f"{math.floor(value * 1000 + 1e-9) / 10:.1f} %"
        if value > 0.999
        else f"{value:.1%}"[:-1] + " %"
    )


def points(change: float | None) -> str:
    """The difference of two shares, in percentage points.

    >>> points(0.0123), points(-0.5), points(0.0)
    ('+1.2 points', '−50.0 points', 'unchanged')
    """
    if change is None or is_missing(change):
        return ""
    if abs(change) < 0.0005:
        return "unchanged"
    return f"{'+' if change > 0 else '−'}{abs(change) * 100:.1f} points"


def change(now: float | None, before: float | None) -> str:
    """A count against the one before it; a percentage unless one of them is too small.

    >>> change(150, 100), change(3, 1), change(7, 7), change(5, 0), change(5, None)
    ('+50 %', '+2', 'unchanged', '+5', '')
    """
    if now is None or before is None or is_missing(now) or is_missing(before):
        return ""
    if now == before:
        return "unchanged" if now else ""
    sign, difference = ("+" if now > before else "−"), abs(now - before)
    if before < 20 or difference / before >= 10:
        return f"{sign}{count(difference)}"
    share = difference / before * 100
    return f"{sign}{share:.0f} %" if share >= 0.5 else "almost unchanged"


def day(value: datetime | None) -> str:
    """A day, as in the tables.

    >>> day(datetime(2026, 11, 3))
    '2026-11-03'
    """
    return MISSING if value is None or is_missing(value) else f"{value:%Y-%m-%d}"


def long_day(value: datetime) -> str:
    """A day, as in a sentence.

    >>> long_day(datetime(2026, 11, 3))
    '3 November 2026'
    """
    return f"{value.day} {value:%B %Y}"


def minute(value: datetime | None) -> str:
    """A point in time to the minute (the pages say UTC beside it).

    >>> minute(datetime(2026, 11, 3, 4, 5))
    '2026-11-03 04:05'
    """
    return MISSING if value is None or is_missing(value) else f"{value:%Y-%m-%d %H:%M}"
