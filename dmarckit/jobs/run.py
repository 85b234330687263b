"""One run of a schedule: lease → mails → pages → Slack → its row in `runs` → index.

The order is what makes it safe to stop anywhere. What a step has stored stays, and running
the slot again repeats none of it; the row in `runs` comes last, so that a slot without one
is not done. A run that is killed leaves its lease behind, and whoever takes the job next
writes `interrupted` for it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dmarckit.core import (
    PAUSES,
    DmarckitError,
    LakeError,
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
    take_lease,
)
from dmarckit.ingest import IngestResult, Progress, cluster_of, ingest_mails
from dmarckit.jobs.notify import Notifier, check_slack
from dmarckit.jobs.record import (
    Clock,
    Run,
    RunContext,
    RunProgress,
    Step,
    is_done,
    record_end,
    record_failure,
    record_interrupted,
    runs_of_slot,
)
from dmarckit.jobs.schedule import Schedule
from dmarckit.jobs.timeout import end_reason
from dmarckit.lake import maintain_lake

if TYPE_CHECKING:
    from dmarckit.pages import StoredPage
    from dmarckit.slack import DeliveryResult

NAMED = 3  # problems of Google and silent names of DNS that are named; the rest is counted
DOMAIN_PAGE = "domain"  # the notebook of the fleet's pages

log = logging.getLogger("dmarckit")


def refresh_outside(
    settings: Settings, names: Sequence[str], *, now: datetime, run: str, step: Step
) -> tuple[list[str], list[str]]:
    """Ask what `names` say (``postmaster``, ``dns``) before the page is made.

    That nobody answers, or that it is not set up, ends no job: the page shows what is known.

    Returns:
        What did not work, and what is not set up, a sentence each.

    Raises:
        LakeError: the lake cannot be used; the same can be asked again.
        StorageError: the same of the storage.
        LeaseLost: another machine has the job.
    """
    problems: list[str] = []
    notes: list[str] = []
    for name in names:
        try:
            problems += _ASK[name](settings, now, run, step)
        except (LakeError, StorageError, LeaseLost):
            raise
        except DmarckitError as error:
            unset = name == "postmaster" and settings.google_credentials is None
            (notes if unset else problems).append(one_line(error, 400))
        except Exception as error:  # a fault in what reads their answers ends no job either
            if end_reason():
                raise
            log.exception("%s was not asked to the end", name)
            problems.append(f"asking {name}: {type(error).__name__}: {one_line(error, 300)}")
    return problems, notes


def _postmaster(settings: Settings, now: datetime, run: str, step: Step) -> list[str]:
    from dmarckit.checks import pull_metrics

    step("Asking Google Postmaster Tools")
    problems = pull_metrics(settings, now=now, run=run).problems
    rest = len(problems) - NAMED
    more = [f"Postmaster Tools has {rest} more problems: run dmarckit postmaster pull"]
    return [*problems[:NAMED], *(more if rest > 0 else [])]


def _dns(settings: Settings, now: datetime, run: str, step: Step) -> list[str]:
    from dmarckit.checks import check_dns

    step("Asking DNS")
    silent = check_dns(settings, now=now, run=run).silent
    if not silent:
        return []
    names = ", ".join(one_line(name, 80) for name in silent[:NAMED])
    rest = len(silent) - NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return [f"DNS did not answer for {names}{more}; check the setting resolvers"]


_ASK = {"postmaster": _postmaster, "dns": _dns}


@dataclass(frozen=True)
class JobResult:
    """What a job did."""

    ingest: IngestResult
    published: StoredPage | None  # None: the schedule makes no page
    delivery: DeliveryResult
    warnings: tuple[str, ...] = ()  # what a person should know, a sentence each
    run: Run | None = None  # its row in `runs`; None: nothing was recorded (the demo)


def utc_now() -> datetime:
    """Return the present."""
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

    Of a slot each step that the storage or the lake fails is done again, after pauses; by
    hand the first error is raised at once. A run that fails is recorded, and a message about
    it sent; what was stored stays, and what was sent is not sent again.

    `slot` is the time the schedule asked for (None: by hand). `now` is what the run takes for the
    present: else the slot, while that is still the same day, else the clock. `run` is its id
    (else a new one). `step` is called with each step in words. `lost` is called, from another
    thread, when another machine has taken the job; without it that is looked at between steps.

    Raises:
        JobBusy: the job runs already.
        DmarckitError: a step failed.
    """
    check_slack(settings, schedule)
    holder = new_holder(schedule.name, run or new_run(), slot, clock())
    lease = take_lease(open_storage(settings.home), holder)
    pauses = PAUSES if slot is not None else ()
    context = RunContext(settings, schedule, lease, clock, step, sleep, pauses)
    with contextlib.ExitStack() as stack:
        if lost is not None:
            stack.enter_context(heartbeat(lease, clock, lost))
        result = _run_slot(context, now, progress)
        # A run without a row keeps its lease: whoever comes next writes that it was interrupted
        lease.release()
    return result


def _run_slot(
    context: RunContext, now: datetime | None, progress: Progress | None
) -> JobResult | None:
    """Run the slot with its lease taken, and record how that ended.

    The lease is released before an error is raised, when nothing is left to be said about it.
    """
    from dmarckit.pages import refresh_index

    lease, holder, slot = context.lease, context.lease.holder, context.lease.holder.slot
    if holder.dead:
        context.again(lambda: record_interrupted(context))
    before: list[Run] = []
    if slot is not None:
        before = context.again(lambda: runs_of_slot(context.lake, holder.job, slot))
    if is_done(before):
        return None
    first = before[0].run if before else holder.run
    run, job, since = holder.run, holder.job, holder.since
    done = RunProgress(Run(run, job, slot, since, since, "interrupted", host=holder.host), first)
    # A slot that is run again sees the same moment, so that what is new is new once more. A day
    # later its pages would show another day than the one they are named by.
    present = now or (slot if slot is not None and slot.date() == since.date() else since)
    try:
        result = _work(context, done, present, progress)
        lease.renew(context.clock())
    except BaseException as error:
        if record_failure(context, done, error, present):
            lease.release()
        raise
    problems = done.mails["unreadable"] or done.warnings
    row = done.row(context.clock(), "problems" if problems else "ok")
    record_end(context, row)
    try:
        refresh_index(context.settings)
    except DmarckitError as error:
        log.warning("the index of all pages is as it was: %s", error)
    return replace(result, run=row)


def _work(
    context: RunContext, done: RunProgress, now: datetime, progress: Progress | None
) -> JobResult:
    settings, schedule = context.settings, context.schedule

    def ingest() -> IngestResult:
        with cluster_of(settings, "mail") as cluster:
            return ingest_mails(settings, executor=cluster, progress=progress, run=done.first)

    context.step("Reading new mails")
    done.ingested = context.again(ingest)
    problems, notes = context.again(
        lambda: refresh_outside(
            settings, schedule.before, now=now, run=done.first, step=context.step
        )
    )
    done.warnings += problems
    done.notes += notes
    result = publish_and_notify(
        settings, schedule, done.ingested, now=now, context=context, done=done
    )
    if schedule.maintain:
        context.step("Looking after the tables")
        try:
            done.warnings += maintain_lake(settings, now=context.clock()).warnings
        except DmarckitError as error:
            text = _("The upkeep of the tables failed: {error}")
            done.warnings.append(text.format(error=one_line(error, 300)))
    return replace(result, warnings=(*done.warnings, *done.notes))


def publish_and_notify(
    settings: Settings,
    schedule: Schedule,
    ingested: IngestResult,
    *,
    now: datetime,
    step: Step = lambda text: None,
    context: RunContext | None = None,
    done: RunProgress | None = None,
) -> JobResult:
    """Do what follows an ingest: the pages, alerts about failing reports, the summary.

    `done` records how far it came. What is stored and sent carries the id of the slot's first
    run, so that a run after one that failed or died sends nothing that was sent.
    """
    begun = Run(ingested.run, schedule.name, None, now, now, "interrupted")
    done = done or RunProgress(begun, ingested.run)
    clock: Clock | None = None
    again: Callable[[Callable[[], Any]], Any] = lambda action: action()  # noqa: E731
    if context is not None:
        step, again, clock = context.step, context.again, context.clock
    if schedule.notebook is not None:
        from dmarckit.pages import store_notebook

        if schedule.fleet:
            step("Building a page for each domain")
            done.warnings += again(lambda: _fleet(settings, schedule, now))
        notebook, parameters = schedule.notebook, schedule.parameters_at(done.begun.slot or now)
        step(f"Building the page {notebook}")
        done.published = again(lambda: store_notebook(settings, notebook, parameters, now))

    def notify() -> DeliveryResult:
        notifier = Notifier(settings, schedule, run=done.first, now=now, step=step, clock=clock)
        return notifier.notify_run(done.published)

    delivery: DeliveryResult = again(notify)
    done.delivery = delivery
    done.warnings += delivery.warnings
    done.notes += delivery.notes
    return JobResult(ingested, done.published, delivery, (*done.warnings, *done.notes))


def _fleet(settings: Settings, schedule: Schedule, now: datetime) -> list[str]:
    """Build the pages of the domains; return a sentence about those that failed."""
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
