"""Statements that make the lake's tables known to Athena and Spark.

Both read a table's columns and files from its Delta log, so a statement names the place
only, and nothing has to be repeated when the tables grow.
Athena: https://docs.aws.amazon.com/athena/latest/ug/delta-lake-tables.html
Spark: https://docs.delta.io/latest/delta-batch.html#create-a-table
"""

from __future__ import annotations

from collections.abc import Sequence

from dmarckit.core import SettingsError, one_line
from dmarckit.lake.location import Location

ENGINES = ("athena", "spark")
DATABASE = "dmarckit"


def statements(engine: str, lake_url: str, tables: Sequence[str]) -> list[str]:
    """The statements, in the order in which they are run: the database, then its tables.

    Raises SettingsError for another engine, and for a lake that the engine cannot reach.
    """
    if engine not in ENGINES:
        raise SettingsError(f"--ddl {one_line(engine)}: engines are {', '.join(ENGINES)}")
    location = Location(lake_url)
    if engine == "athena":
        if not location.is_s3:
            raise SettingsError(
                f"lake {one_line(location.url)}: Athena reads S3 only; set lake to s3://bucket/…"
            )
        return [f"CREATE DATABASE IF NOT EXISTS {DATABASE}"] + [
            f"CREATE EXTERNAL TABLE IF NOT EXISTS {DATABASE}.{name}\n"
            f"LOCATION {_quoted(location.table_uri(name) + '/')}\n"
            "TBLPROPERTIES ('table_type' = 'DELTA')"
            for name in tables
        ]
    return [f"CREATE DATABASE IF NOT EXISTS {DATABASE}"] + [
        f"CREATE TABLE IF NOT EXISTS {DATABASE}.{name}\n"
        f"USING DELTA\nLOCATION {_quoted(_spark_uri(location, name))}"
        for name in tables
    ]


def _spark_uri(location: Location, name: str) -> str:
    """``s3a://`` is the name of S3 in Spark's own (Hadoop) file systems."""
    uri = location.table_uri(name)
    return f"s3a://{uri.removeprefix('s3://')}" if location.is_s3 else f"file://{uri}"


def _quoted(text: str) -> str:
    if any(c in text for c in "'\\\n\r"):
        raise SettingsError(f"lake {one_line(text)}: quotes and backslashes fit no statement")
    return f"'{text}'"
