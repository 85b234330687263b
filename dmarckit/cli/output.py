"""What commands print: tables and JSON, how far an ingest is, and what a job did."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import typer

from dmarckit import core, ingest, jobs, reports, slack
from dmarckit.core import one_line, plural

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_PROBLEMS = {
    "unreadable": 200, "unreachable": 20, "untrusted": 20, "stored": 20, "not_a_report": 10,
}  # fmt: skip
"""outcome → reasons printed; all of them are in the lake's table `mails`"""
MEANING = {
    "stored": "a report (or several) that was new",
    "duplicate": "only reports that were known",
    "untrusted": "refused: SES did not find the sender authentic",
    "not_a_report": "some other mail",
    "unreadable": "looks like a report, but cannot be read",
    "unreachable": "refused by the storage; later runs try again",
}

log = logging.getLogger("dmarckit")


def console(stderr: bool = False) -> Console:
    """Return a console that takes text as it is: no markup or emoji codes; wide in a pipe."""
    from rich.console import Console

    screen = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not screen.is_terminal:
        screen.width = 200  # rows are not broken
    return screen


def print_json(rows: Any) -> None:
    """Print indented JSON, ASCII only, so that any terminal and any pipe takes it."""
    typer.echo(json.dumps(rows, indent=1))


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], format_: str) -> bool:
    """Print rows as JSON or CSV; return False for a table, which each command makes itself."""
    if format_ == "json":
        print_json(list(rows))
    elif format_ == "csv":
        sys.stdout.writelines(csv_lines(([row[name] for name in columns] for row in rows), columns))
    return format_ != "table"


def csv_lines(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a CSV file (RFC 4180): texts are harmless in a spreadsheet."""
    for row in itertools.chain([columns], rows):
        yield ",".join(_csv_value(value) for value in row) + "\r\n"


def plain_value(value: Any) -> Any:
    """Return a value as one cell holds it: lists and the like as JSON, times as ISO 8601."""
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=str)
    return value.isoformat() if isinstance(value, date) else value


def _csv_value(value: Any) -> str:
    value = plain_value(value)
    if isinstance(value, str):
        return reports.csv_cell(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def print_table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    overflow: Literal["ellipsis", "fold"] = "ellipsis",
) -> None:
    """Print columns; those titled in `right` are aligned to the right.

    On a narrow terminal cells are shortened (`overflow` ellipsis) or go on in a second line.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in titles:
        justify: Literal["left", "right"] = "right" if title in right else "left"
        table.add_column(title, justify=justify, overflow=overflow)
    for row in rows:
        table.add_row(*row)
    console().print(table)


@contextlib.contextmanager
def ingest_progress(clock: Callable[[], float] = time.monotonic) -> Iterator[ingest.Progress]:
    """Yield a callback for an ingest: a bar on a terminal, else a log line now and then."""
    started = last = clock()

    def log_line(done: int, total: int, outcomes: Counter[str]) -> None:
        nonlocal last
        if clock() - last >= 15:
            last = clock()
            rate = max(done, 1) / max(last - started, 0.001)
            left = duration_text((total - done) / rate)
            so_far = _so_far(outcomes)
            log.info("read %d of %d mails, %.0f/s, %s left (%s)", done, total, rate, left, so_far)

    if not sys.stderr.isatty():
        yield log_line
        return
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[outcomes]}"),
    )
    bar = progress.Progress(*columns, console=console(stderr=True), transient=True)
    task = bar.add_task("Reading mails", total=None, rate="", outcomes="")

    def show(done: int, total: int, outcomes: Counter[str]) -> None:
        rate = f"{done / max(clock() - started, 0.001):,.0f}/s"
        bar.update(task, total=total, completed=done, rate=rate, outcomes=_so_far(outcomes))
        # it is there as long as mails are read: a run goes on with pages
        bar.start() if outcomes.total() < total else bar.stop()

    try:
        yield show
    finally:
        bar.stop()


def duration_text(seconds: float) -> str:
    """Return a length of time for people.

    >>> duration_text(48.2), duration_text(400), duration_text(7500)
    ('48 s', '7 min', '2 h 5 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _so_far(outcomes: Counter[str]) -> str:
    return ", ".join(f"{outcomes[o]:,} {o}" for o in ingest.OUTCOMES if outcomes[o])


def print_outcomes(result: ingest.IngestResult) -> None:
    """Print a table of an ingest's outcomes, and why mails could not be read or trusted."""
    total = result.outcomes.total()
    if not total:
        typer.echo("No new mails.")
        return
    counts = ((outcome, result.outcomes[outcome]) for outcome in ingest.OUTCOMES)
    rows = ((outcome, f"{number:,}", MEANING[outcome]) for outcome, number in counts if number)
    print_table(("outcome", "mails", "meaning"), rows, right=("mails",))
    rate = total / max(result.seconds, 0.001)
    typer.echo(
        f"{plural(total, 'mail')} in {result.seconds:.1f} s ({rate:,.0f} a second): "
        f"{plural(result.reports, 'new report')} with {plural(result.records, 'record')}."
    )
    if result.compacted:
        typer.echo(f"Small files were merged in: {', '.join(result.compacted)}.")
    for outcome, limit in SHOWN_PROBLEMS.items():
        found = [(key, reason) for key, o, reason in result.problems if o == outcome]
        for key, reason in found[:limit]:
            typer.echo(f"  {outcome}: {one_line(key)}: {one_line(reason, 1000)}")
        if len(found) > limit:
            more = plural(len(found) - limit, "more is", "more are")
            typer.echo(f"  … {more} {outcome}; `dmarckit parse` and the table `mails` say why.")


def print_job(result: jobs.JobResult) -> None:
    """Print what a job did: outcomes, page, and the messages when no channel is set.

    What is not printed on a terminal ends in somebody's log: links come without what signs
    them there.
    """
    shown: Callable[[str], str] = str if sys.stdout.isatty() else core.clean
    print_outcomes(result.ingest)
    if result.published is not None:
        typer.echo(f"Page: {shown(result.published.link)}")
    for warning in result.warnings:
        typer.echo(f"Look at this: {one_line(warning, 400)}")
    print_delivery(result.delivery)


def print_delivery(delivery: slack.DeliveryResult) -> None:
    """Print how many messages went where, or the messages where no channel is set."""
    shown: Callable[[str], str] = str if sys.stdout.isatty() else core.clean
    if delivery.waiting:
        typer.echo(f"Messages: {delivery.waiting} wait in the outbox")
    if not delivery.messages:
        typer.echo("Messages: none were sent.")
        return
    for channel, number in delivery.places.items() if delivery.saved is None else ():
        to = "" if channel in slack.CHANNEL_NAMES else f" to {channel}"
        name = slack.CHANNEL_NAMES.get(channel, "Slack")
        typer.echo(f"{name}: {plural(number, 'message')}{to}")
    if delivery.saved is None:
        return
    typer.echo("Slack: no slack_token is set, so this was not sent:")
    for message in delivery.messages:
        typer.echo(shown(slack.message_text(message)))
        typer.echo()
    typer.echo(f"Saved as JSON in {delivery.saved}")
