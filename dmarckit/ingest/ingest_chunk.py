"""What a worker of the ingest is told, and what it gives back: cheap to send between processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dmarckit.core.limits import Limits
from dmarckit.core.objects import StoredObject
from dmarckit.ingest.spool import LongReport
from dmarckit.lake.schemas import RECORDS, TABLES
from dmarckit.reports.models import Verdict


@dataclass(frozen=True)
class Task:
    """What a worker must know to read mails; sent to other processes."""

    mail_url: str
    limits: Limits
    trust: str
    authserv_id: str
    exports: str
    """which reports get files of their own: all, failing or none"""
    salt: bytes | None = field(repr=False)  # Dask logs the arguments of what failed
    """None: failure reports are not kept"""
    failures_content: bool
    spool: str
    """folder of this ingest for long reports; empty: workers may have another disk"""


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
    rows: dict[str, pa.Table]
    """table (`reports`, `tls`, `failures`) → rows"""
    records: pa.Table
    long: list[LongReport]
    exports: dict[str, dict[str, bytes]]
    """report_uid → key below the exports → content"""
    left: Sequence[StoredObject] = ()
    """objects that were not read, so that the chunk stays small"""

    @classmethod
    def of_one(cls, mail: MailResult) -> Chunk:
        """A mail that holds nothing."""
        return cls([mail], as_tables({}), RECORDS.schema.empty_table(), [], {})


def as_tables(rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, pa.Table]:
    """The rows of `reports`, `tls` and `failures`. Raises what Arrow raises for a wrong value."""
    schemas = {name: TABLES[name].schema for name in ("reports", "tls", "failures")}
    return {
        name: pa.Table.from_pylist(rows[name], schema=schema)
        if rows.get(name)
        else schema.empty_table()
        for name, schema in schemas.items()
    }
