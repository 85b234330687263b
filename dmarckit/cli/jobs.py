"""`dmarckit run`, `schedules` and `watch`: one job now, all at their times, arrivals at once."""

from __future__ import annotations

import signal
import sys
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from dmarckit import core, ingest, jobs, lake
from dmarckit.cli.options import OK, PROBLEMS, Format, check_options, parse_time
from dmarckit.cli.output import (
    ingest_progress,
    print_delivery,
    print_job,
    print_json,
    print_table,
)
from dmarckit.core import SettingsError

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="The schedules: list, start or export them. Without a command they are listed.",
)


@app.callback()
def _list(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_()


def run(
    name: Annotated[str, typer.Argument(help="Name of a file in schedules/, without .yaml.")],
    slot: Annotated[
        str | None,
        typer.Option(help="Only if the slot at or before this time (or: newest) is not done."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Run nothing: send its last summary once more.")
    ] = False,
) -> None:
    """Run one schedule now: ingest, page, alerts, Slack message.

    Exit status 1 when it met a problem, or a finding is open that needs somebody; 2 when it
    failed or runs already.
    """
    settings = core.start_command(name)
    schedule = jobs.load_schedule(name)
    if again:
        jobs.check_slack(settings, schedule)
        run_id, now = core.run_info().run, datetime.now(UTC)
        delivery = jobs.Notifier(settings, schedule, run=run_id, now=now).repeat_summary()
        print_delivery(delivery)
        raise typer.Exit(PROBLEMS if delivery.waiting or delivery.warnings else OK)
    due = None if slot is None else _slot(schedule, slot)
    try:
        with jobs.time_limit(schedule.timeout, name) as end, ingest_progress() as progress:
            job = partial(jobs.run_job, slot=due, run=core.run_info().run, lost=end)
            result = job(settings, schedule, progress=progress, step=core.log_step)
    except core.JobBusy as busy:
        if due is None:
            raise
        typer.echo(f"Nothing to do: {busy}")
        return
    if result is None:
        typer.echo(f"Nothing to do: {name} has run for {due:%Y-%m-%d %H:%M} UTC already.")
        return
    print_job(result)
    well = result.run is not None and result.run.result == "ok"
    raise typer.Exit(OK if well and not result.delivery.open_findings else PROBLEMS)


def _slot(schedule: jobs.Schedule, text: str) -> datetime:
    """Return the schedule's slot at or before the time in `text`; ``newest``: before now."""
    if schedule.cron is None:
        raise SettingsError(f"--slot: {schedule.name} has no cron; leave --slot out")
    moment = datetime.now(UTC) if text == "newest" else parse_time(text, "--slot", "newest")
    slot = schedule.newest_slot(moment)
    if slot is None:
        raise SettingsError(f"--slot {text}: {schedule.name} was not due before that")
    return slot


@app.command("list", epilog="Example: dmarckit schedules list --format json")
def list_(format_: Format = "table") -> None:
    """List every schedule: when it is due next, how it ended last, and who owns it."""
    check_options(format_)
    now = datetime.now(UTC)
    known = jobs.last_runs(lake.Location(core.load_settings().lake_url), now)
    # notebooks are checked by the doctor and before a run: reading them takes papermill
    schedules = jobs.load_schedules(with_notebook=False)
    rows = [_row(schedule, known.get(schedule.name), now) for schedule in schedules]
    if format_ == "json":
        print_json(rows)
        return
    cells = []
    for row in rows:
        last, following = row["last"] or {}, (row["next"] or [None])[0]
        shown = [row["name"], row["cron"] or "by hand", row["timezone"], following]
        shown += [last.get("started"), last.get("result"), row["owner"]]
        cells.append([cell or "–" for cell in shown])
    titles = ("schedule", "cron", "time zone", "next", "last run", "result", "owner")
    print_table(titles, cells, overflow="fold")


def _row(schedule: jobs.Schedule, last: Any, now: datetime) -> dict[str, Any]:
    following = schedule.next_slots(now, 3)
    own = ("name", "cron", "timezone", "notebook", "owner")
    return {name: getattr(schedule, name) for name in own} | {
        "next": [f"{slot.astimezone(schedule.zone):%Y-%m-%dT%H:%M%z}" for slot in following],
        "last": last
        and {
            "run": last.run,
            "started": f"{last.started:%Y-%m-%dT%H:%MZ}",
            "slot": last.slot and f"{last.slot:%Y-%m-%dT%H:%MZ}",
            "result": last.result,
            "error": last.error,
            "page": last.page,
        },
    }


@app.command(epilog="Example: dmarckit schedules start")
def start() -> None:
    """Run every schedule at its times, until SIGTERM or Ctrl-C.

    A job that runs then gets some seconds to end, and is noted as interrupted when it does
    not. Any number of machines may do this on the same home: each slot is run once.
    """
    settings = core.start_command()
    jobs.check_slack(settings)
    schedules = [schedule for schedule in jobs.load_schedules() if schedule.cron]
    processes = jobs.Processes()
    runner = jobs.Runner(settings, schedules, processes.launch)
    runner.begin()
    stop = _stop_by_signal()
    for schedule in schedules:
        following = schedule.next_slots(datetime.now(UTC))[0].astimezone(schedule.zone)
        core.log_step(f"{schedule.name}: next at {following:%Y-%m-%d %H:%M} {schedule.timezone}")
    with jobs.serve(settings, jobs.RunnerState(schedules, datetime.now(UTC))) as address:
        if address:
            core.log_step(f"Health: {address}/health, {address}/metrics")
        jobs.run_forever(runner, processes, stop)
    core.log_step("Stopped")


@app.command(epilog="Example: dmarckit schedules export --to systemd --output /etc/systemd/system")
def export(
    to: Annotated[str, typer.Option(help="crontab, systemd, eventbridge or github.")],
    output: Annotated[
        Path | None, typer.Option(help="A folder for the files; else they are printed.")
    ] = None,
) -> None:
    """Write the schedules for another scheduler: cron, systemd, EventBridge, GitHub.

    Each job runs with `--slot newest`, so that a slot is run once, whoever starts it how often.
    """
    if to not in jobs.TARGETS:
        raise SettingsError(f"--to {to}: write one of {', '.join(jobs.TARGETS)}")
    place = jobs.local_place()
    files = jobs.export_files(to, [s for s in jobs.load_schedules() if s.cron], place)
    if place.secrets:
        text = f"dmarckit: {', '.join(place.secrets)} are secret and not exported: put them into "
        typer.echo(f"{text}{place.env_file} (NAME=value, mode 600)", err=True)
    for name, text in files.items():
        if output is None:
            sys.stdout.write(text if len(files) == 1 else f"# ---- {name}\n{text}\n")
        else:
            output.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(text, "utf-8")
            typer.echo(output / name)


def watch(
    once: Annotated[
        bool, typer.Option("--once", help="Until the queue is empty, for cron; then end.")
    ] = False,
    queue: Annotated[
        str | None, typer.Option(help="URL of the SQS queue (default: the setting watch_queue).")
    ] = None,
) -> None:
    """Take in new mails within seconds, as S3 tells a queue of them.

    Until SIGTERM or Ctrl-C, which end it after the batch in work. Exit status with --once:
    0 all is well, 1 a person should look (a mail could not be read, a message is no event,
    Slack was not reached), 2 it could not run.
    """
    settings = core.start_command("watch")
    url = queue or settings.watch_queue
    if not url:
        raise SettingsError("no queue: give --queue URL or the setting watch_queue")
    begin = partial(core.logs.start_logging, settings, job="watch")
    alerts, stop = jobs.load_schedule("alerts"), _stop_by_signal()
    watcher = jobs.Watcher(settings, alerts, ingest.Queue(url), stop=stop, once=once, begin=begin)
    core.log_step(f"Watching for mails in {settings.mail_url}")
    watched = watcher.run()
    ended = "The queue is empty" if once else "Stopped"
    core.log_step(ended, messages=watched.messages, dead=watched.dead, **watched.outcomes)
    problems = watched.dead or watched.troubles or watched.outcomes["unreadable"]
    raise typer.Exit(PROBLEMS if once and problems else OK)


def _stop_by_signal() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
