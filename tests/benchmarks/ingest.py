"""How fast mails become rows: beside parsedmarc, and beside the least that could be done."""

from __future__ import annotations

import base64
import concurrent.futures
import os
import re
import shutil
import sys
import time
import xml.parsers.expat
import zlib
from pathlib import Path

import boto3

from dmarckit.core.settings import load_settings
from dmarckit.core.storage import POOL, open_storage
from dmarckit.demo.server import s3_server
from dmarckit.ingest.ingest import ingest_mails
from tests.benchmarks.data import write_long_mail, write_mails
from tests.benchmarks.measure import HERE, Run, median, parsedmarc, run, table

MAILS, RECORDS = 2_000, 8
LONG = 100_000
ROUNDS = 3
_ENCODED = re.compile(rb"\r?\n\r?\n([A-Za-z0-9+/=\r\n]+)\r?\n--")


def folder() -> None:
    """2,000 mails of 8 records from a folder, whole processes, in turn with parsedmarc."""
    mails = HERE / f"mails-{MAILS}x{RECORDS}"
    write_mails(mails, MAILS, RECORDS)
    sides: dict[str, list[Run]] = {}
    for _ in range(ROUNDS):
        sides.setdefault("parsedmarc --offline", []).append(_parsedmarc([str(mails)]))
        for workers in (1, os.cpu_count() or 1):
            runs = sides.setdefault(f"dmarckit ingest, {workers} process(es)", [])
            runs.append(_dmarckit(mails, workers))
    _compare(f"{MAILS:,} mails of {RECORDS} records from a folder", sides, MAILS, "mails/s")


def long_report() -> None:
    """One report of 100,000 records."""
    mail = HERE / f"long-{LONG}/mail.eml"
    write_long_mail(mail, LONG)
    sides: dict[str, list[Run]] = {"parsedmarc --offline": [], "dmarckit ingest": []}
    for _ in range(ROUNDS):
        sides["parsedmarc --offline"].append(_parsedmarc([str(mail)]))
        sides["dmarckit ingest"].append(_dmarckit(mail.parent, 1))
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
        rows = []
        for number in range(ROUNDS):
            floor = _floor("s3://bench/mail")
            home = f"s3://bench/home-{number}"
            settings = load_settings(home=home, mail="s3://bench/mail", trust="any", workers=1)
            took = ingest_mails(settings).seconds
            rows.append((took / floor, floor, took))
        ratio, floor, took = sorted(rows)[len(rows) // 2]
        table(
            f"{MAILS:,} mails of {RECORDS} records from S3 on this machine, one process",
            ["", "seconds", "mails/s"],
            [
                ["floor: fetch, base64, inflate, expat", f"{floor:.2f}", f"{MAILS / floor:,.0f}"],
                ["dmarckit ingest, lake on S3", f"{took:.2f}", f"{MAILS / took:,.0f}"],
                ["ratio", f"{ratio:.2f}", ""],
            ],
        )


def _floor(url: str) -> float:
    """The least that has to be done: fetch, base64, inflate, expat without handlers."""
    started = time.monotonic()
    mails = open_storage(url)
    keys = [item.key for item in mails.list()]
    with concurrent.futures.ThreadPoolExecutor(POOL) as pool:
        for raw in pool.map(mails.get, keys):
            packed = base64.b64decode(_ENCODED.findall(raw)[-1])
            xml.parsers.expat.ParserCreate().Parse(zlib.decompress(packed, 31), True)
    return time.monotonic() - started


def _parsedmarc(paths: list[str]) -> Run:
    out = HERE / "out"
    shutil.rmtree(out, ignore_errors=True)
    # its default is one process; a folder is given as its files
    files = [str(p) for path in paths for p in _files(Path(path))]
    return run([parsedmarc(), "--offline", "--silent", "-o", str(out), *files])


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _dmarckit(mails: Path, workers: int) -> Run:
    home = HERE / "home"
    shutil.rmtree(home, ignore_errors=True)
    command = [sys.executable, "-m", "dmarckit", "ingest"]
    variables = {
        "DMARCKIT_HOME": str(home),
        "DMARCKIT_MAIL": str(mails),
        "DMARCKIT_WORKERS": str(workers),
        "DMARCKIT_EXPORTS": "none",
    }
    return run(command, variables)


def _compare(title: str, sides: dict[str, list[Run]], units: int, unit: str) -> None:
    base = median(next(iter(sides.values())))
    rows = []
    for name, runs in sides.items():
        middle = median(runs)
        rows.append(
            [
                name,
                f"{middle.seconds:.2f}",
                f"{units / middle.seconds:,.0f}",
                f"{base.seconds / middle.seconds:.1f}×",
                f"{middle.peak / 1e6:,.0f} MB",
            ]
        )
    columns = ["", "seconds", unit, "as fast as the first", "peak memory"]
    table(f"{title} (whole processes, median of {ROUNDS})", columns, rows)
