"""`dmarckit schema`: the tables and their columns, for people and for other engines."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def schema(
    tables: Annotated[list[str] | None, typer.Argument(help="Only these.")] = None,
    ddl: Annotated[
        str | None,
        typer.Option(help="Statements for athena or spark that make the tables known there."),
    ] = None,
) -> None:
    """The tables of the lake and what their columns mean."""
    from dmarckit.core.errors import SettingsError, one_line
    from dmarckit.lake.schemas import TABLES

    unknown = [t for t in tables or () if t not in TABLES]
    if unknown:
        raise SettingsError(f"no table {one_line(unknown[0])!r}; tables are {', '.join(TABLES)}")
    chosen = [TABLES[t] for t in tables or TABLES]
    if ddl is not None:
        from dmarckit.core.settings import load_settings
        from dmarckit.lake.ddl import statements

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
