"""lake: tables that grow by appends that happen once, read as frames."""

from __future__ import annotations

import gc
import re
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from dmarckit.core.errors import LakeError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.jobs.record import Run, record_run, runs_of_slot
from dmarckit.lake.lake import Lake
from dmarckit.lake.maintain import maintain_lake
from dmarckit.lake.repair import data_files
from dmarckit.lake.schema import MAILS, RECORDS, REPORTS, TABLES, Table
from dmarckit.lake.write import KNOWN_MONTHS
from dmarckit.slack.client import presign_warning

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def mail_rows(*keys: str, outcome: str = "stored", month: str = "2026-11") -> pa.Table:
    rows = [
        {"key": k, "etag": "e", "outcome": outcome, "received": NOVEMBER, "month": month}
        for k in keys
    ]
    return pa.Table.from_pylist(rows, schema=MAILS.schema)


def record_rows(uid: str, count: int, domain: str = "example.com", **more: Any) -> pa.Table:
    rows = [
        {
            "report_uid": uid,
            "position": i,
            "begin": NOVEMBER,
            "end": NOVEMBER,
            "domain": domain,
            "messages": i,
            "dkim": [{"domain": domain, "selector": "s", "result": "pass", "human_result": None}],
            "month": "2026-11",
            **more,
        }
        for i in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=RECORDS.schema)


@pytest.fixture
def lake(home: str) -> Lake:
    return Lake(f"{home}/lake")


def test_an_empty_lake_has_all_columns_and_no_rows(lake: Lake) -> None:
    assert list(lake.records().columns) == list(RECORDS.columns)
    assert list(lake.reports().columns) == list(REPORTS.columns)
    assert lake.mails().empty


def test_rows_come_back_as_they_were_written(lake: Lake) -> None:
    written = record_rows("a", 3)
    lake.write.append_new("records", written)
    read = lake.arrow("SELECT * FROM records ORDER BY position").select(written.column_names)
    assert read.to_pylist() == written.to_pylist()


def test_what_is_known_is_not_written_again(lake: Lake) -> None:
    assert lake.write.append_new("records", record_rows("a", 3)) == {"a"}
    both = pa.concat_tables([record_rows("a", 3), record_rows("b", 2)])
    assert lake.write.append_new("records", both) == {"b"}
    assert lake.write.append_new("records", both) == set()
    counts = lake.sql("SELECT report_uid, count(*) AS n FROM records GROUP BY 1 ORDER BY 1")
    assert counts.to_dict("records") == [{"report_uid": "a", "n": 3}, {"report_uid": "b", "n": 2}]


def test_rows_are_not_held_after_their_commit(lake: Lake) -> None:
    lake.write.append_new("records", record_rows("a", 1))
    gc.collect()
    gc.disable()
    try:
        rows = record_rows("b", 1)
        held = weakref.ref(rows)
        lake.write.append_new("records", rows)
        del rows
        assert held() is None, "a cycle of functions holds them until garbage is looked for"
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["Åse's reports", "50% (new) + 1"])
def test_a_lake_may_lie_in_a_place_of_any_name(home: str, name: str) -> None:
    for report in ("a", "b"):
        assert Lake(f"{home}/{name}").write.append_new("records", record_rows(report, 2))
    lake = Lake(f"{home}/{name}")
    assert lake.write.append_new("records", record_rows("a", 2)) == set()
    lake.write.compact(at_most=1)
    assert sorted(lake.records()["report_uid"]) == ["a", "a", "b", "b"]
    assert data_files(lake, "records", lake.location.open("records"))[1] == []


@pytest.mark.parametrize("sign", ["[", "]", "\\", "%20", "#", "?"])
def test_a_name_that_delta_takes_for_something_else_is_refused(home: str, sign: str) -> None:
    place = f"{home}/old{sign}1"
    if sign in "#?" and not home.startswith("s3://"):  # of a URL only
        assert Lake(place).write.append_new("records", record_rows("a", 1))
        return
    with pytest.raises(LakeError, match=re.escape(f"where {sign} is in the name")):
        Lake(place)


def test_a_writer_of_many_years_does_not_remember_all_of_them(lake: Lake) -> None:
    months = [f"{year}-{month:02}" for year in range(2020, 2024) for month in range(1, 13)]
    for month in months:
        assert lake.write.append_new("mails", mail_rows(month, month=month))
    assert len(lake.write._known["mails"]._units) <= KNOWN_MONTHS + 2
    assert not lake.write.append_new("mails", mail_rows(months[0], month=months[0]))


def test_another_process_sees_what_is_known(lake: Lake) -> None:
    lake.write.append_new("mails", mail_rows("k"))
    again = Lake(lake.location.url)
    assert again.write.append_new("mails", mail_rows("k", outcome="duplicate")) == set()
    assert lake.mails()["outcome"].tolist() == ["stored"]


LONG = {"long": "2026-11"}


def test_a_stream_is_written_once_and_whole(lake: Lake) -> None:
    def batches(_: str) -> Iterator[pa.RecordBatch]:
        for start in range(0, 50, 10):
            yield from record_rows("long", 50).slice(start, 10).to_batches()

    assert lake.write.append_stream("records", LONG, batches)
    assert not lake.write.append_stream("records", LONG, batches)
    assert lake.records()["position"].tolist() == list(range(50))


def test_a_stream_that_breaks_leaves_nothing(lake: Lake) -> None:
    def batches(_: str) -> Iterator[pa.RecordBatch]:
        yield from record_rows("long", 10).to_batches()
        raise RuntimeError("the disk broke")

    with pytest.raises(Exception, match="the disk broke"):
        lake.write.append_stream("records", LONG, batches)
    assert lake.records().empty


def test_eight_writers_of_the_same_rows_write_them_once(lake: Lake) -> None:
    units = [f"report-{i}" for i in range(12)]

    def write() -> None:
        mine = Lake(lake.location.url)
        for unit in units:
            mine.write.append_new("records", record_rows(unit, 2))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = lake.sql("SELECT report_uid, count(*) AS n FROM records GROUP BY 1")
    assert dict(zip(counts["report_uid"], counts["n"], strict=True)) == dict.fromkeys(units, 2)


def test_compaction_keeps_every_row_and_writers_go_on(lake: Lake) -> None:
    for i in range(6):
        lake.write.append_new("mails", mail_rows(f"k{i}"))
    assert lake.write.compact(at_most=10) == []
    assert lake.write.compact(at_most=5) == ["mails"]
    table = lake.location.open("mails")
    assert table is not None
    assert len(table.file_uris()) == 1
    assert lake.write.append_new("mails", mail_rows("k0", "k6")) == {"k6\x1fe"}
    assert sorted(lake.mails()["key"]) == [f"k{i}" for i in range(7)]


def test_forgotten_mails_are_new_again(lake: Lake) -> None:
    lake.write.append_new("mails", mail_rows("a", "it's", outcome="unreadable"))
    lake.write.forget_mails(["it's"])
    assert lake.mails()["key"].tolist() == ["a"]
    assert lake.write.append_new("mails", mail_rows("a", "it's")) == {"it's\x1fe"}


def test_records_of_some_domains_and_days(lake: Lake) -> None:
    for uid, domain, day in (("a", "example.com", 1), ("b", "example.net", 2), ("c", "x.org", 3)):
        begin = datetime(2026, 11, day, tzinfo=UTC)
        lake.write.append_new("records", record_rows(uid, 1, domain, begin=begin))
    end = datetime(2026, 11, 3, tzinfo=UTC)
    assert lake.records(end=end)["report_uid"].tolist() == ["a", "b"]
    assert lake.records("example.com")["report_uid"].tolist() == ["a"]
    assert lake.records(["example.com", "x.org"])["report_uid"].tolist() == ["a", "c"]
    assert list(lake.records(columns=["domain", "messages"]).columns) == ["domain", "messages"]


def test_aligned_is_a_plain_boolean_in_frames_and_null_in_the_table(lake: Lake) -> None:
    lake.write.append_new("records", record_rows("a", 1, dkim_aligned=None, spf_aligned=True))
    frame = lake.records()
    assert frame[["dkim_aligned", "spf_aligned"]].dtypes.astype(str).tolist() == ["bool", "bool"]
    assert frame.loc[0, ["dkim_aligned", "spf_aligned"]].tolist() == [False, True]
    assert lake.arrow("SELECT dkim_aligned FROM records").to_pylist() == [{"dkim_aligned": None}]


def test_sql_takes_parameters_and_knows_utc(lake: Lake) -> None:
    lake.write.append_new("records", record_rows("a", 3))
    frame = lake.sql(
        "SELECT sum(messages)::INT AS n, strftime(min(begin), '%H:%M') AS at FROM records "
        "WHERE domain = $domain",
        domain="example.com",
    )
    assert frame.to_dict("records") == [{"n": 3, "at": "00:00"}]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda lake: lake.sql("SELECT nope FROM records"), "nope"),
        (lambda lake: lake.records(columns=["nope"]), "no column 'nope'; it has report_uid"),
        (lambda lake: lake.records(start=datetime(2026, 11, 1)), "has no time zone"),  # noqa: DTZ001
    ],
)
def test_a_wrong_question_is_answered_in_one_line(tmp_path: Path, call: Any, said: str) -> None:
    with pytest.raises(LakeError, match=said) as caught:
        call(Lake(str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_every_column_is_described_in_the_tables_themselves(lake: Lake) -> None:
    lake.write.append_new("mails", mail_rows("a"))
    table = lake.location.open("mails")
    assert isinstance(table, DeltaTable)
    described = {f.name: f.metadata.get("comment") for f in table.schema().fields}
    assert described == MAILS.columns
    assert all(text for t in TABLES.values() for text in t.columns.values())


def test_a_description_may_change_after_a_table_was_made(lake: Lake) -> None:
    def batches(_: str) -> Iterator[pa.RecordBatch]:
        yield from record_rows("long", 5).to_batches()

    older = [field.with_metadata({"comment": "as of old"}) for field in RECORDS.schema]
    uri, options = lake.location.table_uri("records"), lake.location.options()
    DeltaTable.create(uri, pa.schema(older), partition_by=["month"], storage_options=options)
    assert lake.write.append_new("records", record_rows("a", 3)) == {"a"}
    assert lake.write.append_stream("records", LONG, batches)
    assert len(lake.records()) == 8


def narrower(table: Table, *without: str) -> Table:
    """A table as an older version had it."""
    fields = [field for field in table.schema if field.name not in without]
    return replace(table, schema=pa.schema(fields))


def test_a_lake_of_an_older_version_is_read_and_gets_the_columns_it_lacks(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = narrower(TABLES["records"], "reporter", "spf")
    with monkeypatch.context() as patch:
        patch.setitem(TABLES, "records", older)
        lake.write.append_new("records", record_rows("a", 2).select(older.schema.names))
    assert list(lake.records().columns) == list(RECORDS.columns)
    assert lake.records()["reporter"].isna().all()

    newer = datetime(2026, 12, 5, tzinfo=UTC)
    december = {"begin": newer, "end": newer, "month": "2026-12", "reporter": "R"}
    lake.write.append_new("records", record_rows("b", 3, **december))
    assert lake.write.append_stream(
        "records",
        {"c": "2026-12"},
        lambda _: iter(record_rows("c", 1, **december).to_batches()),
    )
    frame = lake.records().set_index("report_uid")
    assert list(frame.columns) == list(RECORDS.columns)[1:]
    assert frame.loc["a", "reporter"].isna().all()
    assert frame.loc[["b", "c"], "reporter"].notna().all()
    assert lake.records(end=newer)["spf"].isna().all()  # of files that all lack it

    with monkeypatch.context() as patch:  # the older version still runs on another machine
        patch.setitem(TABLES, "records", older)
        writer = Lake(lake.location.url).write
        assert writer.append_new("records", record_rows("d", 1).select(older.schema.names)) == {"d"}
    maintain_lake(load_settings(home=lake.location.url.removesuffix("/lake")), now=newer, lake=lake)
    lake.write.compact(at_most=0)
    rows = lake.sql("SELECT count(*) AS n, count(reporter) AS told FROM records")
    assert rows.to_dict("records") == [{"n": 7, "told": 4}]
    assert lake.write.append_new("records", record_rows("a", 2)) == set()


@pytest.mark.s3
def test_a_missing_bucket_is_named(bucket: str) -> None:
    with pytest.raises(LakeError, match=r"no-such-bucket/lake: the bucket does not exist"):
        Lake("s3://no-such-bucket/lake").write.append_new("mails", mail_rows("a"))


def test_credentials_that_cannot_be_had_now_are_an_error_of_the_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What gives them out may be down for a moment: then the same is tried again."""
    (tmp_path / "config").write_text("[default]\ncredential_process = /bin/false\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(LakeError, match="CredentialRetrievalError"):
        Lake("s3://example-dmarc/lake").mails()
    settings = Settings(home="s3://example-dmarc/kit")  # type: ignore[call-arg]
    assert presign_warning(settings) is None


def test_a_data_file_that_cannot_be_read_is_an_error_of_the_lake(lake: Lake) -> None:
    """Whatever asks: then it is tried again, as long as it may pass."""
    now = NOVEMBER
    record_run(lake, Run("r1", "daily", now, now, now, "ok"))
    storage = open_storage(lake.location.url)
    for item in [i for i in storage.list("runs/") if "_delta_log" not in i.key]:
        storage.delete(item.key)
    with pytest.raises(LakeError, match="runs"):
        runs_of_slot(lake, "daily", now)
    with pytest.raises(LakeError, match="runs"):
        lake.sql("SELECT * FROM runs")
