"""A report with very many records goes through in bounded memory, whole or not at all."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dmarckit.core.settings import Settings, load_settings
from dmarckit.ingest.commit import Commits
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.ingest.read import Chunk
from dmarckit.lake.lake import Lake
from tests.benchmarks.data import write_long_mail
from tests.benchmarks.measure import run
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing

RECORDS = 200_000
PEAK_OVER_IDLE = 400_000_000


def installed(tmp_path: Path) -> Settings:
    settings = load_settings(home=str(tmp_path / "home"))
    Path(settings.mail_url).mkdir(parents=True)
    return settings


@pytest.mark.slow
def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    settings = installed(tmp_path)
    command = [sys.executable, "-m", "dmarckit", "ingest"]
    environment = {
        "DMARCKIT_HOME": settings.home,
        "DMARCKIT_WORKERS": "1",
        "DMARCKIT_LIMITS__DOCUMENT_BYTES": "1000000000",
    }
    idle = run(command, environment)
    write_long_mail(Path(settings.mail_url) / "long.eml", RECORDS)
    full = run(command, environment)
    lake = Lake(settings.lake_url)
    found = lake.sql(
        "SELECT count(*) AS n, count(DISTINCT position) AS places, max(position) AS last, "
        "sum(messages)::BIGINT AS messages FROM records"
    ).loc[0]
    assert found[["n", "places", "last"]].tolist() == [RECORDS, RECORDS, RECORDS - 1]
    report = lake.reports().loc[0]
    assert (report["records"], report["messages"]) == (RECORDS, found["messages"])
    assert 0 < report["failing"] < report["messages"]
    assert full.peak - idle.peak < PEAK_OVER_IDLE


def long_xml(count: int, **report: Any) -> bytes:
    made = [make_record(f"192.0.2.{i % 250}", i % 9 + 1) for i in range(count - 1)]
    return report_xml(make_report(*made, make_failing(messages=7), **report))


def test_a_long_report_that_breaks_off_leaves_no_record(tmp_path: Path) -> None:
    settings = installed(tmp_path)
    xml = long_xml(12_000)
    mail = make_mail(gz(xml[: len(xml) * 9 // 10]))
    (Path(settings.mail_url) / "broken").write_bytes(mail)
    result = ingest_mails(settings)
    assert result.outcomes == {"unreadable": 1}
    assert "whole records" in result.problems[0][2]
    assert Lake(settings.lake_url).records().empty


def test_a_long_report_is_stored_once_however_often_it_comes(tmp_path: Path) -> None:
    settings = installed(tmp_path)
    for name in ("a", "b"):
        (Path(settings.mail_url) / name).write_bytes(make_mail(gz(long_xml(10_500))))
    assert ingest_mails(settings).outcomes == {"stored": 1, "duplicate": 1}
    lake = Lake(settings.lake_url)
    assert len(lake.records(columns=["position"])) == 10_500
    assert lake.reports().loc[0, "failing"] == 7
    assert lake.write.append_new("mails", lake.arrow("SELECT * FROM mails")) == set()


def test_workers_with_a_disk_of_their_own_send_it_packed_and_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = installed(tmp_path)
    long = [long_xml(10_500 + i, report_id=f"long-{i}") for i in range(3)]
    for name, xml in zip("aceg", [*long, long[0]], strict=True):
        (Path(settings.mail_url) / name).write_bytes(make_mail(gz(xml)))
    monkeypatch.setattr("dmarckit.ingest.read.CHUNK_BYTES", 1)
    chunks: list[int] = []
    add = Commits.add

    def counted(commits: Commits, chunk: Chunk) -> None:
        chunks.append(len(chunk.mails))
        assert all(report.content and not report.path for report in chunk.long)
        add(commits, chunk)

    monkeypatch.setattr(Commits, "add", counted)
    with ThreadPoolExecutor(1) as pool:
        result = ingest_mails(settings, executor=pool)
    assert chunks == [1, 1, 1, 1], "each long report ends its chunk"
    assert result.outcomes == {"stored": 3, "duplicate": 1}
    assert len(Lake(settings.lake_url).records(columns=["position"])) == 10_500 + 10_501 + 10_502


def test_nothing_is_left_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    settings = installed(tmp_path)
    (Path(settings.mail_url) / "a").write_bytes(make_mail(gz(long_xml(10_500))))
    ingest_mails(settings)
    assert list(temporary.iterdir()) == []
