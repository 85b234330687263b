"""ingest: every mail gets one outcome, every report is in the lake once, whatever happens."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pandas as pd
import pyarrow as pa
import pytest

from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import FolderStorage, Storage, StoredObject, open_storage
from dmarckit.demo.company import demo_mails
from dmarckit.demo.mails import GeneratedMail
from dmarckit.demo.traffic import GeneratedReport
from dmarckit.ingest.ingest import ingest_mails, new_objects
from dmarckit.lake.lake import Lake
from dmarckit.lake.schema import MAILS

TABLES = ("mails", "reports", "records", "tls")


@pytest.fixture(scope="module")
def sample() -> list[GeneratedMail]:
    """Six days of the demo: all kinds of trouble included."""
    mails = demo_mails(date(2026, 11, 20), days=6)
    assert len(mails) < 150
    return mails


def fill(storage: Storage, mails: list[GeneratedMail]) -> None:
    for mail in mails:
        storage.put(mail.key, mail.raw, content_type="application/octet-stream")


def settings_for(home: str, **more: Any) -> Settings:
    return load_settings(home=home, trust="pass", workers=1, **more)


def by_key_order(sample: list[GeneratedMail]) -> dict[str, str]:
    """Key → outcome; of a mail and its copy, the copy is the one with the later key."""
    outcomes = {mail.key: mail.outcome for mail in sample}
    copy = next(mail for mail in sample if mail.outcome == "duplicate")
    original = next(m for m in sample if m.raw == copy.raw and m.key != copy.key)
    first, second = sorted((copy.key, original.key))
    return {**outcomes, first: "stored", second: "duplicate"}


@pytest.fixture
def filled(home: str, sample: list[GeneratedMail]) -> Settings:
    settings = settings_for(home)
    fill(open_storage(settings.mail_url), sample)
    return settings


def tables(settings: Settings) -> dict[str, pd.DataFrame]:
    """All that an ingest wrote, in a fixed order, without what differs from run to run."""
    lake = Lake(settings.lake_url)
    frames = {}
    for name in TABLES:
        frame = lake.sql(f"SELECT * FROM {name} ORDER BY ALL").drop(
            columns=["run", "received", "month"] if name == "mails" else []
        )
        frames[name] = frame.drop(columns=["etag"], errors="ignore").astype(str)
    return frames


def exports(settings: Settings) -> dict[str, bytes]:
    try:
        storage = open_storage(settings.exports_url)
        return {item.key: storage.get(item.key) for item in storage.list()}
    except Exception:
        return {}


def assert_same(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(found[name], expected[name], obj=f"table {name}")


@pytest.fixture(scope="module")
def clean_run(
    sample: list[GeneratedMail], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, pd.DataFrame]:
    """The tables of one undisturbed ingest of the sample."""
    settings = settings_for(str(tmp_path_factory.mktemp("clean")))
    fill(open_storage(settings.mail_url), sample)
    ingest_mails(settings)
    return tables(settings)


def test_every_mail_gets_the_outcome_it_deserves(
    filled: Settings, sample: list[GeneratedMail]
) -> None:
    result = ingest_mails(filled)
    mails = Lake(filled.lake_url).mails()
    assert dict(zip(mails["key"], mails["outcome"], strict=True)) == by_key_order(sample)
    assert result.outcomes == Counter(mail.outcome for mail in sample)
    assert {"stored", "duplicate", "untrusted", "not_a_report", "unreadable"} == set(
        result.outcomes
    )


def test_records_and_reports_are_those_that_were_sent(
    filled: Settings, sample: list[GeneratedMail]
) -> None:
    ingest_mails(filled)
    sent = {
        mail.truth
        for mail in sample
        if mail.outcome == "stored" and isinstance(mail.truth, GeneratedReport)
    }
    lake = Lake(filled.lake_url)
    sums = lake.sql(
        "SELECT (SELECT sum(messages) FROM records)::BIGINT AS records, "
        "(SELECT sum(messages) FROM reports)::BIGINT AS reports, "
        "(SELECT count(*) FROM reports) AS n"
    )
    assert len(sent) > 20
    assert sums.loc[0].tolist() == [
        sum(r.report.message_count for r in sent),
        sum(r.report.message_count for r in sent),
        len(sent),
    ]


def test_a_second_ingest_finds_nothing_to_do(filled: Settings) -> None:
    ingest_mails(filled)
    before = tables(filled)
    assert ingest_mails(filled).outcomes.total() == 0
    assert_same(tables(filled), before)


def test_folder_and_bucket_processes_and_threads_give_the_same_tables(
    filled: Settings, clean_run: dict[str, pd.DataFrame]
) -> None:
    pool: Executor
    with ThreadPoolExecutor(2) as pool:
        ingest_mails(filled, executor=pool)
    assert_same(tables(filled), clean_run)


@pytest.mark.slow
def test_own_worker_processes_give_the_same_tables(
    tmp_path: Path,
    sample: list[GeneratedMail],
    clean_run: dict[str, pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dmarckit.ingest.ingest.ALONE_BELOW", 1)
    monkeypatch.setattr("dmarckit.ingest.ingest.CHUNK", 5)
    settings = settings_for(str(tmp_path / "home")).model_copy(update={"workers": 3})
    fill(open_storage(settings.mail_url), sample)
    ingest_mails(settings)
    assert_same(tables(settings), clean_run)


@pytest.mark.slow
def test_worker_processes_give_the_same_tables(
    tmp_path: Path, sample: list[GeneratedMail], clean_run: dict[str, pd.DataFrame]
) -> None:
    settings = settings_for(str(tmp_path / "home"))
    fill(open_storage(settings.mail_url), sample)
    with ProcessPoolExecutor(2) as pool:
        ingest_mails(settings, executor=pool)
    assert_same(tables(settings), clean_run)


def test_small_batches_give_the_same_tables(
    filled: Settings, clean_run: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmarckit.ingest.ingest.CHUNK", 5)
    monkeypatch.setattr("dmarckit.ingest.commit.BATCH_MAILS", 20)
    ingest_mails(filled)
    assert_same(tables(filled), clean_run)


def test_files_of_failing_reports_are_written(filled: Settings) -> None:
    ingest_mails(filled)
    lake = Lake(filled.lake_url)
    failing = lake.sql("SELECT count(*) AS n FROM reports WHERE failing > 0").loc[0, "n"]
    names = exports(filled)
    assert sum(name.endswith(".json") for name in names) == failing
    assert sum(name.endswith(".csv") for name in names) == failing


@pytest.mark.parametrize(("wanted", "share"), [("all", 1.0), ("none", 0.0)])
def test_which_reports_get_files_is_a_setting(
    tmp_path: Path, sample: list[GeneratedMail], wanted: str, share: float
) -> None:
    settings = settings_for(str(tmp_path / "home"), exports=wanted)
    fill(open_storage(settings.mail_url), sample)
    ingest_mails(settings)
    aggregate = Lake(settings.lake_url).reports()
    assert len(exports(settings)) == 2 * share * len(aggregate)


def test_untrusted_mails_can_be_taken_again_when_the_setting_changed(filled: Settings) -> None:
    refused = ingest_mails(filled).outcomes["untrusted"]
    assert refused == 1
    trusting = filled.model_copy(update={"trust": "any"})
    assert ingest_mails(trusting).outcomes.total() == 0
    again = ingest_mails(trusting, retry=["untrusted"])
    assert again.outcomes.total() == refused
    assert again.outcomes["untrusted"] == 0
    assert Lake(filled.lake_url).mails()["key"].is_unique


def test_an_object_over_the_limit_is_not_even_fetched(
    tmp_path: Path, sample: list[GeneratedMail], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(str(tmp_path / "home"), limits={"mail_bytes": 100})
    fill(open_storage(settings.mail_url), sample[:1])
    monkeypatch.setattr(FolderStorage, "get", lambda *_: pytest.fail("it was fetched"))
    result = ingest_mails(settings)
    assert result.outcomes == {"unreadable": 1}
    assert "more than the limit of 100" in result.problems[0][2]


def test_an_object_that_vanishes_meanwhile_gets_an_outcome(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = list(open_storage(filled.mail_url).list())[:3]
    monkeypatch.setattr("dmarckit.ingest.ingest.new_objects", lambda *_: listed)
    if "s3://" in filled.home:
        import boto3

        bucket, _, prefix = filled.mail_url.removeprefix("s3://").partition("/")
        key = f"{prefix}/{listed[0].key}"
        boto3.session.Session().client("s3").delete_object(Bucket=bucket, Key=key)
    else:
        (Path(filled.mail_url) / listed[0].key).unlink()
    assert ingest_mails(filled).problems[0][2] == "it was gone before it could be read"


class Crash(BaseException):
    """What a power cut looks like from inside: nothing after it runs."""


def crash_points(monkeypatch: pytest.MonkeyPatch, at: int, *, before: bool) -> Callable[[], int]:
    """Make the write number `at` of an ingest crash, before or after it took effect."""
    done = 0

    def crashing(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done == at and before:
                raise Crash
            result = write(*args, **kwargs)
            if done == at:
                raise Crash
            return result

        return wrapper

    monkeypatch.setattr(deltalake, "write_deltalake", crashing(deltalake.write_deltalake))
    monkeypatch.setattr(
        deltalake.DeltaTable, "create", staticmethod(crashing(deltalake.DeltaTable.create))
    )
    monkeypatch.setattr(FolderStorage, "put", crashing(FolderStorage.put))


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_crash_at_any_write_leaves_the_same_tables_after_the_next_run(
    before: bool,
    tmp_path: Path,
    sample: list[GeneratedMail],
    clean_run: dict[str, pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_for(str(tmp_path / "home"), mail=str(tmp_path / "mails"), exports="none")
    fill(FolderStorage(tmp_path / "mails"), sample)
    monkeypatch.setattr("dmarckit.ingest.ingest.CHUNK", 50)
    monkeypatch.setattr("dmarckit.ingest.commit.BATCH_MAILS", 70)
    at = 0
    while crashes(settings, monkeypatch, at + 1, before=before):
        at += 1
        ingest_mails(settings)
        assert_same(tables(settings), clean_run)
        shutil.rmtree(settings.home)
    # four tables made and written, and written again by the second batch
    assert at > 10


@pytest.mark.parametrize("at", [1, 3, 9, 20])
def test_a_crash_while_files_are_written_leaves_them_all_after_the_next_run(
    at: int, tmp_path: Path, sample: list[GeneratedMail], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [mail for mail in sample if mail.outcome == "stored"][:40]
    fill(FolderStorage(tmp_path / "mails"), chosen)
    found = []
    for home in ("clean", "crashed"):
        settings = settings_for(str(tmp_path / home), mail=str(tmp_path / "mails"), exports="all")
        if home == "crashed":
            assert crashes(settings, monkeypatch, 6 + at, before=True)
        ingest_mails(settings)
        found.append(exports(settings))
    assert found[0] == found[1]
    assert found[0]


def crashes(settings: Settings, monkeypatch: pytest.MonkeyPatch, at: int, *, before: bool) -> bool:
    """Ingest with a crash at write number `at`; False when there are fewer writes."""
    with monkeypatch.context() as patched:
        crash_points(patched, at, before=before)
        try:
            ingest_mails(settings)
        except Crash:
            return True
    return False


def test_two_ingests_at_once_give_the_same_tables(
    filled: Settings, clean_run: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmarckit.ingest.ingest.CHUNK", 5)
    monkeypatch.setattr("dmarckit.ingest.commit.BATCH_MAILS", 30)
    failures: list[BaseException] = []
    start = threading.Barrier(2)

    def run() -> None:
        try:
            start.wait()
            ingest_mails(filled)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert_same(tables(filled), clean_run)


KILLED = """
import os, sys, deltalake
from dmarckit.core import load_settings
from dmarckit.ingest import ingest_mails
write, left = deltalake.write_deltalake, int(sys.argv[2])
def killed(*args, **kwargs):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
    return write(*args, **kwargs)
deltalake.write_deltalake = killed
ingest_mails(load_settings(home=sys.argv[1], trust="pass", workers=1))
"""


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_killed_process_leaves_the_same_tables_after_the_next_run(
    write: int, tmp_path: Path, sample: list[GeneratedMail], clean_run: dict[str, pd.DataFrame]
) -> None:
    settings = settings_for(str(tmp_path / "home"))
    fill(open_storage(settings.mail_url), sample)
    command = [sys.executable, "-c", KILLED, settings.home, str(write)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    ingest_mails(settings)
    assert_same(tables(settings), clean_run)


def die_on(marker: str) -> None:
    import dmarckit.ingest.read as module

    read = module.read_object

    def deadly(raw: bytes, name: str, *more: Any) -> Any:
        if name == marker:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(raw, name, *more)

    module.read_object = deadly


@pytest.mark.slow
def test_a_mail_that_kills_its_worker_is_unreadable_and_the_rest_is_read(
    tmp_path: Path, sample: list[GeneratedMail], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(str(tmp_path / "home"))
    chosen = [mail for mail in sample if mail.outcome == "stored"][:4]
    fill(open_storage(settings.mail_url), chosen)
    deadly = chosen[1].key

    def pool() -> Executor:
        return ProcessPoolExecutor(1, initializer=die_on, initargs=(deadly,))

    monkeypatch.setattr("dmarckit.ingest.ingest._single", pool)
    with pool() as executor:
        result = ingest_mails(settings, executor=executor)
    assert result.outcomes == {"stored": 3, "unreadable": 1}
    assert result.problems == [
        (
            deadly,
            "unreadable",
            "needs more than 600 MB of memory, or than 41 s of processor time in one piece: "
            "reading it ended its process",
        )
    ]


def test_files_that_were_copied_again_are_duplicates(
    tmp_path: Path, sample: list[GeneratedMail]
) -> None:
    """A copy has another time, and so counts as another version of the object."""
    settings = settings_for(str(tmp_path / "home"))
    fill(open_storage(settings.mail_url), sample)
    first = ingest_mails(settings)
    before = tables(settings)
    for path in (tmp_path / "home/mail").rglob("*"):
        os.utime(path, (1, 1))
    second = ingest_mails(settings)
    known = first.outcomes.pop("stored")
    assert second.outcomes == first.outcomes + Counter(duplicate=known)
    assert second.reports == 0
    for name in ("reports", "records", "tls"):
        pd.testing.assert_frame_equal(tables(settings)[name], before[name])


def faulty_read(marker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that nobody thought of, in what reads a mail."""
    import dmarckit.ingest.read as module

    read = module.read_object

    def faulty(raw: bytes, name: str, *more: Any) -> Any:
        if name == marker:
            raise ZeroDivisionError("of a tag\x1b")
        return read(raw, name, *more)

    monkeypatch.setattr(module, "read_object", faulty)


def faulty_row(marker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that Arrow does not take."""
    import dmarckit.ingest.read as module

    row_of = module.report_row

    def faulty(report: Any, uid: str, key: str, *rest: Any) -> dict[str, Any]:
        wrong = {"reporter": "half a character: \ud83d"} if key == marker else {}
        return row_of(report, uid, key, *rest) | wrong

    monkeypatch.setattr(module, "report_row", faulty)


@pytest.mark.parametrize("threads", [0, 2], ids=["alone", "executor"])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faulty_read, r"a fault of dmarckit.*\(ZeroDivisionError at test_ingest.py:\d+: of a tag"),
        (faulty_row, r"a fault of dmarckit.*\(UnicodeEncodeError at "),
    ],
)
def test_a_mail_that_brings_a_fault_to_light_ends_nothing_but_itself(
    tmp_path: Path,
    sample: list[GeneratedMail],
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[str, pytest.MonkeyPatch], None],
    reason: str,
    threads: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = settings_for(str(tmp_path / "home"))
    chosen = [mail for mail in sample if mail.outcome == "stored"][:7]
    fill(open_storage(settings.mail_url), chosen)
    with monkeypatch.context() as patch:
        fault(chosen[4].key, patch)
        with ThreadPoolExecutor(max(threads, 1)) as pool:
            result = ingest_mails(settings, executor=pool if threads else None)
    assert result.outcomes == {"stored": 6, "unreadable": 1}
    ((key, _outcome, said),) = result.problems
    assert key == chosen[4].key
    assert re.search(reason, said)
    assert "\x1b" not in said
    assert f"{key} cannot be read, please report it: " in caplog.text
    assert "of a tag" not in caplog.text
    assert ingest_mails(settings).outcomes == {}
    assert ingest_mails(settings, retry=["unreadable"]).outcomes == {"stored": 1}


def test_a_full_disk_is_no_fault_of_a_mail(
    tmp_path: Path, sample: list[GeneratedMail], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    settings = settings_for(str(tmp_path / "home"))
    fill(open_storage(settings.mail_url), sample[:2])
    monkeypatch.setattr("dmarckit.ingest.read.read_object", full)
    with pytest.raises(OSError, match="No space left"):
        ingest_mails(settings)
    assert Lake(settings.lake_url).mails().empty


def test_small_files_are_merged_on_the_way(tmp_path: Path, sample: list[GeneratedMail]) -> None:
    settings = settings_for(str(tmp_path / "home"), exports="none")
    merged: list[str] = []
    stored = [mail for mail in sample if mail.outcome == "stored"]
    for mail in stored[:26]:
        fill(open_storage(settings.mail_url), [mail])
        merged += ingest_mails(settings).compacted
    assert "mails" in merged
    lake = Lake(settings.lake_url)
    table = lake.location.open("mails")
    assert table is not None
    assert len(table.file_uris()) < 5
    assert len(lake.mails()) == 26


def test_progress_goes_up_to_all_mails(filled: Settings, sample: list[GeneratedMail]) -> None:
    progress: list[tuple[int, int]] = []
    ingest_mails(filled, progress=lambda done, total, _: progress.append((done, total)))
    assert progress == sorted(progress)
    assert progress[-1] == (len(sample), len(sample))


def test_a_ledger_of_many_mails_is_looked_through_once(tmp_path: Path) -> None:
    """Once for all objects, not for each: 30,000 known mails take a second of processor time."""
    listed = [StoredObject(f"{n:06}", "e", 1, day_of(n)) for n in range(30_000)]

    class Listing(FolderStorage):
        def list(self, prefix: str = "") -> Iterator[StoredObject]:
            yield from listed

    rows = [
        {"key": o.key, "etag": o.etag, "received": o.modified, "month": f"{o.modified:%Y-%m}"}
        for o in listed[:-1]
    ]
    lake = Lake(str(tmp_path / "lake"))
    lake.write.append_new("mails", pa.Table.from_pylist(rows, schema=MAILS.schema))
    started = time.process_time()
    (new,) = new_objects(Listing(tmp_path), lake)
    assert (new, new.modified) == (listed[-1], listed[-1].modified)
    assert time.process_time() - started < 8


def day_of(number: int) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=number)
