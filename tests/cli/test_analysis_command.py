"""`dmarckit senders`, `findings` and `whatif`: what they print, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dmarckit.cli.options import parse_time
from dmarckit.core.errors import SettingsError
from dmarckit.findings.dmarc_policy import parse_policy
from dmarckit.lake.lake import Lake
from tests.support.command_line import run
from tests.support.frames import FAILS, RECORD, fill, lake, mails, records, reports

NOW = "2026-11-24T09:00:00Z"
UNALIGNED = FAILS | {"source_ip": "198.51.100.77", "messages": 30, "position": 9}
UNALIGNED |= {"spf": [RECORD["spf"][0] | {"domain": "bounce.salesdesk.example"}]}
SALESDESK = {"name": "Salesdesk", "kind": "crm", "spf_domains": ["salesdesk.example"]}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Forty days of two domains, and a service that is not aligned with the first."""
    home = tmp_path_factory.mktemp("analysis")
    record_rows, report_rows, mail_rows = lake(days=40, domains=2, reporters=3)
    fill(home, record_rows, report_rows, mail_rows)
    first = {"domain": "example.com", "header_from": "example.com"}
    unaligned = [
        UNALIGNED | first | {"report_uid": f"u{i}", "reporter": f"receiver{i}.example"}
        for i in (1, 2)
    ]
    added = [
        {"report_uid": row["report_uid"], "reporter": row["reporter"], "mail_key": "mail/u"}
        for row in unaligned
    ]
    fill(home, records(*unaligned), reports(*added), mails({"key": "mail/u"}))
    return {"home": str(home), "senders": [SALESDESK]}


@pytest.fixture
def empty(tmp_path: Path) -> dict[str, Any]:
    return {"home": str(tmp_path)}


def printed(settings: dict[str, Any], *arguments: object, now: str = NOW) -> str:
    status, out, _ = run(*arguments, "--now", now, **settings)
    assert status in (0, 1)
    return out


def as_json(settings: dict[str, Any], *arguments: object, now: str = NOW) -> Any:
    return json.loads(printed(settings, *arguments, "--format", "json", now=now))


def test_findings_as_json_have_the_documented_fields(settings: dict[str, Any]) -> None:
    rows = as_json(settings, "findings")
    assert set(rows[0]) == {
        *("kind", "domain", "subject", "severity", "status", "messages", "first_day", "last_day"),
        *("since", "reporters", "lost", "cause", "title", "summary", "action", "record"),
        *("evidence", "fingerprint", "muted", "mute_reason"),
    }
    (finding,) = [row for row in rows if row["kind"] == "unaligned_sender"]
    assert (finding["subject"], finding["messages"], finding["status"]) == ("Salesdesk", 60, "NEW")
    assert (finding["first_day"], finding["last_day"]) == ("2026-11-23", "2026-11-23")


def statuses(settings: dict[str, Any], *arguments: str, now: str = NOW) -> dict[str, str]:
    return {
        row["kind"]: row["status"] for row in as_json(settings, "findings", *arguments, now=now)
    }


def test_a_look_changes_nothing_so_that_the_next_one_says_the_same(
    settings: dict[str, Any],
) -> None:
    assert statuses(settings)["unaligned_sender"] == "NEW"
    assert statuses(settings, now="2026-11-24T15:00:00Z")["unaligned_sender"] == "NEW"


def test_a_look_that_is_recorded_is_what_later_ones_are_compared_with(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    home = shutil.copytree(settings["home"], tmp_path / "home")
    here = settings | {"home": str(home)}
    statuses(here, "--record")
    assert statuses(here, now="2026-11-24T15:00:00Z")["unaligned_sender"] == "SAME"
    assert statuses(here)["unaligned_sender"] == "NEW", "at its own moment it is new"


def test_the_status_says_whether_somebody_should_look(
    settings: dict[str, Any], empty: dict[str, Any]
) -> None:
    rows = as_json(settings, "findings")
    assert {row["severity"] for row in rows} & {"warning", "critical"}
    mute = [
        {"fingerprint": row["fingerprint"], "reason": "known", "until": "2027-01-01"}
        for row in rows
    ]
    asked = ("findings", "--now", NOW)
    assert run(*asked, **settings).status == 1
    assert run(*asked, "--format", "csv", **settings).status == 1
    assert run(*asked, **settings, mute=mute).status == 0
    assert run("findings", **empty).status == 0


@pytest.mark.parametrize("command", ["findings", "senders"])
def test_rows_as_csv_are_those_of_json(settings: dict[str, Any], command: str) -> None:
    rows = as_json(settings, command)
    read = list(csv.DictReader(io.StringIO(printed(settings, command, "--format", "csv"))))
    assert [list(row) for row in read] == [list(row) for row in rows]
    assert [int(row["messages"]) for row in read] == [row["messages"] for row in rows]
    name = "evidence" if command == "findings" else "classes"
    assert [json.loads(row[name]) for row in read] == [row[name] for row in rows]


def test_a_look_at_one_domain_resolves_nothing_elsewhere(settings: dict[str, Any]) -> None:
    everything = as_json(settings, "findings")
    one = as_json(settings, "findings", "--domain", "brand1.example")
    assert {row["domain"] for row in one} <= {"brand1.example", ""}
    assert "RESOLVED" not in {row["status"] for row in one}
    assert as_json(settings, "findings") == everything


def test_findings_for_people(settings: dict[str, Any]) -> None:
    text = printed(settings, "findings")
    assert "  example.com  unaligned_sender\n  60 messages that Salesdesk sent" in text
    assert "\n  → Salesdesk admin: enable DKIM" in text


def test_no_data_is_said_in_words(empty: dict[str, Any]) -> None:
    assert printed(empty, "findings").startswith("There is no data")
    assert printed(empty, "senders").startswith("There is no data")
    assert printed(empty, "whatif", "example.com", "p=reject").startswith("There is no data")
    assert as_json(empty, "findings") == []
    assert as_json(empty, "senders") == []


def test_senders_as_json(settings: dict[str, Any]) -> None:
    rows = as_json(settings, "senders", "--domain", "example.com")
    (row,) = [row for row in rows if row["sender"] == "Salesdesk"]
    assert row == {
        "domain": "example.com",
        "sender": "Salesdesk",
        "kind": "crm",
        "in_inventory": True,
        "messages": 60,
        "aligned_messages": 0,
        "ips": 1,
        "classes": {"unaligned_sender": 60},
        "first_day": "2026-11-23",
        "last_day": "2026-11-23",
    }


def test_senders_are_those_of_the_days_asked_for(settings: dict[str, Any]) -> None:
    week = as_json(settings, "senders", "--days", 7, "--domain", "example.com")
    day = as_json(settings, "senders", "--days", 1, "--domain", "example.com")
    counted = Lake(f"{settings['home']}/lake").sql(
        "SELECT sum(messages)::BIGINT AS n FROM records "
        "WHERE domain = 'example.com' AND begin >= TIMESTAMPTZ '2026-11-17 00:00:00+00'"
    )
    assert sum(row["messages"] for row in week) == counted["n"].item()
    assert sum(row["messages"] for row in day) < counted["n"].item()
    assert [row["messages"] for row in week] == sorted((r["messages"] for r in week), reverse=True)


def test_senders_for_people(settings: dict[str, Any]) -> None:
    text = printed(settings, "senders")
    assert "Salesdesk" in text
    assert "unaligned_sender 60" in text


def test_what_a_policy_would_stop(settings: dict[str, Any]) -> None:
    result = as_json(settings, "whatif", "example.com", "v=DMARC1; p=reject; rua=mailto:x")
    assert result["policy"] == {"p": "reject"}
    assert result["legitimate"] == 60
    assert result["rejected"] == result["legitimate"] + result["indirect"] + result["unwanted"]
    assert result["senders"][0]["sender"] == "Salesdesk"
    tested = as_json(settings, "whatif", "example.com", "p=reject; np=none; t=y; pct=0")
    assert tested["policy"] == {"p": "reject", "np": "none", "t": "y", "pct": 0}
    assert tested["rejected"] == tested["quarantined"] == 0
    text = printed(settings, "whatif", "example.com", "p=reject")
    assert "60 that may be legitimate" in text
    assert printed(settings, "whatif", "example.com", "p=none").count("\n") == 1


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ("p=block", "p is none or quarantine or reject"),
        ("sp=none", "it needs p="),
        ("reject", "reject is not tag=value"),
        ("p=none; adkim=strict", "adkim is r or s"),
        ("p=none; t=maybe", "t is y or n"),
        ("p=none; pct=half", "pct is a whole number from 0 to 100"),
        ("p=none; pct=101", "pct is a whole number from 0 to 100"),
    ],
)
def test_policies_that_are_none(policy: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        parse_policy("example.com", policy)


@pytest.mark.parametrize("command", ["findings", "senders"])
@pytest.mark.parametrize("option", [("--format", "xml"), ("--days", "0"), ("--now", "yesterday")])
def test_wrong_options_are_one_line(
    command: str, option: tuple[str, str], empty: dict[str, Any]
) -> None:
    status, out, err = run(command, *option, **empty)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"dmarckit: {' '.join(option)}: ")


def test_times_are_utc_unless_they_say_otherwise() -> None:
    nine = datetime(2026, 11, 24, 9, tzinfo=UTC)
    texts = ("2026-11-24T09:00:00Z", "2026-11-24 09:00", "2026-11-24T18:00+09:00")
    assert [parse_time(text, "--now") for text in texts] == [nine] * 3
    assert parse_time("2026-11-24", "--now") == datetime(2026, 11, 24, tzinfo=UTC)


def test_names_from_outside_do_not_steer_the_terminal(tmp_path: Path) -> None:
    evil = UNALIGNED | {"header_from": "a\x1b[2J.example.com", "messages": 500}
    fill(tmp_path, records(evil), reports({"messages": 500}), mails({}))
    for command in ("findings", "senders"):
        text = printed({"home": str(tmp_path), "senders": [SALESDESK]}, command)
        assert "Salesdesk" in text
        assert "\x1b" not in text
