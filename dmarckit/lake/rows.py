"""Reports and records as rows of the lake's tables (Arrow), and the identity of a report.

TLS and failure reports as rows of their tables; failure reports are redacted here.

A failure report quotes somebody's mail. What is kept of addresses is the domain and a
keyed hash of the local part: equal addresses stay equal, and nobody can be read.

A report as the lake holds it, back as the model it was made from.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dmarckit.lake.schema import RECORDS
from dmarckit.reports import (
    AggregateReport,
    DkimResult,
    FailureReport,
    Policy,
    Reason,
    Record,
    SpfResult,
    TlsPolicy,
    TlsReport,
)

if TYPE_CHECKING:
    import pandas as pd


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


# A local part and its domain, wherever they stand: From headers, results, message ids.
_ADDRESS = re.compile(r"([^\s<>@\"'(),;:=\[\]]+)@([A-Za-z0-9.\-\u0080-\uffff\[\]:]+)")
_QUOTED_LOCAL = re.compile(r'"[^"\r\n]*"(?=@)')
_NAME = re.compile(r"^.*?(?=<[^<>]*>\s*$)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tls_rows(report: TlsReport, mail_key: str) -> list[dict[str, Any]]:
    """Rows of `tls`: one a policy; a report without policies is one row of nulls."""
    shared = {
        "report_uid": identity(report.reporter, report.report_id, report.begin, report.end),
        "reporter": report.reporter,
        "contact": report.contact,
        "report_id": report.report_id,
        "begin": report.begin,
        "end": report.end,
        "warnings": list(report.warnings),
        "mail_key": mail_key,
        "month": month_of(report.begin),
    }
    empty = TlsPolicy(None, None, (), (), 0, 0, ())
    return [
        {
            **shared,
            "position": position,
            "policy_type": policy.policy_type,
            "policy_domain": policy.policy_domain,
            "policy_string": list(policy.policy_string),
            "mx_host": list(policy.mx_host),
            "successful": policy.successful,
            "failed": policy.failed,
            "details": [asdict(detail) for detail in policy.details],
        }
        for position, policy in enumerate(report.policies or (empty,))
    ]


def failure_row(
    report: FailureReport, mail_key: str, salt: bytes, *, content: bool
) -> dict[str, Any]:
    """The row of `failures`; subject and body only with `content`."""

    def redacted(text: str | None) -> str | None:
        return None if text is None else redact(text, salt)

    def without_name(text: str | None) -> str | None:
        return redacted(None if text is None else _NAME.sub("", text, count=1))

    uid = identity(
        report.reporter, report.domain, report.source_ip, report.arrival, report.message_id,
        report.original_mail_from, report.original_rcpt_to, report.subject,
    )  # fmt: skip
    return {
        "report_uid": uid,
        "reporter": report.reporter,
        "arrival": report.arrival,
        "domain": report.domain,
        "source_ip": report.source_ip,
        "auth_failure": report.auth_failure,
        "delivery_result": report.delivery_result,
        "identity_alignment": report.identity_alignment,
        "dkim_domain": report.dkim_domain,
        "dkim_selector": report.dkim_selector,
        "original_mail_from": without_name(report.original_mail_from),
        "original_rcpt_to": without_name(report.original_rcpt_to),
        "authentication_results": redacted(report.authentication_results),
        "header_from": without_name(report.header_from),
        "subject": report.subject if content else None,
        "message_id": redacted(report.message_id),
        "body": report.body if content else None,
        "warnings": list(report.warnings),
        "mail_key": mail_key,
        "month": month_of(report.arrival or _EPOCH),
    }


def redact(text: str, salt: bytes) -> str:
    """The text with the local part of every address replaced by a keyed hash.

    >>> redact("Ann <ann@example.com>", b"salt") == redact("Ann <ann@example.com>", b"salt")
    True
    >>> "ann@" in redact("ann@example.com", b"salt")
    False
    """

    def hashed(local: str) -> str:
        return hmac.new(salt, local.lower().encode(), hashlib.sha256).hexdigest()[:16]

    plain = _QUOTED_LOCAL.sub(lambda m: hashed(m[0]), text)
    return _ADDRESS.sub(lambda m: f"{hashed(m[1])}@{m[2]}", plain)


_POLICY_TEXTS = ("domain", "p", "sp", "np", "testing", "adkim", "aspf", "fo", "discovery_method")


def report_from_lake(row: Mapping[str, Any], records: pd.DataFrame) -> AggregateReport:
    """The aggregate report of one row of `reports` and its rows of `records`.

    `row` is a dict or Series with the columns of the table `reports`; `records` has the
    columns of the table `records` and may hold other reports' rows too (those of another
    `report_uid` are left out). The records come in the order of `position`. Whatever
    stands for "absent" in a frame (None, NaN, NaT, NA, a missing column) is None.
    """
    own = records
    if "report_uid" in records.columns and _text(row.get("report_uid")) is not None:
        own = records[records["report_uid"] == row["report_uid"]]
    if "position" in own.columns:
        own = own.sort_values("position", kind="stable")
    found = tuple(_record(values) for values in own.to_dict("records"))
    stated, messages = _whole(row.get("records")), _whole(row.get("messages"))
    return AggregateReport(
        reporter=_text(row.get("reporter")),
        contact=_text(row.get("contact")),
        extra_contact=_text(row.get("extra_contact")),
        report_id=_text(row.get("report_id")),
        begin=_moment(row["begin"]),
        end=_moment(row["end"]),
        policy=Policy(
            pct=_whole(row.get("pct")), **{name: _text(row.get(name)) for name in _POLICY_TEXTS}
        ),
        generator=_text(row.get("generator")),
        version=_text(row.get("version")),
        records=found,
        record_count=len(found) if stated is None else stated,
        message_count=sum(r.messages for r in found) if messages is None else messages,
        warnings=_texts(row.get("warnings")),
        errors=_texts(row.get("errors")),
    )


def _record(values: Mapping[Any, Any]) -> Record:
    return Record(
        source_ip=_text(values.get("source_ip")),
        messages=_whole(values.get("messages")) or 0,
        disposition=_text(values.get("disposition")),
        dkim_aligned=_flag(values.get("dkim_aligned")),
        spf_aligned=_flag(values.get("spf_aligned")),
        reasons=tuple(
            Reason(_text(reason.get("type")), _text(reason.get("comment")))
            for reason in _items(values.get("reasons"))
        ),
        header_from=_text(values.get("header_from")),
        envelope_from=_text(values.get("envelope_from")),
        envelope_to=_text(values.get("envelope_to")),
        dkim=tuple(
            DkimResult(*(_text(result.get(key)) for key in DkimResult.__slots__))
            for result in _items(values.get("dkim"))
        ),
        spf=tuple(
            SpfResult(*(_text(result.get(key)) for key in SpfResult.__slots__))
            for result in _items(values.get("spf"))
        ),
    )


def _items(cell: Any) -> tuple[Any, ...]:
    """A list cell, which pandas may hold as a list, an array or an absent value."""
    return () if cell is None or not hasattr(cell, "__len__") else tuple(cell)


def _absent(value: Any) -> bool:
    import pandas as pd

    return value is None or bool(pd.isna(value))


def _text(value: Any) -> str | None:
    return None if _absent(value) else str(value)


def _texts(cell: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in _items(cell) if not _absent(item))


def _whole(value: Any) -> int | None:
    return None if _absent(value) else int(value)


def _flag(value: Any) -> bool | None:
    return None if _absent(value) else bool(value)


def _moment(value: Any) -> datetime:
    import pandas as pd

    moment = pd.Timestamp(value)
    utc = moment.tz_localize(UTC) if moment.tzinfo is None else moment.tz_convert(UTC)
    return utc.floor("us").to_pydatetime()
