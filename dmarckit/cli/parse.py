"""`dmarckit parse`: what report files say, one JSON line a report, or CSV, or a table."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

from dmarckit.cli.output import console
from dmarckit.core import (
    Limits,
    SettingsError,
    StorageError,
    UnreadableReport,
    load_settings,
    one_line,
    open_storage,
)
from dmarckit.reports import (
    CSV_COLUMNS,
    AggregateReport,
    FailureReport,
    Record,
    Report,
    TlsReport,
    Unreadable,
    json_text,
    read_object,
    read_reports,
    record_json,
    report_csv,
    report_json,
    unreadable_json,
)

FORMATS = ("jsonl", "csv", "table")


def parse_paths(paths: Sequence[Path], format_: str, out: IO[str] | None = None) -> int:
    """Print every report in the files and folders; exit status 1 if one is unreadable.

    jsonl: one object a line, unreadable files as ``{"kind": "error", …}``. csv and table
    hold aggregate reports; what they cannot show is said on stderr.
    Raises SettingsError for an unknown format, StorageError for a path that is not there.
    """
    if format_ not in FORMATS:
        raise SettingsError(f"--format {one_line(format_)}: formats are {', '.join(FORMATS)}")
    limits = load_settings().limits
    out = out or sys.stdout
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise StorageError(f"no file or folder {one_line(missing[0])}")
    with _JsonRecords() as spool:
        found = chain.from_iterable(
            _read(path, limits, spool) for path in chain.from_iterable(map(_files, paths))
        )
        if format_ == "jsonl":
            return _print_jsonl(found, spool, out)
        return _print_csv(found, spool, out) if format_ == "csv" else _print_table(found, out)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for item in open_storage(str(path)).list():
        yield path / item.key


def _read(
    path: Path, limits: Limits, spool: _JsonRecords
) -> Iterator[tuple[str, Report | Unreadable]]:
    name = str(path)
    try:
        size = path.stat().st_size
        if size > limits.mail_bytes:
            raise UnreadableReport(f"{size:,} bytes are more than {limits.mail_bytes:,}")
        raw = path.read_bytes()
        mail = read_object(raw, path.name, limits)
        for report in read_reports(mail, limits, spool):
            yield name, report
    except OSError as error:
        yield name, Unreadable(path.name, f"cannot read the file: {error.strerror}")
    except UnreadableReport as error:
        yield name, Unreadable(path.name, str(error))


class _JsonRecords:
    """Keeps a long report's records as JSON text on disk until their report is whole."""

    def __enter__(self) -> _JsonRecords:
        self._file = tempfile.TemporaryFile("w+", encoding="ascii")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def start(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def add(self, records: list[Record]) -> None:
        self._file.writelines(json_text(record_json(record)) + "\n" for record in records)

    def lines(self) -> Iterator[str]:
        self._file.seek(0)
        return (line.rstrip("\n") for line in self._file)


def _print_jsonl(
    found: Iterator[tuple[str, Report | Unreadable]], spool: _JsonRecords, out: IO[str]
) -> int:
    status = 0
    for file, report in found:
        if isinstance(report, Unreadable):
            status = 1
            out.write(json_text(unreadable_json(report, file)) + "\n")
            continue
        text = json_text(report_json(report, file))
        if isinstance(report, AggregateReport) and report.record_count and not report.records:
            before, _, after = text.partition('"records": []')
            out.write(before + '"records": [')
            for i, line in enumerate(spool.lines()):
                out.write((", " if i else "") + line)
            out.write("]" + after + "\n")
        else:
            out.write(text + "\n")
    return status


def _print_csv(
    found: Iterator[tuple[str, Report | Unreadable]], spool: _JsonRecords, out: IO[str]
) -> int:
    status = 0
    out.write(",".join(CSV_COLUMNS) + "\r\n")
    for file, report in found:
        if isinstance(report, AggregateReport) and report.record_count == len(report.records):
            out.write(report_csv(report).partition("\r\n")[2])
        else:
            status = max(status, _say_left_out(file, report))
    return status


def _print_table(found: Iterator[tuple[str, Report | Unreadable]], out: IO[str]) -> int:
    from rich.table import Table

    status = 0
    table = Table(box=None, pad_edge=False)
    for title in ("domain", "reporter", "begin", "end", "policy"):
        table.add_column(title)
    for title in ("records", "messages", "failing"):
        table.add_column(title, justify="right")
    for file, report in found:
        if not isinstance(report, AggregateReport):
            status = max(status, _say_left_out(file, report))
            continue
        table.add_row(*(one_line(cell, 60) for cell in _cells(report)))
    screen = console()
    screen.file = out
    screen.print(table)
    return status


def _cells(report: AggregateReport) -> Sequence[object]:
    failing = sum(r.messages for r in report.records if not r.passes)
    whole = len(report.records) == report.record_count
    return (
        report.policy.domain or "",
        report.reporter or "",
        f"{report.begin:%Y-%m-%d %H:%M}",
        f"{report.end:%Y-%m-%d %H:%M}",
        report.policy.p or "",
        f"{report.record_count:,}",
        f"{report.message_count:,}",
        f"{failing:,}" if whole else "",
    )


def _say_left_out(file: str, report: Report | Unreadable) -> int:
    """A line on stderr for what a CSV or table cannot hold; 1 when it was unreadable."""
    if isinstance(report, Unreadable):
        print(f"{one_line(file)}: {report.reason}", file=sys.stderr)
        return 1
    kinds = {TlsReport: "a TLS report", FailureReport: "a failure report"}
    what = kinds.get(type(report), "too long a report")
    print(f"{one_line(file)}: {what} is only in --format jsonl", file=sys.stderr)
    return 0
