"""What a worker of the ingest does: fetch some mails, read them, lay out their rows.

It knows nothing of the lake: it takes a list of objects and gives back a `Chunk`, which
is cheap to send between processes. A report with very many records is written to a file
of its own on the way, so that memory does not grow with it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dmarckit.errors import MissingObject, UnreadableReport, one_line
from dmarckit.exports import export_key, report_csv
from dmarckit.models import (
    AggregateReport,
    Limits,
    Mail,
    Record,
    StoredObject,
    Unreadable,
    Verdict,
)
from dmarckit.report_json import json_text, report_json
from dmarckit.reports import read_object, read_reports
from dmarckit.rows import (
    OWN_SCHEMA,
    failing_messages,
    own_columns,
    records_table,
    report_row,
    report_uid,
    shared_values,
    with_shared,
)
from dmarckit.storage import Storage, open_storage

_Found = dict[str, tuple[AggregateReport, dict[str, Any]]]  # report_uid → report, its row

AHEAD = 16  # objects fetched before they are needed
AHEAD_BYTES = 32_000_000  # and no more than this together


@dataclass(frozen=True)
class Task:
    """What a worker must know to read mails; sent to other processes."""

    mail_url: str
    limits: Limits
    trust: str
    authserv_id: str
    exports: str
    """which reports get files of their own: all, failing or none"""
    spool: str
    """folder of this ingest for long reports"""


@dataclass(frozen=True)
class LongReport:
    """A report whose records wait in a file."""

    uid: str
    shared: dict[str, Any]
    path: str

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows of `records`, read anew at each call."""
        with pa.OSFile(self.path) as file, pa.ipc.open_file(file) as reader:
            for i in range(reader.num_record_batches):
                yield with_shared(reader.get_batch(i), self.shared)


@dataclass
class MailResult:
    """What one object was: a row of `mails` as far as a worker can know it."""

    object: StoredObject
    from_domain: str | None = None
    verdict: Verdict = field(default_factory=Verdict)
    outcome: str | None = None
    """None: it holds reports, and whether they are new is for the lake to say"""
    error: str | None = None
    uids: list[str] = field(default_factory=list)


@dataclass
class Chunk:
    """What some objects hold, in their order; a report that came twice is there once."""

    mails: list[MailResult]
    reports: list[dict[str, Any]]
    records: pa.Table
    long: list[LongReport]
    exports: dict[str, dict[str, bytes]]
    """report_uid → key below the exports → content"""


def read_chunk(task: Task, objects: Sequence[StoredObject]) -> Chunk:
    """Fetch and read these objects. Raises StorageError when the storage fails."""
    storage = _storage(task.mail_url)
    mails: list[MailResult] = []
    found: _Found = {}
    long: dict[str, LongReport] = {}
    for item, raw in _fetched(storage, objects, task.limits):
        mails.append(_read_mail(task, item, raw, found, long))
    short = [(uid, report) for uid, (report, _) in found.items() if uid not in long]
    rows = {uid: row for uid, (_, row) in found.items()}
    exports = {
        uid: _exports(uid, report, rows[uid]["mail_key"])
        for uid, report in short
        if task.exports == "all" or (task.exports == "failing" and rows[uid]["failing"])
    }
    return Chunk(mails, [*rows.values()], records_table(short), [*long.values()], exports)


def _exports(uid: str, report: AggregateReport, file: str) -> dict[str, bytes]:
    """The report's own files: its JSON and its CSV, by key."""
    domain = report.policy.domain
    stem = export_key(report.reporter, domain, report.begin, report.end, uid, "json")[
        : -len("json")
    ]
    return {
        f"{stem}json": json_text(report_json(report, file), indent=2).encode(),
        f"{stem}csv": report_csv(report).encode(),
    }


def _read_mail(
    task: Task,
    item: StoredObject,
    raw: bytes | str,
    found: _Found,
    long: dict[str, LongReport],
) -> MailResult:
    """The mail's result; its reports go to `found`, those in a file to `long` as well."""
    result = MailResult(item)
    if isinstance(raw, str):
        result.outcome, result.error = "unreadable", raw
        return result
    try:
        mail = read_object(raw, item.key, task.limits, task.authserv_id)
    except UnreadableReport as error:
        result.outcome, result.error = "unreadable", str(error)
        return result
    result.from_domain, result.verdict = mail.from_domain, mail.verdict
    doubt = distrust(mail, task.trust, task.authserv_id)
    if doubt:
        result.outcome, result.error = "untrusted", doubt
        return result
    spool = _Spool(task.spool)
    problems: list[Unreadable] = []
    for report in read_reports(mail, task.limits, spool):
        if isinstance(report, Unreadable):
            problems.append(report)
        elif isinstance(report, AggregateReport):
            uid = report_uid(report)
            path = spool.finished()
            failing = spool.failing if path else failing_messages(report.records)
            result.uids.append(uid)
            if uid not in found:
                found[uid] = (report, report_row(report, uid, item.key, failing))
                if path:
                    long[uid] = LongReport(uid, shared_values(uid, report), path)
    spool.discard()
    result.error = "; ".join(p.reason for p in problems) or None
    if not result.uids:
        is_report = any(p.is_report for p in problems)
        result.outcome = "unreadable" if is_report else "not_a_report"
    return result


def distrust(mail: Mail, trust: str, authserv_id: str) -> str | None:
    """Why a mail is not trusted; None when it is (design: `trust`).

    Spam and virus verdicts of FAIL are never trusted, unless anything is (`any`).
    """
    verdict = mail.verdict
    if trust == "any":
        return None
    for name, value in (("spam", verdict.spam), ("virus", verdict.virus)):
        if (value or "").upper() == "FAIL":
            return f"the {name} verdict is FAIL"
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
    storage: Storage, objects: Sequence[StoredObject], limits: Limits
) -> Iterator[tuple[StoredObject, bytes | str]]:
    """Each object with its bytes, or with the reason why it has none; fetched ahead."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting: list[tuple[StoredObject, Future[bytes | str]]] = []
        source = iter(objects)
        while True:
            room = AHEAD - len(waiting) if _size(waiting) < AHEAD_BYTES else int(not waiting)
            waiting += [
                (item, pool.submit(_fetch, storage, item, limits)) for item in islice(source, room)
            ]
            if not waiting:
                return
            item, future = waiting.pop(0)
            yield item, future.result()


def _size(waiting: Sequence[tuple[StoredObject, Any]]) -> int:
    return sum(item.size for item, _ in waiting)


def _fetch(storage: Storage, item: StoredObject, limits: Limits) -> bytes | str:
    if item.size > limits.mail_bytes:
        return f"{item.size:,} bytes are more than the limit of {limits.mail_bytes:,}"
    try:
        return storage.get(item.key)
    except MissingObject:
        return "it was gone before it could be read"


@lru_cache(maxsize=4)
def _storage(url: str) -> Storage:
    return open_storage(url)


class _Spool:
    """Takes the records of a long report and keeps them in a file until they are wanted."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._reset()

    def _reset(self) -> None:
        self._path: str | None = None
        self._writer: Any = None
        self._position = 0
        self.failing = 0

    def start(self) -> None:
        """A report begins, or begins again."""
        self.discard()

    def add(self, records: list[Record]) -> None:
        """The next records of the report."""
        if self._writer is None:
            handle, self._path = tempfile.mkstemp(dir=self._folder, suffix=".arrow")
            os.close(handle)
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            self._writer = pa.ipc.new_file(self._path, OWN_SCHEMA, options=options)
        places = np.arange(self._position, self._position + len(records))
        self._writer.write_table(own_columns(records, places))
        self._position += len(records)
        self.failing += failing_messages(records)

    def finished(self) -> str | None:
        """The file of the report that was just read; None when it was a short one."""
        if self._writer is None:
            return None
        self._writer.close()
        path, self._path, self._writer = self._path, None, None
        self._position = 0
        return path

    def discard(self) -> None:
        """Forget what was added since the last `finished`."""
        if self._writer is not None:
            self._writer.close()
            Path(str(self._path)).unlink(missing_ok=True)
        self._reset()
