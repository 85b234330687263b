"""The lake as an analyst opens it: every table as a DataFrame, and `messages` with its classes.

`messages` is the records of the lake with who sent them and what they mean, by the same reduction
that findings and pages are made of; the table of that name, for other engines, is not read here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dmarckit.core import (
    LakeError,
    Settings,
    Window,
    last_days,
    load_settings,
    one_line,
)
from dmarckit.facts.load import HISTORY, history_of, reduced
from dmarckit.facts.networks import about_addresses
from dmarckit.facts.ptr import host_names
from dmarckit.facts.sql import EACH_DAY, NAMED_RECORDS
from dmarckit.lake import MESSAGES as STORED, TABLES, Lake as StoredLake, column_kinds, documented

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BATCH = 100_000
"""rows of `messages` that SQL takes at once"""

MESSAGES = STORED.schema.remove(STORED.schema.get_field_index("month"))
"""Columns of `messages`, with their meanings."""


def open_lake(settings: Settings | None = None, *, now: datetime | None = None) -> Lake:
    """Open the lake of an installation: of the settings in force unless others are given.

    >>> lake = open_lake()  # doctest: +SKIP
    >>> lake.messages("example.com").groupby("class")["messages"].sum()  # doctest: +SKIP
    """
    settings = settings or load_settings()
    return Lake(settings.lake_url, settings, now=now)


class Lake(StoredLake):
    """The tables of an installation, and `messages`: its records with their senders and classes.

    Tables are methods that return DataFrames; `sql` and `duckdb` see all tables, and `messages`,
    as views. `describe` lists the columns of each.

    Args:
        url: folder or ``s3://…`` that holds the tables.
        settings: declare senders, name the domains, and an MMDB file; those in force unless given.
        now: the moment from which `messages` looks back; the present one unless given.
    """

    def __init__(
        self, url: str, settings: Settings | None = None, *, now: datetime | None = None
    ) -> None:
        super().__init__(url)
        self._settings = settings
        self._now = now

    @property
    def settings(self) -> Settings:
        """Return the settings that classes rest on."""
        if self._settings is None:
            self._settings = load_settings()
        return self._settings

    @property
    def now(self) -> datetime:
        """Return the moment from which `messages` looks back."""
        return self._now or datetime.now(UTC)

    def messages(
        self,
        domain: str | Iterable[str] = (),
        *,
        days: int = 30,
        end: str | date = "",
        window: Window | None = None,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return the records of a window with their senders and classes, one row each.

        Classes rest on the 90 days before the end of the window (longer for windows of more
        than 31 days), exactly as in findings and pages of the same domains. Records without
        messages are left out. Without any there are the columns and no rows.

        Args:
            domain: policy domain or domains; those of the settings, or all, unless given.
            days: length of the window, in whole UTC days.
            end: its last day (``2026-11-23``); yesterday unless given.
            window: the window itself, in place of `days` and `end`.
            columns: only these columns.

        Raises:
            LakeError: the lake cannot be read, or has no such column.
            SettingsError: `days` or `end` make no window.
        """
        last = end if isinstance(end, str) else f"{end:%Y-%m-%d}"
        asked = window or last_days(days, last, self.now.date())
        moment = asked.end if window or end else self.now
        names = [domain] if isinstance(domain, str) else list(domain)
        back = history_of(2 * asked.days)
        batches = self._classified(moment, back, names, window=asked, columns=columns)
        chosen = pa.schema([MESSAGES.field(c) for c in _chosen(columns)])
        frame: pd.DataFrame = pa.Table.from_batches(batches, chosen).to_pandas()
        return frame

    messages.__doc__ = documented(MESSAGES, str(messages.__doc__))

    def describe(self, table: str) -> pd.DataFrame:
        """Return the columns of a table, or of `messages`: `column`, `type`, `meaning`.

        Raises:
            LakeError: there is no such table.
        """
        schemas = {"messages": MESSAGES} | {name: known.schema for name, known in TABLES.items()}
        if table not in schemas:
            tables = ", ".join(schemas)
            raise LakeError(f"no table {one_line(table)!r}; tables are {tables}")
        columns = ["column", "type", "meaning"]
        return pd.DataFrame(column_kinds(schemas[table]), columns=columns, dtype="str")

    def sql(self, query: str, **parameters: Any) -> pd.DataFrame:
        """Return the result of a DuckDB query over the tables, with ``$name`` parameters.

        The view `messages` holds the last 90 days, as `messages` returns them: those before
        `now`, or in a lake that has nothing newer, before the end of its newest report. It is
        made when a query reads it.

        >>> open_lake().sql("SELECT class, sum(messages) AS n FROM messages GROUP BY ALL")
        ... # doctest: +SKIP
        """
        return super().sql(query, **parameters)

    def duckdb(self) -> DuckDBPyConnection:
        """Return a DuckDB connection that sees every table, and `messages`; close it after use.

        >>> open_lake().duckdb().sql("SELECT count(*) FROM messages")  # doctest: +SKIP
        """
        connection = super().duckdb()
        connection.register("messages", _View(self._view_batches))
        return connection

    @contextlib.contextmanager
    def session(self, *names: str, **options: Any) -> Iterator[DuckDBPyConnection]:
        """Open a connection as `Lake.session` of the tables, with the view `messages`."""
        with super().session(*names, **options) as connection:
            connection.register("messages", _View(self._view_batches))
            yield connection

    def _view_batches(self) -> Iterator[pa.RecordBatch]:
        return self._classified(self.newest, HISTORY)

    @property
    def newest(self) -> datetime:
        """Return `now`, or in a lake that has nothing of 90 days, the end of its newest report."""
        known = self.arrow('SELECT max("end") AS newest FROM reports').column("newest")[0].as_py()
        return known if known and known < self.now - timedelta(days=HISTORY) else self.now

    def daily_messages(self, start: datetime) -> Iterator[pa.RecordBatch]:
        """Return the rows of the table `messages` from a day of the last 90 on."""
        now = self.newest
        return self._classified(now, HISTORY, window=Window(start, now), daily=True)

    def _classified(
        self,
        now: datetime,
        days: int,
        domains: Sequence[str] = (),
        *,
        window: Window | None = None,
        columns: Sequence[str] | None = None,
        daily: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows of `messages`: of the window, or of all days that the classes rest on.

        With `daily` they are those of the table, in no order (sorting takes a fifth more).
        """
        settings, hosts = self.settings, host_names(self)
        chosen = list(domains) or list(settings.domain_names) or None
        schema = (
            STORED.schema if daily else pa.schema([MESSAGES.field(c) for c in _chosen(columns)])
        )
        opened = reduced(self, now, days, chosen, settings=settings, hosts=hosts, frames=False)
        with opened as (facts, reduction):
            start, end = (window.start, window.end) if window else (facts.start, facts.now)
            found = reduction.table("SELECT DISTINCT ip AS source_ip FROM chosen WHERE ip <> ''")
            found = found.join(about_addresses(found["source_ip"], hosts, settings.mmdb))
            reduction.put("address_names", found)
            reduction.put_names()
            bounds = {
                "first_us": int(start.timestamp() * 1e6),
                "end_us": int(end.timestamp() * 1e6),
            }
            wanted = ", ".join(f'"{c}"' for c in schema.names)
            order = 'ORDER BY begin, report_uid, "position"'
            by, order = (EACH_DAY, "") if daily else ("period", order)
            query = NAMED_RECORDS.format(columns=wanted, by=by, order=order, **bounds)
            rows = reduction.relation(query)
            for batch in rows.to_arrow_reader(BATCH):
                yield batch.cast(schema)

    def __repr__(self) -> str:
        """Return the place, and each table that has rows, with its first and last day."""
        lines = [f"Lake {self.location.url}"]
        for name in TABLES:
            try:
                lines += self._summary(name)
            except LakeError as error:
                return f"{lines[0]}\n  {one_line(error, 300)}"
        return "\n".join(lines if len(lines) > 1 else [*lines, "  no rows yet"])

    def _summary(self, name: str) -> list[str]:
        """Return a line about the table from the statistics in its log; none without rows."""
        table = self.location.open(name)
        stored = pa.table(table.get_add_actions(flatten=True)) if table is not None else None
        rows = 0 if stored is None else pc.sum(stored["num_records"]).as_py()
        if stored is None or not rows:
            return []
        times = [
            bound(stored[column]).as_py()
            for bound, column in (
                (pc.min, f"min.{TABLES[name].time}"),
                (pc.max, f"max.{TABLES[name].time}"),
            )
            if column in stored.column_names
        ]
        days = " to ".join(dict.fromkeys(f"{t:%Y-%m-%d}" for t in times if t is not None))
        return [f"  {name:<12} {rows:>12,} rows  {days}".rstrip()]

    def __dir__(self) -> list[str]:
        """Return what an analyst asks a lake for."""
        return [
            *("messages", "records", "reports", "mails", "tls", "findings", "dns", "postmaster"),
            *("sql", "duckdb", "arrow", "polars", "dask", "describe", "location", "settings"),
        ]


def _chosen(columns: Sequence[str] | None) -> list[str]:
    unknown = [c for c in columns or () if c not in MESSAGES.names]
    if unknown:
        has = ", ".join(MESSAGES.names)
        raise LakeError(f"messages has no column {one_line(unknown[0])!r}; it has {has}")
    return list(columns or MESSAGES.names)


class _View:
    """`messages` for DuckDB, which takes the batches whenever a query reads them."""

    def __init__(self, batches: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        self._batches = batches

    def __arrow_c_schema__(self) -> Any:
        return MESSAGES.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        reader = pa.RecordBatchReader.from_batches(MESSAGES, self._batches())
        return reader.__arrow_c_stream__(requested_schema)
