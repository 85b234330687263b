"""Write what workers read to the lake in batches, in the order that makes it exactly once.

Records, reports, exports, then the mails' rows in the ledger: a mail without a row there is new,
and reading it again changes nothing in what was already written.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dmarckit.core import (
    POOL,
    LakeError,
    Settings,
    StorageError,
    StoredObject,
    _,
    one_line,
    open_storage,
    with_retries,
)
from dmarckit.ingest.identity import PARTS, keep_apart
from dmarckit.ingest.read import Chunk, LongReport
from dmarckit.lake import JOIN, MAILS, REPORT_TABLES, Lake, month_of
from dmarckit.reports import is_within, listed_domains, own_reporters, reporter_key

OUTCOMES = ("stored", "duplicate", "untrusted", "not_a_report", "unreadable", "unreachable")
BATCH_MAILS = 2_000  # what a commit holds at the most: three commits cost about 0.1 s
BATCH_RECORDS = 200_000
AGAIN = (0.5, 2.0)  # seconds before a commit is tried again
BATCH_BYTES = 64_000_000
BATCH_SECONDS = 30.0  # after which what there is is committed
MEMORY = timedelta(days=60)  # for which a reporter's domains are remembered
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CONTENT_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}
_SENDERS = """SELECT DISTINCT reporter, authenticated_from FROM reports
    WHERE reporter IS NOT NULL AND authenticated_from IS NOT NULL"""
_OWNERS = " UNION ALL ".join(
    f"SELECT report_uid, mail_key FROM {table} WHERE report_uid IN (SELECT unnest($u))"  # noqa: S608
    for table in REPORT_TABLES
)


@dataclass
class IngestResult:
    """What an ingest did."""

    run: str
    outcomes: Counter[str] = field(default_factory=Counter)  # outcome → mails
    reports: int = 0  # new reports
    records: int = 0  # records in the new reports
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """(key, outcome, reason) of mails that could not be read or trusted, in key order"""
    compacted: list[str] = field(default_factory=list)  # tables whose small files were merged
    seconds: float = 0.0
    left: list[StoredObject] = field(default_factory=list)  # new mails above `largest_mail`


def left_text(item: StoredObject) -> str:
    """Return a sentence about a mail that is left to a larger machine, with the command there."""
    text = _(
        "A report email of {size} MB is too large for this machine. On a larger one, run: "
        "dmarckit ingest --prefix {key}"
    )
    return text.format(size=round(item.size / 1e6), key=shlex.quote(one_line(item.key, 120)))


Progress = Callable[[int, int, Counter[str]], None]  # mails done, mails to do, outcomes so far


@dataclass
class Commits:
    """Collects the chunks of an ingest of `total` mails, and commits them in batches."""

    lake: Lake
    settings: Settings
    result: IngestResult
    total: int
    progress: Progress | None
    again: set[tuple[str, str]]  # key and etag of mails that are in the ledger as unreachable
    done: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    committed: float = field(default_factory=time.monotonic)
    _senders: set[tuple[str, str]] = field(default_factory=set)
    """reporters (`reporter_key`) with domains that need no warning any more"""

    def add(self, chunk: Chunk) -> None:
        """Keep the chunk for the next commit; commit when there is enough."""
        self.chunks.append(chunk)
        mails = sum(len(c.mails) for c in self.chunks)
        records = sum(c.records.num_rows for c in self.chunks)
        size = sum(c.size for c in self.chunks)
        if (
            mails >= BATCH_MAILS
            or records >= BATCH_RECORDS
            or size >= BATCH_BYTES
            or time.monotonic() - self.committed >= BATCH_SECONDS
        ):
            self.commit()
        elif self.progress:
            self.progress(self.done + mails, self.total, self.result.outcomes)

    def commit(self) -> None:
        """Write what was collected: records, reports, exports, ledger, in this order.

        That is safe to do once more where an answer of the storage breaks off.
        """
        chunks, self.chunks = self.chunks, []
        if not chunks:
            return
        with_retries(lambda: self._write(chunks), (LakeError, StorageError), AGAIN)
        for chunk in chunks:
            for report in chunk.long:
                report.remove_file()
        self.done += sum(len(c.mails) for c in chunks)
        self.committed = time.monotonic()
        if self.progress:
            self.progress(self.done, self.total, self.result.outcomes)

    def _write(self, chunks: Sequence[Chunk]) -> None:
        fresh: set[str] = set()
        for table in REPORT_TABLES:
            fresh |= self._write_reports(chunks, table)
        owners = self._owners(chunks)
        self._write_exports(chunks, owners)
        self._write_ledger(chunks, owners, fresh)

    def _write_reports(self, chunks: Sequence[Chunk], table: str) -> set[str]:
        """Write the rows of a table (`reports` behind their records); return the new uids."""
        uids = {uid for chunk in chunks for uid in _uids(chunk.rows[table])}
        if not uids:
            return set()
        months = sorted({m for c in chunks for m in c.rows[table]["month"].to_pylist()})
        known = self.lake.write.known_units(table, months, uids)
        if table in PARTS:
            keep_apart(self.lake, chunks, table, known)
        # rivals at last: only then it is certain what the first with their identity says
        new = self._write_some(chunks, table, known, rivals=False)
        return new | self._write_some(chunks, table, known, rivals=True)

    def _write_some(
        self, chunks: Sequence[Chunk], table: str, known: set[str], *, rivals: bool
    ) -> set[str]:
        """Write the reports that are rivals, or the others; return the uids that were new.

        Where another ingest was faster, or this one was cut off before, the lake has a first
        report now: what differs from it becomes its rival.
        """
        if table == "reports":
            taken = self._write_records(chunks, rivals=rivals) - known
            if taken and not rivals:
                keep_apart(self.lake, chunks, table, taken)
        rows = _first_of_each(chunks, table, rivals=rivals)
        if not rows.num_rows:
            return set()
        if table == "reports":
            rows = self._flag_new_domains(rows)
            pairs = dict(zip(_uids(rows), rows["records"].to_pylist(), strict=True))
        new = self.lake.write.append_new(table, rows)
        self.result.reports += len(new)
        if table == "reports":
            self.result.records += sum(pairs[uid] for uid in new)
        taken = set(_uids(rows)) - new - known
        if taken and not rivals and table in PARTS:
            keep_apart(self.lake, chunks, table, taken)
        return new

    def _write_records(self, chunks: Sequence[Chunk], *, rivals: bool) -> set[str]:
        """Write the records of new reports; return the uids that had records already."""
        records = _first_of_each(chunks, "records", rivals=rivals)
        taken: set[str] = set()
        if records.num_rows:
            uids = set(records["report_uid"].unique().to_pylist())
            taken = uids - self.lake.write.append_new("records", records)
        long: dict[str, LongReport] = {}
        for chunk in chunks:
            wanted = set(_uids(_reports(chunk, "reports", rivals=rivals)))
            for report in chunk.long:
                if report.uid in wanted:
                    long.setdefault(report.uid, report)
        if long:
            months = {uid: report.shared["month"] for uid, report in long.items()}
            append = self.lake.write.append_stream
            taken |= long.keys() - append("records", months, lambda uid: long[uid].batches())
        return taken

    def _flag_new_domains(self, rows: pa.Table) -> pa.Table:
        """Return the rows of `reports` with a warning where a reporter writes from a new domain.

        Those of the shipped table were compared with it when they were read. Of all others the
        domains seen in the last months, with those of the setting `reporters`, are their own.
        """
        columns = [rows[name].to_pylist() for name in ("reporter", "authenticated_from")]
        sent = [
            (reporter_key(name), sender) if name and sender and not listed_domains(name) else None
            for name, sender in zip(*columns, strict=True)
        ]
        if set(sent) <= self._senders | {None}:
            return rows
        warnings = rows["warnings"].to_pylist()
        own = own_reporters(self.settings.reporters)
        known = {name: set(domains) for name, domains in own.items()}
        begin = max(pc.min(rows["begin"]).as_py(), EPOCH + MEMORY)
        with self.lake.session("reports", first_month=month_of(begin - MEMORY)) as connection:
            for name, sender in connection.execute(_SENDERS).fetchall():
                known.setdefault(reporter_key(name), set()).add(sender)
        for i, pair in enumerate(sent):
            if pair is None or pair in self._senders:
                continue
            self._senders.add(pair)
            name, sender = pair
            domains = known.setdefault(name, set())
            if domains and not is_within(sender, domains):
                so_far = one_line(", ".join(sorted(domains)), 200)
                warnings[i].append(
                    f"sent by {one_line(sender, 80)}, from where this reporter has not written "
                    f"before (so far: {so_far}); the setting reporters says what is its own"
                )
            domains.add(sender)
        place = rows.schema.get_field_index("warnings")
        field = rows.schema.field(place)
        return rows.set_column(place, field, pa.array(warnings, field.type))

    def _owners(self, chunks: Sequence[Chunk]) -> dict[str, str]:
        """Return report_uid → key of the mail it came in first, as the lake has it.

        A report that was too old to stay (`keep_days`) is not in it.
        """
        uids = [uid for c in chunks for m in c.mails for uid in m.uids]
        months = [m for c in chunks for rows in c.rows.values() for m in rows["month"].to_pylist()]
        first = min(months, default="")
        with self.lake.session(*REPORT_TABLES, first_month=first, outvoted=True) as connection:
            return dict(connection.execute(_OWNERS, {"u": list(dict.fromkeys(uids))}).fetchall())

    def _write_exports(self, chunks: Sequence[Chunk], owners: dict[str, str]) -> None:
        keys = {m.object.key for c in chunks for m in c.mails}
        exports = (export for chunk in chunks for export in chunk.exports.items())
        files = [f for uid, found in exports if owners.get(uid) in keys for f in found.items()]
        if not files:
            return
        storage = open_storage(self.settings.exports_url)

        def put(file: tuple[str, bytes]) -> None:
            kind = CONTENT_TYPES[file[0].rpartition(".")[2]]
            storage.put(file[0], file[1], content_type=kind)

        if not storage.remote:  # a folder takes one after the other faster
            for file in files:
                put(file)
            return
        with ThreadPoolExecutor(POOL) as pool:
            list(pool.map(put, files))

    def _write_ledger(
        self, chunks: Sequence[Chunk], owners: dict[str, str], fresh: set[str]
    ) -> None:
        """Write the mails' rows; `fresh` are the reports that this commit brought."""
        mails = [m for c in chunks for m in c.mails]
        its_own = [m for m in mails if any(owners.get(uid) == m.object.key for uid in m.uids)]
        # objects written again with what they had; those not there were cut off before their row
        known = {m.object.key for m in its_own if fresh.isdisjoint(m.uids)}
        if known:
            query = "SELECT DISTINCT key FROM mails WHERE key IN (SELECT unnest($keys))"
            known = set(self.lake.arrow(query, keys=list(known)).column("key").to_pylist())
        stored = {m.object.key for m in its_own} - known
        rows: list[dict[str, Any]] = [
            {
                **{name: getattr(mail.object, name) for name in ("key", "etag", "size")},
                "received": mail.object.modified,
                "from_domain": mail.from_domain,
                **{name: getattr(mail.verdict, name) for name in ("dmarc", "spam", "virus")},
                "outcome": mail.outcome or ("stored" if mail.object.key in stored else "duplicate"),
                "error": mail.error,
                "reports": len(mail.uids),
                "run": self.result.run,
                "month": month_of(mail.object.modified),
            }
            for mail in mails
        ]
        table = pa.Table.from_pylist(rows, schema=MAILS.schema)
        old = {(row["key"], row["etag"]) for row in rows} & self.again
        reached = {(row["key"], row["etag"]) for row in rows if row["outcome"] != "unreachable"}
        self.lake.write.forget_mails(sorted(key for key, _ in old & reached))
        new = self.lake.write.append_new("mails", table)
        for row in rows:
            unit = row["key"], row["etag"]
            if JOIN.join(unit) in new or unit in old:  # else another ingest had it
                self.result.outcomes[row["outcome"]] += 1
                if row["error"]:
                    self.result.problems.append((row["key"], row["outcome"], row["error"]))


def _reports(chunk: Chunk, table: str, *, rivals: bool) -> pa.Table:
    """Return the rows of reports that are rivals, or of the others."""
    rows = chunk.rows[table]
    if "rival_of" not in rows.column_names or rows["rival_of"].null_count == rows.num_rows:
        return rows.slice(0, 0) if rivals else rows
    is_first = pc.is_null(rows["rival_of"])
    return rows.filter(pc.invert(is_first) if rivals else is_first)


def _first_of_each(chunks: Sequence[Chunk], table: str, *, rivals: bool) -> pa.Table:
    """Return the rows of a table; of a report that came twice, those of the first mail."""
    parts: list[pa.Table] = []
    seen: set[str] = set()
    for chunk in chunks:
        kind = "reports" if table == "records" else table
        reports = _reports(chunk, kind, rivals=rivals)
        uids, rows = set(_uids(reports)), reports
        unwanted = seen & uids
        if table == "records":
            rows = chunk.records
            if reports.num_rows < chunk.rows[kind].num_rows:
                unwanted |= set(_uids(chunk.rows[kind])) - uids
        if unwanted:
            known = pa.array(list(unwanted), pa.string())
            rows = rows.filter(pc.invert(pc.is_in(rows["report_uid"], known)))
        parts.append(rows)
        seen.update(uids)
    return pa.concat_tables(parts)


def _uids(table: pa.Table) -> list[str]:
    return [str(uid) for uid in table["report_uid"].to_pylist()]
