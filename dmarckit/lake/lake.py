"""The tables as pandas DataFrames: by domain and time, by SQL, or in another engine.

Reading takes no lock and sees each table as its last commit left it. Polars and Dask read the
data files themselves.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dmarckit.core import (
    LakeError,
    Settings,
    domain_forms,
    load_settings,
    normalize_domain,
    one_line,
)
from dmarckit.lake.location import Location, file_addresses
from dmarckit.lake.schema import TABLES, Table
from dmarckit.lake.write import FEW_FILES, Writer, lacks_columns, no_rows

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyConnection

Domains = str | Iterable[str] | None
Time = datetime | None
Columns = Sequence[str] | None
CONFIG: dict[str, Any] = {"autoinstall_known_extensions": "false"}
FEW_BYTES = 8_000_000  # of a table in S3 that is read at once: pyarrow's datasets load pandas
FEW_ROWS = 50_000  # of a table that a `Snapshot` keeps
MOST_DOMAINS = 100  # with more, hardly a file holds none of them
NAMES = {"domain", "policy_domain", "from_domain", "authenticated_from", "dkim_domain"}
NAMES |= {"header_from", "envelope_from", "envelope_to"}  # columns that hold a domain's name
FORM = """
CREATE MACRO form(text) AS CASE WHEN strlen(text) = length(text) THEN text ELSE a_label(text) END
"""
"""A name as it is compared: former versions stored U-labels as they were sent. `a_label` is
`normalize_domain`, which only names beyond ASCII need."""
_lock = threading.Lock()


def open_lake(settings: Settings | None = None) -> Lake:
    """Return the lake of an installation (of the settings in force when none are given)."""
    return Lake((settings or load_settings()).lake_url)


def column_kinds(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Return name, type in plain words, and meaning of each column."""
    names = {"int64": "whole number", "double": "number", "bool": "true or false", "string": "text"}
    return [
        (
            field.name,
            "time" if pa.types.is_timestamp(field.type) else names.get(str(field.type), "list"),
            field.metadata[b"comment"].decode(),
        )
        for field in schema
    ]


def documented(schema: pa.Schema, what: str) -> str:
    """Return the docstring of the method that gives a table: what it returns, and the columns."""
    lines = [f"            {name} ({kind}): {text}" for name, kind, text in column_kinds(schema)]
    return "\n".join([what, "", "        Columns:", *lines, ""])


def _reader(table: str, what: str, domain_column: str = "domain") -> Callable[..., pd.DataFrame]:
    """Return the method of `Lake` that gives a table."""

    def read(
        self: Lake,
        domain: Domains = None,
        start: Time = None,
        end: Time = None,
        columns: Columns = None,
    ) -> pd.DataFrame:
        return self._select(table, domain, start, end, columns, domain_column)

    read.__name__ = table
    read.__doc__ = documented(TABLES[table].schema, what)
    return read


class Lake:
    """The tables below one address. Tables are made on first write; reading none is empty."""

    def __init__(self, url: str) -> None:
        self.location = Location(url)
        self.write = Writer(self.location)

    records = _reader(
        "records", "Return records of reports that begin in [start, end), a row each."
    )
    reports = _reader("reports", "Return aggregate reports that begin in [start, end), a row each.")
    mails = _reader("mails", "Return objects received in [start, end), a row each.", "from_domain")
    tls = _reader(
        "tls", "Return policies of TLS reports that begin in [start, end).", "policy_domain"
    )
    findings = _reader("findings", "Return findings of runs in [start, end), a row each and run.")
    dns = _reader("dns", "Return DNS records as found on the days in [start, end).")
    postmaster = _reader("postmaster", "Return metrics of Google about the days in [start, end).")

    def _select(
        self,
        name: str,
        domain: Domains,
        start: Time,
        end: Time,
        columns: Columns,
        domain_column: str,
    ) -> pd.DataFrame:
        known, time = TABLES[name].columns, TABLES[name].time
        unknown = [c for c in columns or () if c not in known]
        if unknown:
            raise LakeError(f"table {name} has no column {unknown[0]!r}; it has {', '.join(known)}")
        where, values = ["true"], dict[str, Any]()
        if domain is not None:
            where.append(f"{domain_column} IN (SELECT unnest($domains))")
            names = [domain] if isinstance(domain, str) else domain
            values["domains"] = [normalize_domain(name) for name in names]
        for limit, sign, bound in ((start, ">=", "start"), (end, "<", "end")):
            if limit is not None:
                if limit.tzinfo is None:
                    raise LakeError(f"{bound} {limit} has no time zone; use UTC")
                where.append(f'"{time}" {sign} ${bound}_ AND month {sign[0]}= ${bound}_month')
                values |= {f"{bound}_": limit, f"{bound}_month": limit.strftime("%Y-%m")}
        order = ", ".join(dict.fromkeys(f'"{c}"' for c in (time, *TABLES[name].key)))
        chosen = ", ".join(f'"{c}"' for c in columns or known)
        # every part of the text is a name out of our own schema; values are parameters
        query = f"SELECT {chosen} FROM {name} WHERE {' AND '.join(where)} ORDER BY {order}"  # noqa: S608
        frame = self.sql(query, **values)
        flags = [c for c in ("dkim_aligned", "spf_aligned") if c in frame.columns]
        return frame.assign(**{c: frame[c].fillna(False).astype(bool) for c in flags})

    def sql(self, query: str, **parameters: Any) -> pd.DataFrame:
        """Return the result of a DuckDB query over the tables, with ``$name`` parameters.

        >>> open_lake().sql("SELECT count(*) AS n FROM reports")  # doctest: +SKIP
        """
        frame: pd.DataFrame = self.arrow(query, **parameters).to_pandas(date_as_object=False)
        return frame

    def arrow(self, query: str, **parameters: Any) -> pa.Table:
        """Return the result of a DuckDB query over the tables as an Arrow table."""
        import duckdb

        with self.session(*(t for t in TABLES if re.search(rf"\b{t}\b", query))) as connection:
            try:
                result = connection.sql(query, params=parameters or None).to_arrow_table()
            except duckdb.Error as error:
                raise query_failed(error) from error
        return result

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a DuckDB query over the tables, a dict each, times in UTC."""
        return rows_of(self.arrow(query, **parameters))

    def duckdb(self) -> DuckDBPyConnection:
        """Return a DuckDB connection that sees every table as it is now; the caller closes it.

        >>> open_lake().duckdb().sql("SELECT count(*) FROM records")  # doctest: +SKIP
        """
        return Snapshot(self.location, _cursor()).see(*TABLES)

    def polars(self, name: str) -> Any:
        """Return a table as a `polars.LazyFrame` (without rows while it is not there yet).

        >>> open_lake().polars("reports").collect()  # doctest: +SKIP
        """
        try:
            import polars as library
        except ImportError as error:
            raise LakeError("Polars is not installed; pip install polars") from error
        polars: Any = library
        schema, table = _known(name).schema, self.location.open(name)
        if table is None:
            return polars.from_arrow(schema.empty_table()).lazy()
        return polars.scan_delta(table, storage_options=self.location.options() or None)

    def dask(self, name: str) -> Any:
        """Return a table as a `dask.dataframe.DataFrame`, one partition a data file.

        Each worker reads its files itself, and must be able to reach them.

        >>> open_lake().dask("records")["messages"].sum().compute()  # doctest: +SKIP
        """
        try:
            from dask import dataframe as library
        except ImportError as error:
            raise LakeError("Dask is not installed; pip install 'dask[dataframe]'") from error
        dataframe: Any = library
        empty, table = _known(name).schema.empty_table().to_pandas(), self.location.open(name)
        files = file_addresses(table) if table is not None else []
        if not files:
            return dataframe.from_pandas(empty, npartitions=1)
        return dataframe.from_map(
            _read_file, files, url=self.location.url, name=name, meta=empty, enforce_metadata=False
        )

    @contextlib.contextmanager
    def session(
        self,
        *names: str,
        first_month: str = "",
        domains: Sequence[str] | None = None,
        outvoted: bool = False,
    ) -> Iterator[DuckDBPyConnection]:
        """Yield a DuckDB connection that sees the named tables, as `Snapshot.see` shows them."""
        with self.snapshot() as snapshot:
            snapshot.see(*names, first_month=first_month, domains=domains, outvoted=outvoted)
            yield snapshot.connection

    @contextlib.contextmanager
    def snapshot(self, memory: str | None = None) -> Iterator[Snapshot]:
        """Open the tables for several questions, each as it is when it is first asked for.

        With `memory` (``"1500MB"``) DuckDB spills to disk what does not fit, and small tables are
        read once.
        """
        import duckdb

        with contextlib.ExitStack() as stack:
            if memory is None:
                connection = stack.enter_context(_cursor())
            else:
                spill = stack.enter_context(tempfile.TemporaryDirectory(prefix="dmarckit-"))
                config = {**CONFIG, "memory_limit": memory, "temp_directory": spill}
                connection = stack.enter_context(_connect(config))
            snapshot = Snapshot(self.location, connection, kept=memory is not None)
            try:
                yield snapshot
            except duckdb.Error as error:  # such as a data file that is away
                raise LakeError(
                    f"cannot read {', '.join(snapshot.opened)} in {self.location.url}: "
                    f"{one_line(error, 300)}; {self.location.advice}"
                ) from error


class Snapshot:
    """Tables in one DuckDB connection, each as its last commit left it when it was first seen.

    With `kept`, tables of few rows are read once, whatever is asked of them.
    """

    def __init__(
        self, location: Location, connection: DuckDBPyConnection, *, kept: bool = False
    ) -> None:
        self.connection = connection
        self.opened: dict[str, Any] = {}
        """name → table of Delta, None where there is none yet"""
        self._location, self._kept = location, kept
        self._since: dict[str, str] = {}
        """kept table → first month of the rows that were read"""
        connection.execute("SET TimeZone = 'UTC'")

    def see(
        self,
        *names: str,
        first_month: str = "",
        domains: Sequence[str] | None = None,
        outvoted: bool = False,
    ) -> DuckDBPyConnection:
        """Make each named table a view, in place of one of the name; return the connection.

        Months before `first_month` (``YYYY-MM``) are left out, and files of `records` that
        hold none of `domains` (None: all are wanted) are not read; rows of others are still to
        be left out. Rows of `records` and `tls` of reports that do not count are there only with
        `outvoted`.
        """
        for name in names:
            query = self._select(name, first_month, domains if name == "records" else None)
            if not outvoted and self._find_outvoted(name, first_month):
                query = f"SELECT * FROM ({query}) WHERE report_uid NOT IN (FROM {name}_outvoted)"  # noqa: S608
            self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")
        return self.connection

    def keeps(self, name: str) -> bool:
        """Return True if the table's rows are read only once."""
        table = self._open(name)
        return self._kept and table is not None and _sum_of(table, "num_records") <= FEW_ROWS

    def _open(self, name: str) -> Any:
        if name not in self.opened:
            self.opened[name] = self._location.open(name)
        return self.opened[name]

    def _select(self, name: str, first_month: str, domains: Sequence[str] | None) -> str:
        """Return SQL that gives the rows of a table, with names in their one form."""
        schema, table = TABLES[name].schema, self._open(name)
        forms = ", ".join(f"form({c}) AS {c}" for c in schema.names if c in NAMES)
        query = f"SELECT * {f'REPLACE ({forms})' if forms else ''} FROM "  # noqa: S608
        if not self.keeps(name):
            return query + self._rows(name, table, first_month, domains)
        if name not in self._since or first_month < self._since[name]:
            rows = self._rows(name, table, first_month, None)
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name}_read AS {query} {rows}")
            self._since[name] = first_month
        return f"SELECT * FROM {name}_read WHERE month >= '{first_month}'"  # noqa: S608

    def _rows(self, name: str, table: Any, first_month: str, domains: Sequence[str] | None) -> str:
        """Return what SQL can select the rows from."""
        only: list[tuple[str, str, Any]] = [("month", ">=", first_month)] if first_month else []
        if domains is not None and len(domains) <= MOST_DOMAINS:
            only.append(("domain", "in", [form for name in domains for form in domain_forms(name)]))
        files = file_addresses(table, only) if table is not None else []
        kind, stored = TABLES[name], f"{name}_stored"
        if not files:
            self.connection.register(stored, no_rows(kind.schema))
        elif not self._location.is_s3:
            quoted = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
            rows = (
                f"(SELECT * FROM read_parquet([{quoted}], hive_partitioning = true, "  # noqa: S608
                "hive_types = {'month': VARCHAR}, union_by_name = true))"
            )
            if not lacks_columns(table, kind):
                return rows
            self.connection.register(stored, no_rows(kind.schema))
            return f"(SELECT * FROM {stored} UNION ALL BY NAME {rows[1:]}"  # noqa: S608
        elif len(files) <= FEW_FILES and _sum_of(table, "size_bytes") <= FEW_BYTES:
            with self._location.explained(name, "read"):
                self.connection.register(stored, self._location.read(files, kind.schema))
        else:
            data = self._location.dataset(files, kind.schema)
            # files out of which rows were deleted hold string views, in which Arrow cannot
            # look for DuckDB; the ledger is the table whose rows are deleted every day
            self.connection.register(stored, data.scanner() if name == "mails" else data)
        return stored

    def _find_outvoted(self, name: str, first_month: str) -> bool:
        """Make a table of the reports whose rows in a table do not count; False without any."""
        of = {"records": "reports", "tls": "tls"}.get(name)
        table = self._open(of) if of else None
        if of is None or table is None:
            return False
        files = table.get_add_actions(flatten=True)
        if "null_count.rival_of" not in files.schema.names:
            return False
        nulls, rows = (files[name].to_pylist() for name in ("null_count.rival_of", "num_records"))
        if not any(n is not None and n < all_ for n, all_ in zip(nulls, rows, strict=True)):
            return False  # no file has a report with `rival_of`
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name}_outvoted AS "
            f"WITH {of} AS ({self._select(of, first_month, None)}) {OUTVOTED[of]}"
        )
        return True


OUTVOTED = {
    "reports": """SELECT report_uid FROM (SELECT report_uid, row_number() OVER (
            PARTITION BY coalesce(rival_of, report_uid)
            ORDER BY messages DESC, rival_of IS NOT NULL, report_uid) AS place
        FROM reports
        WHERE coalesce(rival_of, report_uid) IN (SELECT rival_of FROM reports)) WHERE place > 1""",
    "tls": """SELECT report_uid FROM (SELECT report_uid, row_number() OVER (
            PARTITION BY coalesce(rival_of, report_uid), domains
            ORDER BY sessions DESC, rival_of IS NOT NULL, report_uid) AS place
        FROM (SELECT report_uid, rival_of, sum(successful + failed) AS sessions,
                list_sort(list(DISTINCT policy_domain)) AS domains
            FROM tls GROUP BY report_uid, rival_of)) WHERE place > 1""",
}
"""table → which of its reports do not count, because another with the same identity does"""


def _sum_of(table: Any, column: str) -> int:
    """Return the sum of `num_records` or `size_bytes` of a table's files."""
    return sum(table.get_add_actions(flatten=True)[column].to_pylist())


def _known(name: str) -> Table:
    if name not in TABLES:
        raise LakeError(f"no table {one_line(name)!r}; tables are {', '.join(TABLES)}")
    return TABLES[name]


def query_failed(error: Exception) -> LakeError:
    """Return the error for what DuckDB says of a query, without the query itself."""
    said = str(error).partition("\n\nLINE ")[0]
    return LakeError(f"query failed: {one_line(' '.join(said.split()), 300)}")


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table as `to_pylist` does, which for times with a zone loads pandas."""
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    naive = {name: pa.timestamp("us") for name in times}
    plain = pa.schema([(f.name, naive.get(f.name, f.type)) for f in table.schema])
    rows: list[dict[str, Any]] = table.cast(plain).to_pylist()
    for row in rows:
        row.update({n: row[n].replace(tzinfo=UTC) for n in times if row[n] is not None})
    return rows


def _read_file(
    file: str, *, url: str, name: str, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return a data file on whatever machine this runs; Dask narrows `columns`."""
    data = Location(url).dataset([file], TABLES[name].schema)
    frame: pd.DataFrame = data.to_table(columns=columns).to_pandas()
    return frame


def _cursor() -> DuckDBPyConnection:
    """Return a connection to the process's one database in memory, with views of its own."""
    with _lock:
        return _database(os.getpid()).cursor()


@functools.cache
def _database(_process: int) -> DuckDBPyConnection:
    return _connect(CONFIG)


def _connect(config: dict[str, Any]) -> DuckDBPyConnection:
    """Return a connection to a database of its own, in which names have one form (`form`)."""
    import duckdb

    connection = duckdb.connect(config=dict(config))
    connection.create_function("a_label", normalize_domain, ["VARCHAR"], "VARCHAR")
    connection.execute(FORM)
    return connection
