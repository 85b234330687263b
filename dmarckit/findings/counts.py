"""Counting in frames by arrays: what a rule asks of a domain's rows, without a copy of them.

A selection of a DataFrame copies all its columns, which takes far longer than the sum of one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.findings.model import reporter_name, safe

SHOWN = 10  # names or addresses in evidence and sentences; more is not read


def among(values: pd.Series[Any], names: Container[str]) -> NDArray[np.bool_]:
    """Return which values of a categorical are among some names (as `isin`, but fast)."""
    codes, known = codes_of(values)
    found: NDArray[np.bool_] = np.fromiter((name in names for name in known), bool)[codes]
    return found


def names(frame: pd.DataFrame, column: str, where: Any) -> list[str]:
    """Return the values of a column in the rows where something holds, in their order."""
    codes, known = codes_of(frame[column])
    return [str(known[code]) for code in np.sort(pd.unique(codes[np.asarray(where)]))]


def first_days(
    rows: pd.DataFrame, column: str, since: pd.Timestamp | None = None
) -> dict[str, pd.Timestamp]:
    """Return the values of a column, or those that are new `since` a day → their first day.

    Rows are in the order of days.
    """
    codes, known = codes_of(rows[column])
    used, first = np.unique(codes, return_index=True)
    if since is not None:
        is_new = day_values(rows)[first] >= since.to_datetime64()
        used, first = used[is_new], first[is_new]
    return dict(zip(map(str, known[used]), rows["day"].array[first], strict=True))


def day_values(frame: pd.DataFrame) -> NDArray[np.datetime64]:
    """Return the days of a frame as numpy has them, which compares them much faster."""
    return frame["day"].to_numpy("datetime64[us]")


def is_on(frame: pd.DataFrame, days: Iterable[pd.Timestamp]) -> NDArray[np.bool_]:
    """Return which rows are of one of the days (as `isin`, but fast)."""
    them = np.array([day.to_datetime64() for day in days], "datetime64[us]")
    return np.isin(day_values(frame), them)


def daily(rows: pd.DataFrame, *columns: str) -> tuple[pd.DatetimeIndex, list[NDArray[Any]]]:
    """Return the days of some rows, and the sums of columns on each of them."""
    codes, days = codes_of(rows["day"])
    counted = (np.bincount(codes, rows[c].to_numpy("float64"), len(days)) for c in columns)
    return pd.DatetimeIndex(days), list(counted)


def codes_of(values: pd.Series[Any]) -> tuple[NDArray[Any], Any]:
    """Return each value's place among the values there are, and these in order."""
    if isinstance(values.array, pd.Categorical):
        return values.array.codes, values.array.categories
    if values.dtype.kind != "M" or not values.is_monotonic_increasing:
        return pd.factorize(values, sort=True)
    days = values.to_numpy("datetime64[us]")
    first = np.ones(len(days), bool)
    first[1:] = days[1:] != days[:-1]
    return np.cumsum(first) - 1, pd.Index(values.array[first])


def ordered(
    frame: pd.DataFrame, column: str, days: bool = False
) -> tuple[pd.DataFrame, dict[str, slice]]:
    """Return a frame in the order of a column (and its days), and where the rows of each name are.

    Without copying it where it is in that order.
    """
    codes, names = codes_of(frame[column])
    is_ordered = codes[1:] >= codes[:-1]
    if days:
        day = frame["day"].astype("int64").to_numpy()
        is_ordered &= (codes[1:] > codes[:-1]) | (day[1:] >= day[:-1])
    if not is_ordered.all():
        order = np.lexsort((day, codes)) if days else np.argsort(codes, kind="stable")
        frame, codes = frame.take(order), codes[order]
    places = np.searchsorted(codes, np.arange(len(names) + 1)).tolist()
    pairs = zip(names, pairwise(places), strict=True)
    return frame, {
        str(name): slice(first, after) for name, (first, after) in pairs if first < after
    }


def total(frame: pd.DataFrame, where: Any = slice(None)) -> int:
    """Return the messages of a frame, or of the rows where something holds, as a whole number."""
    return whole(frame["messages"].to_numpy()[where].sum())


def whole(n: float) -> int:
    """Return a number of messages as a whole one (`queries.messages` rounds alike)."""
    return round(round(float(n), 6))


def day_span(frame: pd.DataFrame) -> tuple[date | None, date | None]:
    """Return the first and last day with messages; None without any."""
    days = day_values(frame)[frame["messages"].to_numpy() > 0]
    return (days.min().item().date(), days.max().item().date()) if len(days) else (None, None)


def sums(frame: pd.DataFrame, column: str, of: str = "messages") -> pd.Series[Any]:
    """Return value of a column → its messages, in the order of values (as `groupby`, but fast)."""
    names, numbers = _sums(frame, column, of)
    return pd.Series(numbers, index=names)


def _sums(frame: pd.DataFrame, column: str, of: str = "messages") -> tuple[Any, NDArray[Any]]:
    codes, names = codes_of(frame[column])
    counted = np.bincount(codes, minlength=len(names)) > 0
    numbers = np.bincount(codes, frame[of].to_numpy("float64"), len(names))
    return (names, numbers) if counted.all() else (names[counted], numbers[counted])


def groups(frame: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each value of a column, as text, with its rows, in the order of values."""
    rows, places = ordered(frame, column)
    return ((name, rows.iloc[place]) for name, place in places.items())


def top_counts(frame: pd.DataFrame, column: str, at_most: int = SHOWN) -> dict[str, int]:
    """Return value → messages for evidence, most first; names are made safe to show."""
    names, numbers = _sums(frame, column)
    first = np.argsort(-numbers, kind="stable")[:at_most]
    shown = reporter_name if column == "reporter" else safe
    most = zip(names[first], numbers[first].tolist(), strict=True)
    return {shown(str(name)): round(n) for name, n in most if n > 0}
