"""Ingests, upkeep and readers at once, until each did much: the right tables, at every moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dmarckit.core.settings import Settings, load_settings
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake import maintain
from dmarckit.lake.lake import Lake
from dmarckit.reports.model import Policy
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml

MAILS = 80
READS = 10
ORDERED = 4
"""months put in order while the others go on"""
DEADLINE = 120.0
"""seconds, after which the test ends as it is: too little has happened to show anything"""
START = datetime(2026, 11, 1, tzinfo=UTC)
OLD = START - timedelta(days=400)


def mail(number: int) -> bytes:
    """Every tenth report is so old that the upkeep deletes it."""
    begin = (OLD if number % 10 == 9 else START) + timedelta(hours=number % 500)
    records = [make_record(messages=n + 1) for n in range(5)]
    domain = f"brand{number % 7}.example"
    return make_mail(
        gz(
            report_xml(
                make_report(
                    *records,
                    policy=Policy(domain, p="none"),
                    report_id=f"r{number}",
                    begin=begin,
                    end=begin + timedelta(hours=1),
                )
            )
        )
    )


@pytest.mark.slow
def test_ingests_upkeep_and_readers_do_not_harm_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so that there is much to do: a month is put in order, and files are merged, all the time
    monkeypatch.setattr(maintain, "GROUP_ROWS", 20)
    monkeypatch.setattr(maintain, "SMALL_FILES", 3)
    keep = {"records": 120, "reports": 120}
    settings = load_settings(home=str(tmp_path), trust="any", workers=1, keep_days=keep)
    folder = Path(settings.mail_url)
    folder.mkdir()
    deadline = time.monotonic() + DEADLINE
    written: list[int] = []
    steps: list[str] = []
    seen: list[int] = []

    def send() -> None:
        number = len(written)
        unfinished = tmp_path / "unfinished"
        for n in range(number, number + 10):
            unfinished.write_bytes(mail(n))
            unfinished.rename(folder / f"{n:06}.eml")
            written.append(n)
        ingest_mails(settings)

    def other_ingest() -> None:
        ingest_mails(settings)

    def upkeep() -> None:
        done = maintain.maintain_lake(settings, now=START + timedelta(days=20))
        steps.extend(step.what for step in done.steps)

    def read() -> None:
        seen.append(whole_reports(settings, seen[-1] if seen else 0))

    work: tuple[Callable[[], None], ...] = (send, other_ingest, upkeep, upkeep, read)
    failed: list[BaseException] = []

    def enough() -> bool:
        done = steps.count("order") >= ORDERED and "delete" in steps
        return done and len(written) >= MAILS and len(seen) >= READS

    def repeat(action: Callable[[], None]) -> None:
        try:
            while not (enough() or failed) and time.monotonic() < deadline:
                action()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=repeat, args=(action,)) for action in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    assert enough()
    ingest_mails(settings)
    upkeep()
    young = [n for n in written if n % 10 != 9]
    assert whole_reports(settings, 0) == len(young)
    mails = Lake(settings.lake_url).mails()
    assert sorted(mails["key"]) == [f"{n:06}.eml" for n in written]


def whole_reports(settings: Settings, at_least: int) -> int:
    """Reports of the last months that the lake holds: each once, with all of its records."""
    frame = Lake(settings.lake_url).sql(
        "SELECT report_uid, count(*) AS n, count(DISTINCT position) AS positions "
        "FROM records WHERE month >= '2026-08' GROUP BY 1"
    )
    assert (frame["n"] == 5).all()
    assert (frame["positions"] == 5).all()
    assert len(frame) >= at_least
    return len(frame)
