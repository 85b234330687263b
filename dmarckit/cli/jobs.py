"""`dmarckit run`, `schedules` and `watch`: one job now, all at their times, arrivals at once."""

from __future__ import annotations

import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmarckit.cli.options import OK, PROBLEMS, Format, check_options
from dmarckit.cli.output import console, ingest_progress, print_job, print_json, print_table
from dmarckit.core import SettingsError

if TYPE_CHECKING:
    from dmarckit.jobs import Schedule

NEWEST = "newest"

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="The schedules: list them, run them for ever, or export them to another scheduler. "
    "Without a command they are listed.",
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
) -> None:
    """Run one schedule now: ingest, page, alerts, Slack message.

    Exit status 0 when all is well (or the slot is done), 1 when a person should look at it,
    2 when it failed or runs already.
    """
    from dmarckit.core import JobBusy, logs
    from dmarckit.jobs import load_schedule, run_job, time_limit

    settings = logs.start_command(name)
    schedule = load_schedule(name)
    due = None if slot is None else _slot(schedule, slot)
    try:
        with time_limit(schedule.timeout, name) as end, ingest_progress() as progress:
            result = run_job(
                settings,
                schedule,
                slot=due,
                run=logs.run_info().run,
                progress=progress,
                step=logs.log_step,
                lost=end,
            )
    except JobBusy as busy:
        if due is None:
            raise
        console().print(f"Nothing to do: {busy}", soft_wrap=True)
        return
    if result is None:
        console().print(f"Nothing to do: {name} has run for {due:%Y-%m-%d %H:%M} UTC already.")
        return
    print_job(result)
    raise typer.Exit(OK if result.run is not None and result.run.result == "ok" else PROBLEMS)


def _slot(schedule: Schedule, text: str) -> datetime:
    """Return the schedule's slot at or before the time in `text`; ``newest``: before now."""
    if schedule.cron is None:
        raise SettingsError(f"--slot: {schedule.name} has no cron; leave --slot out")
    try:
        moment = datetime.now(UTC) if text == NEWEST else datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"--slot {text!r}: write a time such as 2026-11-24T07:00Z, or {NEWEST}"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    slot = schedule.newest_slot(moment)
    if slot is None:
        raise SettingsError(f"--slot {text}: {schedule.name} was not due before that")
    return slot


@app.command("list", epilog="Example: dmarckit schedules list --format json")
def list_(format_: Format = "table") -> None:
    """List every schedule: when it is due next, how it ended last, and who owns it."""
    from dmarckit.core import load_settings
    from dmarckit.jobs import last_runs, load_schedules
    from dmarckit.lake import open_lake

    check_options(format_)
    now = datetime.now(UTC)
    known = last_runs(open_lake(load_settings()), now)
    rows = [_row(schedule, known.get(schedule.name), now) for schedule in load_schedules()]
    if format_ == "json":
        print_json(rows)
        return
    cells = []
    for row in rows:
        last = row["last"] or {}
        cells.append(
            (
                row["name"],
                row["cron"] or "by hand",
                row["timezone"],
                (row["next"] or ["–"])[0],
                last.get("started", "–"),
                last.get("result", "–"),
                row["owner"] or "–",
            )
        )
    titles = ("schedule", "cron", "time zone", "next", "last run", "result", "owner")
    print_table(titles, cells, overflow="fold")


def _row(schedule: Schedule, last: Any, now: datetime) -> dict[str, Any]:
    following = schedule.next_slots(now, 3)
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "notebook": schedule.notebook,
        "owner": schedule.owner,
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
    from dmarckit.core import logs
    from dmarckit.jobs import (
        Processes,
        Runner,
        RunnerState,
        check_slack,
        load_schedules,
        run_forever,
        serve,
    )

    settings = logs.start_command()
    check_slack(settings)
    schedules = [schedule for schedule in load_schedules() if schedule.cron]
    processes = Processes()
    runner = Runner(settings, schedules, processes.launch)
    runner.begin()
    stop = _stop_by_signal()
    for schedule in schedules:
        following = schedule.next_slots(datetime.now(UTC))[0].astimezone(schedule.zone)
        logs.log_step(f"{schedule.name}: next at {following:%Y-%m-%d %H:%M} {schedule.timezone}")
    with serve(settings, RunnerState(schedules, datetime.now(UTC))) as address:
        if address:
            logs.log_step(f"Health: {address}/health, {address}/metrics")
        run_forever(runner, processes, stop)
    logs.log_step("Stopped")


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
    from dmarckit.jobs import TARGETS, export_files, load_schedules, local_place

    if to not in TARGETS:
        raise SettingsError(f"--to {to}: write one of {', '.join(TARGETS)}")
    place = local_place()
    files = export_files(to, [s for s in load_schedules() if s.cron], place)
    if place.secrets:
        typer.echo(
            f"dmarckit: {', '.join(place.secrets)} are secret and not exported: put them into "
            f"{place.env_file} (NAME=value, mode 600)",
            err=True,
        )
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
    """New mails into lake and Slack within seconds, as S3 tells a queue of them.

    Until SIGTERM or Ctrl-C, which end it after the batch in work. Exit status with --once:
    0 all is well, 1 a person should look (a mail could not be read, a message is no event,
    Slack was not told), 2 it could not run.
    """
    from dmarckit.core import logs
    from dmarckit.ingest import Queue
    from dmarckit.jobs import Watcher, load_schedule

    settings = logs.start_command("watch")
    url = queue or settings.watch_queue
    if not url:
        raise SettingsError("no queue: give --queue URL or the setting watch_queue")
    stop = _stop_by_signal()
    watcher = Watcher(
        settings,
        load_schedule("alerts"),
        Queue(url),
        stop=stop,
        once=once,
        begin=lambda: logs.start_logging(settings, job="watch"),
    )
    logs.log_step(f"Watching for mails in {settings.mail_url}")
    watched = watcher.run()
    logs.log_step(
        "The queue is empty" if once else "Stopped",
        messages=watched.messages,
        dead=watched.dead,
        **watched.outcomes,
    )
    problems = watched.dead or watched.troubles or watched.outcomes["unreadable"]
    raise typer.Exit(PROBLEMS if once and problems else OK)


def _stop_by_signal() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
