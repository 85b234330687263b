"""One run of a schedule: lease → mails → pages → Slack → its row in `runs` → index.

The order is what makes it safe to stop anywhere. What a step has stored stays, and running
the slot again repeats none of it; the row in `runs` comes last, so that a slot without one
is not done. A run that is killed leaves its lease behind, and whoever takes the job next
writes `interrupted` for it.

What a job asks of the outside before its page: Postmaster Tools and DNS.

That nobody answers, or that it is not set up, ends no job: the page shows what is known.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dmarckit.core import (
    PAUSES,
    DmarckitError,
    LakeError,
    Lease,
    LeaseLost,
    Settings,
    StorageError,
    _,
    heartbeat,
    new_holder,
    new_run,
    ngettext,
    one_line,
    open_storage,
    take,
)
from dmarckit.ingest import IngestResult, Progress, cluster_of, ingest_mails
from dmarckit.jobs.notify import check_slack, notify_run
from dmarckit.jobs.record import (
    Clock,
    Run,
    RunContext,
    RunProgress,
    Step,
    finished_run,
    is_done,
    log_end,
    record_failure,
    record_interrupted,
    record_run,
    runs_of_slot,
)
from dmarckit.jobs.schedule import Schedule
from dmarckit.jobs.timeout import end_reason
from dmarckit.lake import Lake, maintain_lake

if TYPE_CHECKING:
    from dmarckit.pages import Published
    from dmarckit.slack import DeliveryResult

SHOWN = 3
"""problems of Google that are named; the rest is counted"""

log = logging.getLogger("dmarckit")


@dataclass
class Inquiry:
    """What did not work, a sentence each."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """what is not set up"""


def refresh_outside(
    settings: Settings, names: Sequence[str], *, now: datetime, run: str, step: Step
) -> Inquiry:
    """Ask what `names` say (``postmaster``, ``dns``).

    Raises LakeError and StorageError, after which the same can be asked again, and LeaseLost.
    """
    asked = Inquiry()
    for name in names:
        try:
            asked.problems += _ASK[name](settings, now, run, step)
        except (LakeError, StorageError, LeaseLost):
            raise
        except DmarckitError as error:
            unset = name == "postmaster" and settings.google_credentials is None
            (asked.notes if unset else asked.problems).append(one_line(error, 400))
        except Exception as error:  # a fault in what reads their answers ends no job either
            if end_reason():
                raise
            log.exception("%s was not asked to the end", name)
            asked.problems.append(f"asking {name}: {type(error).__name__}: {one_line(error, 300)}")
    return asked


def _postmaster(settings: Settings, now: datetime, run: str, step: Step) -> list[str]:
    from dmarckit.checks import pull_metrics

    step("Asking Google Postmaster Tools")
    problems = pull_metrics(settings, now=now, run=run).problems
    rest = len(problems) - SHOWN
    more = [f"Postmaster Tools has {rest} more problems: run dmarckit postmaster pull"]
    return [*problems[:SHOWN], *(more if rest > 0 else [])]


def _dns(settings: Settings, now: datetime, run: str, step: Step) -> list[str]:
    from dmarckit.checks import check_dns

    step("Asking DNS")
    silent = check_dns(settings, now=now, run=run).silent
    if not silent:
        return []
    names = ", ".join(one_line(name, 80) for name in silent[:SHOWN])
    rest = len(silent) - SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return [f"DNS did not answer for {names}{more}; check the setting resolvers"]


_ASK = {"postmaster": _postmaster, "dns": _dns}


DOMAIN_PAGE = "domain"  # the notebook of the fleet's pages


@dataclass(frozen=True)
class JobResult:
    """What a job did."""

    ingest: IngestResult
    published: Published | None
    """None: the schedule makes no page"""
    told: DeliveryResult
    warnings: tuple[str, ...] = ()
    """what a person should know, a sentence each"""
    run: Run | None = None
    """its row in `runs`; None: nothing was recorded (the demo)"""


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def run_job(
    settings: Settings,
    schedule: Schedule,
    *,
    slot: datetime | None = None,
    now: datetime | None = None,
    clock: Clock = utc_now,
    run: str | None = None,
    progress: Progress | None = None,
    step: Step = lambda text: None,
    sleep: Callable[[float], None] = time.sleep,
    lost: Callable[[LeaseLost], None] | None = None,
) -> JobResult | None:
    """Run a schedule once, and record that; None when its slot is done already.

    `slot` is the time the schedule asked for (None: by hand). `now` is what the run takes
    for the present: the slot, while that is still the same day, else the clock. `run` is
    its id (else a new one). `step` hears of each step in words. `lost` is called, from
    another thread, when another machine has taken the job; without it that is looked at
    between steps only. Of a slot each step that the storage or the lake fails is done again,
    after pauses; by hand the first error is said at once.

    Raises JobBusy when the job runs already, and what its parts raise. A run that fails is
    recorded and told; what was stored stays, and what was told is not told again.
    """
    check_slack(settings, schedule)
    started = clock()
    holder = new_holder(schedule.name, run or new_run(), slot, started)
    lease = take(open_storage(settings.home), holder)
    patient = RunContext(lease, clock, step, sleep, PAUSES if slot is not None else ())
    with contextlib.ExitStack() as stack:
        if lost is not None:
            stack.enter_context(heartbeat(lease, clock, lost))
        result = _held(settings, schedule, lease, now, patient, progress)
        # A run without a row keeps its lease: whoever comes next writes that it was interrupted
        lease.release()
    return result


def _held(
    settings: Settings,
    schedule: Schedule,
    lease: Lease,
    now: datetime | None,
    patient: RunContext,
    progress: Progress | None,
) -> JobResult | None:
    """The run, with its lease taken. Returns, or raises after it has released the lease, when
    nothing is left to be said about it."""
    lake, holder, clock = Lake(settings.lake_url), lease.holder, patient.clock
    slot = holder.slot
    if holder.dead:
        patient.again(lambda: record_interrupted(settings, schedule, lake, lease, clock()))
    before = [] if slot is None else patient.again(lambda: runs_of_slot(lake, holder.job, slot))
    if is_done(before):
        return None
    first = before[0].run if before else holder.run
    done = RunProgress(holder.run, holder.job, slot, holder.since, holder.host, first)
    moment = now or _moment(slot, holder.since)
    try:
        result = _work(settings, schedule, done, moment, patient, progress)
        lease.renew(clock())
    except BaseException as error:
        if record_failure(settings, schedule, lake, done, error, moment, patient):
            lease.release()
        raise
    row = finished_run(done, clock())
    patient.again(lambda: record_run(lake, row))
    log_end(row)
    _index(settings)
    return replace(result, run=row)


def _work(
    settings: Settings,
    schedule: Schedule,
    done: RunProgress,
    now: datetime,
    patient: RunContext,
    progress: Progress | None,
) -> JobResult:
    patient.step("Reading new mails")
    ingested = patient.again(lambda: _ingest(settings, done.first, progress))
    done.ingested = ingested
    asked = patient.again(
        lambda: refresh_outside(
            settings, schedule.before, now=now, run=done.first, step=patient.step
        )
    )
    done.warnings += asked.problems
    done.notes += asked.notes
    result = publish_and_notify(settings, schedule, ingested, now=now, patient=patient, done=done)
    if schedule.maintain:
        patient.step("Looking after the tables")
        done.warnings += _maintain(settings, patient.clock())
    return replace(result, warnings=(*done.warnings, *done.notes))


def _ingest(settings: Settings, run: str, progress: Progress | None) -> IngestResult:
    with cluster_of(settings, "mail") as cluster:
        return ingest_mails(settings, executor=cluster, progress=progress, run=run)


def _maintain(settings: Settings, now: datetime) -> list[str]:
    """What a person should know of the upkeep; that it fails changes nothing about the run."""
    try:
        return list(maintain_lake(settings, now=now).warnings)
    except DmarckitError as error:
        return [_("The upkeep of the tables failed: {error}").format(error=one_line(error, 300))]


def publish_and_notify(
    settings: Settings,
    schedule: Schedule,
    ingested: IngestResult,
    *,
    now: datetime,
    step: Step = lambda text: None,
    patient: RunContext | None = None,
    done: RunProgress | None = None,
) -> JobResult:
    """What follows an ingest: the pages, alerts about failing reports, the summary.

    `done` notes how far it came. What is stored and told carries the id of the slot's first
    run, so that a run after one that failed or died tells nothing that was told.
    """
    done = done or RunProgress(ingested.run, schedule.name, None, now, "", ingested.run)
    step, again = (patient.step, patient.again) if patient else (step, _once)
    if schedule.notebook is not None:
        from dmarckit.pages import store_notebook

        if schedule.fleet:
            step("Building a page for each domain")
            done.warnings += again(lambda: _fleet(settings, schedule, now))
        notebook, parameters = schedule.notebook, schedule.parameters_at(done.slot or now)
        step(f"Building the page {notebook}")
        done.published = again(lambda: store_notebook(settings, notebook, parameters, now))
    told = again(
        lambda: notify_run(
            settings,
            schedule,
            ingested,
            done.published,
            run=done.first,
            now=now,
            step=step,
            clock=patient.clock if patient else None,
        )
    )
    done.told = told
    done.warnings += told.warnings
    done.notes += told.notes
    return JobResult(ingested, done.published, told, (*done.warnings, *done.notes))


def _once(action: Callable[[], Any]) -> Any:
    return action()


def _moment(slot: datetime | None, started: datetime) -> datetime:
    """What a run takes for the present.

    A slot that is run again sees the same moment, so that what is new is new once more. A
    day later its pages would show another day than the one they are named by.
    """
    return slot if slot is not None and slot.date() == started.date() else started


def _fleet(settings: Settings, schedule: Schedule, now: datetime) -> list[str]:
    """The pages of the domains; a sentence about those that failed."""
    from dmarckit.pages import fleet_domains, fleet_window, publish_fleet

    domains = fleet_domains(settings, fleet_window(DOMAIN_PAGE, {}, now))
    with cluster_of(settings, "settings") as cluster:
        pages = publish_fleet(
            settings,
            domains,
            notebook=DOMAIN_PAGE,
            parameters={"job": schedule.name},
            now=now,
            cluster=cluster,
        )
    failed = [page for page in pages if page.outcome == "failed"]
    if not failed:
        return []
    text = ngettext(
        "The page of {n} domain failed, first {domain}: {error}",
        "The pages of {n} domains failed, first {domain}: {error}",
        len(failed),
    )
    return [text.format(n=len(failed), domain=failed[0].domain, error=failed[0].error)]


def _index(settings: Settings) -> None:
    """The index with this run; that it fails changes nothing about the run."""
    from dmarckit.pages import refresh_index

    try:
        refresh_index(settings)
    except DmarckitError as error:
        log.warning("the index of all pages is as it was: %s", error)
