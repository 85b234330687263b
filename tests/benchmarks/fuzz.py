"""Mutated reports and mails: nothing but our errors, no hang, no growth of memory.

    python -m tests.benchmarks.fuzz [INPUTS [SEED]]

Seeds are built reports in every wrapping, the samples of the repository and, where
DMARCKIT_CORPUS is set, the real reports there. Half of the mutations are made inside the
packing, so that they reach the parsers.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from dmarckit.core.errors import UnreadableReport
from dmarckit.core.thresholds import Limits
from dmarckit.reports.model import Policy, Reason, Unreadable
from dmarckit.reports.read import read_object, read_reports
from tests.support.builders import (
    WRAPPINGS,
    gz,
    make_mail,
    make_record,
    make_report,
    report_xml,
    zipped,
)

HANG_SECONDS = 2.0
GROWTH_BYTES = 100_000_000
SEED_BYTES = 60_000
LIMITS = Limits(document_bytes=20_000_000, ratio_from=1_000_000)
TOKENS = [
    b"<", b">", b"</record>", b"<record>", b"<feedback>", b"</feedback>", b"&", b"&#0;", b"&lt;",
    b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<?xml version='1.0' encoding='utf-16'?>", b"\xff\xfe",
    b"<!DOCTYPE feedback [<!ENTITY a 'b'>]>", b"\0", b"\xe9", b"\xef\xbb\xbf", b"<count>-1</count>",
    b"<count>999999999999999999999</count>", b"\r\n\r\n", b"--=_report", b"--", b"\n ", b"=\r\n",
    b"Content-Type: multipart/mixed; boundary=x\r\n", b"Content-Transfer-Encoding: base64\r\n",
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x1f\x8b\x08", b"{", b"[", b"]", b"}", b'"',
    b"NaN", b"1e999", b"null", b"begin 644 x\n", b"\nend\n", b"From x\n", b"message/rfc822",
]  # fmt: skip


def documents() -> list[bytes]:
    """XML and JSON to start from."""
    rich = make_report(
        make_record(reasons=(Reason("local_policy", "arc=pass & more <x>"),)),
        make_record("2001:db8::1", 7, dkim_aligned=None),
        policy=Policy("example.com", "none", "none", "none", 100, "y", "r", "s", "1", "treewalk"),
    )
    found = [report_xml(rich, schema) for schema in ("rfc7489", "rfc9990", "draft")]
    policy = {
        "policy-type": "sts",
        "policy-string": ["version: STSv1"],
        "policy-domain": "a.example",
    }
    summary = {"total-successful-session-count": 3, "total-failure-session-count": "1"}
    detail = {"result-type": "certificate-expired", "failed-session-count": 1}
    tls = {
        "organization-name": "Example",
        "date-range": {"start-datetime": "2026-11-01T00:00:00Z", "end-datetime": "2026-11-02"},
        "report-id": "t-1",
        "policies": [{"policy": policy, "summary": summary, "failure-details": [detail]}],
    }
    return [*found, json.dumps(tls).encode()]


def objects() -> list[bytes]:
    """Whole objects to start from: wrapped, mailed, and real ones."""
    found = [wrap(document) for document in documents() for wrap in WRAPPINGS.values()]
    found += [make_mail(gz(document), line=line) for document in documents() for line in (0, 76)]
    folders = [Path(__file__).parent.parent / "samples"]
    if corpus := os.environ.get("DMARCKIT_CORPUS"):
        folders.append(Path(corpus) / "files")
    for folder in folders:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        found += [path.read_bytes() for path in paths if path.stat().st_size < SEED_BYTES]
    return found


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """`data` with one to six random changes."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed) + 1)
        to = min(len(changed), at + chance.choice((1, 2, 8, 60, 400)))
        kind = chance.randrange(8)
        if kind == 0 and at < len(changed):
            changed[at] = chance.randrange(256)
        elif kind == 1:
            del changed[at:to]
        elif kind == 2:
            changed[at:at] = changed[at:to] * chance.choice((1, 2, 50))
        elif kind in (3, 4):
            changed[at:at] = chance.choice(TOKENS)
        elif kind == 5:
            changed[at:to] = chance.choice(TOKENS)
        elif kind == 6:
            other = chance.choice(others)
            start = chance.randrange(len(other) + 1)
            changed[at:to] = other[start : start + chance.choice((10, 300, 3000))]
        elif kind == 7 and chance.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def one_input(seeds: list[bytes], inner: list[bytes], chance: random.Random) -> bytes:
    """A mutated object: changed from outside, or changed within and then wrapped."""
    if chance.random() < 0.5:
        return mutated(chance.choice(seeds), seeds, chance)
    document = mutated(chance.choice(inner), inner, chance)
    wrappers: list[Callable[[bytes], bytes]] = [
        gz, make_mail, lambda d: make_mail(gz(d)), lambda d: zipped(("r.xml", d)), bytes,
    ]  # fmt: skip
    return chance.choice(wrappers)(document)


def outcome(raw: bytes) -> Counter[str]:
    """What reading `raw` gives; anything but our own errors is raised."""
    found = Counter[str]()
    try:
        for report in read_reports(read_object(raw, "fuzz", LIMITS), LIMITS):
            found[type(report).__name__] += 1
            if isinstance(report, Unreadable):
                assert report.reason.isprintable(), report
    except UnreadableReport as error:
        found[type(error).__name__] += 1
    return found


def resident_bytes() -> int:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def run(inputs: int = 200_000, seed: int = 1) -> None:
    """Read `inputs` mutated objects; print a table; raise on a crash, a hang or growth.

    The input that did it is written to ``fuzz-crash.bin`` in the working directory.
    """
    chance = random.Random(seed)
    seeds, inner = objects(), documents()
    inner += [each for each in seeds if each.lstrip()[:1] in (b"<", b"{")]
    found, slowest, settled = Counter[str](), 0.0, 0
    began = time.monotonic()
    for number in range(inputs):
        raw = one_input(seeds, inner, chance)
        start = time.process_time()  # other programs of the machine hang nothing
        try:
            found += outcome(raw)
            took = time.process_time() - start
            assert took < HANG_SECONDS, f"took {took:.1f} s"
        except BaseException:
            Path("fuzz-crash.bin").write_bytes(raw)
            print(f"input {number} of seed {seed} is in fuzz-crash.bin")
            raise
        slowest = max(slowest, took)
        if number == inputs // 4:
            settled = resident_bytes()
    growth = resident_bytes() - settled
    rows = [
        ("inputs", f"{inputs:,}"),
        ("seeds", f"{len(seeds):,}"),
        *((name, f"{times:,}") for name, times in found.most_common()),
        ("exceptions not ours", "0"),
        ("slowest input", f"{slowest * 1000:.0f} ms"),
        ("memory growth after the first quarter", f"{growth / 1e6:.1f} MB"),
        ("time", f"{time.monotonic() - began:.0f} s"),
    ]
    for name, value in rows:
        print(f"{name:40} {value:>12}")
    assert growth < GROWTH_BYTES, f"memory grew by {growth:,} bytes"


if __name__ == "__main__":
    run(*map(int, sys.argv[1:3]))
