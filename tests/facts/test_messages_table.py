"""The table `messages`: read from its files as other engines do, it has the numbers of the page."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pandas as pd
import pyarrow as pa
import pytest
import sqlglot
from typer.testing import CliRunner

import dmarckit
from dmarckit.cli.doctor import machine
from dmarckit.cli.doctor.command import CheckContext
from dmarckit.cli.main import app
from dmarckit.core.settings import Settings
from dmarckit.core.window import last_days
from dmarckit.facts import decide
from dmarckit.facts.classify import CLASSES
from dmarckit.facts.frames import in_window
from dmarckit.facts.lake import Lake
from dmarckit.facts.load import load_facts
from dmarckit.facts.messages import keep_messages
from dmarckit.facts.reporters import TWICE_PERIODS
from dmarckit.jobs.run import run_job
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake import maintain_lake, repair_tables
from dmarckit.lake.location import statements
from dmarckit.lake.rows import failing_messages, records_table, report_row, report_uid
from dmarckit.lake.schema import MESSAGES, REPORTS
from dmarckit.pages.page import open_page
from dmarckit.reports.model import AggregateReport, Reason
from tests.facts.test_lake import random_reports
from tests.support.lakes import NOW, day, lake_of, report
from tests.support.model_builders import make_failing, make_record
from tests.support.random_lakes import random_lake

END = "2026-11-23"
WINDOW = last_days(30, END)


def settings_of(home: Path, **more: Any) -> Settings:
    return Settings(home=str(home), **more)


def made(settings: Settings, now: datetime = NOW) -> pd.DataFrame:
    keep_messages(settings, now=now)
    return stored(settings)


def table_of(settings: Settings) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(f"{settings.lake_url}/messages")


def stored(settings: Settings) -> pd.DataFrame:
    """The rows as any reader of Delta tables gets them, with the messages of each row's days."""
    frame: pd.DataFrame = table_of(settings).to_pyarrow_table().to_pandas()
    return frame.assign(n=frame["messages"] * frame["share"])


def version(settings: Settings) -> int:
    return table_of(settings).version()


def sums(frame: pd.DataFrame, *keys: str) -> dict[Any, float]:
    found: dict[Any, float] = frame.groupby(list(keys))["n"].sum().to_dict()
    return {key: n for key, n in found.items() if n}


def same_as_messages(settings: Settings) -> pd.DataFrame:
    """Compare the table's last 30 days with `Lake.messages`, and their days with the facts."""
    lake, table = Lake(settings.lake_url, settings, now=NOW), made(settings)
    rows, frame = in_window(table, WINDOW), lake.messages()
    frame = frame.assign(n=frame["messages"] * frame["share"])
    for keys in (["domain", "class"], ["sender", "sender_kind"], ["reporter", "country", "host"]):
        assert sums(rows, *keys) == pytest.approx(sums(frame, *keys))
    domains = settings.domain_names or None
    found = load_facts(lake, NOW, domains=domains, settings=settings).messages
    found = in_window(found, WINDOW).rename(columns={"messages": "n"})
    found, keys = found.astype({"class": "str", "sender": "str"}), ["day", "class", "sender"]
    assert sums(rows, *keys) == pytest.approx(sums(found, *keys))
    return table


def same_as_the_page(settings: Settings) -> None:
    """Compare the table's last 30 days with the sections of the page."""
    lake, rows = Lake(settings.lake_url, settings, now=NOW), in_window(made(settings), WINDOW)
    page = open_page(30, END, settings=settings, lake=lake)
    drawn = page.classes_by_day().data.set_index("day")
    classes = drawn.columns.intersection(list(CLASSES))
    daily = drawn[classes].rename_axis(columns="class").stack().rename("n").reset_index()
    whole_numbers(sums(rows, "day", "class"), sums(daily, "day", "class"))
    senders = page.senders().data.rename(columns={"messages": "n"})
    whole_numbers(sums(rows, "sender"), sums(senders, "sender"))


def whole_numbers(exact: dict[Any, float], shown: dict[Any, float]) -> None:
    """What a page shows are the exact numbers, rounded."""
    assert {k: shown.get(k, 0) for k in exact} == pytest.approx(exact, rel=0, abs=0.501)
    assert set(shown) <= set(exact)


def odd_reports() -> list[AggregateReport]:
    """Reports of which some do not count, or count elsewhere."""
    forwarded = make_failing("198.51.100.9", 6, reasons=(Reason("forwarded", None),))
    found = [
        report(make_record(messages=5), forwarded, days_ago=n, report_id=f"d{n}")
        for n in range(1, 60)
    ]
    for n in range(1, TWICE_PERIODS + 3):
        found += [
            report(make_record(messages=9), days_ago=n, reporter="Twice", report_id=f"{n}{copy}")
            for copy in "ab"
        ]
    long = [report(make_record(messages=70), days_ago=a, days=d, report_id=f"l{a}")
            for a, d in ((3, 2.5), (20, 7), (33, 6), (40, 3), (93, 5))]  # fmt: skip
    return [*found, *long, report(make_failing("203.0.113.77", 3), domain="other.example")]


def odd_lake(home: Path) -> None:
    """Those, and a report with a rival of more messages."""
    rows = odd_reports()
    lake_of(home, *rows)
    rival = report(make_record(messages=40), days_ago=1, report_id="rival")
    row = report_row(rival, "rival", "mail/rival", failing_messages(rival.records))
    lake = Lake(f"{home}/lake")
    lake.write.append_new("records", records_table([("rival", rival)]))
    row |= {"rival_of": report_uid(rows[0])}
    lake.write.append_new("reports", pa.Table.from_pylist([row], schema=REPORTS.schema))


@pytest.mark.parametrize("seed", range(3))
def test_any_lake_has_the_numbers_of_its_messages(tmp_path: Path, seed: int) -> None:
    lake_of(tmp_path / "a", *random_reports(seed))
    same_as_messages(settings_of(tmp_path / "a"))
    random_lake(tmp_path / "b", seed)
    same_as_messages(settings_of(tmp_path / "b"))


@pytest.mark.parametrize("lake", [odd_lake, lambda home: random_lake(home, 1)])
def test_a_page_draws_the_same_numbers(tmp_path: Path, lake: Any) -> None:
    lake(tmp_path)
    same_as_the_page(settings_of(tmp_path))


@pytest.mark.parametrize("domains", [(), ("example.com",)])
def test_reports_that_do_not_count_are_not_in_it(tmp_path: Path, domains: Any) -> None:
    odd_lake(tmp_path)
    table = same_as_messages(settings_of(tmp_path, domains=domains))
    twice = table[table["reporter"].str.startswith("Twice")]
    assert len(twice) == TWICE_PERIODS + 2
    assert "rival" in set(table["report_uid"])
    assert report_uid(odd_reports()[0]) not in set(table["report_uid"])
    assert ("other.example" in set(table["domain"])) == (not domains)


def test_long_reports_have_a_row_a_day_or_a_month(tmp_path: Path) -> None:
    lake_of(
        tmp_path,
        report(make_record(messages=30), days_ago=3, days=1.5, report_id="1"),
        report(make_record(messages=80), days_ago=26, days=8, domain="slow.example"),
    )
    made(settings_of(tmp_path), NOW - timedelta(days=1))
    rows = made(settings_of(tmp_path)).sort_values(["domain", "day"])
    assert rows[["domain", "day", "n"]].values.tolist() == [
        ["example.com", day(3), pytest.approx(20)],
        ["example.com", day(2), pytest.approx(10)],
        ["slow.example", day(26), pytest.approx(30)],
        ["slow.example", day(23), pytest.approx(50)],
    ]


def test_columns_and_partitions_are_those_that_are_described(tmp_path: Path) -> None:
    odd_lake(tmp_path)
    settings = settings_of(tmp_path)
    rows = made(settings)
    table = table_of(settings)
    assert [f.name for f in table.schema().fields] == MESSAGES.schema.names
    assert {f.name: f.metadata["comment"] for f in table.schema().fields} == MESSAGES.columns
    assert table.metadata().partition_columns == ["month"]
    assert (rows["month"] == rows["day"].dt.strftime("%Y-%m")).all()
    assert rows["day"].min() == pd.Timestamp(day(90))
    assert not rows.duplicated(list(MESSAGES.key)).any()


class TestUpkeep:
    """What is done when."""

    def test_nothing_is_done_twice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = settings_of(tmp_path)
        assert keep_messages(settings, now=NOW) == ()  # no records, no table
        odd_lake(tmp_path)
        (step,) = keep_messages(settings, now=NOW)
        assert (step.what, step.months) == ("classify", ("2026-08", "2026-11"))
        assert step.rows == len(stored(settings))
        before = version(settings)
        with monkeypatch.context() as patch:
            patch.setattr("dmarckit.facts.lake.reduced", None)
            assert keep_messages(settings, now=NOW + timedelta(hours=3)) == ()
        assert version(settings) == before

    @pytest.mark.parametrize("change", ["reports", "decision", "setting", "day"])
    def test_what_changes_the_rows_makes_them_anew(self, tmp_path: Path, change: str) -> None:
        odd_lake(tmp_path)
        settings, now = settings_of(tmp_path), NOW
        lake, before = Lake(settings.lake_url, settings, now=NOW), made(settings)
        if change == "reports":
            late = report(make_record(messages=1000), days_ago=1, report_id="late")
            lake_of(tmp_path, late)
        elif change == "decision":
            decide(lake, "declared", "Mine", "example.com", now=NOW, networks=["198.51.100.0/24"])
        elif change == "setting":
            settings = settings_of(tmp_path, domains=["other.example"])
        else:
            now += timedelta(days=1)
        (step,) = keep_messages(settings, now=now)
        assert step.months == ("2026-10", "2026-11")
        assert (sums(stored(settings), "domain", "sender") != sums(before, "domain", "sender")) == (
            change != "day"
        )
        if change != "day":
            same_as_messages(settings)

    def test_older_days_stay_as_they_were(self, tmp_path: Path) -> None:
        odd_lake(tmp_path)
        settings = settings_of(tmp_path)
        before = made(settings)
        narrow = settings_of(tmp_path, domains=["other.example"])
        after = made(narrow)
        old = "2026-10"  # 31 days before the last one lie in it
        assert sums(after[after["month"] < old], "day", "class") == pytest.approx(
            sums(before[before["month"] < old], "day", "class")
        )
        assert set(after[after["month"] >= old]["domain"]) == {"other.example"}

    def test_a_pause_leaves_no_gap(self, tmp_path: Path) -> None:
        settings = settings_of(tmp_path)
        odd_lake(tmp_path)
        made(settings, NOW - timedelta(days=70))
        table = same_as_messages(settings)
        assert set(table["day"]) >= {pd.Timestamp(day(n)) for n in range(1, 60)}
        assert not table.duplicated(list(MESSAGES.key)).any()

    def test_old_months_go_as_the_records_do(self, tmp_path: Path) -> None:
        odd_lake(tmp_path)
        made(settings_of(tmp_path))
        settings = settings_of(tmp_path, keep_days={"records": 23})
        done = maintain_lake(settings, now=NOW)
        assert {"records", "messages"} <= {s.table for s in done.steps if s.what == "delete"}
        assert set(made(settings)["month"]) == {"2026-11"}
        own = settings_of(tmp_path, keep_days={"messages": 23})
        assert keep_messages(own, now=NOW)
        assert maintain_lake(own, now=NOW).steps == ()

    def test_a_dry_run_and_the_setting_write_nothing(self, tmp_path: Path) -> None:
        odd_lake(tmp_path)
        (step,) = keep_messages(settings_of(tmp_path), now=NOW, dry_run=True)
        assert step.what == "classify"
        assert keep_messages(settings_of(tmp_path, messages_table=False), now=NOW) == ()
        assert not (tmp_path / "lake/messages").exists()

    def test_an_old_lake_has_its_last_90_days(self, tmp_path: Path) -> None:
        ago = [report(days_ago=n, report_id=str(n)) for n in (500, 480, 300)]
        lake_of(tmp_path, *[replace(r, records=(make_record(messages=2),)) for r in ago])
        assert made(settings_of(tmp_path))["day"].tolist() == [day(300)]


class TestFaults:
    """Old or new, never half, never twice."""

    @pytest.mark.parametrize("before", [True, False])
    def test_a_crash_round_the_commit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
    ) -> None:
        odd_lake(tmp_path)
        settings = settings_of(tmp_path)
        old = made(settings)
        lake_of(tmp_path, report(make_record(messages=1000), days_ago=1, report_id="late"))
        write = deltalake.write_deltalake

        def crashing(*args: Any, **more: Any) -> None:
            if not before:
                write(*args, **more)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(deltalake, "write_deltalake", crashing)
            with pytest.raises(KeyboardInterrupt):
                keep_messages(settings, now=NOW)
        assert stored(settings)["n"].sum() == pytest.approx(
            old["n"].sum() + (0 if before else 1000)
        )
        assert bool(keep_messages(settings, now=NOW)) is before
        same_as_messages(settings)

    def test_a_reduction_that_fails_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        odd_lake(tmp_path)
        settings = settings_of(tmp_path)
        before = made(settings)
        lake_of(tmp_path, report(make_record(messages=1000), days_ago=1, report_id="late"))
        rows = Lake.daily_messages

        def failing(self: Lake, start: datetime) -> Any:
            yield next(rows(self, start))
            raise OSError("a data file is away")

        with monkeypatch.context() as patch:
            patch.setattr(Lake, "daily_messages", failing)
            with pytest.raises(Exception, match="a data file is away"):
                keep_messages(settings, now=NOW)
        assert sums(stored(settings), "day", "class") == sums(before, "day", "class")
        same_as_messages(settings)

    def test_two_at_once_double_nothing(self, tmp_path: Path) -> None:
        odd_lake(tmp_path)
        settings = settings_of(tmp_path)
        start = threading.Barrier(3)

        def keep() -> None:
            start.wait()
            keep_messages(settings, now=NOW)

        threads = [threading.Thread(target=keep) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        table = same_as_messages(settings)
        assert not table.duplicated(list(MESSAGES.key)).any()

    def test_a_rival_with_the_same_rows_is_left_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        odd_lake(tmp_path)
        settings = settings_of(tmp_path)
        rows = Lake.daily_messages
        seen: list[int] = []

        def late(self: Lake, start: datetime) -> Any:
            seen.append(1)
            if len(seen) == 1:  # another is faster
                keep_messages(settings, now=NOW)
            return rows(self, start)

        monkeypatch.setattr(Lake, "daily_messages", late)
        keep_messages(settings, now=NOW)
        assert len(seen) == 2
        assert version(settings) == 1
        same_as_messages(settings)

    @pytest.mark.parametrize("harm", ["file", "log"])
    def test_a_damaged_one_is_made_again(self, tmp_path: Path, harm: str) -> None:
        odd_lake(tmp_path)
        settings = settings_of(tmp_path)
        Path(settings.mail_url).mkdir()
        before = made(settings)
        folder = Path(settings.lake_url) / "messages"
        if harm == "file":
            for file in folder.rglob("*.parquet"):
                file.unlink()
        else:
            for entry in (folder / "_delta_log").iterdir():
                entry.write_text("{")
        context = CheckContext(settings, clock=lambda: NOW)
        assert machine.tables(context).status == "fail"
        lake = Lake(settings.lake_url, settings, now=NOW)
        mended = {one.table: one for one in repair_tables(settings, lake, now=NOW)}
        assert mended["messages"].rebuilt
        lake_of(tmp_path, *odd_reports())  # as the next ingest would
        assert machine.tables(context).status == "ok"
        after = made(settings)
        assert after["day"].min() == before["day"].min()


class TestCommands:
    """What people call."""

    @pytest.fixture
    def settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
        odd_lake(tmp_path)
        monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path))
        return settings_of(tmp_path)

    def test_maintain(self, settings: Settings) -> None:
        def run(*more: str) -> str:
            done = CliRunner().invoke(app, ["maintain", *more])
            assert done.exit_code == 0, done.output
            return done.output

        assert "messages: would classify anew; 2026-" in run("--dry-run")
        assert "messages: classify anew; 2026-" in run()
        assert "Nothing is to be done" in run()
        assert len(stored(settings))

    def test_a_schedule_with_maintain(self, settings: Settings) -> None:
        Path(settings.mail_url).mkdir()
        done = run_job(settings, Schedule(name="upkeep", maintain=True), now=NOW)
        assert done is not None
        assert done.warnings == ()
        assert len(stored(settings))

    def test_other_tables_are_read_as_before(self, settings: Settings) -> None:
        """In SQL `messages` stays what the records give at the moment."""
        made(settings)
        shutil.rmtree(Path(settings.lake_url) / "messages")
        (Path(settings.lake_url) / "messages").mkdir()
        lake = Lake(settings.lake_url, settings, now=NOW)
        assert lake.sql("SELECT count(*) AS n FROM messages")["n"].tolist() != [0]
        assert "month" not in lake.describe("messages")["column"].tolist()

    def test_statements_for_duckdb_run(self, settings: Settings) -> None:
        """With a `delta_scan` of Parquet in place of the extension, which is not installed."""
        made(settings)
        said = CliRunner().invoke(app, ["schema", "--ddl", "duckdb", "records", "messages"]).output
        first, second, *views = filter(None, (s.strip() for s in said.split(";")))
        assert (first, second) == ("INSTALL delta", "LOAD delta")
        with duckdb.connect() as connection:
            connection.execute(
                "CREATE MACRO delta_scan(place) AS TABLE SELECT * FROM read_parquet("
                "place || '/*/*.parquet', hive_partitioning = true, union_by_name = true)"
            )
            for statement in views:
                connection.execute(statement)
            connection.execute("SET TimeZone = 'UTC'")
            query = "SELECT sum(messages * share) FROM messages"
            assert connection.execute(query).fetchone() == (
                pytest.approx(stored(settings)["n"].sum()),
            )


def test_duckdb_gets_credentials_where_the_sdk_does() -> None:
    text = ";\n".join(statements("duckdb", "s3://mails/x", ["messages"]))
    secret = "CREATE OR REPLACE SECRET dmarckit (TYPE s3, PROVIDER credential_chain)"
    assert f"LOAD aws;\n{secret}" in text
    assert text.endswith("VIEW messages AS\nSELECT * FROM delta_scan('s3://mails/x/messages')")


def test_the_documented_query_draws_the_chart(tmp_path: Path) -> None:
    """One text for all engines: here in DuckDB, and understood as Athena's and Spark's."""
    odd_lake(tmp_path)
    settings = settings_of(tmp_path)
    rows = in_window(made(settings), WINDOW)
    text = (Path(dmarckit.__file__).parent / "docs/lake.md").read_text("utf-8")
    query = text.partition("```sql\n")[2].partition("```")[0]
    for engine in ("athena", "spark", "duckdb"):
        assert isinstance(sqlglot.parse_one(query, dialect=engine), sqlglot.expressions.Select)
    query = query.replace("dmarckit.messages", "rows").replace("current_date", "DATE '2026-11-24'")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.sql(query).df().rename(columns={"messages": "n"})
    found["day"] = found["day"].dt.tz_localize("UTC")
    assert sums(found, "day", "class") == pytest.approx(sums(rows, "day", "class"))
