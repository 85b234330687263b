"""Two reports with one identity: the same one again, or two that say different things.

The first that comes has the identity (`report_uid`). What another with it says is compared only
then: the same makes it a duplicate, whatever its bytes; anything else a report of its own, with a
uid that its content is part of (`rival_of` names the first). The same mails give the same uids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from dmarckit.ingest.read import Chunk
from dmarckit.lake import CONTENT, Lake, add_content, identity
from dmarckit.reports import export_uid

PARTS = {"reports": ("reports", "records"), "tls": ("tls",)}
"""table of reports → tables that hold what they say"""
NOTE = "another report with the same id says something else; the one with more messages counts"

Sums = dict[str, dict[str, int]]
"""table → report_uid → what its rows say, as `add_content` adds it up"""


def keep_apart(lake: Lake, chunks: Sequence[Chunk], table: str, known: Collection[str]) -> None:
    """Give reports of `table` that differ from the first with their identity uids of their own.

    `known` are the uids that the lake has.
    """
    bases: list[dict[str, str]] = []  # uid of each report → that of the first with its identity
    for chunk in chunks:
        uids, firsts = (chunk.rows[table][name].to_pylist() for name in ("report_uid", "rival_of"))
        bases.append({uid: base or uid for uid, base in zip(uids, firsts, strict=True)})
    times = Counter(base for found in bases for base in found.values())
    doubtful = {base for base, n in times.items() if n > 1 or base in known}
    if not doubtful:
        return
    in_lake = doubtful.intersection(known)
    first = _stored(lake, chunks, table, in_lake)
    rivals: dict[str, str] = {}
    for chunk, found in zip(chunks, bases, strict=True):
        wanted = {uid: base for uid, base in found.items() if base in doubtful}
        if not wanted:
            continue
        said = _said(chunk, table, wanted)
        renamed: dict[str, str] = {}
        for uid, base in wanted.items():
            content = {part: said[part].get(uid, 0) for part in PARTS[table]}
            if all(first[part].setdefault(base, value) == value for part, value in content.items()):
                renamed[uid] = base
            else:
                renamed[uid] = identity(base, *map(str, content.values()))
                rivals[renamed[uid]] = base
        _rename(chunk, table, renamed, rivals)


def _said(chunk: Chunk, table: str, uids: Collection[str]) -> Sums:
    wanted = pa.array(list(uids), pa.string())
    sums: Sums = {part: {} for part in PARTS[table]}
    for part in PARTS[table]:
        rows = chunk.records if part == "records" else chunk.rows[part]
        for batch in rows.filter(pc.is_in(rows["report_uid"], wanted)).to_batches():
            add_content(sums[part], part, batch)
    for long in chunk.long if "records" in sums else ():
        if long.uid in uids:
            for batch in long.batches():
                add_content(sums["records"], "records", batch)
    return sums


def _stored(lake: Lake, chunks: Sequence[Chunk], table: str, uids: Collection[str]) -> Sums:
    """Return what the lake's reports say. A report has its records there before its row."""
    sums: Sums = {part: {} for part in PARTS[table]}
    if not uids:
        return sums
    months = [m for chunk in chunks for m in chunk.rows[table]["month"].to_pylist()]
    with lake.session(*sums, first_month=min(months), outvoted=True) as connection:
        for part in PARTS[table]:
            columns = ", ".join(f'"{name}"' for name in ("report_uid", *CONTENT[part]))
            query = f"SELECT {columns} FROM {part} WHERE report_uid IN (SELECT unnest($u))"  # noqa: S608
            found = connection.sql(query, params={"u": list(uids)})
            for batch in found.to_arrow_reader(10_000):
                add_content(sums[part], part, batch)
    if table == "reports":
        for uid in sums["reports"]:
            sums["records"].setdefault(uid, 0)
    return sums


def _rename(chunk: Chunk, table: str, renamed: dict[str, str], rivals: dict[str, str]) -> None:
    """Give reports of a chunk other uids; those that turn out to be there already go.

    `rivals` are the uids of reports that say something else than the first → its uid.
    """
    taken: set[str] = set()
    again: set[str] = set()
    for uid, target in renamed.items():
        (again if target in taken else taken).add(uid if target in taken else target)
    rows = [row for row in chunk.rows[table].to_pylist() if row["report_uid"] not in again]
    for row in rows:
        uid = row["report_uid"] = renamed.get(row["report_uid"], row["report_uid"])
        if uid in rivals:
            row["rival_of"] = rivals[uid]
            row["warnings"] = list(dict.fromkeys([*row["warnings"], NOTE]))
        elif uid in taken:
            row["rival_of"] = None
    chunk.rows[table] = pa.Table.from_pylist(rows, schema=chunk.rows[table].schema)
    for mail in chunk.mails:
        mail.uids = [renamed.get(uid, uid) for uid in mail.uids]
        if not rivals.keys().isdisjoint(mail.uids) and NOTE not in (mail.error or ""):
            mail.error = "; ".join(filter(None, (mail.error, NOTE)))
    if table != "reports":
        return
    uids = chunk.records["report_uid"]
    records = chunk.records.set_column(
        chunk.records.schema.get_field_index("report_uid"),
        chunk.records.schema.field("report_uid"),
        pa.chunked_array([[renamed.get(uid, uid) for uid in uids.to_pylist()]], pa.string()),
    )
    chunk.records = records.filter(pc.invert(pc.is_in(uids, pa.array(list(again), pa.string()))))
    chunk.long = [
        replace(long, uid=uid, shared={**long.shared, "report_uid": uid})
        for long in chunk.long
        if long.uid not in again
        for uid in [renamed.get(long.uid, long.uid)]
    ]
    chunk.exports = {
        renamed.get(uid, uid): {
            key.replace(export_uid(uid), export_uid(renamed.get(uid, uid))): content
            for key, content in files.items()
        }
        for uid, files in chunk.exports.items()
        if uid not in again
    }
