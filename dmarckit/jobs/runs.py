"""The table `runs`: which job ran when, how it ended, and whether a slot is done.

A run is one row, written at its end. A slot is *done* when a run of it ended ok or with
problems, or when `TRIES` runs of it failed or were interrupted: then only the next slot
helps, and people have been told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import month_of
from dmarckit.lake.schemas import RUNS

Result = Literal["ok", "problems", "failed", "interrupted"]
GOOD: tuple[Result, ...] = ("ok", "problems")
TRIES = 3  # runs of one slot that may fail or die
HISTORY = timedelta(days=70)  # how far back a job's last run is looked for: two months
SLACK = timedelta(days=2)  # a slot's runs begin after it (clocks that differ aside)


@dataclass(frozen=True)
class Run:
    """One row of `runs`; what its columns mean is said there (`dmarckit schema runs`)."""

    run: str
    job: str
    slot: datetime | None
    started: datetime
    ended: datetime
    result: Result
    page: str | None = None
    mails: int = 0
    stored: int = 0
    duplicate: int = 0
    untrusted: int = 0
    not_a_report: int = 0
    unreadable: int = 0
    findings: int | None = None
    told: int = 0
    waiting: int = 0
    warnings: tuple[str, ...] = ()
    error: str | None = None
    notebook: str | None = None
    host: str = ""


def record(lake: Lake, run: Run) -> None:
    """Write the run's row; a run that has one keeps it."""
    row = {**asdict(run), "warnings": list(run.warnings), "month": month_of(run.started)}
    lake.write.append_new("runs", pa.Table.from_pylist([row], schema=RUNS.schema))


def runs_of_slot(lake: Lake, job: str, slot: datetime) -> list[Run]:
    """The runs of a slot so far, the oldest first."""
    where = "job = $job AND slot = $slot ORDER BY started, run"
    return _runs(lake, slot - SLACK, where, job=job, slot=slot)


def is_done(runs: Sequence[Run]) -> bool:
    """Whether a slot with these runs is not to be run again."""
    return any(run.result in GOOD for run in runs) or len(runs) >= TRIES


def last_runs(lake: Lake, now: datetime) -> dict[str, Run]:
    """Job → its run that began last, of those in the last `HISTORY`."""
    newest = "run IN (SELECT arg_max(run, started) FROM runs GROUP BY job)"
    return {run.job: run for run in _runs(lake, now - HISTORY, newest)}


def bad_since(lake: Lake, job: str, now: datetime) -> tuple[datetime | None, int]:
    """When the job's first bad run after its last good one began, and how many bad ones
    there are since; (None, 0) when its last run was good."""
    where = """job = $job AND result NOT IN ('ok', 'problems') AND started > (
        SELECT coalesce(max(started), '1970-01-01') FROM runs
        WHERE job = $job AND result IN ('ok', 'problems')) ORDER BY started"""
    bad = _runs(lake, now - HISTORY, where, job=job)
    return (bad[0].started if bad else None), len(bad)


def _runs(lake: Lake, since: datetime, where: str, **values: Any) -> list[Run]:
    with lake.session("runs", first_month=month_of(since)) as connection:
        # the condition is one of those above; values are parameters
        query = f"SELECT * EXCLUDE (month) FROM runs WHERE {where}"  # noqa: S608
        rows = connection.sql(query, params=values or None).to_arrow_table().to_pylist()
    return [Run(**{**row, "warnings": tuple(row["warnings"] or ())}) for row in rows]
