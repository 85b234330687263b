"""Reports with one identity: the same again, or two that say different things."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import records_table, report_row, report_uid
from dmarckit.lake.schema import REPORTS, TABLES
from dmarckit.reports.model import AggregateReport, Policy
from dmarckit.slack.alerts import unsent_reports
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing

ONE, TWO = make_record("192.0.2.1", 3), make_record("192.0.2.2", 5)
SMALL = make_report(ONE, TWO)
LARGE = make_report(ONE, make_record("192.0.2.3", 50))
EMPTY = make_report()


def place(home: Path, *mails: bytes) -> Settings:
    """Put mails behind those that are there."""
    settings = load_settings(home=str(home), trust="pass", workers=1, exports="all")
    folder = Path(settings.mail_url)
    folder.mkdir(parents=True, exist_ok=True)
    for n, raw in enumerate(mails, len(list(folder.iterdir()))):
        (folder / f"mail{n:03}").write_bytes(raw)
    return settings


def mail(report: AggregateReport) -> bytes:
    return make_mail(gz(report_xml(report)))


def ingest(home: Path, *mails: bytes, together: bool = True) -> Lake:
    """Ingest the mails in one run, or each in its own."""
    for some in [mails] if together else [(each,) for each in mails]:
        settings = place(home, *some)
        ingest_mails(settings)
    return Lake(settings.lake_url)


def outcomes(lake: Lake) -> list[str]:
    return lake.mails().sort_values("key")["outcome"].tolist()


def messages(lake: Lake) -> int:
    return int(lake.records()["messages"].sum())


@pytest.fixture(params=[True, False], ids=["one run", "a run each"])
def together(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


SAME = {
    "packed otherwise": make_mail(report_xml(SMALL), "r.xml", "text/xml"),
    "records in another order": mail(replace(SMALL, records=(TWO, ONE))),
    "with a namespace": make_mail(gz(report_xml(SMALL, "rfc9990"))),
    "from a newer version": mail(replace(SMALL, version="1.0", generator="Reports 2")),
}


def test_what_says_the_same_is_a_duplicate(tmp_path: Path, together: bool) -> None:
    lake = ingest(tmp_path, mail(SMALL), *SAME.values(), mail(SMALL), together=together)
    first, *others, last = outcomes(lake)
    assert (first, last) == ("stored", "duplicate")
    assert dict(zip(SAME, others, strict=True)) == dict.fromkeys(SAME, "duplicate")
    assert messages(lake) == 8
    assert lake.reports()["rival_of"].isna().all()
    assert lake.mails()["error"].isna().all()


OTHER = {
    "more messages": LARGE,
    "another address": make_report(ONE, make_record("192.0.2.9", 5)),
    "another result": make_report(ONE, make_record("192.0.2.2", 5, spf_aligned=False)),
    "not said is not no": make_report(ONE, make_record("192.0.2.2", 5, spf_aligned=None)),
    "a record twice": make_report(ONE, TWO, TWO),
    "another policy": replace(SMALL, policy=Policy("example.com", p="none")),
}


@pytest.mark.parametrize("other", OTHER.values(), ids=OTHER.keys())
def test_what_says_something_else_is_kept_apart_and_the_larger_counts(
    tmp_path: Path, other: AggregateReport, together: bool
) -> None:
    lake = ingest(tmp_path, mail(SMALL), mail(other), mail(SMALL), mail(other), together=together)
    assert outcomes(lake) == ["stored", "stored", "duplicate", "duplicate"]
    reports = lake.reports().sort_values("mail_key")
    first, second = reports.to_dict("records")
    assert first["report_uid"] == second["rival_of"] == report_uid(SMALL)
    assert list(first["warnings"]) == []
    assert "another report with the same id" in second["warnings"][0]
    errors = lake.mails().sort_values("key")["error"]
    assert errors.notna().tolist() == [False, True, False, True]
    assert messages(lake) == max(8, other.message_count)
    with lake.session("records", outvoted=True) as connection:
        (stored,) = connection.execute("SELECT sum(messages)::BIGINT FROM records").fetchone() or ()
    assert stored == 8 + other.message_count


@pytest.mark.parametrize(
    "mails", [(LARGE, SMALL, EMPTY), (EMPTY, SMALL, LARGE)], ids=["largest first", "last"]
)
def test_of_three_one_counts(
    tmp_path: Path, mails: tuple[AggregateReport, ...], together: bool
) -> None:
    lake = ingest(tmp_path, *map(mail, mails), together=together)
    assert outcomes(lake) == ["stored"] * 3
    assert messages(lake) == LARGE.message_count
    assert len(lake.reports()) == 3


def test_an_empty_report_with_a_guessed_id_hides_nothing(tmp_path: Path, together: bool) -> None:
    lake = ingest(tmp_path, mail(EMPTY), mail(SMALL), mail(SMALL), together=together)
    assert outcomes(lake) == ["stored", "stored", "duplicate"]
    assert messages(lake) == 8


def test_two_in_one_mail_are_kept_apart(tmp_path: Path) -> None:
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, report in (("a.xml", SMALL), ("b.xml", LARGE), ("c.xml", SMALL)):
            archive.writestr(name, report_xml(report))
    lake = ingest(tmp_path, make_mail(packed.getvalue(), "r.zip", "application/zip"))
    assert outcomes(lake) == ["stored"]
    assert len(lake.reports()) == 2
    assert messages(lake) == LARGE.message_count


def test_each_has_files_of_its_own(tmp_path: Path, together: bool) -> None:
    lake = ingest(tmp_path, mail(SMALL), mail(LARGE), together=together)
    files = {path.name: path.read_text() for path in (tmp_path / "exports").rglob("*.json")}
    uids = {uid[:12] for uid in lake.reports()["report_uid"]}
    assert {name.split("!")[-1].removesuffix(".json") for name in files} == uids
    assert sorted(sum(r["messages"] for r in json.loads(t)["records"]) for t in files.values()) == [
        SMALL.message_count,
        LARGE.message_count,
    ]


def long(last: int) -> AggregateReport:
    """A report that goes to the lake as a stream."""
    records = [make_record(f"10.0.{n // 250}.{n % 250}", 1) for n in range(10_050)]
    return make_report(*records, make_record("192.0.2.1", last))


def test_long_reports_are_compared_too(tmp_path: Path, together: bool) -> None:
    mails = [mail(long(1)), mail(long(9)), mail(long(1)), mail(long(9))]
    lake = ingest(tmp_path, *mails, together=together)
    assert outcomes(lake) == ["stored", "stored", "duplicate", "duplicate"]
    assert messages(lake) == 10_059


def tls_mail(*policies: tuple[str, int]) -> bytes:
    """A TLS report with one id for all, about these domains with so many sessions."""
    said = [
        {
            "policy": {"policy-type": "sts", "policy-domain": domain},
            "summary": {"total-successful-session-count": n, "total-failure-session-count": 0},
        }
        for domain, n in policies
    ]
    body = {
        "organization-name": "Example Mail",
        "report-id": "t-1",
        "date-range": {
            "start-datetime": "2026-11-01T00:00:00Z",
            "end-datetime": "2026-11-01T23:59:59Z",
        },
        "contact-info": "tls@mail.example",
        "policies": said,
    }
    return make_mail(json.dumps(body).encode(), "t.json", "application/tlsrpt+json")


def test_tls_reports_with_one_id_about_two_domains_are_two(tmp_path: Path, together: bool) -> None:
    one, two = tls_mail(("example.com", 10)), tls_mail(("example.org", 7))
    lake = ingest(tmp_path, one, two, one, two, together=together)
    assert outcomes(lake) == ["stored", "stored", "duplicate", "duplicate"]
    assert lake.sql("SELECT sum(successful)::INT AS n FROM tls")["n"].tolist() == [17]


def test_tls_reports_about_one_domain_that_differ_are_not_added_up(
    tmp_path: Path, together: bool
) -> None:
    mails = [tls_mail(("example.com", n)) for n in (10, 12)]
    lake = ingest(tmp_path, *mails, together=together)
    assert outcomes(lake) == ["stored", "stored"]
    assert lake.sql("SELECT successful FROM tls")["successful"].tolist() == [12]


@pytest.mark.parametrize("first", [SMALL, EMPTY], ids=["with records", "empty"])
def test_reports_of_an_older_version_keep_their_uid_and_are_compared(
    tmp_path: Path, first: AggregateReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(place(tmp_path).lake_url)
    uid = report_uid(first)
    row = report_row(first, uid, "older", 0)
    with monkeypatch.context() as patched:
        older = [f for f in REPORTS.schema if f.name not in ("rival_of", "authenticated_from")]
        patched.setitem(TABLES, "reports", replace(REPORTS, schema=pa.schema(older)))
        lake.write.append_new("reports", pa.Table.from_pylist([row], schema=pa.schema(older)))
    lake.write.append_new("records", records_table([(uid, first)]))
    lake = ingest(tmp_path, mail(first), mail(LARGE), mail(LARGE))
    assert outcomes(lake) == ["duplicate", "stored", "duplicate"]
    assert messages(lake) == LARGE.message_count
    rows = {row["mail_key"]: row for row in lake.reports().to_dict("records")}
    assert rows["older"]["report_uid"] == rows["mail001"]["rival_of"] == uid


def test_only_the_one_that_counts_is_alerted_about(tmp_path: Path) -> None:
    failing = make_report(make_failing("192.0.2.1", 5))
    more = make_report(make_failing("192.0.2.1", 7))
    lake = ingest(tmp_path, mail(failing), mail(more))
    now = lake.mails()["received"].max().to_pydatetime()
    settings = Settings(home=str(tmp_path))
    assert [row["messages"] for row in unsent_reports(settings, lake, now)] == [7]


def tables(settings: Settings) -> dict[str, pd.DataFrame]:
    lake = Lake(settings.lake_url)
    found = {}
    for name in ("mails", "reports", "records", "tls"):
        with lake.session(name, outvoted=True) as connection:
            rows = connection.sql(f"SELECT * FROM {name} ORDER BY ALL").to_arrow_table()
        wanted = [column for column in rows.column_names if column not in ("run", "etag")]
        found[name] = rows.select(wanted).to_pandas().astype(str)
    return found


MIXED = [
    *map(mail, (EMPTY, SMALL, LARGE, SMALL, LARGE)),
    *(tls_mail(("example.com", n)) for n in (1, 2, 1)),
]


def test_a_crash_at_any_write_leaves_what_one_clean_run_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import deltalake

    class Crash(BaseException):
        """A power cut."""

    settings = place(tmp_path / "clean", *MIXED)
    mails = settings.mail_url
    ingest_mails(settings)
    clean, write = tables(settings), deltalake.write_deltalake
    for at in range(1, 20):
        home = settings.model_copy(update={"home": str(tmp_path / f"crash{at}"), "mail": mails})
        done = 0

        def crashing(*args: Any, at: int = at, **kwargs: Any) -> None:
            nonlocal done
            done += 1
            write(*args, **kwargs)
            if done == at:
                raise Crash

        with monkeypatch.context() as patched:
            patched.setattr(deltalake, "write_deltalake", crashing)
            try:
                ingest_mails(home)
            except Crash:
                pass
            else:
                break
        ingest_mails(home)
        for name, frame in tables(home).items():
            pd.testing.assert_frame_equal(frame, clean[name], obj=f"{name} after write {at}")
    assert at > 4


@pytest.mark.parametrize("first", [0, 1, 2])
def test_two_ingests_at_once_count_each_message_once(tmp_path: Path, first: int) -> None:
    settings = place(tmp_path, *MIXED)
    objects = list(open_storage(settings.mail_url).list())
    with ThreadPoolExecutor(2) as pool:
        runs = [objects, objects[first:]]
        list(pool.map(lambda some: ingest_mails(settings, objects=some), runs))
    lake = Lake(settings.lake_url)
    assert messages(lake) == LARGE.message_count
    assert len(lake.reports()) == 3
    assert len(lake.mails()) == len(MIXED)
