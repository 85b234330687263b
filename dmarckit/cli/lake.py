"""`dmarckit maintain`: upkeep of the lake, and what it did.

`dmarckit schema`: the tables and their columns, for people and for other engines.
"""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dmarckit.lake import MaintenanceResult, Step


DOES = {
    "delete": "delete (too old)",
    "order": "put in order",
    "compact": "merge small files",
    "vacuum": "delete unused files",
    "checkpoint": "checkpoint of the log",
    "log": "delete old log entries",
}


def maintain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
    vacuum_days: Annotated[
        int | None,
        typer.Option(min=1, help="Days that unused files stay for readers that began before (7)."),
    ] = None,
) -> None:
    """Upkeep of the tables: order, small files, unused files, logs, and what is too old.

    Safe while ingests and readers run. Exit status 1 when a person should look at something.
    """
    from datetime import UTC, datetime

    from dmarckit.core import begin, step
    from dmarckit.lake import VACUUM_DAYS, maintain_lake as run_maintain

    settings = begin()
    done = run_maintain(
        settings,
        now=datetime.now(UTC),
        dry_run=dry_run,
        vacuum_days=vacuum_days or VACUUM_DAYS,
        step=step,
    )
    print_steps(done, dry_run=dry_run)
    raise typer.Exit(1 if done.warnings else 0)


def print_steps(
    done: MaintenanceResult, *, dry_run: bool = False, out: IO[str] | None = None
) -> None:
    """A line a step with its numbers, then what a person should look at."""
    out = out or sys.stdout
    if not done.steps:
        out.write("Nothing is to be done: the tables are in order.\n")
    for step in done.steps:
        out.write(f"{'would ' if dry_run else ''}{_line(step)}\n")
    for warning in done.warnings:
        out.write(f"Look at this: {warning}\n")


def _line(step: Step) -> str:
    parts = [f"{step.table}: {DOES[step.what]}"]
    if step.months:
        first, last = step.months[0], step.months[-1]
        parts.append(first if first == last else f"{first} to {last}")
    if step.files:
        parts.append(f"{step.files:,} files, {step.size / 1e6:,.1f} MB")
    if step.rows:
        parts.append(f"{step.rows:,} rows")
    return "; ".join(parts)


def schema(
    tables: Annotated[list[str] | None, typer.Argument(help="Only these.")] = None,
    ddl: Annotated[
        str | None,
        typer.Option(help="Statements for athena or spark that make the tables known there."),
    ] = None,
) -> None:
    """The tables of the lake and what their columns mean."""
    from dmarckit.core import SettingsError, one_line
    from dmarckit.lake import TABLES

    unknown = [t for t in tables or () if t not in TABLES]
    if unknown:
        raise SettingsError(f"no table {one_line(unknown[0])!r}; tables are {', '.join(TABLES)}")
    chosen = [TABLES[t] for t in tables or TABLES]
    if ddl is not None:
        from dmarckit.core import load_settings
        from dmarckit.lake import statements

        for statement in statements(ddl, load_settings().lake_url, [t.name for t in chosen]):
            typer.echo(f"{statement};\n")
        return
    for table in chosen:
        typer.echo(f"{table.name}: one row per {table.row} (key: {', '.join(table.key)})")
        for column in table.schema:
            meaning = table.columns[column.name]
            typer.echo(f"  {column.name:<17} {_type_name(column.type):<10} {meaning}")
        typer.echo()


def _type_name(kind: Any) -> str:
    names = {"int64": "whole", "bool": "yes/no", "string": "text"}
    text = str(kind)
    return names.get(text) or ("time" if text.startswith("timestamp") else "list")
