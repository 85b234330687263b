"""Reports and records as rows of the lake's tables (Arrow), and the identity of a report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from dmarckit.lake.schemas import RECORDS
from dmarckit.reports.models import AggregateReport, Record

# Columns that all records of a report share; a long report's records are written to disk
# before they are known to be whole, and get these when they go into the lake.
SHARED = ("report_uid", "begin", "end", "domain", "reporter", "month")
OWN_SCHEMA = pa.schema([f for f in RECORDS.schema if f.name not in SHARED])


def report_uid(report: AggregateReport) -> str:
    """The identity of a report: who reports on what, its id, and the period.

    report_id alone is not unique: reporters count independently, and some reuse theirs.
    """
    return identity(
        report.reporter, report.policy.domain, report.report_id, report.begin, report.end
    )


def identity(*parts: str | datetime | None) -> str:
    """A hash of what makes a report that report: 32 hexadecimal digits."""
    plain = [int(p.timestamp()) if isinstance(p, datetime) else p for p in parts]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:32]


def month_of(time: datetime) -> str:
    """``YYYY-MM`` in UTC.

    >>> month_of(datetime(2026, 11, 1, tzinfo=UTC))
    '2026-11'
    """
    return time.astimezone(UTC).strftime("%Y-%m") if time.year > 999 else "0000-00"


def report_row(report: AggregateReport, uid: str, mail_key: str, failing: int) -> dict[str, Any]:
    """One row of `reports`; `failing` messages are counted by whoever saw the records."""
    policy = report.policy
    return {
        "report_uid": uid,
        "reporter": report.reporter,
        "contact": report.contact,
        "extra_contact": report.extra_contact,
        "report_id": report.report_id,
        "begin": report.begin,
        "end": report.end,
        "domain": policy.domain,
        **{
            name: getattr(policy, name)
            for name in ("p", "sp", "np", "pct", "testing", "adkim", "aspf", "fo")
        },
        "discovery_method": policy.discovery_method,
        "generator": report.generator,
        "version": report.version,
        "warnings": list(report.warnings),
        "errors": list(report.errors),
        "mail_key": mail_key,
        "records": report.record_count,
        "messages": report.message_count,
        "failing": failing,
        "month": month_of(report.begin),
    }


def failing_messages(records: Iterable[Record]) -> int:
    """Messages for which neither DKIM nor SPF is aligned."""
    return sum(r.messages for r in records if not (r.dkim_aligned or r.spf_aligned))


def records_table(reports: Sequence[tuple[str, AggregateReport]]) -> pa.Table:
    """Rows of `records` for all records of some (report_uid, report) pairs, in order."""
    records = [record for _, report in reports for record in report.records]
    counts = [len(report.records) for _, report in reports]
    own = own_columns(records, np.concatenate([np.arange(n) for n in (*counts, 0)]))
    shared = [shared_values(uid, report) for uid, report in reports]
    report_of_row = pa.array(np.repeat(np.arange(len(reports)), counts))
    columns = [
        pa.array([values[f.name] for values in shared], f.type).take(report_of_row)
        if f.name in SHARED
        else own.column(f.name)
        for f in RECORDS.schema
    ]
    return pa.Table.from_arrays(columns, schema=RECORDS.schema)


def shared_values(uid: str, report: AggregateReport) -> dict[str, Any]:
    """What all records of a report have in common, by column."""
    return {
        "report_uid": uid,
        "begin": report.begin,
        "end": report.end,
        "domain": report.policy.domain,
        "reporter": report.reporter,
        "month": month_of(report.begin),
    }


def own_columns(records: Sequence[Record], positions: Iterable[int]) -> pa.Table:
    """The columns that records have of their own.

    Nested lists are laid out flat, which is several times faster than a list of dicts.
    """
    columns: list[pa.Array] = []
    for field in OWN_SCHEMA:
        name = field.name
        if name == "position":
            columns.append(pa.array(positions, field.type))
        elif pa.types.is_list(field.type):
            columns.append(_nested([getattr(r, name) for r in records], field.type))
        else:
            columns.append(pa.array([getattr(r, name) for r in records], field.type))
    return pa.Table.from_arrays(columns, schema=OWN_SCHEMA)


def _nested(groups: Sequence[Sequence[Any]], kind: pa.ListType) -> pa.ListArray:
    offsets = [0]
    for group in groups:
        offsets.append(offsets[-1] + len(group))
    flat = [item for group in groups for item in group]
    names = [kind.value_type.field(i).name for i in range(kind.value_type.num_fields)]
    values = [pa.array([getattr(item, name) for item in flat], pa.string()) for name in names]
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.StructArray.from_arrays(values, names=names), type=kind
    )


def with_shared(own: pa.RecordBatch, shared: dict[str, Any]) -> pa.RecordBatch:
    """Records with the columns that their report gives to each of them."""
    columns = [
        pa.repeat(pa.scalar(shared[f.name], f.type), own.num_rows)
        if f.name in SHARED
        else own.column(f.name)
        for f in RECORDS.schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=RECORDS.schema)
