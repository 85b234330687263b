"""`dmarckit export`: a table, the findings, the senders or a query, as CSV, Parquet or Excel."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from dmarckit import core, facts, lake
from dmarckit.cli.analysis import FINDING_FIELDS, analyse, finding_json
from dmarckit.cli.options import Domains, Now, ask
from dmarckit.cli.output import csv_lines, plain_value
from dmarckit.cli.senders import SENDER_FIELDS, sender_rows
from dmarckit.core import SettingsError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 50_000  # rows that are held at once
EXCEL_ROWS, EXCEL_CELL = 1_048_576, 32_767  # rows that a sheet holds, characters that a cell holds
ENDINGS = (".csv", ".parquet", ".xlsx")
ANALYSED = ("findings", "senders")
"""exported as the commands of these names show them; their tables: ``SELECT * FROM findings``"""


def export(
    what: Annotated[
        str, typer.Argument(metavar="TABLE|SQL", help="A table, findings, senders, or a query.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="File: .csv, .parquet or .xlsx; else CSV is printed.")
    ] = None,
    now: Now = None,
    days: Annotated[int | None, typer.Option(help="Days before that to look at (7).")] = None,
    domain: Domains = None,
) -> None:
    """Write a table, the findings, the senders or a query's rows.

    `findings` and `senders` are those that the commands of these names show, and take --now,
    --days and --domain. A query sees every table, and `messages`. Lists are written as JSON.
    """
    ending = to.suffix.lower() if to else ".csv"
    if ending not in ENDINGS:
        raise SettingsError(f"--to {one_line(to)}: the file ends in {', '.join(ENDINGS)}")
    if what not in ANALYSED and (now or days or domain):
        text = f"--now, --days and --domain are for {' and '.join(ANALYSED)}: write a query"
        raise SettingsError(text)
    with _rows(what, now, 7 if days is None else days, domain) as rows:
        if to is None:
            sys.stdout.writelines(csv_lines(_values(rows), rows.schema.names))
            return
        part = to.with_name(f".{to.name}.part")  # what is there stays until all is written
        try:
            with part.open("wb") as file:
                count = _write(file, ending, rows)
            part.replace(to)
        except OSError as error:
            raise core.StorageError(f"cannot write {one_line(to)}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    typer.echo(f"{core.plural(count, 'row')} in {one_line(to)}")


@contextlib.contextmanager
def _rows(
    what: str, now: str | None, days: int, domains: list[str] | None
) -> Iterator[pa.RecordBatchReader]:
    import duckdb
    import pyarrow as pa

    if what in ANALYSED:
        asked = ask(now, days, domains)
        columns: tuple[str, ...]
        if what == "senders":
            columns, found = SENDER_FIELDS, sender_rows(asked.facts(), asked.now, days)
        else:
            columns, found = FINDING_FIELDS, [finding_json(e) for e in analyse(asked).findings]
        yield pa.table({n: [plain_value(row[n]) for row in found] for n in columns}).to_reader()
        return
    query = what
    if not re.search(r"\s", what):
        known = [*ANALYSED, "messages", *(t for t in lake.TABLES if t not in ANALYSED)]
        if what not in known:
            raise SettingsError(f"the table {core.unknown_name(what, known)}")
        query = f"FROM {what}"
    named = [name for name in lake.TABLES if re.search(rf"\b{name}\b", query)]
    with facts.open_lake().session(*named) as connection:
        try:
            yield connection.sql(query).to_arrow_reader(BATCH)
        except duckdb.Error as error:
            raise lake.query_failed(error) from error


def _values(rows: pa.RecordBatchReader) -> Iterator[Sequence[Any]]:
    for batch in rows:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _write(file: IO[bytes], ending: str, rows: pa.RecordBatchReader) -> int:
    """Write the rows, and return how many there were."""
    count = 0
    if ending == ".xlsx":
        return _write_excel(file, rows)
    if ending == ".csv":
        for count, line in enumerate(csv_lines(_values(rows), rows.schema.names)):  # noqa: B007
            file.write(line.encode())
        return count
    from pyarrow.parquet import ParquetWriter

    with ParquetWriter(file, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _write_excel(file: IO[bytes], rows: pa.RecordBatchReader) -> int:
    try:
        import xlsxwriter
    except ImportError:
        text = "Excel files need XlsxWriter; install it with: pip install 'dmarckit[excel]'"
        raise core.MissingExtra(text) from None
    texts_are_no = ("strings_to_formulas", "strings_to_urls", "strings_to_numbers")
    options: dict[str, Any] = dict.fromkeys(texts_are_no, False)
    options |= {"constant_memory": True, "remove_timezone": True, "nan_inf_to_errors": True}
    options["default_date_format"] = "yyyy-mm-dd hh:mm"
    number = 0
    with xlsxwriter.Workbook(file, options) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, rows.schema.names)
        sheet.freeze_panes(1, 0)
        for number, row in enumerate(_values(rows), start=1):
            if number == EXCEL_ROWS:
                raise SettingsError(f"a sheet of Excel holds {EXCEL_ROWS:,} rows: write .parquet")
            for place, value in enumerate(row):
                plain = value if hasattr(value, "hour") else plain_value(value)
                sheet.write(number, place, plain[:EXCEL_CELL] if isinstance(plain, str) else plain)
    return number
