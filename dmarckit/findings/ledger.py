"""The status of findings: each run is recorded in the lake and compared with the one before.

The table `findings` has one row per finding and run. A run's rows are written with one
commit, or not at all when that run is there already: exactly once, whatever crashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from dmarckit.core import _
from dmarckit.findings.causes import fingerprints_within
from dmarckit.findings.find import KINDS, title
from dmarckit.findings.model import SEVERITIES, Finding, Kind, Record, safe
from dmarckit.lake import FINDINGS, Lake, month_of

Status = Literal["NEW", "WORSE", "SAME", "RESOLVED"]

_TIMES_MORE, _MORE = 2, 50
_LAST_RUN = """
    SELECT * FROM findings WHERE run = (
        SELECT run FROM findings WHERE job = $job AND "at" < $now ORDER BY "at" DESC, run LIMIT 1
    )
    ORDER BY fingerprint
"""
_FIELDS = [field.name for field in fields(Finding) if field.name != "title"]
_DAYS = ("first_day", "last_day", "since")


@dataclass(frozen=True)
class LedgerEntry:
    """A finding with its status, and the marks that the next run is compared with."""

    finding: Finding
    status: Status
    high_water: int  # most messages while it has been open
    high_severity: str  # worst severity while it has been open


def assign_status(
    found: Sequence[Finding], last: pd.DataFrame, ended: Callable[[Finding], str] | None = None
) -> list[LedgerEntry]:
    """Compare findings with the last run (rows of the table `findings`).

    NEW: not open in the last run, or muted there and no longer so.
    WORSE: the severity rises above the worst while open, or the messages are at least twice
    the high-water mark and 50 more. Both marks only rise while the finding is open, so a
    number that goes up and down by turns is WORSE once. A step forward (good) is never WORSE.
    RESOLVED: open (and not muted) in the last run, and no longer found; `ended` says how it
    ended. Listed once, last. What another finding has taken in has not ended, and is not listed.
    """
    open_rows = _open_rows(last)
    fingerprints = {finding.fingerprint for finding in found}
    within = fingerprints_within(found)
    entries = [_compared(finding, open_rows.get(finding.fingerprint)) for finding in found]
    for key, row in open_rows.items():
        if key in fingerprints or row["mute_reason"] is not None or safe(key, 400) in within:
            continue
        finding = _read(row)
        kind = KINDS.get(finding.kind)  # a kind of another version may be gone
        how = ended(finding) if ended else ""
        finding = replace(finding, action=how or _(kind.resolved if kind else Kind.resolved))
        marks = int(row["high_water"]), row["high_severity"]
        entries.append(LedgerEntry(finding, "RESOLVED", *marks))
    return entries


def _open_rows(last: pd.DataFrame) -> dict[str, dict[Any, Any]]:
    return {
        row["fingerprint"]: row for row in last.to_dict("records") if row["status"] != "RESOLVED"
    }


def open_before(last: pd.DataFrame) -> list[Finding]:
    """Return the findings that were open, and not muted, in the last run."""
    return [_read(row) for row in _open_rows(last).values() if row["mute_reason"] is None]


def _compared(finding: Finding, before: Mapping[Any, Any] | None) -> LedgerEntry:
    if before is None:
        return LedgerEntry(finding, "NEW", finding.messages, finding.severity)
    water = int(before["high_water"])
    worst = min(before["high_severity"], finding.severity, key=SEVERITIES.index)
    more = finding.messages >= _TIMES_MORE * water and finding.messages >= water + _MORE
    status: Status = "SAME"
    if before["mute_reason"] is not None and not finding.muted:
        status = "NEW"
    elif finding.severity != "good" and (worst != before["high_severity"] or more):
        status = "WORSE"
    return LedgerEntry(finding, status, max(water, finding.messages), worst)


def _read(row: Mapping[Any, Any]) -> Finding:
    changes = {
        "messages": int(row["messages"]),
        **{name: row[name] and pd.Timestamp(row[name]).date() for name in _DAYS},
        "lost": int(row["lost"] or 0),  # former versions kept none of these
        "cause": row["cause"] or "",
        "record": tuple(Record(**record) for record in json.loads(row["record"] or "[]")),
        "reporters": int(row["reporters"]),
        "evidence": json.loads(row["evidence"]),
    }
    finding = Finding(**{name: row[name] for name in _FIELDS} | changes)
    return replace(finding, title=title(finding))  # in the language of this run


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


def last_run(lake: Lake, job: str, now: datetime) -> pd.DataFrame:
    """Return the rows of the last run of this job before `now`; none at the first."""
    frame = lake.sql(_LAST_RUN, job=job, now=now)
    return frame.astype(object).where(frame.notna(), None)


def record_findings(
    lake: Lake,
    found: Sequence[Finding],
    *,
    run: str,
    job: str,
    now: datetime,
    ended: Callable[[Finding], str] | None = None,
) -> list[LedgerEntry]:
    """Compare the findings of a run with the run before, and write them down.

    Called again for the same run (and the same findings) it returns the same and writes
    nothing. A run that found nothing, with nothing resolved, leaves no rows: the run before
    has none open either.

    Raises:
        LakeError: the lake cannot be read or written.
    """
    entries = assign_status(found, last_run(lake, job, now), ended)
    rows = [
        {name: getattr(entry.finding, name) for name in _FIELDS}
        | {
            "fingerprint": entry.finding.fingerprint,
            **{name: _midnight(getattr(entry.finding, name)) for name in _DAYS},
            "record": json.dumps([asdict(record) for record in entry.finding.record]),
            "evidence": json.dumps(entry.finding.evidence, ensure_ascii=True, sort_keys=True),
            "status": entry.status,
            "high_water": entry.high_water,
            "high_severity": entry.high_severity,
            "run": run,
            "job": job,
            "at": now,
            "month": month_of(now),
        }
        for entry in entries
    ]
    if rows:
        lake.write.append_new("findings", pa.Table.from_pylist(rows, schema=FINDINGS.schema))
    return entries
