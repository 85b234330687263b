"""The tables of the lake: columns, types, and what each column means.

All times are UTC. Counts are messages (a report's ``count``), never rows, unless the
column says otherwise. `month` (``YYYY-MM``, UTC) is what tables are partitioned by.
"""

from __future__ import annotations

from dmarckit.lake.schema_types import Table
from dmarckit.lake.schemas_made import (
    ALERTS,
    DEAD_LETTERS,
    DNS,
    FINDINGS,
    OUTBOX,
    POSTMASTER,
    PTR,
    RUNS,
)
from dmarckit.lake.schemas_received import FAILURES, MAILS, RECORDS, REPORTS, TLS

__all__ = [
    "ALERTS",
    "DEAD_LETTERS",
    "DNS",
    "FAILURES",
    "FINDINGS",
    "MAILS",
    "OUTBOX",
    "POSTMASTER",
    "PTR",
    "RECORDS",
    "REPORTS",
    "RUNS",
    "TABLES",
    "TLS",
    "Table",
]

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        MAILS,
        REPORTS,
        RECORDS,
        TLS,
        FAILURES,
        FINDINGS,
        POSTMASTER,
        DNS,
        PTR,
        ALERTS,
        OUTBOX,
        RUNS,
        DEAD_LETTERS,
    )
}
