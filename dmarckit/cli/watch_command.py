"""`dmarckit watch`: arrivals from the queue into lake and Slack."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

OK, PROBLEMS = 0, 1


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
    from dmarckit.core.errors import SettingsError
    from dmarckit.ingest.watch_queue import Queue
    from dmarckit.jobs.schedules import load_schedule
    from dmarckit.jobs.watch import Watcher

    settings = logs.begin("watch")
    url = queue or settings.watch_queue
    if not url:
        raise SettingsError("no queue: give --queue URL or the setting watch_queue")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watcher = Watcher(
        settings,
        load_schedule("alerts"),
        Queue(url),
        stop=stop,
        once=once,
        begin=lambda: logs.start(settings, job="watch"),
    )
    logs.step(f"Watching for mails in {settings.mail_url}")
    watched = watcher.run()
    logs.step(
        "The queue is empty" if once else "Stopped",
        messages=watched.messages,
        dead=watched.dead,
        **watched.outcomes,
    )
    problems = watched.dead or watched.troubles or watched.outcomes["unreadable"]
    raise typer.Exit(PROBLEMS if once and problems else OK)
