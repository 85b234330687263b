"""`dmarckit parse`: report files as one JSON line a report, or CSV, or a table."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Annotated, TypeAlias

import typer

from dmarckit import core, reports
from dmarckit.cli.options import OK, PROBLEMS, check_options
from dmarckit.cli.output import print_table
from dmarckit.core import StorageError, UnreadableReport, one_line

Found: TypeAlias = "Iterator[tuple[str, reports.Report | reports.Unreadable]]"
"""file and report, for each report"""


def parse(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders.", metavar="PATH…")],
    format_: Annotated[str, typer.Option("--format", "-f", help="jsonl, csv or table.")] = "jsonl",
    records: Annotated[bool, typer.Option("--records", help="Records in the table.")] = False,
) -> None:
    """Print what report files or mails say.

    Exit status 1 if one is unreadable; the rest is printed all the same.
    """
    check_options(format_, ("jsonl", "csv", "table"))
    if records and format_ != "table":
        raise core.SettingsError("--records is for --format table; the other formats have them all")
    limits = core.load_settings().limits
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise StorageError(f"no file or folder {one_line(missing[0])}")
    with tempfile.TemporaryFile("w+", encoding="ascii") as file:
        spool = _JsonRecords(file)
        found = chain.from_iterable(
            _read(path, limits, spool) for path in chain.from_iterable(map(_files, paths))
        )
        if format_ == "jsonl":
            status = _print_jsonl(found, spool)
        else:
            status = _print_csv(found) if format_ == "csv" else _print_table(found, records)
    raise typer.Exit(status)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for item in core.open_storage(str(path)).list():
        yield path / item.key


def _read(path: Path, limits: core.Limits, spool: _JsonRecords) -> Found:
    name = str(path)
    try:
        size = path.stat().st_size
        if size > limits.mail_bytes:
            raise UnreadableReport(f"{size:,} bytes are more than {limits.mail_bytes:,}")
        raw = path.read_bytes()
        mail = reports.read_object(raw, path.name, limits)
        yield from ((name, report) for report in reports.read_reports(mail, limits, spool))
    except OSError as error:
        yield name, reports.Unreadable(path.name, f"cannot read the file: {error.strerror}")
    except UnreadableReport as error:
        yield name, reports.Unreadable(path.name, str(error))


class _JsonRecords:
    """Keep a long report's records as JSON text on disk until their report is whole."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def start(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def add(self, records: reports.Records) -> None:
        self._file.writelines(
            reports.json_text(reports.record_json(record)) + "\n" for record in records
        )

    def lines(self) -> Iterator[str]:
        self._file.seek(0)
        return (line.rstrip("\n") for line in self._file)


def _print_jsonl(found: Found, spool: _JsonRecords) -> int:
    status, out = OK, sys.stdout
    for file, report in found:
        if isinstance(report, reports.Unreadable):
            status = PROBLEMS
            out.write(reports.json_text(reports.unreadable_json(report, file)) + "\n")
            continue
        text = reports.report_text(report, file)
        if isinstance(report, reports.AggregateReport) and not _is_whole(report):
            before, _, after = text.partition('"records": []')
            out.write(before + '"records": [')
            for i, line in enumerate(spool.lines()):
                out.write((", " if i else "") + line)
            out.write("]" + after + "\n")
        else:
            out.write(text + "\n")
    return status


def _print_csv(found: Found) -> int:
    status = OK
    sys.stdout.write(",".join(reports.RECORD_COLUMNS) + "\r\n")
    for file, report in found:
        if isinstance(report, reports.AggregateReport) and _is_whole(report):
            sys.stdout.writelines(reports.record_rows(report))
        else:
            status = max(status, _print_left_out(file, report))
    return status


def _is_whole(report: reports.AggregateReport) -> bool:  # else its records are in the spool
    return report.record_count == len(report.records)


def _print_table(found: Found, records: bool) -> int:
    status, rows = OK, []
    aligned = {True: "pass", False: "fail", None: ""}
    for file, report in found:
        if not isinstance(report, reports.AggregateReport) or (records and not _is_whole(report)):
            status = max(status, _print_left_out(file, report))
            continue
        period = f"{report.begin:%Y-%m-%d %H:%M}", f"{report.end:%Y-%m-%d %H:%M}"
        shared = (report.policy.domain or "", report.reporter or "", *period)
        cells: list[tuple[str, ...]]
        if records:
            cells = [
                (r.source_ip or "", r.header_from or "", f"{r.messages:,}",
                 aligned[r.dkim_aligned], aligned[r.spf_aligned], r.disposition or "")
                for r in report.records
            ]  # fmt: skip
        else:
            failing = sum(r.messages for r in report.records if not r.passes)
            counts = f"{report.record_count:,}", f"{report.message_count:,}"
            cells = [(report.policy.p or "", *counts, f"{failing:,}" if _is_whole(report) else "")]
        rows += [[one_line(cell, 60) for cell in (*shared, *own)] for own in cells]
    numbers, columns = ["messages"], ["source_ip", "header_from", "messages"]
    columns += ["dkim", "spf", "disposition"]
    if not records:
        numbers = ["records", "messages", "failing"]
        columns = ["policy", *numbers]
    print_table(("domain", "reporter", "begin", "end", *columns), rows, right=numbers)
    return status


def _print_left_out(file: str, report: reports.Report | reports.Unreadable) -> int:
    """Name on stderr what a CSV or table cannot hold; return 1 when it was unreadable."""
    if isinstance(report, reports.Unreadable):
        print(f"{one_line(file)}: {report.reason}", file=sys.stderr)
        return PROBLEMS
    kinds = {reports.TlsReport: "a TLS report", reports.FailureReport: "a failure report"}
    what = kinds.get(type(report), "too long a report")
    print(f"{one_line(file)}: {what} is only in --format jsonl", file=sys.stderr)
    return OK
