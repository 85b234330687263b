"""A small lake with the reports of a test, written straight into its tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import failing_messages, records_table, report_row, report_uid, tls_rows
from dmarckit.lake.schema import REPORTS, TLS
from dmarckit.reports.model import AggregateReport, Policy, Record, TlsReport
from tests.support.model_builders import make_report

TODAY = datetime(2026, 11, 24, tzinfo=UTC)
NOW = TODAY + timedelta(hours=9)


def day(days_ago: int, hours: float = 0) -> datetime:
    """Midnight of a day before `TODAY`, and some hours."""
    return TODAY - timedelta(days=days_ago) + timedelta(hours=hours)


def report(
    *records: Record,
    days_ago: float = 1,
    days: float = 1,
    domain: str = "example.com",
    policy: dict[str, Any] | None = None,
    **other: Any,
) -> AggregateReport:
    """A report that begins `days_ago` days before `TODAY` and is `days` long."""
    begin = TODAY - timedelta(days=days_ago)
    name = {"reporter": other["reporter"]} if "reporter" in other else {}  # with its own contact
    made = make_report(*records, begin=begin, end=begin + timedelta(days=days), **name)
    return replace(made, policy=Policy(domain, **({"p": "none"} | (policy or {}))), **other)


def lake_of(home: Path | str, *reports: AggregateReport, tls: tuple[TlsReport, ...] = ()) -> Lake:
    """A lake below `home`, a folder or ``s3://…``, that holds these reports."""
    lake = Lake(f"{home}/lake")
    pairs = [(report_uid(r), r) for r in reports]
    rows = [report_row(r, uid, f"mail/{uid}", failing_messages(r.records)) for uid, r in pairs]
    if pairs:
        lake.write.append_new("records", records_table(pairs))
        lake.write.append_new("reports", pa.Table.from_pylist(rows, schema=REPORTS.schema))
    for each in tls:
        table = pa.Table.from_pylist(tls_rows(each, "mail/tls"), schema=TLS.schema)
        lake.write.append_new("tls", table)
    return lake
