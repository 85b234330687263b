"""Rows of facts as rules read them: columns are arrays, each taken when a rule asks for it.

A selection of a DataFrame copies all its columns, and takes far longer than what a rule counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Where = slice | NDArray[Any]
"""Rows: a slice, flags, or places."""


class Rows:
    """Some rows of a frame: ``rows["messages"]`` is a column, ``rows[flags]`` are fewer rows.

    Columns are `Names` (categoricals), `Times`, or arrays of numpy.
    """

    __slots__ = ("_columns", "_n", "_take")

    def __init__(
        self, take: Callable[[str], Any], n: int, columns: dict[str, Any] | None = None
    ) -> None:
        self._take, self._n, self._columns = take, n, columns or {}

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Rows:
        """Return the rows of a frame."""
        return cls(lambda name: _column(frame[name]), len(frame))

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._n

    @overload
    def __getitem__(self, what: str) -> Any: ...
    @overload
    def __getitem__(self, what: Where) -> Rows: ...
    def __getitem__(self, what: str | Where) -> Any:
        """Return a column, or the rows in some places."""
        if isinstance(what, str):
            if what not in self._columns:
                self._columns[what] = self._take(what)
            return self._columns[what]
        if isinstance(what, slice):
            return Rows(lambda name: self[name][what], len(range(*what.indices(self._n))))
        places = np.flatnonzero(what) if what.dtype.kind == "b" else what
        return Rows(lambda name: self[name][places], len(places))

    def assign(self, **columns: Any) -> Rows:
        """Return the rows with more columns, or others."""
        return Rows(self.__getitem__, self._n, columns)

    def local(self) -> Rows:
        """Return the rows without the names of others: a fleet has too many to group by."""

        def column(name: str) -> Any:
            values = self[name]
            return values.local() if isinstance(values, Names) else values

        return Rows(column, self._n)

    def frame(self, *columns: str) -> pd.DataFrame:
        """Return columns as a frame."""
        given = {name: self[name] for name in columns}
        return pd.DataFrame(
            {n: v if isinstance(v, np.ndarray) else v.to_pandas() for n, v in given.items()}
        )


class Names:
    """A column of texts: a code for each row, and the names that the codes stand for, in order."""

    __slots__ = ("_known", "codes")

    def __init__(self, codes: NDArray[Any], known: _Known) -> None:
        self.codes, self._known = codes, known

    @property
    def known(self) -> NDArray[Any]:
        """Return all names that there may be."""
        return self._known.names

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        """Return the name of each row."""
        return iter(self.known[self.codes].tolist())

    @overload
    def __getitem__(self, where: int) -> str: ...
    @overload
    def __getitem__(self, where: Where) -> Names: ...
    def __getitem__(self, where: Any) -> Any:
        """Return the name of a row, or those of some rows."""
        codes = self.codes[where]
        return Names(codes, self._known) if isinstance(codes, np.ndarray) else self.known[codes]

    def __eq__(self, name: object) -> NDArray[np.bool_]:  # type: ignore[override]
        """Return which rows have the name."""
        return np.asarray(self.codes == self._known.places.get(name, -1))

    def __ne__(self, name: object) -> NDArray[np.bool_]:  # type: ignore[override]
        """Return which rows have another name."""
        return np.asarray(self.codes != self._known.places.get(name, -1))

    __hash__ = None  # type: ignore[assignment]

    def isin(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Return which rows have one of the names."""
        places, flags = self._known.places, np.zeros(len(self.known), bool)
        flags[[places[name] for name in names if name in places]] = True
        found: NDArray[np.bool_] = flags[self.codes]
        return found

    def unique(self) -> list[str]:
        """Return the names that there are, in the order of rows."""
        return [*map(str, self.known[pd.unique(self.codes)])]

    def local(self) -> Names:
        """Return the same, where all names have a row."""
        codes, known = self.codes, self._known
        if len(codes) < len(known.names) // 8:
            used = np.unique(codes)
        else:
            used = np.flatnonzero(np.bincount(codes, minlength=len(known.names)))
        known.scratch[used] = np.arange(len(used), dtype="int32")
        return Names(known.scratch[codes], _Known(known.names[used]))

    def to_pandas(self) -> pd.Categorical:
        """Return the same for a frame."""
        return pd.Categorical.from_codes(self.codes, pd.Index(self.known, dtype=object))


class _Known:
    """Names, and the place of each."""

    def __init__(self, names: Any) -> None:
        self.names: NDArray[Any] = np.asarray(names, dtype=object)

    @cached_property
    def places(self) -> dict[Any, int]:
        return dict(zip(self.names, range(len(self.names)), strict=True))

    @cached_property
    def scratch(self) -> NDArray[np.int32]:
        return np.zeros(len(self.names), "int32")


class Times:
    """A column of times in UTC."""

    __slots__ = ("values",)

    def __init__(self, values: NDArray[np.datetime64]) -> None:
        self.values = values

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)

    def __iter__(self) -> Iterator[pd.Timestamp]:
        """Return the time of each row."""
        return iter(map(_timestamp, self.values))

    @overload
    def __getitem__(self, where: int) -> pd.Timestamp: ...
    @overload
    def __getitem__(self, where: Where) -> Times: ...
    def __getitem__(self, where: Any) -> Any:
        """Return the time of a row, or those of some rows."""
        found = self.values[where]
        return Times(found) if isinstance(found, np.ndarray) else _timestamp(found)

    def __eq__(self, time: object) -> NDArray[np.bool_]:  # type: ignore[override]
        """Return which are just that time."""
        return np.asarray(self.values == plain_time(time))

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, time: datetime) -> NDArray[np.bool_]:
        """Return which are earlier."""
        return np.asarray(self.values < plain_time(time))

    def __le__(self, time: datetime) -> NDArray[np.bool_]:
        """Return which are not later."""
        return np.asarray(self.values <= plain_time(time))

    def __gt__(self, time: datetime) -> NDArray[np.bool_]:
        """Return which are later."""
        return np.asarray(self.values > plain_time(time))

    def __ge__(self, time: datetime) -> NDArray[np.bool_]:
        """Return which are not earlier."""
        return np.asarray(self.values >= plain_time(time))

    def __sub__(self, other: Times) -> NDArray[np.timedelta64]:
        """Return the time between."""
        return self.values - other.values

    def min(self) -> pd.Timestamp:
        """Return the first."""
        return _timestamp(self.values.min())

    def max(self) -> pd.Timestamp:
        """Return the last."""
        return _timestamp(self.values.max())

    def isin(self, times: Iterable[datetime]) -> NDArray[np.bool_]:
        """Return which are among some times."""
        them = times.values if isinstance(times, Times) else [*map(plain_time, times)]
        return np.isin(self.values, np.asarray(them, "datetime64[us]"))

    def unique(self) -> Times:
        """Return those that there are, in their order."""
        return Times(np.unique(self.values))

    def nunique(self) -> int:
        """Return how many there are."""
        return len(np.unique(self.values))

    @property
    def day_of_week(self) -> NDArray[np.int64]:
        """Return the days of the week, from Monday (0)."""
        return (self.values.astype("datetime64[D]").astype("int64") + 3) % 7

    def to_pandas(self) -> pd.DatetimeIndex:
        """Return the same for a frame."""
        return pd.DatetimeIndex(self.values, tz="UTC")


def plain_time(time: Any) -> np.datetime64:
    """Return a time as numpy has it."""
    return pd.Timestamp(time).to_datetime64()


def _timestamp(time: np.datetime64) -> pd.Timestamp:
    return pd.Timestamp(time, tz="UTC")


def _column(values: pd.Series[Any]) -> Any:
    if isinstance(values.array, pd.Categorical):
        codes, names = values.array.codes, [*values.array.categories]
        if len(codes) and codes.min() < 0:  # a row without a name has none of those asked for
            codes, names = np.where(codes < 0, len(names), codes), [*names, None]
        return Names(codes, _Known(names))
    if values.dtype.kind == "M":
        return Times(values.to_numpy("datetime64[us]"))
    if isinstance(values.dtype, np.dtype):
        return values.to_numpy()
    # texts of Arrow: equal ones are one object
    return np.asarray(values.astype("category").astype(object), dtype=object)


def ordered(
    frame: pd.DataFrame, column: str, days: bool = False
) -> tuple[pd.DataFrame, dict[str, slice]]:
    """Return a frame in the order of a column (and its days), and where the rows of each name are.

    Without copying it where it is in that order.
    """
    values = frame[column].array
    if isinstance(values, pd.Categorical):
        codes, names = values.codes, values.categories
    else:
        codes, names = pd.factorize(frame[column], sort=True)
    is_ordered = codes[1:] >= codes[:-1]
    if days:
        day = frame["day"].to_numpy("datetime64[us]")
        is_ordered &= (codes[1:] > codes[:-1]) | (day[1:] >= day[:-1])
    if not is_ordered.all():
        order = np.lexsort((day, codes)) if days else np.argsort(codes, kind="stable")
        frame, codes = frame.take(order), codes[order]
    return frame, places_of(codes, names)


def places_of(codes: NDArray[Any], names: Any) -> dict[str, slice]:
    """Return name → where its rows are, of codes in order; names without rows are left out."""
    places = np.searchsorted(codes, np.arange(len(names) + 1)).tolist()
    pairs = zip(names, pairwise(places), strict=True)
    return {str(name): slice(first, after) for name, (first, after) in pairs if first < after}
