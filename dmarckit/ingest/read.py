"""A worker of the ingest: fetch some mails, read them, lay out their rows.

It knows nothing of the lake, and gives back a `Chunk`, which is cheap to send between processes.
Long reports are written to files on the way; a worker that may have another disk sends their
packed content. A fault that one mail brings to light is its outcome, and ends nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from dmarckit import core
from dmarckit.core import DmarckitError, Limits, Storage, StoredObject, UnreadableReport, one_line
from dmarckit.lake import (
    OWN_SCHEMA,
    RECORDS,
    REPORT_TABLES,
    TABLES,
    failing_messages,
    failure_row,
    own_columns,
    records_table,
    report_row,
    report_uid,
    shared_values,
    tls_rows,
    with_shared,
)
from dmarckit.reports import (
    AggregateReport,
    Mail,
    Records,
    TlsReport,
    Unreadable,
    Verdict,
    authenticated_from,
    export_key,
    false_claim,
    holds_report,
    read_object,
    read_reports,
    report_csv,
    report_text,
    with_domain,
)

CLIENT_SIDE = (
    "encrypted by SES on the client side; switch message encryption off in the receipt rule's "
    "S3 action (the bucket's own encryption is enough), mails that come then can be read"
)
SETUP_NOTE = "AMAZON_SES_SETUP_NOTIFICATION"
"""the object that SES itself puts into a new place for mails"""
FAILURES_OFF = "a failure report; the setting failures = true keeps them"
AHEAD = 16  # objects fetched before they are needed
AHEAD_BYTES = 32_000_000  # and no more than this together
CHUNK_BYTES = 16_000_000  # of rows, exports and files of long reports after which a chunk ends,
CHUNK_RECORDS = 10_000  # and records held in memory,
CHUNK_SECONDS = 10.0  # and time
HELD_BYTES = 4_000_000  # XML of one mail whose records are held in memory; the rest goes to files

log = logging.getLogger("dmarckit")


@dataclass(frozen=True)
class Task:
    """What a worker must know to read mails; sent to other processes."""

    mail_url: str
    limits: Limits
    trust: str
    authserv_id: str
    reporters: dict[str, frozenset[str]]
    """`reporter_key` → further domains of reporters, as the settings have them"""
    exports: str  # which reports get files of their own: all, failing or none
    domains: frozenset[str]  # policy domains whose reports may get them; empty: all
    salt: bytes | None = field(repr=False)  # Dask logs the arguments of what failed
    """None: failure reports are not kept"""
    failures_content: bool
    spool: str  # folder of this ingest for long reports; empty: workers may have another disk
    ahead: int = 0  # objects fetched before they are needed; 0: `AHEAD`


@dataclass
class MailResult:
    """What one object was: a row of `mails` as far as a worker can know it."""

    object: StoredObject
    from_domain: str | None = None
    verdict: Verdict = field(default_factory=Verdict)
    outcome: str | None = None
    """None: it holds reports, and whether they are new is for the lake to say"""
    error: str | None = None
    refusal: str = ""  # the code with which the storage refused it
    uids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LongReport:
    """A report whose records wait in a file, or packed in memory."""

    uid: str
    shared: dict[str, Any]  # the columns that its records have in common
    path: str = ""  # its file; empty: `content` has what the file had
    content: bytes = field(default=b"", repr=False)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield its rows of `records`, read anew at each call."""
        source = pa.OSFile(self.path) if self.path else pa.BufferReader(self.content)
        with source as file, pa.ipc.open_file(file) as reader:
            for i in range(reader.num_record_batches):
                yield with_shared(reader.get_batch(i), self.shared)

    def packed(self) -> LongReport:
        """Return the same without its file, which is removed."""
        content = Path(self.path).read_bytes()
        self.remove_file()
        return replace(self, path="", content=content)

    def remove_file(self) -> None:
        """Remove its file, if it has one."""
        if self.path:
            Path(self.path).unlink(missing_ok=True)


@dataclass
class Chunk:
    """What some objects hold, in their order; a report that came twice is there once."""

    mails: list[MailResult]
    rows: dict[str, pa.Table]  # table (`reports`, `tls`, `failures`) → rows
    records: pa.Table
    long: list[LongReport]
    exports: dict[str, dict[str, bytes]]  # report_uid → key below the exports → content
    left: Sequence[StoredObject] = ()  # objects that were not read, so that the chunk stays small
    size: int = 0  # bytes of all this, about


def unreadable(item: StoredObject, reason: str) -> Chunk:
    """Return the chunk of a single mail that could not be read."""
    mail = MailResult(item, outcome="unreadable", error=reason)
    rows = {name: TABLES[name].schema.empty_table() for name in REPORT_TABLES}
    return Chunk([mail], rows, RECORDS.schema.empty_table(), [], {})


def begin_worker(variables: Mapping[str, str]) -> None:
    """Begin a worker process with the environment variables of the one that it reads for."""
    os.environ.update(variables)
    keep_pandas_out()


def keep_pandas_out() -> None:
    """Let this process make Arrow's arrays without pandas, whose import takes 0.3 s.

    Arrow imports pandas with its first array, and where that fails only for what becomes a
    frame. Arrays of pandas' own series are not for such a process.
    """

    def find_spec(name: str, _path: object, _target: object = None) -> None:
        if name == "pandas":
            raise ImportError(name)

    finder: Any = SimpleNamespace(find_spec=find_spec)
    sys.meta_path.insert(0, finder)
    pa.array([])
    sys.meta_path.remove(finder)


def read_chunk(task: Task, objects: Sequence[StoredObject]) -> Chunk:
    """Fetch and read these objects, or the first of them: `left` has those still to read.

    A mail that cannot be read for a reason that nobody thought of is unreadable. The chunk
    ends before the storage fails, and when there is much in it; without a shared `spool` it
    holds the records of long reports itself.

    Raises:
        StorageError: The storage fails.
        OSError: The disk fails.
        MemoryError: One of the mails takes more memory than there is.
    """
    try:
        return _read(task, objects)
    except (DmarckitError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if len(objects) == 1:
            at = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}"
            # without the error's text and traceback: a log holds nothing out of a mail
            key = one_line(objects[0].key)
            log.warning("%s cannot be read, please report it: %s", key, what)
            said = f": {one_line(error, 200)}" if str(error) else ""
            reason = f"a fault of dmarckit, please report it ({what}{said})"
            return unreadable(objects[0], reason)
    half = len(objects) // 2  # which of them it was is found by halves
    chunk = read_chunk(task, objects[:half])
    return replace(chunk, left=[*chunk.left, *objects[half:]])


def _read(task: Task, objects: Sequence[StoredObject]) -> Chunk:
    with contextlib.ExitStack() as stack:
        folder = task.spool or stack.enter_context(tempfile.TemporaryDirectory(prefix="dmarckit-"))
        reader = _Reader(task, Spool(folder))
        fetched = _fetched(task, objects, task.ahead or AHEAD)
        began, read = time.monotonic(), 0
        try:
            for item, raw in stack.enter_context(contextlib.closing(fetched)):
                reader.read(item, raw)
                read += 1
                if reader.is_full or time.monotonic() - began > CHUNK_SECONDS:
                    break
        except core.StorageError:
            if not read:
                raise
        return reader.chunk(objects)


class Spool:
    """Takes the records of a long report (it is a `RecordSink`) and keeps them in a file."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._reset()

    def _reset(self) -> None:
        self._path: str | None = None
        self._writer: Any = None
        self._position = 0
        self.failing = 0  # messages that fail DMARC in what was added

    def start(self) -> None:
        """Begin a report, maybe once more: what was added since the last `finished` goes."""
        if self._writer is not None:
            self._writer.close()
            Path(str(self._path)).unlink(missing_ok=True)
        self._reset()

    def add(self, records: Records) -> None:
        """Add the next records of the report."""
        if self._writer is None:
            handle, self._path = tempfile.mkstemp(dir=self._folder, suffix=".arrow")
            os.close(handle)
            # it packs about as the lake does: what does not pack there shall count here
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(self._path, OWN_SCHEMA, options=options)
        places = np.arange(self._position, self._position + len(records))
        self._writer.write_table(own_columns(records, places))
        self._position += len(records)
        self.failing += failing_messages(records)

    def finished(self) -> str | None:
        """Return the file of the report that was just read; None when it was a short one."""
        if self._writer is None:
            return None
        self._writer.close()
        path, self._path, self._writer = self._path, None, None
        return path


class _Reader:
    """Reads mails one after the other and collects what they hold."""

    def __init__(self, task: Task, spool: Spool) -> None:
        self._task = task
        self._spool = spool
        self._size = self._held = 0  # bytes of what was read, and records in memory
        self._of_mail: Counter[str] = Counter()  # what the mail that is being read has of these
        self._numbers = itertools.count()
        self._mails: list[MailResult] = []
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in REPORT_TABLES}
        self._seen: dict[str, object] = {}  # uid → what the report says; None for a long one
        self._short: list[tuple[str, AggregateReport]] = []
        self._long: list[LongReport] = []
        self._exports: dict[str, dict[str, bytes]] = {}

    def chunk(self, objects: Sequence[StoredObject]) -> Chunk:
        """Return what was read of these objects. Raises what Arrow raises for a wrong value."""
        rows = {
            name: pa.Table.from_pylist(found, schema=TABLES[name].schema)
            for name, found in self._rows.items()
        }
        left = objects[len(self._mails) :]
        records = records_table(self._short)
        return Chunk(self._mails, rows, records, self._long, self._exports, left, self._size)

    @property
    def is_full(self) -> bool:
        """Return True if no more mails should be read."""
        return self._size >= CHUNK_BYTES or self._held >= CHUNK_RECORDS

    def _spend(self, size: int) -> None:
        """Count bytes that the mail leaves. Raises MailLimitExceeded."""
        self._size += size
        self._of_mail["size"] += size
        limit = self._task.limits.output_bytes
        if self._of_mail["size"] > limit:
            raise core.MailLimitExceeded(
                f"leaves more than {limit:,} bytes in the lake and the exports "
                "(limit 'output_bytes')"
            )

    def _forget(self, result: MailResult) -> None:
        """Forget the reports of a mail."""
        key, found = result.object.key, self._rows.values()
        gone = {row["report_uid"] for rows in found for row in rows if row["mail_key"] == key}
        for long in self._long:
            if long.uid in gone:
                long.remove_file()
        self._long = [long for long in self._long if long.uid not in gone]
        self._short = [(uid, report) for uid, report in self._short if uid not in gone]
        for name, rows in self._rows.items():
            self._rows[name] = [row for row in rows if row["report_uid"] not in gone]
        for uid in gone:
            self._seen.pop(uid, None)
            self._exports.pop(uid, None)
        self._size -= self._of_mail["size"]
        self._held -= self._of_mail["records"]
        result.uids = []

    def read(self, item: StoredObject, raw: bytes | DmarckitError) -> None:
        """Read one object; `raw` is its bytes, or why there are none."""
        result = MailResult(item)
        self._mails.append(result)
        if isinstance(raw, DmarckitError):
            result.outcome, result.error = "unreadable", str(raw)
            if isinstance(raw, core.RefusedObject):
                result.outcome, result.error, result.refusal = "unreachable", raw.reason, raw.code
            return
        if item.key.rpartition("/")[2] == SETUP_NOTE:
            result.outcome = "not_a_report"
            return
        try:
            mail = read_object(raw, item.key, self._task.limits, self._task.authserv_id)
        except UnreadableReport as error:
            result.outcome, result.error = "unreadable", str(error)
            return
        result.from_domain, result.verdict = mail.from_domain, mail.verdict
        doubt = distrust_reason(mail, self._task.trust, self._task.authserv_id)
        if doubt:
            # whoever sends what is no report claims nothing that has to be believed
            is_report = holds_report(mail, self._task.limits, self._spool)
            self._spool.start()
            result.outcome = "untrusted" if is_report else "not_a_report"
            result.error = doubt if is_report else "no report in it"
            return
        try:
            self._of_mail.clear()
            self._read_reports(mail, result)
        except core.MailLimitExceeded as error:
            self._forget(result)
            result.outcome, result.error = "unreadable", str(error)
        self._spool.start()

    def _read_reports(self, mail: Mail, result: MailResult) -> None:
        key, salt = result.object.key, self._task.salt
        problems: list[Unreadable] = []
        forged: list[str] = []
        for report in read_reports(mail, self._task.limits, self._spool):
            if isinstance(report, AggregateReport | TlsReport):
                claim = false_claim(report.reporter, mail, self._task.reporters)
                if claim and self._task.trust != "any":
                    forged.append(claim)
                    continue
                if claim:
                    report = replace(report, warnings=(*report.warnings, claim))
            if isinstance(report, Unreadable):
                if report.whole:
                    raise core.MailLimitExceeded(report.reason)
                problems.append(report)
            elif isinstance(report, AggregateReport):
                self._add_aggregate(report, result, authenticated_from(mail))
            elif isinstance(report, TlsReport):
                self._add("tls", tls_rows(report, key), result, report.policies)
            elif salt is None:
                problems.append(Unreadable(key, FAILURES_OFF, is_report=False))
            else:
                row = failure_row(report, key, salt, content=self._task.failures_content)
                self._add("failures", [row], result, "")
        reasons = [*dict.fromkeys(forged), *(p.reason for p in problems)]
        result.error = "; ".join(reasons) or None
        if not result.uids:
            is_report = any(p.is_report for p in problems)
            unread = "unreadable" if is_report else "not_a_report"
            result.outcome = "untrusted" if forged else unread

    def _add_aggregate(
        self, report: AggregateReport, result: MailResult, sender: str | None
    ) -> None:
        report = with_domain(report)
        uid, key = report_uid(report), result.object.key
        path = self._spool.finished()
        failing = self._spool.failing if path else failing_messages(report.records)
        row = report_row(report, uid, key, failing, sender)
        said = None if path else (report.policy, report.errors, report.records)
        added = self._add("reports", [row], result, said)
        if added is None:
            return
        uid, wanted, domain = added, self._task.domains, report.policy.domain
        exported = self._task.exports == "all" or (self._task.exports == "failing" and failing)
        if exported and not path and (not wanted or (domain or "") in wanted):
            stem = export_key(report.reporter, domain, report.begin, report.end, uid, "")
            self._exports[uid] = {
                f"{stem}json": report_text(report, key).encode(),
                f"{stem}csv": report_csv(report).encode(),
            }
            self._spend(sum(map(len, self._exports[uid].values())))
        if not path and not self._may_hold(report):
            self._seen[uid] = None
            self._spool.start()
            self._spool.add(Records.of(report.records))
            path = self._spool.finished()
        if path:
            long = LongReport(uid, shared_values(uid, report), path)
            size = Path(path).stat().st_size
            self._long.append(long if self._task.spool else long.packed())
            self._spend(size)
            return
        self._short.append((uid, report))
        self._spend(report.size)

    def _may_hold(self, report: AggregateReport) -> bool:
        """Return True, and count its records, if the mail has not too many in memory with them."""
        counts = self._of_mail
        records, size = counts["records"] + report.record_count, counts["held"] + report.size
        if records > CHUNK_RECORDS or size > HELD_BYTES:
            return False
        counts["records"], counts["held"] = records, size
        self._held += report.record_count
        return True

    def _add(
        self, table: str, rows: list[dict[str, Any]], result: MailResult, said: object
    ) -> str | None:
        """Add the rows of a report and return its uid; None when the chunk has them already.

        One that may say something else than the first with its uid gets a uid for the time
        being: `keep_apart` compares them.
        """
        uid = first = str(rows[0]["report_uid"])
        if uid in self._seen and (said is None or self._seen[uid] != said):
            uid = f"{first}/{next(self._numbers)}"
            rows = [{**row, "report_uid": uid, "rival_of": first} for row in rows]
        result.uids.append(uid)
        if uid in self._seen:
            return None
        self._seen[uid] = said
        self._rows[table] += rows
        self._spend(_size(rows))
        return uid


def _size(value: object) -> int:
    """Return about how many bytes a value takes in a table."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return len(value) if isinstance(value, str) else 8
    return sum(
        [len(each) if type(each) is str else 8 if each is None else _size(each) for each in value]
    )


def distrust_reason(mail: Mail, trust: str, authserv_id: str) -> str | None:
    """Return why a mail is not trusted; None when it is (setting `trust`).

    Spam and virus verdicts of FAIL are never trusted, unless anything is (`any`).
    """
    verdict = mail.verdict
    if trust == "any":
        return None
    for name, value in (("spam", verdict.spam), ("virus", verdict.virus)):
        if (value or "").upper() == "FAIL":
            return f"the {name} verdict is FAIL"
    if verdict.odd:
        return f"the results by {authserv_id} are unfinished or odd, which counts as dmarc=fail"
    if verdict.dmarc == "pass":
        return None
    if verdict.dmarc is None:
        reason = f"no DMARC result by {authserv_id}"
        return reason if trust == "pass" else None
    if trust == "pass" or verdict.dmarc == "fail":
        domain = verdict.dmarc_domain or mail.from_domain or "an unknown domain"
        return f"dmarc={one_line(verdict.dmarc, 40)} for {one_line(domain, 80)}"
    return None


def _fetched(
    task: Task, objects: Sequence[StoredObject], most: int
) -> Generator[tuple[StoredObject, bytes | DmarckitError], None, None]:
    """Yield each object with its bytes, or the reason why it has none; fetched ahead."""
    storage, pool = _source(task.mail_url, task.spool)
    fetch = functools.partial(_fetch, storage, task.limits)
    if not storage.remote:
        yield from ((item, fetch(item)) for item in objects)
        return
    waiting: deque[tuple[StoredObject, Future[bytes | DmarckitError]]] = deque()
    left = deque(objects)
    try:
        while left or waiting:
            while left and len(waiting) < most:
                size = sum(item.size for item, _ in waiting) + left[0].size
                if waiting and size > AHEAD_BYTES:
                    break
                waiting.append((left[0], pool.submit(fetch, left.popleft())))
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _fetch(storage: Storage, limits: Limits, item: StoredObject) -> bytes | DmarckitError:
    if item.size > limits.mail_bytes:
        return core.LimitExceeded(
            f"{item.size:,} bytes are more than the limit of {limits.mail_bytes:,}"
        )
    try:
        return storage.get(item.key)
    except core.MissingObject:
        return UnreadableReport("it was gone before it could be read")
    except core.EncryptedObject:
        return UnreadableReport(CLIENT_SIDE)
    except core.RefusedObject as refused:
        return refused
    except MemoryError:
        raise
    except Exception as error:  # the SDK raises anything for an answer that is odd
        if not storage.remote:
            raise
        next(storage.list(), None)  # where that fails as well, it is not this object alone
        code = type(error).__name__
        said = (
            str(error) if isinstance(error, core.StorageError) else f"fetching it failed ({code})"
        )
        return core.RefusedObject("", f"{said}; a later run tries again", code)


@functools.lru_cache(maxsize=1)
def _source(url: str, _ingest: str) -> tuple[Storage, Executor]:
    """Return storage and threads for all chunks of an ingest, so that connections are kept."""
    return core.open_storage(url), ThreadPoolExecutor(AHEAD)
