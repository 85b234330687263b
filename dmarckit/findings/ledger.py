"""Which findings are new: each run is recorded in the lake and compared with the one before.

The table `findings` has one row per finding and run. A run's rows are written with one
commit, or not at all when that run is there already: exactly once, whatever crashes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from dmarckit.core import _
from dmarckit.findings.model import SEVERITIES, Finding
from dmarckit.lake import FINDINGS, Lake, month_of

Status = Literal["NEW", "WORSE", "SAME", "RESOLVED"]

_TIMES_MORE, _MORE = 2, 50
_LAST_RUN = """
    SELECT * FROM findings WHERE run = (
        SELECT run FROM findings WHERE job = $job AND "at" < $now ORDER BY "at" DESC, run LIMIT 1
    )
    ORDER BY fingerprint
"""


@dataclass(frozen=True)
class LedgerEntry:
    """A finding with its status, and what the next run is compared with."""

    finding: Finding
    status: Status
    high_water: int
    """most messages while it has been open"""
    high_severity: str
    """worst severity while it has been open"""


def assign_status(found: Sequence[Finding], last: pd.DataFrame) -> list[LedgerEntry]:
    """Findings with their status against the last run (rows of the table `findings`).

    NEW: not open in the last run, or muted there and no longer so.
    WORSE: the severity rises above the worst while open, or the messages are at least twice
    the high-water mark and 50 more. Both marks only rise while the finding is open, so a
    number that goes up and down by turns is WORSE once. A step forward (good) is never WORSE.
    RESOLVED: open (and not muted) in the last run, and no longer found. Listed once, last.
    """
    open_rows: dict[str, dict[Any, Any]] = {
        row["fingerprint"]: row for row in last.to_dict("records") if row["status"] != "RESOLVED"
    }
    judged = [_judge(finding, open_rows.get(finding.fingerprint)) for finding in found]
    now_open = {finding.fingerprint for finding in found}
    gone = [
        row for key, row in open_rows.items() if key not in now_open and row["mute_reason"] is None
    ]
    return [*judged, *(_resolved(row) for row in gone)]


def _judge(finding: Finding, before: Mapping[Any, Any] | None) -> LedgerEntry:
    if before is None:
        return LedgerEntry(finding, "NEW", finding.messages, finding.severity)
    water = int(before["high_water"])
    worst = min(before["high_severity"], finding.severity, key=_rank)
    status: Status = "SAME"
    if before["mute_reason"] is not None and not finding.muted:
        status = "NEW"
    elif finding.severity != "good" and (
        _rank(finding.severity) < _rank(before["high_severity"])
        or (finding.messages >= _TIMES_MORE * water and finding.messages >= water + _MORE)
    ):
        status = "WORSE"
    return LedgerEntry(finding, status, max(water, finding.messages), worst)


def _rank(severity: str) -> int:
    return [str(name) for name in SEVERITIES].index(severity)


def _resolved(row: Mapping[Any, Any]) -> LedgerEntry:
    finding = Finding(
        kind=row["kind"],
        domain=row["domain"],
        subject=row["subject"],
        severity=row["severity"],
        messages=int(row["messages"]),
        first_day=_date(row["first_day"]),
        last_day=_date(row["last_day"]),
        reporters=int(row["reporters"]),
        summary=row["summary"],
        action=_("Nothing is due: it was not found any more."),
        evidence=json.loads(row["evidence"]),
    )
    return LedgerEntry(finding, "RESOLVED", int(row["high_water"]), row["high_severity"])


def _date(value: Any) -> date | None:
    return None if value is None or pd.isna(value) else pd.Timestamp(value).date()


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


def last_run(lake: Lake, job: str, now: datetime) -> pd.DataFrame:
    """Rows of the last run of this job before `now`; none at the first."""
    frame = lake.sql(_LAST_RUN, job=job, now=now)
    return frame.astype(object).where(frame.notna(), None)


def record_findings(
    lake: Lake, found: Sequence[Finding], *, run: str, job: str, now: datetime
) -> list[LedgerEntry]:
    """Judge the findings of a run against the one before, and write them down.

    Called again for the same run (and the same findings) it gives the same answer and writes
    nothing. A run that found nothing, with nothing resolved, leaves no rows: the run before
    has none open either. Raises LakeError when the lake cannot be read or written.
    """
    judged = assign_status(found, last_run(lake, job, now))
    if judged:
        rows = [_row(item, run, job, now) for item in judged]
        lake.write.append_new("findings", pa.Table.from_pylist(rows, schema=FINDINGS.schema))
    return judged


def _row(judged: LedgerEntry, run: str, job: str, now: datetime) -> dict[str, Any]:
    finding = judged.finding
    return {
        "fingerprint": finding.fingerprint,
        "kind": finding.kind,
        "domain": finding.domain,
        "subject": finding.subject,
        "severity": finding.severity,
        "messages": finding.messages,
        "first_day": _midnight(finding.first_day),
        "last_day": _midnight(finding.last_day),
        "reporters": finding.reporters,
        "summary": finding.summary,
        "action": finding.action,
        "evidence": json.dumps(finding.evidence, ensure_ascii=True, sort_keys=True),
        "mute_reason": finding.mute_reason,
        "status": judged.status,
        "high_water": judged.high_water,
        "high_severity": judged.high_severity,
        "run": run,
        "job": job,
        "at": now,
        "month": month_of(now),
    }
