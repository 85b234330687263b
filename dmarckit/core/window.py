"""Which days a page is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from dmarckit.core.errors import SettingsError
from dmarckit.core.text import short_days


@dataclass(frozen=True)
class Window:
    """Whole UTC days from `start` up to, and without, `end`."""

    start: datetime
    end: datetime

    @property
    def days(self) -> int:
        """Return number of days."""
        return (self.end - self.start).days

    @property
    def last_day(self) -> datetime:
        """Start of the last day in the window."""
        return self.end - timedelta(days=1)

    @property
    def before(self) -> Window:
        """Return the window of the same length that ends where this one starts."""
        return Window(self.start - timedelta(days=self.days), self.start)

    @property
    def end_of_arrival(self) -> datetime:
        """Return when the mails about the last day have come: two days after it."""
        return self.end + timedelta(days=2)

    def __str__(self) -> str:
        return short_days(self.start, self.last_day, year=True)


def last_days(days: int, end: str = "", today: date | None = None) -> Window:
    """Return the window of `days` days whose last day is `end` (``YYYY-MM-DD``).

    Without `end` the last day is yesterday: today is not over, so its reports cannot be
    here. `today` is the current UTC day unless a test passes another one.
    Raises SettingsError for a day that is none, or fewer than one day.

    >>> print(last_days(7, end="2026-11-23"))
    17–23 Nov 2026
    """
    if not isinstance(days, int) or days < 1:
        raise SettingsError(f"days is {days!r}: it must be a whole number of at least 1")
    if end:
        try:
            last = date.fromisoformat(str(end))
        except ValueError:
            raise SettingsError(f"end is {end!r}: write the day as YYYY-MM-DD") from None
    else:
        last = (today or datetime.now(UTC).date()) - timedelta(days=1)
    stop = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    return Window(stop - timedelta(days=days), stop)
