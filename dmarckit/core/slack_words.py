"""Counted things and lengths of time, as Slack's messages say them."""

from __future__ import annotations

from datetime import datetime, timedelta

from dmarckit.core.language import _, ngettext
from dmarckit.core.words import count


def reporters(number: float) -> str:
    """
    >>> reporters(1)
    '1 reporter'
    """
    return ngettext("{n} reporter", "{n} reporters", number).format(n=count(number))


def duration(length: timedelta) -> str:
    """A length of time in its largest unit, rounded down.

    >>> duration(timedelta(minutes=90)), duration(timedelta(days=3)), duration(timedelta(0))
    ('1 hour', '3 days', '0 minutes')
    """
    minutes = max(int(length.total_seconds()) // 60, 0)
    if minutes >= 2 * 24 * 60:
        days = minutes // (24 * 60)
        return ngettext("{n} day", "{n} days", days).format(n=count(days))
    if minutes >= 60:
        hours = minutes // 60
        return ngettext("{n} hour", "{n} hours", hours).format(n=count(hours))
    return ngettext("{n} minute", "{n} minutes", minutes).format(n=count(minutes))


def moment(time: datetime) -> str:
    """A point in time (UTC).

    >>> moment(datetime(2026, 11, 3, 4, 5))
    '2026-11-03 04:05 UTC'
    """
    return _("{time} UTC").format(time=f"{time:%Y-%m-%d %H:%M}")
