"""Checks of the lake: its tables open, what is in them is of late, nothing waits for ever."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import PurePosixPath

from dmarckit.cli.doctor.doctor import Answer, Context, fail, ok, skip, warn
from dmarckit.jobs.health import State, judge
from dmarckit.jobs.metrics import read_facts
from dmarckit.jobs.schedules import load_schedules
from dmarckit.lake.lake import open_lake
from dmarckit.lake.schemas import TABLES

MANY_FILES = 200
"""data files of a table and month; an ingest merges them long before"""
OLD_REPORT = timedelta(days=4)
"""since the end of the newest report: reporters send theirs within a day or two"""


def tables(context: Context) -> Answer:
    """Every table opens, and none is in too many files."""
    lake = open_lake(context.settings)
    opened, scattered = [], []
    for name in TABLES:
        table = lake.location.open(name)
        if table is None:
            continue
        opened.append(f"{name} v{table.version()}")
        files = Counter(PurePosixPath(f).parent.name for f in table.file_uris())
        most = max(files.values(), default=0)
        if most > MANY_FILES:
            scattered.append(f"{name} has {most} files in a month")
    if not opened:
        return warn(f"no tables yet in {lake.location.url}", "run: dmarckit ingest")
    if scattered:
        return warn("; ".join(scattered), "run: dmarckit ingest (it merges them)")
    return ok(f"{', '.join(opened)} in {lake.location.url}")


def newest_report(context: Context) -> Answer:
    """Reports are of late."""
    (row,) = open_lake(context.settings).arrow('SELECT max("end") AS e FROM reports').to_pylist()
    if row["e"] is None:
        return skip("there is no report yet")
    age = context.clock() - row["e"]
    message = f"the newest report ends {row['e']:%Y-%m-%d %H:%M} UTC"
    if age > OLD_REPORT:
        fix = "run: dmarckit ingest; if it finds nothing, see whether mails still come in"
        return warn(f"{message}, {age.days} days ago", fix)
    return ok(message)


def runs(context: Context) -> Answer:
    """Each schedule's newest run, against its cron line."""
    now = context.clock()
    timed = [s for s in load_schedules() if s.cron]
    if not timed:
        return skip("no schedule has a cron line")
    facts = read_facts(open_lake(context.settings))
    # a job that never ran may have been set up today: that is no failure yet
    jobs = judge(State(timed, started=now), facts, now)
    never = [job.name for job in jobs if job.last is None]
    late = [job.name for job in jobs if job.overdue]
    broken = [f"{j.name} {j.last.result}" for j in jobs if j.last and j.failing and not j.overdue]
    if late or broken:
        what = [f"overdue: {', '.join(late)}"] if late else []
        what += [f"last run: {', '.join(broken)}"] if broken else []
        fix = "see `dmarckit schedules list`; is `dmarckit schedules start` (or cron) running?"
        return fail("; ".join(what), fix)
    if never:
        fix = "start: dmarckit schedules start (or export them to cron); by hand: dmarckit run NAME"
        return warn(f"never ran: {', '.join(never)}", fix)
    return ok(
        ", ".join(f"{j.name} {j.last.result} {j.last.ended:%m-%d %H:%M}" for j in jobs if j.last)
    )


def outbox(context: Context) -> Answer:
    """Messages that Slack has not taken yet."""
    waiting = read_facts(open_lake(context.settings)).outbox
    if not waiting:
        return ok("no message waits for Slack")
    fix = "the next run delivers them; if they stay, see the lines about Slack"
    return warn(f"{waiting} messages wait for Slack", fix)
