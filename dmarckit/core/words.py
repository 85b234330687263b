"""How numbers, shares and days are written for people, everywhere the same.

In the language in use: counted nouns through the catalog, percentages and long dates of other
languages than English through Babel, which is imported when the first of them is written.
Days and minutes in tables are ISO 8601 in every language, as parameters and file names are.
"""

from __future__ import annotations

import math
from datetime import datetime

from dmarckit.core.language import _, language, later, ngettext

NO_DATA = later("no data")
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
    """A number with its noun, in English: for the terminal.

    >>> plural(1, "message"), plural(1200, "message"), plural(2, "reply", "replies")
    ('1 message', '1,200 messages', '2 replies')
    """
    return f"{count(value)} {one if round(value) == 1 else many or one + 's'}"


def n_messages(n: float) -> str:
    """How many messages.

    >>> n_messages(1), n_messages(1200)
    ('1 message', '1,200 messages')
    """
    return ngettext("{n} message", "{n} messages", n).format(n=count(n))


def n_reports(n: float) -> str:
    """How many reports."""
    return ngettext("{n} report", "{n} reports", n).format(n=count(n))


def n_days(n: float) -> str:
    """How many days."""
    return ngettext("{n} day", "{n} days", n).format(n=count(n))


def more_rows(n: float) -> str:
    """How many rows of a table are not shown, as a sentence."""
    return ngettext("And {n} more row.", "And {n} more rows.", n).format(n=count(n))


def percent(value: float | None) -> str:
    """A share [0-1] as a percentage that is 0 or 100 only when it is exactly that.

    >>> percent(0.98249), percent(0.99996), percent(0.0001), percent(1), percent(None)
    ('98.2 %', '99.9 %', '<0.1 %', '100 %', 'no data')
    """
    if value is None or is_missing(value):
        return _(NO_DATA)
    if value in (0, 1):
        return _percentage(value * 100, 0)
    if value < 0.001:
        return f"<{_percentage(0.1, 1)}"
    # rounded down near 100, so that it is never said of what is not all
    return _percentage(math.floor(value * 1000 + 1e-9) / 10 if value > 0.999 else value * 100, 1)


def _percentage(value: float, digits: int) -> str:
    """A percentage as the language writes it; here with the sign apart, as ISO 80000 has it."""
    if language() == "en":
        return f"{value:.{digits}f} %"
    from babel.numbers import format_percent

    pattern = "#,##0" + (f".{'0' * digits}" if digits else "") + "%"
    shown: str = format_percent(f"{value:.{digits}f}e-2", pattern, locale=language())
    return shown


def points(change: float | None) -> str:
    """The difference of two shares, in percentage points.

    >>> points(0.0123), points(-0.5), points(0.0)
    ('+1.2 points', '−50.0 points', 'unchanged')
    """
    if change is None or is_missing(change):
        return ""
    if abs(change) < 0.0005:
        return _("unchanged")
    signed = f"{'+' if change > 0 else '−'}{abs(change) * 100:.1f}"
    return _("{number} points").format(number=signed)


def change(now: float | None, before: float | None) -> str:
    """A count against the one before it; a percentage unless one of them is too small.

    >>> change(150, 100), change(3, 1), change(7, 7), change(5, 0), change(5, None)
    ('+50 %', '+2', 'unchanged', '+5', '')
    """
    if now is None or before is None or is_missing(now) or is_missing(before):
        return ""
    if now == before:
        return _("unchanged") if now else ""
    sign, difference = ("+" if now > before else "−"), abs(now - before)
    if before < 20 or difference / before >= 10:
        return f"{sign}{count(difference)}"
    share = difference / before * 100
    return f"{sign}{_percentage(share, 0)}" if share >= 0.5 else _("almost unchanged")


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
    if language() == "en":
        return f"{value.day} {value:%B %Y}"
    from babel.dates import format_date

    written: str = format_date(value, "long", locale=language())
    return written


def minute(value: datetime | None) -> str:
    """A point in time to the minute (the pages say UTC beside it).

    >>> minute(datetime(2026, 11, 3, 4, 5))
    '2026-11-03 04:05'
    """
    return MISSING if value is None or is_missing(value) else f"{value:%Y-%m-%d %H:%M}"
