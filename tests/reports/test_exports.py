"""Reports as JSON and CSV, from a parsed report and from the lake alike."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from dmarckit.lake.rows import report_from_lake
from dmarckit.reports.export import (
    CSV_COLUMNS,
    export_key,
    export_name,
    json_text,
    report_csv,
    report_json,
    report_text,
    unreadable_json,
)
from dmarckit.reports.model import (
    AggregateReport,
    DkimResult,
    FailureReport,
    Policy,
    Reason,
    Records,
    SpfResult,
    TlsFailure,
    TlsPolicy,
    TlsReport,
    Unreadable,
)
from tests.reports.test_read_property import reports
from tests.support.frames import RECORD, REPORT
from tests.support.model_builders import DAY, make_failing, make_record, make_report


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


# --- JSON


@given(reports())
@settings(deadline=None)
def test_the_text_of_a_report_is_its_json(report: AggregateReport) -> None:
    for told in (report, replace(report, records=Records.of(report.records))):
        assert report_text(told, "a.eml") == json_text(report_json(told, "a.eml"))


def test_words_that_look_like_its_records_stay_where_they_are() -> None:
    report = make_report(make_record(messages=3), reporter='"records": []')
    assert json.loads(report_text(report, '"records": []')) == report_json(report, '"records": []')


def test_blocks_of_another_report_are_not_taken_for_its_own() -> None:
    for number in range(50):  # objects take the place of those that are gone
        report = make_report(make_record(header_from=f"{number}.example"), make_failing())
        assert report_text(report, "f") == json_text(report_json(report, "f"))


def test_an_aggregate_report_as_json() -> None:
    record = make_record(
        messages=3,
        reasons=(Reason("forwarded", "list"),),
        dkim_aligned=None,
        dkim=(DkimResult("example.com", "s1", "pass", "ok"),),
        spf_aligned=False,
    )
    report = make_report(record, warnings=("count: found '3 ', took 3",))
    assert report_json(report, "a.eml") == {
        "kind": "aggregate",
        "file": "a.eml",
        "reporter": "Example Mail",
        "report_id": "r-1",
        "domain": "example.com",
        "begin": "2026-11-01T00:00:00Z",
        "end": "2026-11-02T00:00:00Z",
        "policy": {
            "domain": "example.com",
            "p": "reject",
            "sp": None,
            "np": None,
            "pct": None,
            "testing": None,
            "adkim": None,
            "aspf": None,
            "fo": None,
            "discovery_method": None,
        },
        "records": [
            {
                "source_ip": "192.0.2.1",
                "messages": 3,
                "disposition": "none",
                "dkim_aligned": None,
                "spf_aligned": False,
                "header_from": "example.com",
                "envelope_from": "example.com",
                "envelope_to": None,
                "reasons": [{"type": "forwarded", "comment": "list"}],
                "dkim": [
                    {
                        "domain": "example.com",
                        "selector": "s1",
                        "result": "pass",
                        "human_result": "ok",
                    }
                ],
                "spf": [
                    {
                        "domain": "example.com",
                        "scope": "mfrom",
                        "result": "fail",
                        "human_result": None,
                    }
                ],
            }
        ],
        "warnings": ["count: found '3 ', took 3"],
        "contact": "dmarc@mail.example",
        "extra_contact": None,
        "generator": None,
        "version": None,
        "errors": [],
        "messages": 3,
    }


def test_times_are_utc_whatever_zone_they_come_in() -> None:
    tokyo = datetime(2026, 11, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    assert report_json(make_report(begin=tokyo), "f")["begin"] == "2026-11-01T00:00:00Z"


def test_a_tls_report_as_json() -> None:
    detail = TlsFailure("certificate-expired", 2, receiving_ip="192.0.2.9")
    policy = TlsPolicy(
        "sts", "example.com", ("version: STSv1",), ("mx.example.com",), 98, 2, (detail,)
    )
    report = TlsReport("Example Mail", None, "t-1", DAY, DAY + timedelta(days=1), (policy,))
    found = report_json(report, "t.json.gz")
    assert list(found)[:2] == ["kind", "file"]
    assert {
        name: found[name] for name in ("kind", "reporter", "report_id", "begin", "warnings")
    } == {
        "kind": "tls",
        "reporter": "Example Mail",
        "report_id": "t-1",
        "begin": "2026-11-01T00:00:00Z",
        "warnings": [],
    }
    assert found["policies"][0]["successful"] == 98
    assert found["policies"][0]["details"][0]["result_type"] == "certificate-expired"
    assert json.loads(json_text(found)) == found


def test_a_failure_report_as_json() -> None:
    absent: dict[str, Any] = dict.fromkeys(FailureReport.__slots__)
    stated = {"feedback_type": "auth-failure", "source_ip": "192.0.2.1", "domain": "example.com"}
    report = FailureReport(**{**absent, **stated, "warnings": ()})
    found = report_json(report, "f.eml")
    assert list(found)[:5] == ["kind", "file", "source_ip", "domain", "arrival"]
    assert (found["kind"], found["source_ip"], found["arrival"]) == ("failure", "192.0.2.1", None)


@pytest.mark.parametrize(("is_report", "outcome"), [(True, "unreadable"), (False, "not_a_report")])
def test_what_cannot_be_read_as_json(is_report: bool, outcome: str) -> None:
    assert unreadable_json(Unreadable("a.xml", "no feedback element", is_report), "a.zip") == {
        "kind": "error",
        "file": "a.zip",
        "error": "no feedback element",
        "outcome": outcome,
        "document": "a.xml",
    }


def test_json_is_one_line_of_ascii_without_terminal_escapes() -> None:
    text = json_text(report_json(make_report(reporter="株式会社\x1b[31m\u202e\n"), "f"))
    assert text.isascii()
    assert text.isprintable()


# --- CSV


def test_the_csv_has_one_row_a_source_address_counted_in_messages() -> None:
    report = make_report(
        make_record("192.0.2.1", 3),
        make_failing("198.51.100.7", 1),
        make_failing("192.0.2.1", 1),
    )
    first, second = rows_of(report_csv(report))
    assert first == {
        "email_provider": "Example Mail",
        "domain_policy": "reject",
        "source_ip": "192.0.2.1",
        "email_volume": "4",
        "dmarc_pass": "3",
        "dmarc_fail": "1",
        "dmarc_pass_rate": "0.75",
        "spf_authentication_pass": "3",
        "spf_authentication_fail": "1",
        "spf_alignment_pass": "3",
        "spf_alignment_fail": "1",
        "dkim_authentication_pass": "3",
        "dkim_authentication_fail": "1",
        "dkim_alignment_pass": "3",
        "dkim_alignment_fail": "1",
    }
    assert (second["source_ip"], second["dmarc_pass_rate"]) == ("198.51.100.7", "0")


def test_authentication_is_the_raw_result_and_alignment_the_evaluated_one() -> None:
    foreign = make_report(
        make_record(
            messages=10,
            dkim=(DkimResult("x.example", "a", "fail"), DkimResult("y.example", "b", "pass")),
            dkim_aligned=False,
            spf=(SpfResult("bounce.example", "mfrom", "pass"),),
            spf_aligned=None,
        )
    )
    row = rows_of(report_csv(foreign))[0]
    assert (row["dkim_authentication_pass"], row["dkim_alignment_pass"]) == ("10", "0")
    assert (row["spf_authentication_pass"], row["spf_alignment_fail"]) == ("10", "10")
    assert row["dmarc_fail"] == "10"


def test_no_messages_have_no_rate() -> None:
    assert rows_of(report_csv(make_report(make_record(messages=0))))[0]["dmarc_pass_rate"] == ""


def test_a_report_without_records_is_a_header_line() -> None:
    assert report_csv(make_report()) == ",".join(CSV_COLUMNS) + "\r\n"


@pytest.mark.parametrize(
    "formula",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "＝1+1",
        '=HYPERLINK("x";"y")',
        "\u200b=1",
    ],
)
def test_a_spreadsheet_runs_no_cell(formula: str) -> None:
    text = report_csv(make_report(make_record(source_ip=formula), reporter=formula))
    row = rows_of(text)[0]
    for cell in (row["email_provider"], row["source_ip"]):
        assert cell.lstrip()[0] not in "=+-@＝\t\r\n"
        assert cell.isprintable()
        assert "1" in cell or "x" in cell


def test_a_semicolon_list_separator_opens_no_formula_either() -> None:
    assert '"x;=1+1"' in report_csv(make_report(make_record(), reporter="x;=1+1"))


def test_awkward_names_survive_quoting() -> None:
    names = ['Say "hi", Ltd', "株式会社メール", "a;b", "O'Brien"]
    assert [
        rows_of(report_csv(make_report(make_record(), reporter=name)))[0]["email_provider"]
        for name in names
    ] == names


# --- names


def test_an_export_lies_under_the_month_its_report_begins_in() -> None:
    key = export_key("example.net", "example.com", DAY, DAY + timedelta(days=1), "ab" * 16, "csv")
    assert key == "202611/example.net!example.com!1793491200!1793577600!abababababab.csv"


@pytest.mark.parametrize(
    "hostile",
    ["../../etc/passwd", "..", ".", "", None, "a/b\\c", "a\x00b\nc", "\u202egpj.exe", "é" * 500,
     "x" * 5000, "CON", "a!b!c", "%2e%2e%2f", "株式会社", "a b&c=d?e#f", "-rf"],
)  # fmt: skip
def test_names_are_safe_for_files_urls_and_keys(hostile: str | None) -> None:
    name = export_name(hostile, hostile, DAY, DAY, "0123456789abcdef")
    assert re.fullmatch(r"[\w.-]+![\w.-]+!\d+!\d+!0123456789ab", name, re.ASCII)
    assert name.isascii()
    assert len(name) < 180
    assert ".." not in name
    assert not name.startswith((".", "-"))


def test_reports_that_differ_in_nothing_visible_have_names_of_their_own() -> None:
    names = {export_name("株", "x", DAY, DAY, uid * 16) for uid in ("a1", "b2")}
    assert len(names) == 2


# --- from the lake


def test_a_report_comes_back_from_the_lake_as_it_was() -> None:
    row = {
        "report_uid": "r1",
        "reporter": "Example Mail",
        "contact": "dmarc@mail.example",
        "report_id": "r-1",
        "begin": pd.Timestamp(DAY),
        "end": pd.Timestamp(DAY + timedelta(days=1)),
        "domain": "example.com",
        "p": "reject",
        "sp": None,
        "pct": np.nan,
        "generator": pd.NA,
        "version": float("nan"),
        "warnings": np.array([], dtype=object),
        "errors": None,
        "records": np.int64(2),
        "messages": np.int64(5),
    }
    dkim = {"domain": "example.com", "selector": "s1", "result": "pass", "human_result": None}
    spf = {"domain": "example.com", "scope": "mfrom", "result": "pass", "human_result": np.nan}
    common = {
        "report_uid": "r1",
        "disposition": "none",
        "header_from": "example.com",
        "envelope_from": "example.com",
        "envelope_to": np.nan,
        "dkim_aligned": np.bool_(True),
        "reasons": np.array([], dtype=object),
        "spf": [spf],
    }
    records = pd.DataFrame(
        [
            {**common, "position": 1, "source_ip": "192.0.2.2", "messages": 4,
             "spf_aligned": pd.NA, "dkim": None},
            {**common, "position": 0, "source_ip": "192.0.2.1", "messages": 1,
             "spf_aligned": True, "dkim": np.array([dkim], dtype=object)},
            {**common, "report_uid": "other", "position": 0, "source_ip": "192.0.2.9",
             "messages": 9, "spf_aligned": True, "dkim": []},
        ]
    )  # fmt: skip
    spf_pass = (SpfResult("example.com", "mfrom", "pass"),)
    assert report_from_lake(row, records) == make_report(
        make_record("192.0.2.1", 1),
        make_record("192.0.2.2", 4, dkim=(), spf=spf_pass, spf_aligned=None),
        policy=Policy("example.com", p="reject"),
    )


def test_a_row_of_the_lakes_own_frames_can_be_exported() -> None:
    report = report_from_lake(pd.DataFrame([REPORT]).iloc[0], pd.DataFrame([RECORD]))
    assert report.begin.tzinfo is UTC or report.begin.utcoffset() == timedelta(0)
    assert rows_of(report_csv(report))[0]["email_volume"] == str(RECORD["messages"])
    assert json.loads(json_text(report_json(report, "k")))["reporter"] == REPORT["reporter"]


def test_reading_from_the_lake_changes_no_frame() -> None:
    frame = pd.DataFrame([RECORD, {**RECORD, "position": 1}]).iloc[::-1]
    before = frame.copy(deep=True)
    report_from_lake(REPORT, frame)
    pd.testing.assert_frame_equal(frame, before)
