"""`dmarckit senders`, `findings` and `whatif`: what they print, and what they refuse."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dmarckit.cli.analysis import findings_command, moment, senders_command, whatif_command
from dmarckit.core.errors import SettingsError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.findings.whatif import parse_policy
from dmarckit.lake.lake import Lake
from tests.support.frames import FAILS, RECORD, fill, lake, mails, records, reports

NOW = "2026-11-24T09:00:00Z"
UNALIGNED = FAILS | {"source_ip": "198.51.100.77", "messages": 30, "position": 9}
UNALIGNED |= {"spf": [RECORD["spf"][0] | {"domain": "bounce.salesdesk.example"}]}
SALESDESK = {"name": "Salesdesk", "kind": "crm", "spf_domains": ["salesdesk.example"]}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
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
    return load_settings(home=str(home), senders=[SALESDESK])


@pytest.fixture
def empty(tmp_path: Path) -> Settings:
    return load_settings(home=str(tmp_path))


def printed(command: Callable[..., int], *arguments: Any, **options: Any) -> str:
    out = io.StringIO()
    assert command(*arguments, now=NOW, out=out, **options) == 0
    return out.getvalue()


def as_json(command: Callable[..., int], *arguments: Any, **options: Any) -> Any:
    return json.loads(printed(command, *arguments, format_="json", **options))


def test_findings_as_json_have_the_documented_fields(settings: Settings) -> None:
    rows = as_json(findings_command, settings)
    assert set(rows[0]) == {
        *("kind", "domain", "subject", "severity", "status", "messages", "first_day", "last_day"),
        *("reporters", "summary", "action", "evidence", "fingerprint", "muted", "mute_reason"),
    }
    (finding,) = [row for row in rows if row["kind"] == "unaligned_sender"]
    assert (finding["subject"], finding["messages"], finding["status"]) == ("Salesdesk", 60, "NEW")
    assert (finding["first_day"], finding["last_day"]) == ("2026-11-23", "2026-11-23")


def test_the_same_look_again_says_the_same(settings: Settings) -> None:
    assert as_json(findings_command, settings) == as_json(findings_command, settings)


def test_a_later_look_knows_the_earlier_one(settings: Settings) -> None:
    out = io.StringIO()
    as_json(findings_command, settings)
    findings_command(settings, format_="json", now="2026-11-24T15:00:00Z", out=out)
    statuses = {row["kind"]: row["status"] for row in json.loads(out.getvalue())}
    assert statuses["unaligned_sender"] == "SAME"


def test_a_look_at_one_domain_resolves_nothing_elsewhere(settings: Settings) -> None:
    everything = as_json(findings_command, settings)
    one = as_json(findings_command, settings, domains=["brand1.example"])
    assert {row["domain"] for row in one} <= {"brand1.example", ""}
    assert "RESOLVED" not in {row["status"] for row in one}
    assert as_json(findings_command, settings) == everything


def test_findings_for_people(settings: Settings) -> None:
    text = printed(findings_command, settings)
    assert "  example.com  unaligned_sender\n  60 messages that Salesdesk sent" in text
    assert "\n  → Owner of Salesdesk: switch on DKIM" in text


def test_no_data_is_said_in_words(empty: Settings) -> None:
    assert printed(findings_command, empty).startswith("There is no data")
    assert printed(senders_command, empty).startswith("There is no data")
    assert printed(whatif_command, empty, "example.com", "p=reject").startswith("There is no data")
    assert as_json(findings_command, empty) == []
    assert as_json(senders_command, empty) == []


def test_senders_as_json(settings: Settings) -> None:
    rows = as_json(senders_command, settings, domains=["example.com"])
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


def test_senders_are_those_of_the_days_asked_for(settings: Settings) -> None:
    week = as_json(senders_command, settings, days=7, domains=["example.com"])
    day = as_json(senders_command, settings, days=1, domains=["example.com"])
    counted = Lake(settings.lake_url).sql(
        "SELECT sum(messages)::BIGINT AS n FROM records "
        "WHERE domain = 'example.com' AND begin >= TIMESTAMPTZ '2026-11-17 00:00:00+00'"
    )
    assert sum(row["messages"] for row in week) == counted["n"].item()
    assert sum(row["messages"] for row in day) < counted["n"].item()
    assert [row["messages"] for row in week] == sorted((r["messages"] for r in week), reverse=True)


def test_senders_for_people(settings: Settings) -> None:
    text = printed(senders_command, settings)
    assert "Salesdesk" in text
    assert "unaligned_sender 60" in text


def test_what_a_policy_would_stop(settings: Settings) -> None:
    result = as_json(whatif_command, settings, "example.com", "v=DMARC1; p=reject; rua=mailto:x")
    assert result["policy"] == {"p": "reject"}
    assert result["legitimate"] == 60
    assert result["rejected"] == result["legitimate"] + result["indirect"] + result["unwanted"]
    assert result["senders"][0]["sender"] == "Salesdesk"
    text = printed(whatif_command, settings, "example.com", "p=reject")
    assert "60 that may be legitimate" in text
    assert printed(whatif_command, settings, "example.com", "p=none").count("\n") == 1


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ("p=block", "p is none or quarantine or reject"),
        ("sp=none", "it needs p="),
        ("reject", "reject is not tag=value"),
        ("p=none; adkim=strict", "adkim is r or s"),
    ],
)
def test_policies_that_are_none(policy: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        parse_policy("example.com", policy)


@pytest.mark.parametrize(
    "options", [{"format_": "xml"}, {"days": 0}, {"now": "yesterday"}], ids=lambda o: next(iter(o))
)
def test_wrong_options_are_one_line(options: dict[str, Any], empty: Settings) -> None:
    for command in (findings_command, senders_command):
        with pytest.raises(SettingsError, match="--"):
            command(empty, **options)


def test_times_are_utc_unless_they_say_otherwise() -> None:
    nine = datetime(2026, 11, 24, 9, tzinfo=UTC)
    texts = ("2026-11-24T09:00:00Z", "2026-11-24 09:00", "2026-11-24T18:00+09:00")
    assert [moment(text) for text in texts] == [nine] * 3
    assert moment("2026-11-24") == datetime(2026, 11, 24, tzinfo=UTC)


def test_names_from_outside_do_not_steer_the_terminal(tmp_path: Path) -> None:
    evil = UNALIGNED | {"header_from": "a\x1b[2J.example.com", "messages": 500}
    fill(tmp_path, records(evil), reports({"messages": 500}), mails({}))
    home = load_settings(home=str(tmp_path), senders=[SALESDESK])
    for command in (findings_command, senders_command):
        assert "\x1b" not in printed(command, home)
