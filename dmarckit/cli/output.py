"""How long work shows itself: a bar on a terminal, a line now and then in a log.

What the commands of the analysis print: tables for people, JSON for programs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import IO, TYPE_CHECKING, Any

from dmarckit.core import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from dmarckit.facts import Facts
    from dmarckit.findings import Finding, LedgerEntry, WhatIf
    from dmarckit.ingest import IngestResult, Progress
    from dmarckit.jobs import JobResult


PIPE_WIDTH = 200  # columns where there is no terminal: rows are not broken
LOG_EVERY = 15.0  # seconds between two log lines
SHOWN_PROBLEMS = {"unreadable": 200, "untrusted": 20, "stored": 20, "not_a_report": 10}
"""outcome → reasons printed; all of them are in the lake's table `mails`"""
MEANING = {
    "stored": "a report (or several) that was new",
    "duplicate": "only reports that were known",
    "untrusted": "refused: SES did not find the sender authentic",
    "not_a_report": "some other mail",
    "unreadable": "looks like a report, but cannot be read",
}

log = logging.getLogger("dmarckit")


def console(stderr: bool = False) -> Console:
    """A console that takes text as it is: no markup, no emoji codes; wide in a file or pipe."""
    from rich.console import Console

    screen = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not screen.is_terminal:
        screen.width = PIPE_WIDTH
    return screen


@contextlib.contextmanager
def ingest_progress() -> Iterator[Progress]:
    """A callback for `ingest`: a progress bar on a terminal, else a log line now and then."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _logged(time.monotonic)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[outcomes]}"),
    )
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("Reading mails", total=None, rate="", outcomes="")
        started = time.monotonic()

        def show(done: int, total: int, outcomes: Counter[str]) -> None:
            rate = done / max(time.monotonic() - started, 0.001)
            text = f"{rate:,.0f}/s"
            bar.update(task, total=total, completed=done, rate=text, outcomes=_so_far(outcomes))

        yield show


def _logged(clock: Callable[[], float]) -> Progress:
    started = last = clock()

    def show(done: int, total: int, outcomes: Counter[str]) -> None:
        nonlocal last
        if clock() - last >= LOG_EVERY:
            last = clock()
            rate = max(done, 1) / max(last - started, 0.001)
            left = duration((total - done) / rate)
            so_far = _so_far(outcomes)
            log.info("read %d of %d mails, %.0f/s, %s left (%s)", done, total, rate, left, so_far)

    return show


def duration(seconds: float) -> str:
    """
    >>> duration(48.2), duration(400), duration(7500)
    ('48 s', '7 min', '2 h 5 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _so_far(outcomes: Counter[str]) -> str:
    from dmarckit.ingest import OUTCOMES

    return ", ".join(f"{outcomes[o]:,} {o}" for o in OUTCOMES if outcomes[o])


def print_outcomes(result: IngestResult) -> None:
    """The closing table of an ingest, and why mails could not be read or trusted."""
    from rich.table import Table

    from dmarckit.core import plural
    from dmarckit.ingest import OUTCOMES

    screen = console()
    total = result.outcomes.total()
    if not total:
        screen.print("No new mails.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("outcome")
    table.add_column("mails", justify="right")
    table.add_column("meaning")
    for outcome in OUTCOMES:
        if result.outcomes[outcome]:
            table.add_row(outcome, f"{result.outcomes[outcome]:,}", MEANING[outcome])
    screen.print(table)
    rate = total / max(result.seconds, 0.001)
    screen.print(
        f"{plural(total, 'mail')} in {result.seconds:.1f} s ({rate:,.0f} a second): "
        f"{plural(result.reports, 'new report')} with {plural(result.records, 'record')}."
    )
    if result.compacted:
        screen.print(f"Small files were merged in: {', '.join(result.compacted)}.")
    for outcome, limit in SHOWN_PROBLEMS.items():
        found = [(key, reason) for key, o, reason in result.problems if o == outcome]
        for key, reason in found[:limit]:
            screen.print(f"  {outcome}: {one_line(key)}: {reason}", soft_wrap=True)
        if len(found) > limit:
            more = plural(len(found) - limit, "more is", "more are")
            screen.print(f"  … {more} {outcome}; `dmarckit parse` and the table `mails` say why.")


def print_job(result: JobResult) -> None:
    """What a job did: outcomes, page, and the messages when Slack did not get them.

    What is not printed on a terminal ends in somebody's log: links come without what signs
    them there.
    """
    from dmarckit.core import clean
    from dmarckit.slack import show

    screen = console()
    shown: Callable[[str], str] = str if screen.is_terminal else clean
    print_outcomes(result.ingest)
    if result.published is not None:
        screen.print(f"Page: {shown(result.published.link)}", soft_wrap=True)
    for warning in result.warnings:
        screen.print(f"Look at this: {one_line(warning, 400)}", soft_wrap=True)
    if result.told.waiting:
        screen.print(f"Slack: {result.told.waiting} messages wait in the outbox")
    if not result.told.messages:
        screen.print("Slack: nothing was told.")
        return
    if result.told.saved is None:
        screen.print(f"Slack: {len(result.told.messages)} messages to {result.told.channel}")
        return
    screen.print("Slack: no slack_token is set, so this was not sent:")
    for message in result.told.messages:
        screen.print(shown(show(message)), soft_wrap=True)
        screen.print()
    screen.print(f"Saved as JSON in {result.told.saved}", soft_wrap=True)


POLICY_TAGS = ("p", "sp", "np", "adkim", "aspf")
SHOWN = 50  # rows of a table on the terminal


def finding_json(judged: LedgerEntry) -> dict[str, Any]:
    """The fields of a finding, its fingerprint, its status, and whether it is muted."""
    finding = judged.finding
    return {
        "kind": finding.kind,
        "domain": finding.domain,
        "subject": finding.subject,
        "severity": finding.severity,
        "status": judged.status,
        "messages": finding.messages,
        "first_day": iso(finding.first_day),
        "last_day": iso(finding.last_day),
        "reporters": finding.reporters,
        "summary": finding.summary,
        "action": finding.action,
        "evidence": finding.evidence,
        "fingerprint": finding.fingerprint,
        "muted": finding.muted,
        "mute_reason": finding.mute_reason,
    }


def iso(day: date | None) -> str | None:
    """``YYYY-MM-DD``, or None."""
    return day.isoformat() if day else None


def print_json(rows: Any, out: IO[str]) -> None:
    """Indented, ASCII only, so that any terminal and any pipe takes it."""
    json.dump(rows, out, indent=1, ensure_ascii=True)
    out.write("\n")


def print_findings(judged: Sequence[LedgerEntry], facts: Facts, out: IO[str]) -> None:
    """Open findings in full, muted and resolved ones in a line each."""
    from dmarckit.core import plural

    if facts.reports.empty and not judged:
        out.write("There is no data: no report covers these days. Run dmarckit ingest first.\n")
        return
    shown = [item for item in judged if not item.finding.muted and item.status != "RESOLVED"]
    muted = [item for item in judged if item.finding.muted]
    resolved = [item for item in judged if item.status == "RESOLVED"]
    if not shown:
        out.write(f"No findings ({plural(len(facts.reports), 'report')} looked at).\n")
    for item in shown:
        _print_one(item.finding, f"{item.finding.severity.upper()} {item.status}", out)
    for item in muted:
        why = one_line(item.finding.mute_reason)
        out.write(f"MUTED ({why}) {one_line(item.finding.fingerprint)}\n")
    for item in resolved:
        out.write(f"RESOLVED {one_line(item.finding.fingerprint)}\n")


def _print_one(finding: Finding, label: str, out: IO[str]) -> None:
    where = one_line(finding.domain) or "all domains"
    out.write(f"{label}  {where}  {finding.kind}\n")
    out.write(f"  {finding.summary}\n  → {finding.action}\n\n")


def print_senders(rows: Sequence[dict[str, Any]], days: int, out: IO[str]) -> None:
    """Takes the rows of `senders_rows`."""
    from rich.table import Table

    from dmarckit.core import count, percent, plural

    if not rows:
        out.write(f"There is no data: nobody sent anything in the last {plural(days, 'day')}.\n")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("domain", "sender", "kind"):
        table.add_column(title)
    for title in ("messages", "aligned", "addresses"):
        table.add_column(title, justify="right")
    table.add_column("classes")
    table.add_column("last seen")
    for row in rows:
        mark = "" if row["in_inventory"] else " (not in the inventory)"
        classes = ", ".join(f"{name} {count(n)}" for name, n in row["classes"].items())
        share = row["aligned_messages"] / row["messages"] if row["messages"] else None
        table.add_row(
            one_line(row["domain"], 60),
            one_line(row["sender"], 60) + mark,
            one_line(row["kind"]),
            count(row["messages"]),
            percent(share),
            count(row["ips"]),
            classes,
            row["last_day"],
        )
    screen = console()
    screen.file = out
    screen.print(table)


def whatif_json(result: WhatIf) -> dict[str, Any]:
    """The counts (messages) of a what-if, the policy's tags, and `senders` as a list."""
    tags = {name: getattr(result.policy, name) for name in POLICY_TAGS}
    names = ("messages", "passing", "quarantined", "rejected", "legitimate", "indirect", "unwanted")
    return {
        "domain": result.domain,
        "policy": {name: value for name, value in tags.items() if value},
        **{name: getattr(result, name) for name in names},
        "senders": result.senders.to_dict("records"),
    }


def print_whatif(result: WhatIf, days: int, out: IO[str]) -> None:
    """A sentence, and what would be stopped, by sender."""
    from rich.table import Table

    from dmarckit.core import count, plural

    name = one_line(result.domain)
    if not result.messages:
        out.write(f"There is no data: nobody sent as {name} in the last {days} days.\n")
        return
    stopped = result.quarantined + result.rejected
    out.write(
        f"Of {plural(result.messages, 'message')} as {name} in {plural(days, 'day')}, "
        f"{result.quarantined:,} would be quarantined and {result.rejected:,} rejected: "
        f"{result.legitimate:,} that may be legitimate, {result.indirect:,} forwarded or changed "
        f"on the way, {result.unwanted:,} unwanted.\n"
    )
    if not stopped:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("sender", "From", "today", "would be", "nature"):
        table.add_column(title)
    table.add_column("messages", justify="right")
    for row in result.senders.head(SHOWN).to_dict("records"):
        cells = (row[name] for name in ("sender", "header_from", "class", "action", "nature"))
        table.add_row(*(one_line(cell, 60) for cell in cells), count(row["messages"]))
    screen = console()
    screen.file = out
    screen.print(table)
    if len(result.senders) > SHOWN:
        out.write(f"… and {plural(len(result.senders) - SHOWN, 'more row')} (--format json)\n")
