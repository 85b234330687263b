"""`dmarckit ingest`, `maintain` and `schema`: the tables filled, kept in order, and explained."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from dmarckit import core, facts, ingest as room, jobs, lake, slack
from dmarckit.cli.options import OK, PROBLEMS, Dask, parse_time
from dmarckit.cli.output import ingest_progress, print_outcomes
from dmarckit.core import SettingsError, one_line, plural

DOES = {
    "delete": "delete (too old)",
    "order": "put in order",
    "compact": "merge small files",
    "vacuum": "delete unused files",
    "checkpoint": "checkpoint of the log",
    "log": "delete old log entries",
    "classify": "classify anew",
}
"""what a step of the upkeep does → its name for people"""


def ingest(
    retry: Annotated[
        list[str] | None,
        typer.Option(help="Take mails of this outcome again (unreadable, untrusted, …)."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only what came at or after this time (ISO 8601, UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only what came before it.")] = None,
    prefix: Annotated[
        str, typer.Option(help="Only keys that begin so, below the place of the mails.")
    ] = "",
    dask: Dask = None,
) -> None:
    """New mails into the lake.

    Exit status 0 when all is well, 1 when a mail could not be read, 2 when it could not run.
    """
    settings = core.start_command()
    for outcome in retry or ():
        if outcome not in room.OUTCOMES:
            raise SettingsError(f"--retry {outcome}: outcomes are {', '.join(room.OUTCOMES)}")
    first = parse_time(since, "--since") if since else None
    last = parse_time(until, "--until") if until else None
    if first and last and last <= first:
        raise SettingsError(f"--until {until} is not after --since {since}")
    selection = room.Selection(prefix, first, last)
    core.log_step(f"Reading new mails in {settings.mail_url}")
    room.keep_pandas_out()
    result = _read_mails(settings, dask, retry=retry or (), selection=selection)
    core.log_step("Mails are read", **result.outcomes, reports=result.reports)
    print_outcomes(result)
    lost = result.outcomes["unreadable"] + result.outcomes["unreachable"]
    raise typer.Exit(PROBLEMS if lost else OK)


def _read_mails(settings: core.Settings, dask: str | None = None, **more: Any) -> room.IngestResult:
    with room.cluster_of(settings, "mail", dask) as cluster, ingest_progress() as progress:
        run = core.run_info().run
        return room.ingest_mails(settings, executor=cluster, progress=progress, run=run, **more)


def maintain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
    vacuum_days: Annotated[
        int | None,
        typer.Option(min=1, help="Days that unused files stay for readers that began before (7)."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Before that mend damaged tables, from the mails.")
    ] = False,
) -> None:
    """Keep the tables in order, and delete what is too old.

    Safe while ingests and readers run; stop them for --repair. Exit status 1 when a person
    should look at something.
    """
    settings = core.start_command()
    lost = repair and _repair(settings, dry_run=dry_run)
    if repair and dry_run:
        raise typer.Exit(PROBLEMS if lost else OK)
    now = datetime.now(UTC)
    done = lake.maintain_lake(
        settings,
        now=now,
        dry_run=dry_run,
        vacuum_days=vacuum_days or lake.VACUUM_DAYS,
        step=core.log_step,
    )
    made = facts.keep_messages(settings, now=now, dry_run=dry_run, step=core.log_step)
    if not (done.steps or made):
        typer.echo("Nothing is to be done: the tables are in order.")
    for one in (*done.steps, *made):
        parts = [f"{one.table}: {'would ' if dry_run else ''}{DOES[one.what]}"]
        if one.months:
            parts.append(" to ".join(dict.fromkeys((one.months[0], one.months[-1]))))
        if one.files:
            parts.append(f"{one.files:,} files, {one.size / 1e6:,.1f} MB")
        if one.rows:
            parts.append(f"{one.rows:,} rows")
        typer.echo("; ".join(parts))
    for warning in done.warnings:
        typer.echo(f"Look at this: {warning}")
    raise typer.Exit(PROBLEMS if done.warnings or lost else OK)


def _repair(settings: core.Settings, *, dry_run: bool) -> bool:
    """Mend the tables, read the mails again; True when something cannot come back."""
    now, run, tables = datetime.now(UTC), core.run_info().run, lake.open_lake(settings)
    with slack.delivery_lock(settings, run, lambda: datetime.now(UTC)):
        found = lake.repair_tables(settings, tables, now=now, dry_run=dry_run, step=core.log_step)
        gone = [one for one in found if not one.rebuilt and not one.missing]
        for one in found:
            if not one.missing:
                typer.echo(_repaired(one, "would " if dry_run else ""))
        if dry_run:
            return bool(gone)
        core.log_step(f"Reading all mails in {settings.mail_url}")
        print_outcomes(_read_mails(settings))
        lost = {one.table for one in found if not one.rebuilt}
        lost |= lake.marked_tables(tables)  # of a repair that was cut off as well
        schedules = jobs.load_schedules()
        jobs.record_old_news(settings, tables, lost, schedules, run=run, now=now)
        lake.marked_tables(tables, forget=True)
    return bool(gone)


def _repaired(one: lake.Repair, would: str) -> str:
    source = "mails" if one.table in lake.TABLES else "records"
    parts = [f"{one.table}: {would}{f'rebuild from the {source}' if one.rebuilt else 'mend'}"]
    if one.damaged:
        files = plural(one.damaged, "data file")
        parts.append(f"{files} with {plural(one.lost, 'row')} missing or damaged")
    if one.aside:
        parts.append(f"its log cannot be read, what is there lies in {one.aside}")
    if one.rebuilt and one.kept and source == "mails":
        parts.append(f"{plural(one.kept, 'row')} kept whose mails are no longer in the storage")
    if not one.rebuilt:
        parts.append(f"what is lost cannot come back ({lake.TABLES[one.table].row})")
    return "; ".join(parts)


def schema(
    tables: Annotated[list[str] | None, typer.Argument(help="Only these.")] = None,
    ddl: Annotated[
        str | None,
        typer.Option(
            help="Statements for athena, spark or duckdb that make the tables known there."
        ),
    ] = None,
) -> None:
    """Print the tables of the lake and what their columns mean."""
    known = lake.ALL_TABLES
    unknown = [t for t in tables or () if t not in known]
    if unknown:
        raise SettingsError(f"no table {one_line(unknown[0])!r}; tables are {', '.join(known)}")
    chosen = [known[t] for t in tables or known]
    if ddl is not None:
        url = core.load_settings().lake_url
        for statement in lake.statements(ddl, url, [t.name for t in chosen]):
            typer.echo(f"{statement};\n")
        return
    types = {"int64": "whole", "bool": "yes/no", "string": "text"}
    for table in chosen:
        typer.echo(f"{table.name}: one row per {table.row} (key: {', '.join(table.key)})")
        for column in table.schema:
            kind = str(column.type)
            shown = types.get(kind) or ("time" if kind.startswith("timestamp") else "list")
            typer.echo(f"  {column.name:<17} {shown:<10} {table.columns[column.name]}")
        typer.echo()
