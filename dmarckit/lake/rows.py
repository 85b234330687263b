"""Reports as rows of the lake's tables, and rows of the lake as the reports they were made from.

A failure report quotes somebody's mail. What is kept of addresses is the domain and a
keyed hash of the local part: equal addresses stay equal, and nobody can be read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dmarckit import reports
from dmarckit.lake.schema import FAILURES, RECORDS, REPORTS
from dmarckit.reports import AggregateReport, Record, Records, TlsPolicy

if TYPE_CHECKING:
    import pandas as pd

# Columns of `reports` that are fields of the same name, of the report or of its policy.
OF_REPORT = (
    "reporter", "contact", "extra_contact", "report_id", "generator", "version", "namespace",
)  # fmt: skip
OF_POLICY = tuple(field.name for field in fields(reports.Policy))

# Columns that all records of a report share; a long report's records are written to disk
# before they are known to be whole, and get these when they go into the lake.
SHARED = ("report_uid", "begin", "end", "domain", "reporter", "month")
OWN_SCHEMA = pa.schema([f for f in RECORDS.schema if f.name not in SHARED])

# Columns of a record that repeat from record to record together (`reports.Records`).
_BLOCKS = (
    ("disposition", "dkim_aligned", "spf_aligned", "reasons"),
    ("header_from", "envelope_from", "envelope_to"),
    ("dkim", "spf"),
)
_NESTED = {"reasons": reports.Reason, "dkim": reports.DkimResult, "spf": reports.SpfResult}
# What a report says, apart from its identity: columns by table.
CONTENT = {
    "reports": (*OF_POLICY[1:], "errors", "records", "messages"),
    "records": tuple(name for name in OWN_SCHEMA.names if name != "position"),
    "tls": tuple(field.name for field in fields(TlsPolicy)),
}


SLICE = 500  # rows that are Python's objects at once


def add_content(sums: dict[str, int], table: str, rows: pa.RecordBatch) -> None:
    """Add rows to `sums`, report_uid → a number that stands for what its rows say, in any order.

    Nothing and an empty list are the same. Rows are hashed one by one: memory stays as it is.
    """
    chosen = rows.select(["report_uid", *CONTENT[table]])
    slices = (chosen.slice(start, SLICE) for start in range(0, rows.num_rows, SLICE))
    for row in (row for some in slices for row in some.to_pylist()):
        uid = row.pop("report_uid")
        said = {name: None if value == [] else value for name, value in row.items()}
        plain = json.dumps(said, sort_keys=True)
        number = int.from_bytes(hashlib.sha256(plain.encode()).digest())
        sums[uid] = (sums.get(uid, 0) + number) % (1 << 256)


def report_uid(report: AggregateReport) -> str:
    """Return the identity of a report: who reports on what, its id, and the period.

    report_id alone is not unique: reporters count independently, and some reuse theirs.
    """
    return identity(
        report.reporter, report.policy.domain, report.report_id, report.begin, report.end
    )


def identity(*parts: str | datetime | None) -> str:
    """Return a hash of what makes a report that report: 32 hexadecimal digits."""
    plain = [int(p.timestamp()) if isinstance(p, datetime) else p for p in parts]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:32]


def month_of(time: datetime) -> str:
    """Return ``YYYY-MM`` in UTC.

    >>> month_of(datetime(2026, 11, 1, tzinfo=UTC))
    '2026-11'
    """
    if time.year <= 999:
        return "0000-00"
    utc = time.astimezone(UTC)
    return f"{utc.year}-{utc.month:02}"  # strftime takes ten times as long, and each row asks


def report_row(
    report: AggregateReport, uid: str, mail_key: str, failing: int, sender: str | None = None
) -> dict[str, Any]:
    """Return the row of `reports`; `failing` messages are counted by whoever saw the records.

    `sender` is the authenticated From domain of the mail.
    """
    return {
        **{name: getattr(report, name) for name in OF_REPORT},
        **{name: getattr(report.policy, name) for name in OF_POLICY},
        **shared_values(uid, report),
        "warnings": list(report.warnings),
        "errors": list(report.errors),
        "authenticated_from": sender,
        "mail_key": mail_key,
        "records": report.record_count,
        "messages": report.message_count,
        "failing": failing,
    }


def failing_messages(records: Iterable[Record]) -> int:
    """Return the number of messages for which neither DKIM nor SPF is aligned."""
    rows = Records.of(records).rows
    return sum(messages for _, messages, evaluated, _, _ in rows if not evaluated.passes)


def records_table(pairs: Sequence[tuple[str, AggregateReport]]) -> pa.Table:
    """Return the rows of `records` of some (report_uid, report) pairs, in order."""
    records = Records([row for _, r in pairs for row in Records.of(r.records).rows])
    counts = [len(report.records) for _, report in pairs]
    own = own_columns(records, np.concatenate([np.arange(n) for n in (*counts, 0)]))
    shared = [shared_values(uid, report) for uid, report in pairs]
    report_of_row = pa.array(np.repeat(np.arange(len(pairs)), counts))
    columns = [
        pa.array([values[f.name] for values in shared], f.type).take(report_of_row)
        if f.name in SHARED
        else own.column(f.name)
        for f in RECORDS.schema
    ]
    return pa.Table.from_arrays(columns, schema=RECORDS.schema)


def shared_values(uid: str, report: AggregateReport) -> dict[str, Any]:
    """Return what all records of a report have in common, by column."""
    begin, domain = report.begin, report.policy.domain
    values = (uid, begin, report.end, domain, report.reporter, month_of(begin))
    return dict(zip(SHARED, values, strict=True))


def own_columns(records: Sequence[Record], positions: Iterable[int]) -> pa.Table:
    """Return the columns that records have of their own.

    What repeats is laid out once, nested lists flat: several times faster than a list of dicts.
    """
    ips, messages, *blocks = zip(*Records.of(records).rows, strict=True) if records else [()] * 5
    own = (("source_ip", ips), ("messages", messages), ("position", positions))
    columns = {name: _column(name, values) for name, values in own}
    for names, block in zip(_BLOCKS, blocks, strict=True):
        distinct = {id(each): each for each in block}
        places = dict(zip(distinct, range(len(distinct)), strict=True))
        of_row = pa.array(np.fromiter(map(places.__getitem__, map(id, block)), np.int32))
        for name in names:
            values = [getattr(each, name) for each in distinct.values()]
            columns[name] = _column(name, values).take(of_row)
    return pa.Table.from_arrays([columns[n] for n in OWN_SCHEMA.names], schema=OWN_SCHEMA)


def _column(name: str, values: Iterable[Any]) -> pa.Array:
    kind = OWN_SCHEMA.field(name).type
    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    groups = list(values)
    flat = [item for group in groups for item in group]
    names = [inner.name for inner in kind.value_type]
    texts = [pa.array([getattr(item, name) for item in flat], pa.string()) for name in names]
    structs = pa.StructArray.from_arrays(texts, names=names)
    offsets = pa.array(np.cumsum([0, *map(len, groups)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, structs, type=kind)


def with_shared(own: pa.RecordBatch, shared: dict[str, Any]) -> pa.RecordBatch:
    """Return records with the columns that their report gives to each of them."""
    columns = [
        pa.repeat(pa.scalar(shared[f.name], f.type), own.num_rows)
        if f.name in SHARED
        else own.column(f.name)
        for f in RECORDS.schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=RECORDS.schema)


def tls_rows(report: reports.TlsReport, mail_key: str) -> list[dict[str, Any]]:
    """Return the rows of `tls`: one a policy; a report without policies is one row of nulls."""
    names = ("reporter", "contact", "report_id", "begin", "end")
    shared = {
        "report_uid": identity(report.reporter, report.report_id, report.begin, report.end),
        **{name: getattr(report, name) for name in names},
        "warnings": list(report.warnings),
        "mail_key": mail_key,
        "month": month_of(report.begin),
    }
    policies = report.policies or (TlsPolicy(None, None, (), (), 0, 0, ()),)
    return [{**shared, "position": i, **asdict(policy)} for i, policy in enumerate(policies)]


# A local part and its domain, wherever they stand: From headers, results, message ids.
_ADDRESS = re.compile(r"([^\s<>@\"'(),;:=\[\]]+)@([A-Za-z0-9.\-\u0080-\uffff\[\]:]+)")
_QUOTED_LOCAL = re.compile(r'"[^"\r\n]*"(?=@)')
_NAME = re.compile(r"^.*?(?=<[^<>]*>\s*$)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def failure_row(
    report: reports.FailureReport, mail_key: str, salt: bytes, *, content: bool
) -> dict[str, Any]:
    """Return the row of `failures`, addresses hashed; subject and body only with `content`."""
    row: dict[str, Any] = {name: getattr(report, name, None) for name in FAILURES.columns}
    addresses = ("original_mail_from", "original_rcpt_to", "header_from")
    for name in addresses:
        row[name] = row[name] and _NAME.sub("", row[name], count=1)
    for name in (*addresses, "authentication_results", "message_id"):
        row[name] = row[name] and redact(row[name], salt)
    if not content:
        row |= {"subject": None, "body": None}
    uid = identity(
        report.reporter, report.domain, report.source_ip, report.arrival, report.message_id,
        report.original_mail_from, report.original_rcpt_to, report.subject,
    )  # fmt: skip
    month = month_of(report.arrival or _EPOCH)
    return row | {"report_uid": uid, "mail_key": mail_key, "month": month}


def redact(text: str, salt: bytes) -> str:
    """Return the text with the local part of every address replaced by a keyed hash.

    >>> redact("Ann <ann@example.com>", b"salt") == redact("Ann <ann@example.com>", b"salt")
    True
    >>> "ann@" in redact("ann@example.com", b"salt")
    False
    """

    def hashed(local: str) -> str:
        return hmac.new(salt, local.lower().encode(), hashlib.sha256).hexdigest()[:16]

    plain = _QUOTED_LOCAL.sub(lambda m: hashed(m[0]), text)
    return _ADDRESS.sub(lambda m: f"{hashed(m[1])}@{m[2]}", plain)


def report_from_lake(row: Mapping[str, Any], records: pd.DataFrame) -> AggregateReport:
    """Return the aggregate report of one row of `reports` and its rows of `records`.

    `records` may hold other reports' rows too, in any order. Whatever stands for "absent" in a
    frame (None, NaN, NaT, NA, a missing column) is None.
    """
    import pandas as pd

    (stated,) = _plain_rows(pd.DataFrame([dict(row)]), REPORTS.schema)
    own = records
    if "report_uid" in records.columns and stated["report_uid"] is not None:
        own = records[records["report_uid"] == stated["report_uid"]]
    if "position" in own.columns:
        own = own.sort_values("position", kind="stable")
    found = tuple(_record(values) for values in _plain_rows(own, OWN_SCHEMA))
    count, messages = stated["records"], stated["messages"]
    return AggregateReport(
        **{name: stated[name] for name in OF_REPORT},
        begin=stated["begin"].astimezone(UTC),
        end=stated["end"].astimezone(UTC),
        policy=reports.Policy(**{name: stated[name] for name in OF_POLICY}),
        records=found,
        record_count=len(found) if count is None else count,
        message_count=sum(r.messages for r in found) if messages is None else messages,
        warnings=tuple(stated["warnings"] or ()),
        errors=tuple(stated["errors"] or ()),
    )


def _plain_rows(frame: pd.DataFrame, schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the rows as Python's own values, None where a value or a column is missing."""
    whole = frame.reindex(columns=schema.names).astype(object)
    table = pa.Table.from_pandas(whole, schema, preserve_index=False, safe=False)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _record(values: dict[str, Any]) -> Record:
    del values["position"]
    for name, kind in _NESTED.items():
        values[name] = tuple(kind(**item) for item in values[name] or ())
    return Record(**{**values, "messages": values["messages"] or 0})
