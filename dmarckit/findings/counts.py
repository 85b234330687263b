"""Counting in rows: what a rule asks of a domain's messages, without a copy of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.findings.model import reporter_name, safe
from dmarckit.findings.rows import Names, Rows, Times, places_of

SHOWN = 10  # names or addresses in evidence and sentences; more is not read


def names(rows: Rows, column: str, where: Any = slice(None)) -> list[str]:
    """Return the values of a column in the rows where something holds, in their order."""
    codes, known = codes_of(rows[column])
    return [str(known[code]) for code in np.sort(pd.unique(codes[where]))]


def first_days(rows: Rows, column: str, since: pd.Timestamp | None = None) -> dict[str, Any]:
    """Return the values of a column, or those that are new `since` a day → their first day.

    Rows are in the order of days.
    """
    codes, known = codes_of(rows[column])
    used, first = np.unique(codes, return_index=True)
    days = rows["day"][first]
    if since is not None:
        is_new = days >= since
        used, days = used[is_new], days[is_new]
    return dict(zip(map(str, known[used]), days, strict=True))


def daily(rows: Rows, *columns: str) -> tuple[Times, list[NDArray[Any]]]:
    """Return the days of some rows, and the sums of columns on each of them."""
    codes, days = codes_of(rows["day"])
    return Times(days), [np.bincount(codes, rows[c], len(days)) for c in columns]


def codes_of(values: Any) -> tuple[NDArray[Any], Any]:
    """Return each value's place among the values there are, and these in order."""
    if isinstance(values, Names):
        return values.codes, values.known
    if not isinstance(values, Times):
        return pd.factorize(values, sort=True)
    days = values.values
    is_new = np.ones(len(days), bool)
    is_new[1:] = days[1:] != days[:-1]
    if (days[1:] < days[:-1]).any():
        found, places = np.unique(days, return_inverse=True)
        return places, found
    return np.cumsum(is_new) - 1, days[is_new]


def total(rows: Any, where: Any = slice(None)) -> int:
    """Return the messages of rows, or of those where something holds, as a whole number."""
    return whole(rows["messages"][where].sum())


def whole(n: float) -> int:
    """Return a number of messages as a whole one (`queries.messages` rounds alike)."""
    return round(round(float(n), 6))


def day_span(rows: Rows) -> tuple[date | None, date | None]:
    """Return the first and last day with messages; None without any."""
    days = rows["day"][rows["messages"] > 0]
    return (days.min().date(), days.max().date()) if len(days) else (None, None)


def sums(rows: Rows, column: str, of: str = "messages") -> dict[Any, float]:
    """Return value of a column → its messages, in the order of values."""
    values, numbers = _sums(rows, column, of)
    return dict(zip(Times(values) if column == "day" else values, numbers.tolist(), strict=True))


def _sums(rows: Rows, column: str, of: str = "messages") -> tuple[Any, NDArray[Any]]:
    codes, known = codes_of(rows[column])
    counted = np.bincount(codes, minlength=len(known)) > 0
    numbers = np.bincount(codes, rows[of], len(known))
    return (known, numbers) if counted.all() else (known[counted], numbers[counted])


def ordered_by(rows: Rows, column: str) -> tuple[Rows, dict[str, slice]]:
    """Return rows in the order of a column's values, and where those of each value are."""
    codes, known = codes_of(rows[column])
    few = codes.astype("uint16") if len(known) < 1 << 16 else codes  # sorted much faster
    order = np.argsort(few, kind="stable")
    return rows[order], places_of(few[order], known)


def groups(rows: Rows, column: str) -> Iterator[tuple[str, Rows]]:
    """Yield each value of a column, as text, with its rows, in the order of values."""
    rows, places = ordered_by(rows, column)
    return ((name, rows[place]) for name, place in places.items())


def top_counts(rows: Rows, column: str, at_most: int = SHOWN) -> dict[str, int]:
    """Return value → messages for evidence, most first; names are made safe to show."""
    known, numbers = _sums(rows, column)
    first = np.argsort(-numbers, kind="stable")[:at_most]
    shown = reporter_name if column == "reporter" else safe
    most = zip(known[first], numbers[first].tolist(), strict=True)
    return {shown(str(name)): round(n) for name, n in most if n > 0}


def count_reporters(rows: Rows) -> int:
    """Return the number of reporters with messages, whatever the case of their names."""
    known, numbers = _sums(rows, "reporter")
    return len({str(n).casefold() for n, sent in zip(known, numbers, strict=True) if sent > 0})


def largest(numbers: dict[str, float]) -> str:
    """Return the value with the most messages; of equal ones the first."""
    return max(numbers, key=numbers.__getitem__)
