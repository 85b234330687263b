"""How fast mails become reports, and how much memory a large report takes.

    python -m tests.benchmarks.parse

One process, everything in memory: from the bytes of a mail to an `AggregateReport`.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.parsers import expat

from dmarckit.core.thresholds import Limits
from dmarckit.reports.aggregate import read_xml
from dmarckit.reports.read import read_object, read_reports
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml

RECORDS = 8
ROUNDS = 5


def seconds_each(work: Callable[[], object], times: int) -> float:
    """The best of five rounds, since other work on the machine only ever slows it down."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, (time.perf_counter() - start) / times)
    return best


def floor(raw: bytes) -> None:
    """The least that any reader has to do: base64, inflate, expat without handlers."""
    encoded = raw.rpartition(b"\r\n\r\n")[2].partition(b"\r\n--")[0]
    xml = zlib.decompress(base64.b64decode(encoded), 31)
    expat.ParserCreate().Parse(xml, True)


def small_mails(times: int = 400) -> list[tuple[str, str]]:
    """Rows for a mail with a gzipped report of eight records."""
    records = [make_record(f"192.0.2.{number}", number) for number in range(RECORDS)]
    xml = report_xml(make_report(*records))
    raw = make_mail(gz(xml))
    mail = read_object(raw, "mail")
    whole = seconds_each(lambda: list(read_reports(read_object(raw, "mail"))), times)
    rows = [
        ("whole mail", whole),
        ("  mail to attachments", seconds_each(lambda: read_object(raw, "mail"), times)),
        ("  attachments to report", seconds_each(lambda: list(read_reports(mail)), times)),
        ("  of it XML", seconds_each(lambda: read_xml([xml], Limits()), times)),
        ("floor: base64, inflate, bare expat", seconds_each(lambda: floor(raw), times)),
    ]
    return [(f"{name} ({RECORDS} records)", f"{took * 1000:.3f} ms") for name, took in rows] + [
        ("mails a second, one process", f"{1 / whole:,.0f}")
    ]


LARGE = """
import json, sys, time
from dmarckit.core import Limits
from dmarckit.reports import read_object, read_reports
from tests.support import bombs
from tests.support.bombs import memory_peak, reset_memory_peak

class Sink:
    def start(self): pass
    def add(self, records): pass

raw = bombs.records(int(sys.argv[1]))
reset_memory_peak()
before, start = memory_peak(), time.perf_counter()
limits = Limits(document_bytes=2_000_000_000, seconds=600)  # a million are more than the default
(report,) = read_reports(read_object(raw, "large"), limits, Sink())
took = time.perf_counter() - start
print(json.dumps([len(raw), report.record_count, took, memory_peak() - before]))
"""


def large_report(records: int) -> list[tuple[str, str]]:
    """Rows for one report with so many records, read in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(records)],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    size, found, took, memory = json.loads(done.stdout)
    assert found == records
    return [
        (f"report of {records:,} records, mail of {size / 1e6:.1f} MB", f"{took:.1f} s"),
        ("  records a second", f"{records / took:,.0f}"),
        ("  memory beyond the idle process", f"{memory / 1e6:.0f} MB"),
    ]


def run(records: int = 1_000_000) -> None:
    """Print the table; `records` is the size of the largest report."""
    for name, value in [*small_mails(), *large_report(100_000), *large_report(records)]:
        print(f"{name:60} {value:>12}")


if __name__ == "__main__":
    run(*map(int, sys.argv[1:2]))
