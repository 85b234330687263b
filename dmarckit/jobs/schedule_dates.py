"""Relative dates in a schedule's parameters, resolved when it runs, in its time zone.

Two rules. A *day* (``today``, ``yesterday``, ``3 days ago``) may be the value of any
parameter and becomes that day, ``YYYY-MM-DD``. A *period* (``last 7 days``, ``last week``,
``this week``, ``last month``, ``this month``) is the value of ``days`` only; it becomes
the number of its days, and sets ``end`` to its last day, so that ``end`` is not given beside
it. No period holds the day of the run itself: its reports cannot be here yet. Weeks begin
on Monday.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

_DAYS_AGO = re.compile(r"(\d{1,4}) days? ago", re.ASCII)
_LAST_DAYS = re.compile(r"last (\d{1,4}) days", re.ASCII)
EXAMPLES = "today, yesterday, 3 days ago; for days: last 7 days, last week, last month"


def resolve(parameters: Mapping[str, Any], today: date) -> dict[str, Any]:
    """The parameters with every relative date as the notebook takes it.

    Raises ValueError when a period has no day yet, or when `end` stands beside one.

    >>> resolve({"days": "last month"}, date(2026, 3, 10))
    {'days': 28, 'end': '2026-02-28'}
    """
    resolved = {name: day(value, today) or value for name, value in parameters.items()}
    found = period(parameters.get("days"), today)
    if found is None:
        return resolved
    if "end" in parameters:
        raise ValueError(f"days: {parameters['days']} sets end as well; leave end out")
    first, last = found
    return resolved | {"days": (last - first).days + 1, "end": last.isoformat()}


def day(value: Any, today: date) -> str | None:
    """The day that a word means, ``YYYY-MM-DD``; None for any other value."""
    if not isinstance(value, str):
        return None
    back = {"today": 0, "yesterday": 1}.get(value.strip().lower())
    if match := _DAYS_AGO.fullmatch(value.strip().lower()):
        back = int(match[1])
    return None if back is None else (today - timedelta(days=back)).isoformat()


def period(value: Any, today: date) -> tuple[date, date] | None:
    """First and last day of the period that a text means; None for any other value.

    On the first day of a week or month, ``this week`` and ``this month`` are those before.
    """
    if not isinstance(value, str):
        return None
    text = " ".join(value.lower().split())
    yesterday = today - timedelta(days=1)
    if match := _LAST_DAYS.fullmatch(text):
        return (yesterday - timedelta(days=max(int(match[1]), 1) - 1), yesterday)
    monday = today - timedelta(days=today.weekday())
    month_end = today.replace(day=1) - timedelta(days=1)
    return {
        "last week": (monday - timedelta(days=7), monday - timedelta(days=1)),
        "this week": (yesterday - timedelta(days=yesterday.weekday()), yesterday),
        "last month": (month_end.replace(day=1), month_end),
        "this month": (yesterday.replace(day=1), yesterday),
    }.get(text)
