"""Writing the tables: every commit is a compare-and-swap, so any number may write at once.

A commit reads which units a table holds, appends those that are new, and raises the
version that our application id has in the table (Delta's transaction identifiers). If
another writer of ours has committed since, Delta refuses it, and we look again. That
gives exactly once without reading whole tables, and lets long reports go in as a stream.

How the data files of a table lie, and which months are worth to be written anew.

A month is a folder (partition). Within it rows lie by domain, so that the statistics of
files and row groups tell readers which of them one domain is not in. What ingests append
is in no order; `dmarckit maintain` puts it in order.
"""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dmarckit.core import LakeError
from dmarckit.lake.location import Location
from dmarckit.lake.schema import TABLES, Table

if TYPE_CHECKING:
    from deltalake import DeltaTable


CLUSTERED = {"records": "domain", "reports": "domain", "tls": "policy_domain"}
"""table → column by which the rows of a month are ordered; other tables are read whole"""

TARGET_SIZE = 32_000_000
"""bytes of a data file: few enough to skip, many enough for few requests (Delta's own default,
100 MB, would hold a month of most installations in one file)"""

GROUP_ROWS = 50_000
"""rows of a row group, the least that a reader reads: about 1 MB of records"""

MIXED_GROUPS = 4
"""row groups with several domains that one domain may lie in; in a month in order it is two"""

SMALL_FILES = 4
"""files below half the target size that a month may have"""


@dataclass(frozen=True)
class File:
    """A data file of a table."""

    uri: str
    month: str
    size: int
    """bytes"""
    rows: int


@dataclass(frozen=True)
class Group:
    """A row group: the first and the last value of the ordering column, and its bytes."""

    first: str
    last: str
    size: int
    rows: int


def files_of(table: DeltaTable, uri: str) -> list[File]:
    """The data files of the table as it is; `uri` is its address."""
    actions = pa.table(table.get_add_actions(flatten=True))
    columns = ("path", "partition.month", "size_bytes", "num_records")
    if not actions.num_rows:
        return []
    rows = zip(*(actions[c].to_pylist() for c in columns), strict=True)
    return [File(f"{uri}/{path}", month, size, count) for path, month, size, count in rows]


def by_month(files: Sequence[File]) -> dict[str, list[File]]:
    """Month → its files, in order of time."""
    found: dict[str, list[File]] = defaultdict(list)
    for file in files:
        found[file.month].append(file)
    return dict(sorted(found.items()))


def wants_compaction(files: Sequence[File]) -> bool:
    """Whether a month has more small files than reading it should open."""
    return sum(file.size < TARGET_SIZE / 2 for file in files) > SMALL_FILES


def wants_order(location: Location, files: Sequence[File], column: str) -> bool:
    """Whether one domain's rows of a month lie in more places than they need to."""
    if sum(file.rows for file in files) <= MIXED_GROUPS * GROUP_ROWS:
        return False  # reading all of it costs little
    groups = location.row_groups([file.uri for file in files], column)
    return is_mixed([Group(*group) for group in groups])


def is_mixed(groups: Sequence[Group]) -> bool:
    """Whether a domain lies, on average, in more than `MIXED_GROUPS` groups' worth of bytes
    that hold other domains too.

    Late reports make small groups anywhere; they weigh what they hold, so that a large
    month is not written anew because of a few.

    >>> is_mixed([Group("a", "z", 100, GROUP_ROWS)] * 10)
    True
    >>> is_mixed([Group(name, name, 100, GROUP_ROWS) for name in "abcdefghij"])
    False
    """
    total, rows = sum(g.size for g in groups), sum(g.rows for g in groups)
    if not total or not rows:
        return False
    shared = [g for g in groups if g.first != g.last]
    read = sum(g.size * sum(s.size for s in shared if s.first <= g.first <= s.last) for g in groups)
    one_group = total * min(1.0, GROUP_ROWS / rows)
    return read / total > MIXED_GROUPS * one_group


APPLICATION = "dmarckit"  # the id whose version every commit of ours raises by one
ATTEMPTS = 60  # commits tried before giving up; each loses only to another's success
CLAIM = "dmarckit.rewriting"  # property of a table: who rewrites its files
WIDENED = "dmarckit.widened"  # property of a table: it got columns that older files lack
JOIN = "\x1f"  # between the columns of a unit
KNOWN_MONTHS = 12  # months whose units are remembered although nobody has asked for them lately
COMPACT_FILES = 24  # data files in one month beyond which they are compacted


class Writer:
    """Appends to the tables of one lake; tables are made on the first write."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._known: dict[str, _KnownUnits] = {}

    def append_new(self, name: str, rows: pa.Table) -> set[str]:
        """Append the rows whose unit (`Table.unit`) the table does not hold yet.

        Returns the units that were new (their columns joined by `JOIN`). All new rows go
        in with one commit or not at all.
        """
        units = _units(rows, TABLES[name]).to_pylist()
        new: set[str] = set()

        def fresh(known: set[str]) -> pa.Table | None:
            nonlocal new
            new = set(units) - known
            if not new:
                return None
            wanted = rows.filter(pa.array([unit in new for unit in units], pa.bool_()))
            return wanted.cast(_without_comments(wanted.schema))

        self._commit(name, _months(rows), fresh)
        return new

    def append_stream(
        self, name: str, unit: str, month: str, batches: Callable[[], Iterator[pa.RecordBatch]]
    ) -> bool:
        """Append all batches as one unit, unless the table holds it; True when it was new.

        `batches` gives them anew at each call: a lost race reads them again.
        """
        schema = _without_comments(TABLES[name].schema)

        def fresh(known: set[str]) -> pa.RecordBatchReader | None:
            if unit in known:
                return None
            plain = (batch.cast(schema) for batch in batches())
            return pa.RecordBatchReader.from_batches(schema, plain)

        return self._commit(name, [month], fresh)

    def _commit(
        self,
        name: str,
        months: Sequence[str],
        fresh: Callable[[set[str]], pa.Table | pa.RecordBatchReader | None],
    ) -> bool:
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import CommitFailedError

        known = self._known.setdefault(name, _KnownUnits(self.location, TABLES[name]))
        for attempt in range(ATTEMPTS):
            with self.location.explained(name, "write"):
                table = self.location.open(name) or self._create(name)
                other = _has_other_columns(table, TABLES[name])
                data = fresh(known.at(table, months))
                if data is None:
                    return False
                version = (table.transaction_version(APPLICATION) or 0) + 1
                try:
                    if other and WIDENED not in table.metadata().configuration:
                        table.alter.set_table_properties(
                            {WIDENED: "yes"}, raise_if_not_exists=False
                        )
                        continue  # of several writers one succeeds; with the table as it is now
                    write_deltalake(
                        table,
                        data,
                        mode="append",
                        schema_mode="merge" if other else None,
                        commit_properties=CommitProperties(
                            app_transactions=[Transaction(APPLICATION, version)]
                        ),
                    )
                except CommitFailedError:
                    time.sleep(random.uniform(0, 0.02 * min(attempt + 1, 10)))  # noqa: S311
                else:
                    return True
        raise LakeError(f"table {name}: other writers were faster {ATTEMPTS} times; try again")

    def _create(self, name: str) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        table = TABLES[name]
        with contextlib.suppress(DeltaError):  # another writer may have made it meanwhile
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
        """Merge the data files of tables that have more than `at_most` in one month.

        Returns the names of the tables that were compacted. Readers and writers go on.
        """
        from deltalake.exceptions import CommitFailedError

        done = []
        for name in TABLES:
            table = self.location.open(name)
            if table is None:
                continue
            files = Counter(PurePosixPath(f).parent.name for f in table.file_uris())
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
        """Take these objects out of the ledger, so that the next ingest reads them again."""
        from deltalake.exceptions import CommitFailedError

        for attempt in range(ATTEMPTS):
            table = self.location.open("mails")
            if table is None or not keys:
                return
            wanted = ", ".join("'" + key.replace("'", "''") + "'" for key in keys)
            with self.location.explained("mails", "write"), contextlib.suppress(CommitFailedError):
                table.delete(f"key IN ({wanted})")
                self._known.pop("mails", None)
                return
            time.sleep(0.02 * attempt)


def claim_rewriting(table: DeltaTable) -> None:
    """To be called before files are merged or put in order: of several who do, one succeeds.

    Delta lets two rewrites of the same files both commit, after which every row is there
    twice (deltalake 1.6). What it refuses is any commit that began before the metadata
    changed. So whoever rewrites changes them first: rewrites that others have begun will
    fail, as will appends, which their writers do again at once.

    Raises CommitFailedError when another has just done the same; open the table anew then.
    """
    table.alter.set_table_properties({CLAIM: uuid.uuid4().hex}, raise_if_not_exists=False)


def _has_other_columns(table: DeltaTable, wanted: Table) -> bool:
    """It was made by an older dmarckit, whose rows have fewer columns, or by a newer one."""
    return {field.name for field in table.schema().fields} != set(wanted.columns)


def lacks_columns(table: DeltaTable, wanted: Table) -> bool:
    """Some of its files may not have all columns of today."""
    return WIDENED in table.metadata().configuration or _has_other_columns(table, wanted)


class _KnownUnits:
    """The units that a table holds in some months, kept up to date by reading new files only."""

    def __init__(self, location: Location, table: Table) -> None:
        self._location = location
        self._table = table
        self._files: set[str] = set()
        self._units: set[str] = set()
        self._months: set[str] = set()

    def at(self, table: DeltaTable, months: Sequence[str]) -> set[str]:
        if len(self._months.difference(months)) > KNOWN_MONTHS:  # a watcher runs for years
            self._files, self._units, self._months = set(), set(), set()
        self._months.update(months)
        files = table.file_uris(file_pruning_predicate=[("month", "in", list(months))])
        unread = [f for f in files if f not in self._files]
        if unread:
            wanted = pa.schema([self._table.schema.field(name) for name in self._table.unit])
            rows = self._location.read(unread, wanted)
            self._units.update(_units(rows, self._table).unique().to_pylist())
            self._files.update(unread)
        return self._units


def _without_comments(schema: pa.Schema) -> pa.Schema:
    """Columns without their descriptions: the table has them, and Delta takes no others later."""
    return pa.schema([field.remove_metadata() for field in schema])


def _units(rows: pa.Table, table: Table) -> Any:
    columns = [_as_text(rows.column(name)) for name in table.unit]
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, JOIN)


def _as_text(column: Any) -> Any:
    """Times as their number, which needs no time zone data on the machine."""
    whole = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
    return whole.cast(pa.string())


def _months(rows: pa.Table) -> list[str]:
    months: Iterable[str] = rows.column("month").unique().to_pylist()
    return sorted(months)
