"""A mail that is made to cost much: bounded memory, a bounded lake, and its own outcome.

Each is ingested by a process of its own, whose memory the operating system accounts for.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dmarckit.core.settings import Settings, load_settings
from dmarckit.lake.lake import Lake
from tests.support.bombs import HEAD, TAIL, packed
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml, zipped

PEAK_OVER_IDLE = 600_000_000
MOST_LEFT = 30_000_000
INGEST = """
import json, sys
from dmarckit.core import load_settings
from dmarckit.ingest import ingest_mails
from tests.support.bombs import memory_peak, reset_memory_peak

ingest_mails(load_settings(home=sys.argv[1] + "/idle", workers=1, mail=sys.argv[2]))
reset_memory_peak()
idle = memory_peak()
result = ingest_mails(load_settings(home=sys.argv[1], workers=1))
print(json.dumps([memory_peak() - idle, result.outcomes, result.problems]))
"""
MONTH = 2_629_800  # seconds


def stated(number: int, begin: int = 1_793_491_200) -> bytes:
    """The head of a report of its own."""
    head = HEAD.decode().replace("r-1", f"r-{number}")
    before, _, rest = head.partition("<begin>")
    after = rest.partition("</date_range>")[2]
    period = f"<begin>{begin}</begin><end>{begin + 86_400}</end></date_range>"
    return f"{before}{period}{after}".encode()


def long_reporter_on_every_row() -> bytes:
    records = [
        make_record(f"192.0.{i >> 8}.{i & 255}", dkim_aligned=False, spf_aligned=False)
        for i in range(900)
    ]
    report = make_report(*records, reporter="x" * 900_000, contact=None)
    return make_mail(gz(report_xml(report)))


def reports_just_short_enough(records: int = 9_999, number: int = 200) -> bytes:
    tiny = b"<record><row><count>1</count></row></record>" * records
    return mail_of([stated(n) + tiny + TAIL for n in range(number)])


def mail_of(documents: Sequence[bytes]) -> bytes:
    """They stand in archives of a hundred each."""
    parts = b""
    for start in range(0, len(documents), 100):
        members = enumerate(documents[start : start + 100])
        archive = zipped(*((f"{n}.xml", document) for n, document in members))
        encoded = base64.b64encode(archive)
        parts += b"--=_report\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded + b"\r\n"
    return make_mail(b"").replace(b"--=_report--", parts + b"--=_report--")


def reports_of_many_months() -> bytes:
    return make_mail(packed(stated(n, MONTH * n) + TAIL for n in range(3_490)))


def reports_beyond_number() -> bytes:
    return mail_of([stated(n) + TAIL for n in range(250)])


def two_hundred_reports() -> bytes:
    tiny = b"<record><row><count>1</count></row></record>" * 60
    return mail_of([stated(n, 1_793_491_200 + n * 86_400 * 3) + tiny + TAIL for n in range(200)])


def flood_of_policies() -> bytes:
    count = '{"total-successful-session-count":"1 ","total-failure-session-count":%d}'
    policies = ",".join(f'{{"policy":7,"summary":{count % n}}}' for n in range(75_000))
    head = (
        '{"organization-name":"x","report-id":"1","date-range":{"start-datetime":'
        '"2026-11-01T00:00:00Z","end-datetime":"2026-11-02T00:00:00Z"},"policies":['
    )
    return make_mail(gz(f"{head}{policies}]}}".encode()), "a!b!1!2.json.gz")


def results_without_end() -> bytes:
    result = b"<dkim><domain>%d</domain></dkim>"

    def record(n: int) -> bytes:
        results = b"".join(result % (n * 20_000 + i) for i in range(20_000))
        return (
            b"<record><row><count>1</count></row><auth_results>"
            + results
            + b"</auth_results></record>"
        )

    return make_mail(packed([HEAD, *map(record, range(60)), TAIL]))


def noise_in_every_field() -> bytes:
    """A mail of nearly 50 MB whose texts do not pack."""

    def record(n: int) -> bytes:
        noise = [os.urandom(480).hex() for _ in range(3)]
        return (
            f"<record><row><source_ip>{noise[0]}</source_ip><count>1</count></row>"
            f"<identifiers><header_from>{noise[1]}</header_from>"
            f"<envelope_from>{noise[2]}</envelope_from></identifiers></record>"
        ).encode()

    return make_mail(packed([HEAD, *map(record, range(20_000)), TAIL]))


def errors_without_end() -> bytes:
    errors = b"<error>x</error>" * 60_000 + b"</report_metadata>"
    documents = (stated(n).replace(b"</report_metadata>", errors) + TAIL for n in range(9))
    return make_mail(packed(documents))


def left(settings: Settings) -> int:
    places = (settings.lake_url, settings.exports_url)
    return sum(p.stat().st_size for place in places for p in Path(place).rglob("*") if p.is_file())


def ingest_apart(
    tmp_path: Path, mails: dict[str, bytes]
) -> tuple[Settings, int, dict[str, int], list[list[str]]]:
    settings = load_settings(home=str(tmp_path / "home"), exports="failing")
    (tmp_path / "none").mkdir()
    Path(settings.mail_url).mkdir(parents=True)
    for name, raw in mails.items():
        (Path(settings.mail_url) / name).write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-c", INGEST, settings.home, str(tmp_path / "none")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak, outcomes, problems = json.loads(done.stdout)
    return settings, peak, outcomes, problems


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("bomb", "outcome"),
    [
        (long_reporter_on_every_row, "stored"),
        (reports_just_short_enough, "limit 'output_bytes'|limit 'seconds'"),
        (reports_of_many_months, "limit 'months'"),
        (reports_beyond_number, "limit 'reports'"),
        (two_hundred_reports, "stored"),
        (flood_of_policies, "limit 'tls_policies'"),
        (results_without_end, "stored"),
        (noise_in_every_field, "limit 'output_bytes'"),
        (errors_without_end, "stored"),
    ],
)
def test_a_bomb_takes_bounded_memory_and_leaves_little(
    bomb: Callable[[], bytes], outcome: str, tmp_path: Path
) -> None:
    mails = {"a": bomb(), "b": make_mail(gz(report_xml(make_report(make_record()))))}
    settings, peak, outcomes, problems = ingest_apart(tmp_path, mails)
    assert peak < PEAK_OVER_IDLE
    assert left(settings) < MOST_LEFT
    if outcome == "stored":
        assert outcomes == {"stored": 2}
    else:
        assert outcomes == {"stored": 1, "unreadable": 1}
        assert any(part in problems[0][2] for part in outcome.split("|"))
    assert not Lake(settings.lake_url).reports().empty
