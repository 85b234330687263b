"""New mails into the lake, each exactly once, with an outcome for every one.

Order is what makes it safe to stop anywhere: records, then reports, then exports, then
the mails' rows in the ledger. A mail without a row there is new, and reading it again
changes nothing in what was already written. Mails are taken in key order and committed
in key order, so that two ingests at once agree on which of two equal mails came first.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dmarckit.ingest_read import Chunk, MailResult, Task, read_chunk
from dmarckit.lake import Lake
from dmarckit.lake_write import JOIN
from dmarckit.models import StoredObject
from dmarckit.rows import month_of, reports_table
from dmarckit.schemas import MAILS, RECORDS
from dmarckit.settings import Settings
from dmarckit.storage import POOL, Storage, open_storage

OUTCOMES = ("stored", "duplicate", "untrusted", "not_a_report", "unreadable")
CHUNK = 50  # mails a task: enough to hide what a task costs, few enough to lose little
BATCH_MAILS = 2_000  # what a commit holds at the most: three commits cost about 0.1 s
BATCH_RECORDS = 200_000
ALONE_BELOW = 300  # new mails that one process reads before another has even started
CONTENT_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}


@dataclass
class IngestResult:
    """What an ingest did."""

    run: str
    outcomes: Counter[str] = field(default_factory=Counter)
    """outcome → mails"""
    reports: int = 0
    """new reports"""
    records: int = 0
    """records in the new reports"""
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """(key, outcome, reason) of mails that could not be read or trusted, in key order"""
    compacted: list[str] = field(default_factory=list)
    """tables whose small files were merged"""
    seconds: float = 0.0


Progress = Callable[[int, int, Counter[str]], None]
"""mails done, mails to do, outcomes so far"""


def ingest(
    settings: Settings,
    *,
    executor: Executor | None = None,
    retry: Sequence[str] = (),
    progress: Progress | None = None,
) -> IngestResult:
    """Read every object that the ledger does not know, and write what it holds.

    `executor` reads the mails; by default worker processes, or this one when there are
    few. `retry` names outcomes whose mails are taken again. `progress` is called after
    each commit and now and then between.

    Raises StorageError or LakeError when the mails or the lake cannot be reached; what
    was committed stays, and the next ingest goes on from there.
    """
    started = time.monotonic()
    lake = Lake(settings.lake_url)
    mails = open_storage(settings.mail_url)
    todo = new_objects(mails, lake, retry)
    run = _Run(lake, settings, IngestResult(uuid.uuid4().hex[:12]), len(todo), progress)
    with tempfile.TemporaryDirectory(prefix="dmarckit-") as spool:
        task = Task(
            settings.mail_url,
            settings.limits,
            settings.trust_level,
            settings.authserv_id,
            settings.exports,
            spool,
        )
        for chunk in _chunks(task, todo, executor, settings.workers):
            run.take(chunk)
        run.commit()
    run.result.compacted = lake.write.compact()
    run.result.seconds = time.monotonic() - started
    return run.result


def new_objects(mails: Storage, lake: Lake, retry: Sequence[str] = ()) -> list[StoredObject]:
    """The objects to read, in key order; those of the outcomes in `retry` are among them."""
    known = lake.arrow("SELECT key, etag, outcome FROM mails").to_pydict()
    ledger = set(zip(known["key"], known["etag"], strict=True))
    again = {
        (key, etag)
        for key, etag, outcome in zip(known["key"], known["etag"], known["outcome"], strict=True)
        if outcome in retry
    }
    listed = [o for o in mails.list() if (o.key, o.etag) not in ledger - again]
    # only what is still there is taken out of the ledger
    lake.write.forget_mails([o.key for o in listed if (o.key, o.etag) in again])
    # Amazon lists in key order; some other S3 servers do so only folder by folder
    return sorted(listed, key=lambda o: o.key)


def _chunks(
    task: Task, objects: Sequence[StoredObject], executor: Executor | None, workers: int
) -> Iterator[Chunk]:
    """The objects as chunks, in order, while at most a few chunks wait in memory."""
    workers = workers or os.cpu_count() or 1
    parts = [objects[i : i + CHUNK] for i in range(0, len(objects), CHUNK)]
    own: AbstractContextManager[Executor | None]
    if executor is not None:
        own = nullcontext(executor)
    elif workers == 1 or len(objects) < ALONE_BELOW:
        own = nullcontext(None)
    else:
        own = _pool(workers)
    with own as pool:
        if pool is None:
            yield from (read_chunk(task, part) for part in parts)
            return
        waiting: deque[tuple[Future[Chunk] | None, Sequence[StoredObject]]] = deque()
        for part in parts:
            waiting.append((_submit(pool, task, part), part))
            if len(waiting) > 2 * workers:
                yield from _results(task, *waiting.popleft())
        while waiting:
            yield from _results(task, *waiting.popleft())


def _pool(workers: int) -> Executor:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # fork would copy the threads' locks of Delta and Arrow in whatever state they are
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _submit(pool: Executor, task: Task, part: Sequence[StoredObject]) -> Future[Chunk] | None:
    try:
        return pool.submit(read_chunk, task, part)
    except BrokenExecutor:
        return None


def _results(
    task: Task, future: Future[Chunk] | None, part: Sequence[StoredObject]
) -> Iterator[Chunk]:
    try:
        if future is not None:
            yield future.result()
            return
    except BrokenExecutor:
        pass
    # a worker was killed, perhaps by one of these mails: each is read in a process of its own
    for item in part:
        with _pool(1) as pool:
            try:
                yield pool.submit(read_chunk, task, [item]).result()
            except BrokenExecutor:
                reason = "reading it ended the worker process (out of memory?)"
                result = MailResult(item, outcome="unreadable", error=reason)
                yield Chunk([result], [], RECORDS.schema.empty_table(), [], {})


class _Run:
    """Collects chunks and commits them in batches."""

    def __init__(
        self,
        lake: Lake,
        settings: Settings,
        result: IngestResult,
        total: int,
        progress: Progress | None,
    ) -> None:
        self._lake = lake
        self._settings = settings
        self.result = result
        self._done = 0
        self._total = total
        self._progress = progress
        self._chunks: list[Chunk] = []

    def take(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        mails = sum(len(c.mails) for c in self._chunks)
        records = sum(c.records.num_rows for c in self._chunks)
        if mails >= BATCH_MAILS or records >= BATCH_RECORDS or chunk.long:
            self.commit()
        elif self._progress:
            self._progress(self._done + mails, self._total, self.result.outcomes)

    def commit(self) -> None:
        """Write what was collected: records, reports, exports, ledger, in this order."""
        chunks, self._chunks = self._chunks, []
        if not chunks:
            return
        self._write_records(chunks)
        rows = _first_of_each(chunks)
        if rows:
            new = self._lake.write.append_new("reports", reports_table([*rows.values()]))
            self.result.reports += len(new)
            self.result.records += sum(rows[uid]["records"] for uid in new)
        owners = self._owners([uid for c in chunks for m in c.mails for uid in m.uids])
        self._write_exports(chunks, owners)
        self._write_ledger(chunks, owners)
        self._done += sum(len(c.mails) for c in chunks)
        if self._progress:
            self._progress(self._done, self._total, self.result.outcomes)

    def _write_records(self, chunks: Sequence[Chunk]) -> None:
        seen: set[str] = set()
        tables = []
        for chunk in chunks:
            uids = [row["report_uid"] for row in chunk.reports]
            repeated = pa.array([uid for uid in uids if uid in seen], pa.string())
            table = chunk.records
            if len(repeated):
                table = table.filter(pc.invert(pc.is_in(table["report_uid"], repeated)))
            tables.append(table)
            seen.update(uids)
        records = pa.concat_tables(tables)
        if records.num_rows:
            self._lake.write.append_new("records", records)
        for chunk in chunks:
            for report in chunk.long:
                month = report.shared["month"]
                self._lake.write.append_stream("records", report.uid, month, report.batches)
                Path(report.path).unlink(missing_ok=True)

    def _owners(self, uids: Sequence[str]) -> dict[str, str]:
        """report_uid → key of the mail it came in first, as the lake has it."""
        query = "SELECT report_uid, mail_key FROM reports WHERE report_uid IN (SELECT unnest($u))"
        found = self._lake.arrow(query, u=list(dict.fromkeys(uids))).to_pydict()
        return dict(zip(found["report_uid"], found["mail_key"], strict=True))

    def _write_exports(self, chunks: Sequence[Chunk], owners: dict[str, str]) -> None:
        keys = {m.object.key for c in chunks for m in c.mails}
        files = [
            file
            for chunk in chunks
            for uid, contents in chunk.exports.items()
            if owners[uid] in keys
            for file in contents.items()
        ]
        if not files:
            return
        storage = open_storage(self._settings.exports_url)

        def put(file: tuple[str, bytes]) -> None:
            kind = CONTENT_TYPES[file[0].rpartition(".")[2]]
            storage.put(file[0], file[1], content_type=kind)

        with ThreadPoolExecutor(POOL) as pool:
            list(pool.map(put, files))

    def _write_ledger(self, chunks: Sequence[Chunk], owners: dict[str, str]) -> None:
        rows = []
        for mail in (m for c in chunks for m in c.mails):
            stored = any(owners[uid] == mail.object.key for uid in mail.uids)
            outcome = mail.outcome or ("stored" if stored else "duplicate")
            rows.append(_mail_row(mail, outcome, self.result.run))
        table = pa.Table.from_pylist(rows, schema=MAILS.schema)
        new = self._lake.write.append_new("mails", table)
        for row in rows:
            if JOIN.join((row["key"], row["etag"])) in new:  # else another ingest had it
                self.result.outcomes[row["outcome"]] += 1
                if row["error"]:
                    self.result.problems.append((row["key"], row["outcome"], row["error"]))


def _first_of_each(chunks: Sequence[Chunk]) -> dict[str, dict[str, Any]]:
    """The reports of a batch; of one that came twice, the row with the first mail's key."""
    rows: dict[str, dict[str, Any]] = {}
    for row in (row for chunk in chunks for row in chunk.reports):
        rows.setdefault(row["report_uid"], row)
    return rows


def _mail_row(mail: MailResult, outcome: str, run: str) -> dict[str, Any]:
    return {
        "key": mail.object.key,
        "etag": mail.object.etag,
        "size": mail.object.size,
        "received": mail.object.modified,
        "from_domain": mail.from_domain,
        "dmarc": mail.verdict.dmarc,
        "spam": mail.verdict.spam,
        "virus": mail.verdict.virus,
        "outcome": outcome,
        "error": mail.error,
        "reports": len(mail.uids),
        "run": run,
        "month": month_of(mail.object.modified),
    }
