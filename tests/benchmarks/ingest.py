"""How fast mails become rows: beside parsedmarc, and beside the least that could be done."""

from __future__ import annotations

import base64
import concurrent.futures
import itertools
import os
import re
import shutil
import sys
import time
import xml.parsers.expat
import zlib
from pathlib import Path

import boto3

from dmarckit.core.storage import POOL, WITHOUT_OBSTORE, open_storage
from dmarckit.demo.server import s3_server
from tests.benchmarks.data import write_long_mail, write_mails
from tests.benchmarks.measure import HERE, Run, median, parsedmarc, run, table

MAILS, MANY, RECORDS = 2_000, 10_000, 8
LONG = 100_000
ROUNDS = 3
DEFAULT, NONE = "default settings", "exports = none"
EXPORTS: dict[str, dict[str, str]] = {DEFAULT: {}, NONE: {"DMARCKIT_EXPORTS": "none"}}
LISTINGS = ("obstore", ""), ("boto3 alone", "1")
INGEST = [sys.executable, "-m", "dmarckit", "ingest"]
_ENCODED = re.compile(rb"\r?\n\r?\n([A-Za-z0-9+/=\r\n]+)\r?\n--")


def folder() -> None:
    """Mails of 8 records from a folder, whole processes, in turn with parsedmarc."""
    for count in MAILS, MANY:
        mails = HERE / f"mails-{count}x{RECORDS}"
        write_mails(mails, count, RECORDS)
        sides: dict[str, list[Run]] = {}
        for _ in range(ROUNDS):
            sides.setdefault("parsedmarc --offline", []).append(_parsedmarc([str(mails)]))
            for workers in (1, os.cpu_count() or 1):
                for exports in (DEFAULT, NONE):
                    name = f"dmarckit ingest, {workers} process(es), {exports}"
                    runs = sides.setdefault(name, [])
                    runs.append(_dmarckit(mails, EXPORTS[exports] | _workers(workers)))
        _compare(f"{count:,} mails of {RECORDS} records from a folder", sides, count, "mails/s")


def long_report() -> None:
    """One report of 100,000 records."""
    mail = HERE / f"long-{LONG}/mail.eml"
    write_long_mail(mail, LONG)
    sides: dict[str, list[Run]] = {"parsedmarc --offline": [], "dmarckit ingest": []}
    for _ in range(ROUNDS):
        sides["parsedmarc --offline"].append(_parsedmarc([str(mail)]))
        sides["dmarckit ingest"].append(_dmarckit(mail.parent, EXPORTS[NONE] | _workers(1)))
    _compare(f"one report of {LONG:,} records", sides, LONG, "records/s")


def bucket() -> None:
    """The same 2,000 mails from an S3 server on this machine, beside the floor."""
    source = HERE / f"mails-{MAILS}x{RECORDS}"
    write_mails(source, MAILS, RECORDS)
    with s3_server() as server:
        os.environ.update(server.environment())
        boto3.session.Session().client("s3").create_bucket(Bucket="bench")
        mails = open_storage("s3://bench/mail")
        for path in source.iterdir():
            mails.put(path.name, path.read_bytes(), content_type="message/rfc822")
        sides: dict[str, list[Run]] = {}
        homes = itertools.count()  # a new lake each time: one that knows the mails reads none
        for _ in range(ROUNDS):
            for way, without in LISTINGS:
                os.environ[WITHOUT_OBSTORE] = without
                sides.setdefault(f"floor: {way}, base64, inflate, expat", []).append(_floor())
                for exports in (DEFAULT, NONE):
                    name = f"dmarckit ingest, lake on S3, {way}, {exports}"
                    home = f"s3://bench/{next(homes)}"
                    variables = {"DMARCKIT_HOME": home, "DMARCKIT_MAIL": mails.url}
                    more = EXPORTS[exports] | _workers(1) | {"DMARCKIT_TRUST": "any"}
                    sides.setdefault(name, []).append(run(INGEST, variables | more))
        title = f"{MAILS:,} mails of {RECORDS} records from S3 on this machine, one process"
        _compare(title, sides, MAILS, "mails/s")
        rows = [[way, f"{_listed(without):.1f} µs"] for way, without in LISTINGS]
        table("listing objects on S3", ["", "processor time an object"], rows)


def _listed(without: str) -> float:
    """Microseconds of processor time for a listed object."""
    os.environ[WITHOUT_OBSTORE] = without
    storage, started = open_storage("s3://bench/mail"), time.process_time()
    found = sum(1 for _ in range(10) for _ in storage.list())
    return (time.process_time() - started) / found * 1e6


def _floor() -> Run:
    """The least that has to be done: fetch, base64, inflate, expat without handlers."""
    return run([sys.executable, "-m", "tests.benchmarks.ingest"])


def _read_least() -> None:
    mails = open_storage("s3://bench/mail")
    keys = [item.key for item in mails.list()]
    with concurrent.futures.ThreadPoolExecutor(POOL) as pool:
        for raw in pool.map(mails.get, keys):
            packed = base64.b64decode(_ENCODED.findall(raw)[-1])
            xml.parsers.expat.ParserCreate().Parse(zlib.decompress(packed, 31), True)


def _parsedmarc(paths: list[str]) -> Run:
    out = HERE / "out"
    shutil.rmtree(out, ignore_errors=True)
    # its default is one process; a folder is given as its files
    files = [str(p) for path in paths for p in _files(Path(path))]
    return run([parsedmarc(), "--offline", "--silent", "-o", str(out), *files])


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _dmarckit(mails: Path, more: dict[str, str]) -> Run:
    home = HERE / "home"
    shutil.rmtree(home, ignore_errors=True)
    return run(INGEST, {"DMARCKIT_HOME": str(home), "DMARCKIT_MAIL": str(mails)} | more)


def _workers(count: int) -> dict[str, str]:
    return {"DMARCKIT_WORKERS": str(count)}


def _compare(title: str, sides: dict[str, list[Run]], units: int, unit: str) -> None:
    base = median(next(iter(sides.values())))
    rows = []
    for name, runs in sides.items():
        middle = median(runs)
        rows.append(
            [
                name,
                f"{middle.seconds:.2f}",
                f"{middle.cpu:.2f}",
                f"{units / middle.seconds:,.0f}",
                f"{base.seconds / middle.seconds:.1f}×",
                f"{middle.peak / 1e6:,.0f} MB",
            ]
        )
    columns = [
        "",
        "seconds",
        "processor s of the process",
        unit,
        "as fast as the first",
        "peak memory",
    ]
    table(f"{title} (whole processes, median of {ROUNDS})", columns, rows)


if __name__ == "__main__":
    _read_least()
