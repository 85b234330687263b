"""One run of a schedule: lease → mails → pages → Slack → its row in `runs` → index.

The order makes it safe to stop anywhere: what a step has stored stays, and running the slot again
repeats none of it; a slot without a row is not done. A run that is killed leaves its lease behind,
and whoever takes the job next writes `interrupted` for it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dmarckit import checks, core, facts, pages, slack
from dmarckit.core import DmarckitError, Settings, _, ngettext
from dmarckit.ingest import IngestResult, Progress, cluster_of, ingest_mails, left_text
from dmarckit.jobs import record
from dmarckit.jobs.metrics import keep_metrics
from dmarckit.jobs.notify import Notifier, check_slack
from dmarckit.jobs.record import Clock, Run, Step
from dmarckit.jobs.schedule import Schedule
from dmarckit.jobs.timeout import end_reason
from dmarckit.lake import maintain_lake

NAMED = 3  # of problems that are alike; the rest is counted, or left out

log = logging.getLogger("dmarckit")


def refresh_outside(
    settings: Settings, names: Sequence[str], *, now: datetime, run: str, step: Step
) -> tuple[list[str], list[str]]:
    """Ask what `names` say (``postmaster``, ``dns``) before the page is made.

    That nobody answers, or that it is not set up, ends no job: the page shows what is known.

    Returns:
        What did not work, and what is not set up, a sentence each.

    Raises:
        LakeError, StorageError: lake or storage cannot be used; the same can be asked again.
        LeaseLost: another machine has the job.
    """
    problems: list[str] = []
    notes: list[str] = []
    for name in names:
        try:
            if name == "postmaster":
                step("Asking Google Postmaster Tools")
                found = checks.pull_metrics(settings, now=now, run=run).problems
                problems += found[:NAMED]
                if (rest := len(found) - NAMED) > 0:
                    text = (
                        f"Postmaster Tools has {rest} more problems: run dmarckit postmaster pull"
                    )
                    problems.append(text)
            else:
                step("Asking DNS")
                silent = checks.check_dns(settings, now=now, run=run).silent
                shown = ", ".join(core.one_line(domain, 80) for domain in silent[:NAMED])
                rest = len(silent) - NAMED
                more = f" and {rest} more" if rest > 0 else ""
                text = f"DNS did not answer for {shown}{more}; check the setting resolvers"
                problems += [text] if silent else []
        except (core.LakeError, core.StorageError, core.LeaseLost):
            raise
        except DmarckitError as error:
            unset = name == "postmaster" and settings.google_credentials is None
            unset |= name == "dns" and isinstance(error, core.MissingExtra)
            (notes if unset else problems).append(core.one_line(error, 400))
        except Exception as error:  # a fault in what reads their answers ends no job either
            if end_reason():
                raise
            log.exception("%s was not asked to the end", name)
            problems.append(f"asking {name}: {type(error).__name__}: {core.one_line(error, 300)}")
    return problems, notes


@dataclass(frozen=True)
class JobResult:
    """What a job did."""

    ingest: IngestResult
    published: pages.StoredPage | None  # None: the schedule makes no page
    delivery: slack.DeliveryResult
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
    lost: Callable[[core.LeaseLost], None] | None = None,
) -> JobResult | None:
    """Run a schedule once, and record that; None when its slot is done already.

    Of a slot each step that the storage or the lake fails is done again, after pauses; by
    hand the first error is raised at once. A run that fails is recorded, and a message about
    it sent; what was stored stays, and what was sent is not sent again.

    `slot` is the time the schedule asked for (None: by hand). `now` is what the run takes for the
    present: else the slot, while that is still the same day, else the clock. `run` is its id
    (else a new one). `lost` is called, from another thread, when another machine has taken the
    job; without it that is looked at between steps.

    Raises:
        JobBusy: the job runs already.
        DmarckitError: a step failed.
    """
    check_slack(settings, schedule)
    holder = core.new_holder(schedule.name, run or core.new_run(), slot, clock())
    lease = core.take_lease(core.open_storage(settings.home), holder)
    pauses = core.PAUSES if slot is not None else ()
    context = record.RunContext(settings, schedule, lease, clock, step, sleep, pauses)
    with contextlib.nullcontext() if lost is None else core.heartbeat(lease, clock, lost):
        result = _run_slot(context, now, progress)
        # A run without a row keeps its lease: whoever comes next writes that it was interrupted
        lease.release()
    return result


def _run_slot(
    context: record.RunContext, now: datetime | None, progress: Progress | None
) -> JobResult | None:
    """Run the slot with its lease taken, and record how that ended.

    The lease is released before an error is raised, when nothing is left to be said about it.
    """
    lake, lease, holder = context.lake, context.lease, context.lease.holder
    run, job, slot, since = holder.run, holder.job, holder.slot, holder.since
    if holder.dead:
        context.again(lambda: record.record_interrupted(context))
    before: list[Run] = []
    if slot is not None:
        before = context.again(lambda: record.runs_of_slot(lake, job, slot))
    if record.is_done(before):
        return None
    begun = Run(run, job, slot, since, since, "interrupted", host=holder.host)
    done = record.RunProgress(begun, before[0].run if before else run)
    # A slot that is run again sees the same moment, so that what is new is new once more. A day
    # later its pages would show another day than the one they are named by.
    present = now or (slot if slot is not None and slot.date() == since.date() else since)
    try:
        result = _work(context, done, present, progress)
        lease.renew(context.clock())
    except BaseException as error:
        if record.record_failure(context, done, error, present):
            lease.release()
        raise
    problems = done.mails["unreadable"] or done.warnings
    row = done.row(context.clock(), "problems" if problems else "ok")
    record.record_end(context, row)
    try:
        pages.refresh_index(context.settings)
    except DmarckitError as error:
        log.warning("the index of all pages is as it was: %s", error)
    return replace(result, run=row)


def _work(
    context: record.RunContext, done: record.RunProgress, now: datetime, progress: Progress | None
) -> JobResult:
    settings, schedule = context.settings, context.schedule

    def ingest() -> IngestResult:
        with cluster_of(settings, "mail") as cluster:
            return ingest_mails(settings, executor=cluster, progress=progress, run=done.first)

    context.step("Reading new mails")
    done.ingested = context.again(ingest)
    done.warnings += map(left_text, done.ingested.left[:NAMED])
    names, run, step = schedule.before, done.first, context.step
    problems, notes = context.again(
        lambda: refresh_outside(settings, names, now=now, run=run, step=step)
    )
    done.warnings += problems
    done.notes += notes
    mails = done.ingested
    result = publish_and_notify(settings, schedule, mails, now=now, context=context, done=done)
    if schedule.maintain:
        context.step("Looking after the tables")
        try:
            done.warnings += maintain_lake(settings, now=context.clock()).warnings
            facts.keep_messages(settings, now=context.clock(), step=context.step)
        except DmarckitError as error:
            text = _("The upkeep of the tables failed: {error}")
            done.warnings.append(text.format(error=core.one_line(error, 300)))
    return replace(result, warnings=(*done.warnings, *done.notes))


def publish_and_notify(
    settings: Settings,
    schedule: Schedule,
    ingested: IngestResult,
    *,
    now: datetime,
    step: Step = lambda text: None,
    context: record.RunContext | None = None,
    done: record.RunProgress | None = None,
) -> JobResult:
    """Do what follows an ingest: the pages, alerts about failing reports, the summary.

    `done` records how far it came. What is stored and sent carries the id of the slot's first
    run, so that a run after one that failed or died sends nothing that was sent.
    """
    begun = Run(ingested.run, schedule.name, None, now, now, "interrupted")
    done = done or record.RunProgress(begun, ingested.run)
    clock: Clock | None = None
    again: Callable[[Callable[[], Any]], Any] = lambda action: action()  # noqa: E731
    if context is not None:
        step, again, clock = context.step, context.again, context.clock
    notifier = Notifier(settings, schedule, run=done.first, now=now, step=step, clock=clock)
    if schedule.notebook is not None:
        if schedule.fleet is True:
            step("Building a page for each domain")
            done.warnings += _failures(again(lambda: _fleet(settings, schedule, now)))
        notebook, parameters = schedule.notebook, schedule.parameters_at(done.begun.slot or now)
        step(f"Building the page {notebook}")
        made = again(
            lambda: pages.store_notebook(
                settings, notebook, parameters, now, lambda: notifier.analysis
            )
        )
        done.published = made
        if schedule.fleet:
            step("Building the pages that it links to")
            job = schedule.name
            linked = again(lambda: pages.publish_linked(settings, made.key, job=job, now=now))
            done.warnings += _failures(linked)
        else:
            again(lambda: pages.link_pages(settings, [made.key]))
    delivery: slack.DeliveryResult = again(lambda: notifier.notify_run(done.published))
    done.delivery = delivery
    done.warnings += delivery.warnings
    done.notes += delivery.notes
    if schedule.notebook is not None:
        keep_metrics(settings, notifier.analysis, now)
    return JobResult(ingested, done.published, delivery, (*done.warnings, *done.notes))


def _fleet(settings: Settings, schedule: Schedule, now: datetime) -> list[pages.FleetPage]:
    notebook, parameters = "domain", {"job": schedule.name}
    domains = pages.fleet_domains(settings, pages.fleet_window(notebook, {}, now))
    with cluster_of(settings, "settings") as cluster:
        return pages.publish_fleet(
            settings, domains, notebook=notebook, parameters=parameters, now=now, cluster=cluster
        )


def _failures(made: Sequence[pages.FleetPage]) -> list[str]:
    """Return a sentence about the pages that failed, if any did."""
    failed = [page for page in made if page.outcome == "failed"]
    if not failed:
        return []
    text = ngettext(
        "A page failed, {page}: {error}", "{n} pages failed, first {page}: {error}", len(failed)
    )
    return [text.format(n=len(failed), page=failed[0].key, error=failed[0].error)]
