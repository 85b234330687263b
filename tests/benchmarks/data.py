"""Mails to measure with: the same seed gives the same bytes."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dmarckit.reports.model import AggregateReport, DkimResult, Record, SpfResult
from tests.support.builders import gz, make_mail, make_record, make_report, record_xml, report_xml

START = datetime(2026, 9, 1, tzinfo=UTC)
RESULTS = ("pass", "pass", "pass", "pass", "fail", "none")


def mails(count: int, records: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """(key, mail) of `count` reports with `records` records each, gzipped, as SES stores them."""
    rng = random.Random(seed)
    for i in range(count):
        report = _report(rng, i, records)
        key = f"{rng.getrandbits(200):050x}"[:40]
        yield key, make_mail(gz(report_xml(report)), f"mail.example!example.com!{i}.xml.gz")


def write_mails(folder: Path, count: int, records: int, seed: int = 1) -> None:
    """The mails as files in a folder, which is made unless it is there."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    for key, mail in mails(count, records, seed):
        (folder / f"{key}.eml").write_bytes(mail)


def write_long_mail(path: Path, records: int, seed: int = 1) -> None:
    """One mail whose report has very many records; written without holding it in memory."""
    if path.exists():
        return
    rng = random.Random(seed)
    shell = report_xml(replace(_report(rng, 0, 1), records=()))
    head, end, tail = shell.rpartition(b"</feedback>")
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    packed = [packer.compress(head)]
    for _ in range(records):
        packed.append(packer.compress(record_xml(_record(rng)).encode()))
    packed += [packer.compress(end + tail), packer.flush()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_mail(b"".join(packed)))


def _report(rng: random.Random, number: int, records: int) -> AggregateReport:
    begin = START + timedelta(days=number % 60)
    return make_report(
        *(_record(rng) for _ in range(records)),
        reporter=f"Reporter {number % 40}",
        report_id=f"{number}.{rng.getrandbits(64)}",
        begin=begin,
        end=begin + timedelta(seconds=86399),
    )


def _record(rng: random.Random) -> Record:
    """A record of one of 40 services, each with its own hosts, selector and return path."""
    service = min(int(rng.expovariate(0.12)), 39)
    dkim = "pass" if rng.random() < 0.9 else rng.choice(("fail", "none", "temperror"))
    spf = "pass" if rng.random() < 0.85 else rng.choice(("fail", "softfail", "none"))
    host = f"bounce.service{service}.example"
    first = (192, 198, 203)[service % 3]
    return make_record(
        f"{first}.{service}.{rng.randrange(16)}.{rng.randrange(1, 255)}",
        rng.randrange(1, 500),
        dkim_aligned=dkim == "pass",
        spf_aligned=spf == "pass" and service < 20,
        envelope_from=host,
        dkim=(
            DkimResult("example.com", f"s{service}", dkim),
            DkimResult(f"service{service}.example", "k1", "pass"),
        ),
        spf=(SpfResult(host, "mfrom", spf),),
    )
