"""Writing the tables: every commit is a compare-and-swap, so any number may write at once.

A commit reads which units a table holds, appends those that are new, and raises the version that
our application id has in the table; if another of ours has committed since, Delta refuses it, and
we look again. A month is a folder (partition); `maintain` puts it in order.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa

from dmarckit.core import LakeError, with_retries
from dmarckit.lake.location import Location, broke_off, file_addresses
from dmarckit.lake.schema import ALL_TABLES, TABLES, Table

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable, WriterProperties

TARGET_SIZE = 32_000_000
"""bytes of a data file: few enough to skip, many enough for few requests (Delta's own default,
100 MB, would hold a month of most installations in one file)"""

GROUP_ROWS = 50_000  # rows of a row group, the least that a reader reads: about 1 MB of records
APPLICATION = "dmarckit"  # the id whose version every commit of ours raises by one
MADE_FROM = "dmarckit.made_from"  # the id whose version stands for what rows were made from
CONFLICTS = tuple(min(0.02 * n, 0.3) for n in range(1, 60))
"""seconds at most before a commit is tried again; each loses only to another's success"""
CLAIM = "dmarckit.rewriting"  # property of a table: who rewrites its files
WIDENED = "dmarckit.widened"  # property of a table: it got columns that older files lack
JOIN = "\x1f"  # between the columns of a unit
KNOWN_MONTHS = 12  # months whose units are remembered although nobody has asked for them lately
FEW_FILES = 64  # that are read without pyarrow's datasets
COMPACT_FILES = 24  # data files in one month beyond which they are compacted

Result = TypeVar("Result")


class _Fresh(Protocol):
    def __call__(self, known: set[str], *, maybe: bool) -> pa.Table | pa.RecordBatchReader | None:
        """Return the rows of units that are not known; None when there are none."""


class Writer:
    """Appends to the tables of one lake; tables are made on the first write."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._known: dict[str, _KnownUnits] = {}

    def append_new(self, name: str, rows: pa.Table) -> set[str]:
        """Append the rows whose unit (`Table.unit`) the table does not hold yet, in one commit.

        Returns the units that were new, their columns joined by `JOIN`.
        """
        units = _units(rows, TABLES[name]).to_pylist()
        new: set[str] = set()

        def fresh(known: set[str], *, maybe: bool) -> pa.Table | None:
            nonlocal new
            missing = set(units) - known
            new = missing | new if maybe else missing
            if not missing:
                return None
            wanted = rows
            if known.intersection(units):
                wanted = rows.filter(pa.array([unit in missing for unit in units], pa.bool_()))
            return wanted.cast(_without_comments(wanted.schema))

        self._append(name, sorted(rows.column("month").unique().to_pylist()), fresh)
        return new

    def append_rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Do as `append_new` with a few rows of Python values, times in UTC; none: do nothing."""
        if rows:
            self.append_new(name, table_of(rows, TABLES[name].schema))

    def known_units(self, name: str, months: Sequence[str], units: set[str]) -> set[str]:
        """Return those of the units that the table holds in these months."""
        table = self.location.open(name)
        if table is None:
            return set()
        known = self._known.setdefault(name, _KnownUnits(self.location, TABLES[name]))
        with self.location.explained(name, "read"):
            return units & known.at(table, months)

    def append_stream(
        self,
        name: str,
        units: Mapping[str, str],
        batches: Callable[[str], Iterator[pa.RecordBatch]],
    ) -> set[str]:
        """Append the units (unit → month) that the table does not hold, in one commit; return them.

        `batches` gives those of a unit anew at each call: a lost race reads them again.
        """
        schema = _without_comments(TABLES[name].schema)
        new: set[str] = set()

        def fresh(known: set[str], *, maybe: bool) -> pa.RecordBatchReader | None:
            nonlocal new
            missing = [unit for unit in units if unit not in known]
            new = new.union(missing) if maybe else set(missing)
            plain = (batch.cast(schema) for unit in missing for batch in batches(unit))
            return pa.RecordBatchReader.from_batches(schema, plain) if missing else None

        self._append(name, sorted(set(units.values())), fresh)
        return new

    def probe(self, name: str, month: str) -> None:
        """Commit no rows to a table.

        Raises:
            LakeError: It cannot be written.
        """
        nothing = _without_comments(TABLES[name].schema).empty_table()
        self._append(name, [month], lambda known, *, maybe: nothing)

    def _append(
        self,
        name: str,
        months: Sequence[str],
        fresh: _Fresh,
    ) -> None:
        """Append what `fresh` makes of the units known in these months; None: nothing.

        Its `maybe` is True where a try before has perhaps written what it gave then.
        """
        from deltalake import write_deltalake

        known = self._known.setdefault(name, _KnownUnits(self.location, TABLES[name]))

        maybe = False

        def append() -> None:
            nonlocal maybe
            while True:
                table = self.location.open(name) or self._create(name)
                other = _has_other_columns(table, TABLES[name])
                data = fresh(known.at(table, months), maybe=maybe)
                maybe = False
                if data is None:
                    return
                if not other or WIDENED in table.metadata().configuration:
                    break
                # of several writers one gets on; with the table as it is then
                table.alter.set_table_properties({WIDENED: "yes"}, raise_if_not_exists=False)
            try:
                write_deltalake(
                    table,
                    data,
                    mode="append",
                    schema_mode="merge" if other else None,
                    commit_properties=next_version(table),
                )
            except Exception as error:
                maybe = broke_off(error)
                raise

        commit(self.location, name, "write", append)

    def replace_from(
        self,
        name: str,
        start: datetime,
        made_from: int,
        batches: Callable[[], Iterator[pa.RecordBatch]],
    ) -> None:
        """Replace the rows of a table from the day `start` on, in one commit.

        Nothing is done where another has made rows from the same `made_from` meanwhile.
        `batches` gives the rows anew at each call.
        """
        from deltalake import write_deltalake

        schema, column = _without_comments(ALL_TABLES[name].schema), ALL_TABLES[name].time
        where = f"{column} >= '{start:%Y-%m-%dT00:00:00Z}'"
        if start.day == 1:  # whole months go unread
            where = f"month >= '{start:%Y-%m}'"

        def write() -> None:
            table = self.location.open(name) or self._create(name)
            if table.transaction_version(MADE_FROM) == made_from:
                return
            plain = (batch.cast(schema) for batch in batches())
            first = list(itertools.islice(plain, 1))  # opens tables, which Delta cannot meanwhile
            write_deltalake(
                table,
                pa.RecordBatchReader.from_batches(schema, itertools.chain(first, plain)),
                mode="overwrite",
                predicate=where,
                schema_mode="merge",
                target_file_size=TARGET_SIZE,
                writer_properties=compressed(GROUP_ROWS),
                commit_properties=next_version(table, made_from),
            )

        commit(self.location, name, "write", write)

    def _create(self, name: str) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        table = ALL_TABLES[name]
        # another writer may have made it meanwhile, or what is missing is called "forbidden"
        with contextlib.suppress(DeltaError, OSError):
            DeltaTable.create(
                self.location.table_uri(name),
                table.schema,
                partition_by=["month"],
                description=f"one row per {table.row}",
                configuration={"delta.logRetentionDuration": "interval 30 days"},
                storage_options=self.location.options(),
            )
        made = self.location.open(name)
        if made is None:
            raise LakeError(f"table {name} cannot be made in {self.location.url}; may we write?")
        return made

    def compact(self, at_most: int = COMPACT_FILES) -> list[str]:
        """Merge the data files of tables with more than `at_most` in a month; return their names.

        Readers and writers go on.
        """
        from deltalake.exceptions import CommitFailedError

        done = []
        for name in TABLES:
            table = self.location.open(name)
            if table is None:
                continue
            files = Counter(PurePosixPath(f).parent.name for f in file_addresses(table))
            full = sorted(m.partition("=")[2] for m, n in files.items() if n > at_most)
            if not full:
                continue
            with self.location.explained(name, "compact"), contextlib.suppress(CommitFailedError):
                claim_rewriting(table)
                table.optimize.compact(
                    partition_filters=[("month", "in", full)], target_size=TARGET_SIZE
                )
                table.vacuum(dry_run=False)  # what nobody can be reading any more (7 days)
                done.append(name)
        return done

    def forget_mails(self, keys: Sequence[str]) -> None:
        """Delete these objects from the ledger, so that the next ingest reads them again."""
        wanted = ", ".join("'" + key.replace("'", "''") + "'" for key in keys)

        def delete() -> None:
            table = self.location.open("mails")
            if table is not None:
                table.delete(f"key IN ({wanted})")

        if keys:
            commit(self.location, "mails", "write", delete)
            self._known.pop("mails", None)


def no_rows(schema: pa.Schema) -> pa.Table:
    """Return a table without rows; pyarrow's own way loads pandas."""
    return pa.Table.from_batches([], schema)


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows of Python values, times in UTC, as a table."""

    def text(time: datetime) -> str:
        return time.astimezone(UTC).replace(tzinfo=None).isoformat()

    return table_of_json((json.dumps(row, default=text) for row in rows), schema)


def table_of_json(objects: Iterable[str], schema: pa.Schema) -> pa.Table:
    """Return JSON objects, one a row, as a table.

    From Python's objects pyarrow makes arrays only after it has loaded pandas.
    """
    from pyarrow.json import ParseOptions, ReadOptions, read_json

    lines = "\n".join(objects).encode()
    if not lines:
        return no_rows(schema)
    return read_json(
        io.BytesIO(lines),
        ReadOptions(use_threads=False, block_size=len(lines) + 1),
        ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )


def commit(location: Location, name: str, doing: str, action: Callable[[], Result]) -> Result:
    """Return the action's result, tried again when another's commit came between.

    The action opens the table anew each time. `doing` (a verb) is for the error's text. Raises
    LakeError when the table cannot be reached, or others were faster each time.
    """
    from deltalake.exceptions import CommitFailedError

    with location.explained(name, doing):
        try:
            return with_retries(
                action,
                lambda error: isinstance(error, CommitFailedError) or broke_off(error),
                CONFLICTS,
                pause=lambda _, planned: random.uniform(0, planned),  # noqa: S311  rivals part
            )
        except CommitFailedError:
            raise LakeError(
                f"table {name}: other writers were faster {len(CONFLICTS) + 1} times; try again"
            ) from None


def next_version(table: DeltaTable, made_from: int | None = None) -> CommitProperties:
    """Return what raises our version in the table: Delta refuses it where another was faster.

    `made_from` is kept with it, where the table is made from others.
    """
    from deltalake import CommitProperties, Transaction

    marks = [Transaction(APPLICATION, (table.transaction_version(APPLICATION) or 0) + 1)]
    if made_from is not None:
        marks.append(Transaction(MADE_FROM, made_from))
    return CommitProperties(app_transactions=marks)


def compressed(group_rows: int) -> WriterProperties:
    """Return how files are written that are read often."""
    from deltalake import WriterProperties

    return WriterProperties(max_row_group_size=group_rows, compression="ZSTD", compression_level=3)


def claim_rewriting(table: DeltaTable) -> None:
    """Claim a table before its files are merged or put in order: of several one succeeds.

    Delta lets two rewrites of the same files both commit, after which every row is there
    twice (deltalake 1.6). What it refuses is any commit that began before the metadata
    changed. So whoever rewrites changes them first. Raises CommitFailedError when another has
    just done the same; open the table anew then.
    """
    table.alter.set_table_properties({CLAIM: uuid.uuid4().hex}, raise_if_not_exists=False)


def _has_other_columns(table: DeltaTable, wanted: Table) -> bool:
    """Return True for a table of an older dmarckit, whose rows have fewer columns, or a newer."""
    return {field.name for field in table.schema().fields} != set(wanted.columns)


def lacks_columns(table: DeltaTable, wanted: Table) -> bool:
    """Return True if some of its files may not have all columns of today."""
    return WIDENED in table.metadata().configuration or _has_other_columns(table, wanted)


class _KnownUnits:
    """The units that a table holds in some months, kept up to date by reading new files only."""

    def __init__(self, location: Location, table: Table) -> None:
        self._location, self._table = location, table
        self._files: set[str] = set()
        self._units: set[str] = set()
        self._months: set[str] = set()

    def at(self, table: DeltaTable, months: Sequence[str]) -> set[str]:
        """Return the units that this version of the table holds in `months`, maybe others too."""
        if len(self._months.difference(months)) > KNOWN_MONTHS:  # a watcher runs for years
            self._files, self._units, self._months = set(), set(), set()
        self._months.update(months)
        files = file_addresses(table, [("month", "in", list(months))])
        unread = [f for f in files if f not in self._files]
        if unread:
            columns = pa.schema([self._table.schema.field(name) for name in self._table.unit])
            if len(unread) <= FEW_FILES:
                rows = self._location.read(unread, columns)
            else:
                rows = self._location.dataset(unread, columns).to_table()
            self._units.update(_units(rows, self._table).unique().to_pylist())
            self._files.update(unread)
        return self._units


def _without_comments(schema: pa.Schema) -> pa.Schema:
    """Return the columns without descriptions: the table has them, and takes no others later."""
    return pa.schema([field.remove_metadata() for field in schema])


def _units(rows: pa.Table, table: Table) -> Any:
    columns = [rows.column(name) for name in table.unit]
    # times as their number, which needs no time zone data on the machine
    whole = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in columns]
    texts = [column.cast(pa.string()) for column in whole]
    if len(texts) == 1:
        return texts[0]
    from pyarrow import compute  # 0.05 s, which who only reads does without

    return compute.binary_join_element_wise(*texts, JOIN)
