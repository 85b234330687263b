"""The table `runs`: which job ran when, how it ended, and whether a slot is done.

A run is one row, written at its end. A slot is *done* when a run of it ended ok or with problems,
or when `TRIES` runs of it failed or were interrupted: then only the next slot helps.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal, TypeVar

from dmarckit import core, ingest, lake as tables, pages, slack
from dmarckit.core import DmarckitError, Settings, ngettext
from dmarckit.jobs.schedule import Schedule
from dmarckit.jobs.timeout import RunEnd, end_reason

log = logging.getLogger("dmarckit")

Step = Callable[[str], None]
Clock = Callable[[], datetime]
Value = TypeVar("Value")
Result = Literal["ok", "problems", "failed", "interrupted"]
GOOD: tuple[Result, ...] = ("ok", "problems")
TRIES = 3  # runs of one slot that may fail or die
MANY_DEAD = 2  # runs in a row that died without a word, from which on people are told
HISTORY = timedelta(days=70)  # how far back a job's last run is looked for: two months
OVERDUE_AFTER = timedelta(minutes=5)  # beyond a job's timeout, before its run counts as missing
SLACK = timedelta(days=2)  # a slot's runs begin after it (clocks that differ aside)


_NEWEST = """
    SELECT * FROM (
        SELECT *, row_number() OVER (PARTITION BY job ORDER BY started DESC, run) AS place
        FROM runs WHERE month >= '{month}'
    ) WHERE place = 1
"""


_JOBS = """
    SELECT job, result, started, ended,
        max(slot) OVER (PARTITION BY job) AS slot,
        max(ended) FILTER (result IN ('ok', 'problems')) OVER (PARTITION BY job) AS success
    FROM runs QUALIFY row_number() OVER (PARTITION BY job ORDER BY started DESC, run) = 1
"""
_RUNS = "SELECT job, result, count(*) FROM runs GROUP BY ALL"
_MAILS = "SELECT outcome, count(*) FROM mails GROUP BY ALL"
_OUTBOX = "SELECT count(*) FROM outbox WHERE subject NOT IN (SELECT subject FROM alerts)"


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
    unreachable: int | None = 0
    findings: int | None = None
    told: int = 0
    waiting: int = 0
    warnings: tuple[str, ...] = ()
    error: str | None = None
    notebook: str | None = None
    host: str = ""


def record_run(lake: tables.Lake, run: Run) -> None:
    """Write the run's row; a run that has one keeps it."""
    row = {**asdict(run), "warnings": list(run.warnings), "month": tables.month_of(run.started)}
    lake.write.append_rows("runs", [row])


def runs_of_slot(lake: tables.Lake, job: str, slot: datetime) -> list[Run]:
    """Return the runs of a slot so far, the oldest first."""
    where = "job = $job AND slot = $slot ORDER BY started, run"
    return _runs(lake, slot - SLACK, where, job=job, slot=slot)


def is_done(runs: Sequence[Run]) -> bool:
    """Return True if a slot with these runs is not to be run again."""
    return any(run.result in GOOD for run in runs) or len(runs) >= TRIES


def last_runs(location: tables.Location, now: datetime | None) -> dict[str, Run]:
    """Return each job's run that began last, by its name: of the last `HISTORY`; None: of all."""
    query = _NEWEST.format(month=f"{now - HISTORY:%Y-%m}" if now else "")
    known = {column.name for column in fields(Run)}
    rows = location.query("runs", query)
    return {row["job"]: _run({n: v for n, v in row.items() if n in known}) for row in rows}


def bad_since(lake: tables.Lake, job: str, now: datetime) -> tuple[datetime | None, int]:
    """Return the start of the job's first bad run since its last good one, and their number."""
    where = """job = $job AND result NOT IN ('ok', 'problems') AND started > (
        SELECT coalesce(max(started), '1970-01-01') FROM runs
        WHERE job = $job AND result IN ('ok', 'problems')) ORDER BY started"""
    bad = _runs(lake, now - HISTORY, where, job=job)
    return (bad[0].started if bad else None), len(bad)


def _runs(lake: tables.Lake, since: datetime, where: str, **values: Any) -> list[Run]:
    with lake.session("runs", first_month=tables.month_of(since)) as connection:
        # the condition is one of those above; values are parameters
        query = f"SELECT * EXCLUDE (month) FROM runs WHERE {where}"  # noqa: S608
        rows = tables.rows_of(connection.sql(query, params=values or None).to_arrow_table())
    return [_run(row) for row in rows]


def _run(row: Mapping[str, Any]) -> Run:
    return Run(**{**row, "warnings": tuple(row["warnings"] or ())})


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run of a job, and when the job last went well. Times are UTC."""

    result: str
    started: datetime
    ended: datetime
    slot: datetime | None  # newest slot of all runs of the job; None: all were started by hand
    success: datetime | None  # end of the newest run that did its work; None: there is none


@dataclass(frozen=True)
class LakeStatus:
    """Runs, mails and waiting messages as the lake has them; 0 in an empty one."""

    last: Mapping[str, LastRun] = field(default_factory=dict)  # job → its newest run, if any
    runs: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (job, result) → runs
    mails: Mapping[str, int] = field(default_factory=dict)  # outcome → mails
    outbox: int = 0  # messages that wait in the outbox


def read_status(lake: tables.Lake) -> LakeStatus:
    """Return the numbers as the tables stand now; LakeError or StorageError if there are none."""
    with lake.session("runs", "mails", "outbox", "alerts") as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            found = connection.sql(query).to_arrow_table().to_pydict()
            return list(zip(*found.values(), strict=True))

        ((waiting,),) = rows(_OUTBOX)
        return LakeStatus(
            {job: LastRun(*run) for job, *run in rows(_JOBS)},
            {(job, result): number for job, result, number in rows(_RUNS)},
            dict(rows(_MAILS)),
            waiting,
        )


@dataclass(frozen=True)
class RunnerState:
    """The schedules that a runner has taken on."""

    schedules: Sequence[Schedule]
    started: datetime  # slots before that are not missed by a job that is new


@dataclass(frozen=True, slots=True)
class JobState:
    """The newest run of a job, and whether it should have run since."""

    name: str
    last: LastRun | Run | None
    overdue: bool  # the newest slot passed longer ago than timeout and grace; nothing ran for it

    @property
    def failing(self) -> bool:
        """Return True if its run is missing, or the newest one did not do its work."""
        return self.overdue or (self.last is not None and self.last.result not in GOOD)


def job_states(
    state: RunnerState, runs: Mapping[str, LastRun | Run], now: datetime
) -> list[JobState]:
    """Return the state of each scheduled job, whose newest run is in `runs` if there is one.

    Jobs without cron are never overdue.
    """
    states = []
    for schedule in state.schedules:
        last = runs.get(schedule.name)
        # the newest slot may be a moment old; the one that should be done by now counts
        slot = schedule.newest_slot(now - timedelta(seconds=schedule.timeout) - OVERDUE_AFTER)
        overdue = slot is not None and slot >= state.started
        if slot is not None and last is not None:
            overdue = slot > max(last.started, last.slot or last.started)
        states.append(JobState(schedule.name, last, overdue))
    return states


@dataclass(frozen=True)
class RunContext:
    """Report progress, renew the lease, and retry storage and lake errors for one run."""

    settings: Settings
    schedule: Schedule
    lease: core.Lease
    clock: Clock
    report: Step
    sleep: Callable[[float], None]
    pauses: Sequence[float]

    @cached_property
    def lake(self) -> tables.Lake:
        """Return the lake of the installation."""
        return tables.Lake(self.settings.lake_url)

    def step(self, text: str) -> None:
        """Begin another step; LeaseLost if another machine has the job."""
        self.lease.renew(self.clock())
        self.report(text)

    def again(self, action: Callable[[], Value]) -> Value:
        """Return the action's result, also when storage, lake or cluster fail it a few times."""

        def wait(seconds: float) -> None:
            self.sleep(seconds)
            self.lease.renew(self.clock())

        return core.with_retries(
            action,
            lambda error: (
                isinstance(error, core.StorageError | core.LakeError | core.ClusterError)
                and not isinstance(error, core.MissingObject)
            ),
            self.pauses,
            sleep=wait,
            before=lambda error, seconds: log.warning("trying again in %g s: %s", seconds, error),
        )


@dataclass
class RunProgress:
    """How far a run has come."""

    begun: Run  # its row, as if it ended at its start
    first: str  # the first run of the slot, to which all messages about it belong
    ingested: ingest.IngestResult | None = None
    published: pages.StoredPage | None = None
    delivery: slack.DeliveryResult | None = None
    warnings: list[str] = field(default_factory=list)  # they make a run one with problems
    notes: list[str] = field(default_factory=list)  # what is the same every day: no problem

    @property
    def mails(self) -> dict[str, Any]:
        """Return how many mails had each outcome."""
        found: Mapping[str, int] = self.ingested.outcomes if self.ingested else {}
        return {outcome: found.get(outcome, 0) for outcome in ingest.OUTCOMES}

    def row(
        self, ended: datetime, result: Result, error: str | None = None, notebook: str | None = None
    ) -> Run:
        """Return the run as `runs` keeps it."""
        delivery = self.delivery
        return replace(
            self.begun,
            ended=max(ended, self.begun.started),
            result=result,
            page=self.published.key if self.published else None,
            mails=sum(self.mails.values()),
            **self.mails,
            findings=delivery.open_findings if delivery else None,
            told=delivery.sent if delivery else 0,
            waiting=delivery.waiting if delivery else 0,
            warnings=(*self.warnings, *self.notes),
            error=error,
            notebook=notebook,
        )


def record_end(context: RunContext, row: Run) -> None:
    """Record a run that has ended, and log that: the metric filter of schedules/aws counts it."""
    context.again(lambda: record_run(context.lake, row))
    log.info("Run ended: %s", row.result, extra={"event": "run ended", "result": row.result})


def record_failure(
    context: RunContext, done: RunProgress, error: BaseException, now: datetime
) -> bool:
    """Alert on and record a run that failed; record one that was ended from outside.

    Returns True if it is recorded. What goes wrong here is logged, so that the first error is
    the one that is raised.
    """
    error = end_reason() or error
    if isinstance(error, core.LeaseLost):
        return False  # whoever took the job over has recorded this run as interrupted
    interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
    if not interrupted and not isinstance(error, Exception):
        return False
    reason = str(error) if isinstance(error, DmarckitError) else f"{type(error).__name__}: {error}"
    text = core.redacted(core.one_line(reason, 600), core.secrets_of(context.settings))
    kept = error.kept if isinstance(error, core.NotebookFailed) else None
    if not interrupted:
        with contextlib.suppress(RunEnd):  # its time was over meanwhile: it is still recorded
            _alert(context, done, text, kept, now, context.report)
    result: Result = "interrupted" if interrupted else "failed"
    try:
        record_end(context, done.row(context.clock(), result, None if interrupted else text, kept))
    except DmarckitError as another:
        text = "run %s of %s is not recorded: %s"
        marks = {"event": "run ended", "result": result}
        log.error(text, done.begun.run, done.begun.job, another, extra=marks)
        return False
    return True


def _alert(
    context: RunContext, done: RunProgress, text: str, kept: str | None, now: datetime, step: Step
) -> None:
    from dmarckit.jobs.notify import Notifier  # it loads what makes messages

    run, job, started = done.begun.run, done.begun.job, done.begun.started
    since = None
    with contextlib.suppress(DmarckitError):
        since, _ = bad_since(context.lake, job, started)
    try:
        notifier = Notifier(context.settings, context.schedule, run=run, now=now, step=step)
        done.delivery = notifier.notify_failure(text, since=since or started, notebook=kept)
    except DmarckitError as another:
        log.error("nobody was told that %s failed: %s", job, another)


def record_interrupted(context: RunContext) -> None:
    """Record each run whose lease expired as `interrupted`; alert from the second in a row.

    Only then does the lease forget them: wherever this stops, the next holder goes on.
    """
    lake, lease, job, now = context.lake, context.lease, context.schedule.name, context.clock()
    for dead in lease.holder.dead:
        ended = max(now, dead.since)
        row = Run(dead.run, job, dead.slot, dead.since, ended, "interrupted", host=dead.host)
        record_run(lake, row)
    since, count = bad_since(lake, job, now)
    if since is not None and count >= MANY_DEAD:
        text = ngettext(
            "{n} run ended without a status (killed, or the host went down)",
            "{n} runs in a row ended without a status (killed, or the host went down)",
            count,
        ).format(n=count)
        _alert(context, RunProgress(row, row.run), text, None, now, lambda text: None)
    lease.forget_dead()
