"""maintain: tables in order, nothing lost, nothing that is needed deleted, nothing done twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from dmarckit.cli.main import app
from dmarckit.core.errors import SettingsError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.jobs.run import run_job
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake import maintain
from dmarckit.lake.lake import Lake
from dmarckit.lake.maintain import Step
from dmarckit.lake.rows import month_of
from dmarckit.lake.schema import TABLES
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
DOMAINS = [f"brand{n:02}.example" for n in range(20)]


def rows(name: str, *content: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(content), schema=TABLES[name].schema)


def records(uid: str, when: datetime, count: int = 40) -> pa.Table:
    """Records of a report that tells of every domain in turn."""
    return rows(
        "records",
        *(
            {
                "report_uid": uid,
                "position": n,
                "begin": when,
                "end": when,
                "domain": DOMAINS[n % len(DOMAINS)],
                "messages": n,
                "month": month_of(when),
            }
            for n in range(count)
        ),
    )


def failure(uid: str, arrival: datetime) -> pa.Table:
    return rows("failures", {"report_uid": uid, "arrival": arrival, "month": month_of(arrival)})


def mail(key: str, received: datetime) -> pa.Table:
    return rows(
        "mails",
        {"key": key, "etag": "e", "received": received, "outcome": "stored"}
        | {"month": month_of(received)},
    )


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def whats(steps: tuple[Step, ...], *kinds: str) -> list[tuple[str, str]]:
    return [(s.table, s.what) for s in steps if s.what in kinds]


@pytest.fixture
def settings(home: str) -> Settings:
    return load_settings(home=home, trust="any", workers=1)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of 20 rows: what takes millions of records elsewhere takes hundreds here."""
    monkeypatch.setattr(maintain, "GROUP_ROWS", 20)


@pytest.fixture
def scattered(settings: Settings, small_groups: None) -> Lake:
    """400 records of 20 domains, in the order in which ten reports came."""
    lake = Lake(settings.lake_url)
    for n in range(10):
        lake.write.append_new("records", records(f"uid{n}", days_ago(n)))
    return lake


def groups_with(lake: Lake, domain: str) -> tuple[int, int]:
    """Row groups of `records` that may hold the domain, and all of them."""
    table = lake.location.open("records")
    assert table is not None
    groups = lake.location.row_groups(table.file_uris(), "domain")
    return sum(first <= domain <= last for first, last, _, _ in groups), len(groups)


def all_rows(lake: Lake) -> list[dict[Any, Any]]:
    return lake.arrow("SELECT * FROM records ORDER BY report_uid, position").to_pylist()


def test_a_domain_lies_in_few_places_afterwards_and_no_row_is_lost(
    settings: Settings, scattered: Lake
) -> None:
    before = all_rows(scattered)
    assert groups_with(scattered, DOMAINS[7]) == (10, 10)
    done = maintain.maintain_lake(settings, now=NOW)
    assert whats(done.steps, "order", "compact") == [("records", "order")]
    assert done.steps[0] == Step("records", "order", ("2026-11",), 10, done.steps[0].size, 400)
    found, groups = groups_with(scattered, DOMAINS[7])
    assert groups == 20
    assert found <= 2
    assert all_rows(scattered) == before
    assert maintain.maintain_lake(settings, now=NOW).steps == ()


def test_files_without_the_domain_are_not_opened(scattered: Lake) -> None:
    only_there = records("only there", NOW, count=1)  # DOMAINS[0]
    scattered.write.append_new("records", only_there)
    with scattered.session("records", domains=[DOMAINS[7]]) as connection:
        count = "SELECT count(*), count(*) FILTER (domain = $d) FROM records"
        assert connection.execute(count, {"d": DOMAINS[7]}).fetchall() == [(400, 20)]
    assert len(scattered.records(DOMAINS[0])) == 21


def test_a_dry_run_says_the_same_and_changes_nothing(settings: Settings, scattered: Lake) -> None:
    table = scattered.location.open("records")
    assert table is not None
    said = maintain.maintain_lake(settings, now=NOW, dry_run=True)
    again = scattered.location.open("records")
    assert again is not None
    assert again.version() == table.version()
    assert said.steps == maintain.maintain_lake(settings, now=NOW).steps


def test_late_reports_do_not_put_a_whole_month_in_order_again(
    settings: Settings, scattered: Lake
) -> None:
    maintain.maintain_lake(settings, now=NOW)
    scattered.write.append_new("records", records("late", days_ago(3), count=5))
    assert maintain.maintain_lake(settings, now=NOW).steps == ()


def test_small_files_of_other_tables_become_one(settings: Settings) -> None:
    lake = Lake(settings.lake_url)
    for n in range(8):
        lake.write.append_new("mails", mail(f"m{n}", days_ago(n)))
    done = maintain.maintain_lake(settings, now=NOW)
    assert [(s.what, s.files, s.rows) for s in done.steps if s.what == "compact"] == [
        ("compact", 8, 8)
    ]
    table = lake.location.open("mails")
    assert table is not None
    assert len(table.file_uris()) == 1
    assert len(lake.mails()) == 8


def test_a_reader_that_began_before_reads_to_its_end(settings: Settings, scattered: Lake) -> None:
    reader = scattered.location.open("records")
    assert reader is not None
    maintain.maintain_lake(settings, now=NOW)
    assert reader.to_pyarrow_table().num_rows == 400
    done = maintain.maintain_lake(settings, now=NOW, vacuum_days=0)  # a week later
    assert [(s.table, s.files) for s in done.steps if s.what == "vacuum"] == [("records", 10)]
    with pytest.raises((OSError, FileNotFoundError)):
        reader.to_pyarrow_table()
    assert len(all_rows(scattered)) == 400


def test_what_a_killed_writer_left_goes_after_a_week(tmp_path: Path) -> None:
    settings = load_settings(home=str(tmp_path / "home"))
    Lake(settings.lake_url).write.append_new("mails", mail("m", NOW))
    month = Path(settings.lake_url) / "mails/month=2026-11"
    for name, age in (("old", 8), ("young", 6)):
        (month / f"{name}.parquet").write_bytes(b"half")
        then = time.time() - age * 86_400
        os.utime(month / f"{name}.parquet", (then, then))
    done = maintain.maintain_lake(settings, now=NOW)
    assert [(s.what, s.files, s.size) for s in done.steps if s.what == "vacuum"] == [
        ("vacuum", 1, 4)
    ]
    assert not (month / "old.parquet").exists()
    assert (month / "young.parquet").exists()


def test_after_the_log_is_cut_a_report_is_still_stored_once(tmp_path: Path) -> None:
    settings = load_settings(home=str(tmp_path / "home"))
    lake = Lake(settings.lake_url)
    for n in range(12):
        lake.write.append_new("records", records(f"uid{n}", NOW, count=1))
    maintain.maintain_lake(settings, now=datetime.now(UTC))
    for entry in (Path(settings.lake_url) / "records/_delta_log").iterdir():
        then = time.time() - 40 * 86_400
        os.utime(entry, (then, then))
    done = maintain.maintain_lake(settings, now=datetime.now(UTC))
    assert [(s.what, s.files) for s in done.steps] == [("log", 14)]
    other = Lake(settings.lake_url)
    assert other.write.append_new("records", records("uid3", NOW, count=1)) == set()
    assert other.write.append_new("records", records("uid99", NOW, count=1)) == {"uid99"}
    assert len(all_rows(lake)) == 13


def test_what_another_did_meanwhile_is_looked_at_anew(
    settings: Settings, scattered: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    order = maintain._order

    def late(table: Any, *what: Any) -> None:
        tried.append(table.version())
        if len(tried) == 1:  # an ingest merges the same files first
            assert Lake(settings.lake_url).write.compact(at_most=1) == ["records"]
        order(table, *what)

    monkeypatch.setattr(maintain, "_order", late)
    maintain.maintain_lake(settings, now=NOW)
    assert len(tried) == 2
    assert len(all_rows(scattered)) == 400


def test_failure_reports_stay_thirty_days_and_the_rest_for_ever(settings: Settings) -> None:
    lake = Lake(settings.lake_url)
    for days in (29, 31, 200):
        lake.write.append_new("failures", failure(f"f{days}", days_ago(days)))
    lake.write.append_new("records", records("uid", days_ago(2000)))
    done = maintain.maintain_lake(settings, now=NOW)
    assert [(s.table, s.months, s.rows) for s in done.steps if s.what == "delete"] == [
        ("failures", ("2026-05",), 1),
        ("failures", ("2026-10",), 1),
    ]
    assert lake.sql("SELECT report_uid FROM failures")["report_uid"].tolist() == ["f29"]
    assert len(all_rows(lake)) == 40


def test_months_go_whole_once_all_of_a_month_is_old_enough(home: str) -> None:
    settings = load_settings(home=home, keep_days={"records": 100})
    lake = Lake(settings.lake_url)
    for days in (85, 110, 150):  # the 100 days begin on 16 August
        lake.write.append_new("records", records(f"uid{days}", days_ago(days)))
    done = maintain.maintain_lake(settings, now=NOW)
    assert [(s.months, s.rows) for s in done.steps if s.what == "delete"] == [(("2026-06",), 40)]
    assert set(lake.records()["report_uid"]) == {"uid85", "uid110"}
    assert done.warnings == ()


def test_findings_need_more_days_than_that(tmp_path: Path) -> None:
    settings = load_settings(home=str(tmp_path), keep_days={"records": 60})
    (warning,) = maintain.maintain_lake(settings, now=NOW).warnings
    assert warning.startswith("keep_days.records is 60: findings learn")


def test_the_ledger_outlives_the_mails(tmp_path: Path) -> None:
    settings = load_settings(home=str(tmp_path), keep_days={"mails": 30})
    folder = Path(settings.mail_url)
    folder.mkdir()
    lake = Lake(settings.lake_url)
    for key, days in (("gone", 200), ("there", 120)):
        lake.write.append_new("mails", mail(key, days_ago(days)))
    (folder / "there").write_bytes(b"mail")
    then = days_ago(120).timestamp()
    os.utime(folder / "there", (then, then))
    done = maintain.maintain_lake(settings, now=NOW)
    assert lake.mails()["key"].tolist() == ["there"]
    assert "Mails of 2026-07 are still in the mail storage" in done.warnings[0]
    (folder / "there").unlink()
    assert maintain.maintain_lake(settings, now=NOW).warnings == ()
    assert lake.mails().empty


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ({"mail": 30}, "no table 'mail'; tables are mails, reports"),
        ({"alerts": 30}, "alerts (30) is less than outbox (for ever)"),
        ({"alerts": 30, "outbox": 40}, "set outbox to 30 or less"),
    ],
)
def test_days_that_cannot_be_are_refused(tmp_path: Path, keep: dict[str, int], said: str) -> None:
    settings = load_settings(home=str(tmp_path), keep_days=keep)
    with pytest.raises(SettingsError) as raised:
        maintain.maintain_lake(settings, now=NOW)
    assert said in str(raised.value)


def test_a_report_that_was_too_old_to_stay_comes_again(tmp_path: Path) -> None:
    """A long-lived writer remembers it, the tables no longer do: its copy is a duplicate."""
    settings = load_settings(home=str(tmp_path), keep_days={"reports": 100})
    lake, folder = Lake(settings.lake_url), Path(settings.mail_url)
    folder.mkdir()
    begin = days_ago(300)
    report = make_report(make_record(), begin=begin, end=begin + timedelta(days=1))
    for key, sent in (("first", report), ("other", replace(report, report_id="2"))):
        (folder / key).write_bytes(make_mail(gz(report_xml(sent))))
        assert ingest_mails(settings, lake=lake).outcomes == {"stored": 1}
    maintain.maintain_lake(settings, now=NOW, lake=lake)
    (folder / "again").write_bytes(make_mail(gz(report_xml(report))))
    assert ingest_mails(settings, lake=lake).outcomes == {"duplicate": 1}
    assert lake.reports().empty


def test_the_command_says_what_it_would_do(
    settings: Settings, scattered: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", settings.home)
    run: Callable[..., Any] = CliRunner().invoke
    dry = run(app, ["maintain", "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "records: would put in order; 2026-11; 10 files, 0." in dry.output
    assert "400 rows" in dry.output
    assert "\nrecords: put in order; 2026-11" in "\n" + run(app, ["maintain"]).output
    assert "Nothing is to be done" in run(app, ["maintain"]).output


def test_a_schedule_does_it_at_its_end(settings: Settings, scattered: Lake) -> None:
    open_storage(settings.mail_url).put("about.txt", b"-", content_type="text/plain")
    upkeep = Schedule(name="upkeep", maintain=True)
    done = run_job(settings, upkeep, now=NOW)
    assert done is not None
    assert done.warnings == ()
    assert groups_with(scattered, DOMAINS[7])[0] <= 2
    wrong = settings.model_copy(update={"keep_days": {"mail": 30}})
    done = run_job(wrong, upkeep, now=NOW)
    assert done is not None
    assert done.run is not None
    assert done.run.result == "problems"
    assert "The upkeep of the tables failed: setting keep_days: no table 'mail'" in done.warnings[0]
