"""Repair of the lake: tables emptied of what is damaged, and of what the mails bring back.

The next ingest reads the mails of the emptied rows again. Rows whose mails are no longer in the
storage stay, where they can be read. A table whose log cannot be read is set aside, not deleted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from dmarckit.core import LakeError, Settings, StorageError, open_storage
from dmarckit.lake.lake import Lake
from dmarckit.lake.schema import ALL_TABLES, TABLES
from dmarckit.lake.write import commit, next_version

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.dataset import Expression

REBUILT = {"mails": "key", "reports": "mail_key", "tls": "mail_key", "records": "report_uid"}
"""table → column that says of which mail a row is; of `records`, of which report"""
ASIDE = "damaged"  # folder below the lake
REPAIRING = "repairing"  # folder below the lake: marks of tables that lost something for good


@dataclass(frozen=True)
class Repair:
    """What became of one table."""

    table: str
    rebuilt: bool  # the mails bring its rows back, or those of other tables
    damaged: int = 0  # data files that were missing or unreadable
    lost: int = 0  # rows in them, which may come back where the table is rebuilt
    kept: int = 0  # rows that stayed
    aside: str = ""  # where the table lies now; empty: its log could be read
    missing: bool = False  # there was no such table


def data_files(
    lake: Lake, name: str, table: DeltaTable, *, check: int | None = None
) -> tuple[list[str], list[tuple[str, int]]]:
    """Return a table's data files that are whole, and the others with their number of rows.

    Every file is looked for; the newest `check` of them (None: all) are read as well.
    """
    actions = table.get_add_actions(flatten=True)
    sizes = {item.key: item.size for item in lake.location.storage.list(f"{name}/")}
    whole: list[str] = []
    broken: list[tuple[str, int]] = []
    known = ("modification_time", "path", "size_bytes", "num_records")
    files = zip(*(actions[c].to_pylist() for c in known), strict=True)
    for place, (_time, path, size, rows) in enumerate(sorted(files, reverse=True)):
        file = f"{lake.location.table_uri(name)}/{path}"
        good = sizes.get(f"{name}/{path}") == size
        if good and (check is None or place < check):
            with contextlib.suppress(LakeError), lake.location.explained(name, "read"):
                lake.location.read_through(file)
                whole.append(file)
                continue
            good = False
        if good:
            whole.append(file)
        else:
            broken.append((file, rows or 0))
    return whole, broken


def repair_tables(
    settings: Settings,
    lake: Lake,
    *,
    now: datetime,
    dry_run: bool = False,
    step: Callable[[str], None] = lambda text: None,
) -> list[Repair]:
    """Empty the tables that mails bring back, and take what is damaged out of all others.

    With `failures` those are rebuilt as well. With `dry_run` nothing is written. Tables that
    are as they should be, and not rebuilt, are left out.

    Raises:
        StorageError: The mails cannot be listed; then nothing was done.
        LakeError: The lake cannot be written.
    """
    from pyarrow.dataset import field  # it loads pandas

    mails = pa.array((item.key for item in open_storage(settings.mail_url).list()), pa.string())
    rebuilt = REBUILT | ({"failures": "mail_key"} if settings.failures else {})
    found = []
    reports = pa.array([], pa.string())  # that stay
    for name in (*rebuilt, *(other for other in ALL_TABLES if other not in rebuilt)):
        again = name in rebuilt or name not in TABLES
        step(f"Looking at table {name}")
        try:
            table = lake.location.open(name)
        except LakeError:
            aside = ""
            if not dry_run:
                _mark(lake, name, again)
                aside = _set_aside(lake, name, now)
            found.append(Repair(name, again, aside=aside or lake.location.table_uri(name)))
            continue
        if table is None:
            found.append(Repair(name, again, missing=True))
            continue
        whole, broken = data_files(lake, name, table)
        keep: Expression | None = None
        if name in rebuilt:
            column = field(rebuilt[name])
            keep = column.isin(reports) if name == "records" else ~column.isin(mails)
        data = lake.location.dataset(whole, ALL_TABLES[name].schema) if whole else None
        if name == "reports" and data is not None:
            reports = data.to_table(["report_uid"], filter=keep)["report_uid"].combine_chunks()
        kept = data.count_rows(filter=keep) if data is not None else 0
        if not broken and keep is None:
            continue
        if not dry_run:
            _mark(lake, name, again)
            _overwrite(lake, name, whole, keep)
        lost = sum(rows for _file, rows in broken)
        found.append(Repair(name, again, len(broken), lost, kept))
    return found


def _mark(lake: Lake, name: str, rebuilt: bool) -> None:
    if not rebuilt:
        key = f"{REPAIRING}/{name}"
        lake.location.storage.put(key, b"", content_type="text/plain")


def marked_tables(lake: Lake, *, forget: bool = False) -> set[str]:
    """Return the tables that lost something in repairs that have not ended; or forget them."""
    storage, keys = lake.location.storage, list[str]()
    with contextlib.suppress(StorageError):  # there is no lake yet
        keys = [item.key for item in storage.list(f"{REPAIRING}/")]
    for key in keys if forget else ():
        storage.delete(key)
    return {key.removeprefix(f"{REPAIRING}/") for key in keys}


def _overwrite(lake: Lake, name: str, files: Sequence[str], keep: Expression | None) -> None:
    """Replace the rows of a table by those of these files that are to be kept, in one commit."""
    from deltalake import write_deltalake

    schema = pa.schema([column.remove_metadata() for column in ALL_TABLES[name].schema])

    def write() -> None:
        table = lake.location.open(name)
        if table is None:
            return
        data: pa.Table | pa.RecordBatchReader = schema.empty_table()
        if files:
            rows = lake.location.dataset(files, schema).scanner(filter=keep)
            data = pa.RecordBatchReader.from_batches(schema, rows.to_batches())
        write_deltalake(
            table,
            data,
            mode="overwrite",
            schema_mode="merge",
            # what is made from others is then made anew
            commit_properties=next_version(table, None if name in TABLES else 0),
        )

    commit(lake.location, name, "repair", write)


def _set_aside(lake: Lake, name: str, now: datetime) -> str:
    """Move what is there of a table below `ASIDE`; return the new address."""
    storage = lake.location.storage
    place = f"{ASIDE}/{now:%Y%m%dT%H%M%SZ}"
    for item in list(storage.list(f"{name}/")):
        content = storage.get(item.key)
        storage.put(f"{place}/{item.key}", content, content_type="application/octet-stream")
        storage.delete(item.key)
    return f"{lake.location.url}/{place}/{name}"
