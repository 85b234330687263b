"""A run that ends before its time keeps what it read; a mail that ended it is found.

A mail that ends its process is read apart the next time; then it is unreadable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import pytest

from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.ingest.ingest import READING, _single, ingest_mails
from dmarckit.lake.lake import Lake
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml

DEADLY = "00"  # at the beginning of a mail's key
RUN = """
import sys
from dmarckit.core import load_settings
from dmarckit.ingest import ingest_mails
from tests.ingest.test_deadly import die_on, take_memory
{}()
print(ingest_mails(load_settings(home=sys.argv[1], workers=1)).outcomes)
"""


def die_on() -> None:
    """Let the reading of some mails end the process."""
    import dmarckit.ingest.read as module

    read = module.read_object

    def deadly(raw: bytes, name: str, *more: object) -> object:
        if name.startswith(DEADLY):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(raw, name, *more)  # type: ignore[arg-type]

    module.read_object = deadly  # type: ignore[assignment]


def take_memory() -> None:
    """Let the reading of some mails take two gigabytes."""
    import dmarckit.ingest.read as module

    read = module.read_object

    def large(raw: bytes, name: str, *more: object) -> object:
        if name.startswith(DEADLY):
            bytearray(2_000_000_000)
        return read(raw, name, *more)  # type: ignore[arg-type]

    module.read_object = large  # type: ignore[assignment]


def take_time() -> None:
    """Let the reading of some mails stay in one call for ever, where no limit is looked at."""
    import dmarckit.ingest.ingest
    import dmarckit.ingest.read as module

    dmarckit.ingest.ingest._most_seconds = lambda _: 1  # 41 would take long

    read = module.read_object

    def endless(raw: bytes, name: str, *more: object) -> object:
        while name.startswith(DEADLY):
            pass
        return read(raw, name, *more)  # type: ignore[arg-type]

    module.read_object = endless  # type: ignore[assignment]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load_settings(home=str(tmp_path / "home"), workers=1)
    mails = open_storage(made.mail_url)
    for n in range(7):
        raw = make_mail(gz(report_xml(make_report(make_record(), report_id=f"r-{n}"))))
        mails.put(f"{n}{'0' if n else DEADLY}", raw, content_type="message/rfc822")
    return made


def killed_run(settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN.format("die_on"), settings.home],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def notes(settings: Settings) -> list[str]:
    return [item.key for item in open_storage(settings.lake_url).list(f"{READING}/")]


@pytest.mark.parametrize("deed", [die_on, take_memory, take_time])
def test_what_killed_a_run_is_read_apart_and_ends_as_unreadable(
    deed: object, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_run(settings)
    assert Lake(settings.lake_url).mails().empty
    assert len(notes(settings)) == 1

    def pool() -> Executor:
        return ProcessPoolExecutor(1, initializer=deed)  # type: ignore[arg-type]

    monkeypatch.setattr("dmarckit.ingest.ingest._single", pool)
    result = ingest_mails(settings)
    assert result.outcomes == {"stored": 6, "unreadable": 1}
    ((key, outcome, reason),) = result.problems
    assert (key, outcome) == ("000", "unreadable")
    assert reason.startswith("needs more than 600 MB of memory")
    assert notes(settings) == []
    assert ingest_mails(settings).outcomes == {}


def test_a_mail_that_was_only_near_when_a_run_was_killed_is_stored(settings: Settings) -> None:
    killed_run(settings)
    assert ingest_mails(settings).outcomes == {"stored": 7}
    assert notes(settings) == []


def test_the_note_of_a_run_that_goes_on_makes_nothing_suspect(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Executor:
        raise AssertionError("read apart")

    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        note = f'{{"first": "", "last": "~", "host": "{os.uname().nodename}", "process": %d}}'
        lake = open_storage(settings.lake_url)
        lake.put(f"{READING}/x.json", (note % other.pid).encode(), content_type="text/plain")
        lake.put(f"{READING}/y.json", b"{}", content_type="text/plain")
        monkeypatch.setattr("dmarckit.ingest.ingest._single", refuse)
        assert ingest_mails(settings).outcomes == {"stored": 7}
    finally:
        other.communicate(b"\n")


def test_what_a_run_has_read_when_it_is_ended_is_committed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a schedule's timeout ends it: by an exception in the main thread, that is no error."""
    import dmarckit.ingest.read as module

    read = module.read_object

    def ended(raw: bytes, name: str, *more: object) -> object:
        if name == "40":
            raise SystemExit(143)
        return read(raw, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "CHUNK_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_object", ended)
        with pytest.raises(SystemExit):
            ingest_mails(settings)
    assert Lake(settings.lake_url).mails()["key"].tolist() == ["000", "10", "20", "30"]
    assert notes(settings) == []
    assert ingest_mails(settings).outcomes == {"stored": 3}


def test_what_was_read_is_committed_from_time_to_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    monkeypatch.setattr("dmarckit.ingest.read.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("dmarckit.ingest.commit.BATCH_SECONDS", 0.0)

    def progress(done: int, *_: object) -> None:
        commits.append(len(Lake(settings.lake_url).mails()))

    ingest_mails(settings, progress=progress)
    assert commits == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.s3
def test_good_mails_in_s3_are_read_apart_within_the_bound(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one process: threads that fetch ahead do not use the bound up."""
    made = load_settings(home=bucket, workers=1)
    for n in range(30):
        records = [make_record(f"192.0.2.{i}") for i in range(200)]
        raw = make_mail(gz(report_xml(make_report(*records, report_id=f"r-{n}"))))
        open_storage(made.mail_url).put(f"{n:03}", raw, content_type="message/rfc822")
    killed_run(made)
    processes: list[Executor] = []

    def pool() -> Executor:
        processes.append(_single())
        return processes[-1]

    monkeypatch.setattr("dmarckit.ingest.ingest._single", pool)
    assert ingest_mails(made).outcomes == {"stored": 30}
    assert len(processes) == 1
