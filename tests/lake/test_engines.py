"""The same tables in DuckDB, Polars and Dask, and statements for Athena and Spark."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlglot
from sqlglot import expressions
from typer.testing import CliRunner

from dmarckit.cli.main import app
from dmarckit.core.errors import LakeError, SettingsError
from dmarckit.lake.lake import Lake
from dmarckit.lake.location import statements
from dmarckit.lake.schema import ALL_TABLES, RECORDS, TABLES
from tests.support.lakes import lake_of, report
from tests.support.model_builders import make_failing, make_record


@pytest.fixture
def lake(home: str) -> Lake:
    return lake_of(
        home,
        report(make_record(messages=5), make_failing(messages=2)),
        report(make_record(messages=7), days_ago=40, domain="example.org"),
    )


def test_duckdb_sees_every_table(lake: Lake) -> None:
    with lake.duckdb() as connection:
        query = "SELECT domain, sum(messages)::INT FROM records GROUP BY 1 ORDER BY 1"
        assert connection.sql(query).fetchall() == [("example.com", 7), ("example.org", 7)]
        assert connection.sql("SELECT count(*) FROM findings").fetchall() == [(0,)]


def test_polars_reads_them(lake: Lake) -> None:
    import polars

    rows = lake.polars("records").group_by("domain").agg(polars.col("messages").sum())
    assert sorted(rows.collect().rows()) == [("example.com", 7), ("example.org", 7)]
    old = lake.polars("records").filter(polars.col("month") < "2026-11").collect()
    assert old["dkim"].to_list()[0][0]["domain"] == "example.com"
    assert old["begin"].dtype == polars.Datetime("us", "UTC")
    empty = lake.polars("findings").collect()
    assert empty.columns == list(TABLES["findings"].columns)
    assert empty.is_empty()


def test_dask_reads_them_file_by_file(lake: Lake) -> None:
    frame = lake.dask("records")
    assert list(frame.columns) == list(RECORDS.columns)
    assert frame.npartitions == 2
    sums = frame.groupby("domain")["messages"].sum().compute()
    assert sums.to_dict() == {"example.com": 7, "example.org": 7}
    assert sorted(frame["month"].compute()) == ["2026-10", "2026-11", "2026-11"]
    assert len(lake.dask("findings")) == 0


def test_a_table_that_there_is_not(tmp_path: Path) -> None:
    for read in (Lake(str(tmp_path)).polars, Lake(str(tmp_path)).dask):
        with pytest.raises(LakeError, match="no table 'recods'; tables are mails"):
            read("recods")


@pytest.mark.parametrize(
    ("engine", "place"), [("athena", "s3://mails/x/records/"), ("spark", "s3a://mails/x/records")]
)
def test_statements_name_the_place_of_each_table(engine: str, place: str) -> None:
    made = statements(engine, "s3://mails/x", ["records", "mails"])
    first, records, _ = (sqlglot.parse_one(s, dialect=engine) for s in made)
    assert first.sql(dialect=engine) == "CREATE DATABASE IF NOT EXISTS dmarckit"
    assert isinstance(records, expressions.Create)
    assert records.this.sql() == "dmarckit.records"
    location = records.find(expressions.LocationProperty)
    assert location is not None
    assert location.this.this == place
    assert "delta" in records.sql(dialect=engine).lower()


def test_statements_for_every_table_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path / "home"))
    said = CliRunner().invoke(app, ["schema", "--ddl", "spark"]).output
    parsed = [s for s in sqlglot.parse(said, dialect="spark") if s is not None]
    assert [type(s) for s in parsed] == [expressions.Create] * (len(ALL_TABLES) + 1)
    assert "dmarckit.messages" in said


@pytest.mark.parametrize(
    ("engine", "lake_url", "said"),
    [
        ("trino", "s3://mails/x", "engines are athena, spark, duckdb"),
        ("athena", "lake", "Athena reads S3 only"),
        ("spark", "s3://mails/it's", "fit no statement"),
        ("duckdb", "s3://mails/it's", "fit no statement"),
    ],
)
def test_what_an_engine_cannot_reach_is_refused(engine: str, lake_url: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        statements(engine, lake_url, ["records"])
    assert said in str(raised.value)
