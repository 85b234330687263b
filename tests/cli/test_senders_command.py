"""`dmarckit senders declare|deny|list|forget`: what was decided, and what it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_analysis_command import NOW, UNALIGNED
from tests.support.command_line import run
from tests.support.frames import fill, lake, mails, records, reports


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Some days of a domain, and of a service that nobody declared."""
    record_rows, report_rows, mail_rows = lake(days=20, domains=1, reporters=2)
    fill(tmp_path, record_rows, report_rows, mail_rows)
    row = UNALIGNED | {"domain": "example.com", "header_from": "example.com", "report_uid": "u1"}
    added = {"report_uid": "u1", "reporter": "receiver1.example", "mail_key": "mail/u"}
    fill(tmp_path, records(row), reports(added), mails({"key": "mail/u"}))
    return {"home": str(tmp_path)}


def asked(settings: dict[str, Any], *arguments: str) -> Any:
    status, out, error = run("senders", *arguments, **settings)
    assert status == 0, error
    return json.loads(out) if "json" in arguments else out


def refused(settings: dict[str, Any], *arguments: str) -> str:
    status, _, error = run("senders", *arguments, **settings)
    assert status == 2
    return error


def senders(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows = asked(settings, "--now", NOW, "--format", "json")
    return {row["sender"]: row for row in rows}


def test_a_declared_sender_is_ours_until_it_is_forgotten(settings: dict[str, Any]) -> None:
    assert not senders(settings)["salesdesk.example"]["in_inventory"]
    about = ("--spf", "salesdesk.example", "--kind", "crm", "--domain", "example.com")
    assert "Salesdesk is declared at example.com" in asked(settings, "declare", "Salesdesk", *about)
    found = senders(settings)["Salesdesk"]
    assert (found["in_inventory"], found["kind"]) == (True, "crm")
    assert found["classes"] == {"unaligned_sender": 30}
    asked(settings, "forget", "Salesdesk", "--domain", "example.com")
    assert not senders(settings)["salesdesk.example"]["in_inventory"]


def test_the_newest_decision_holds_and_says_who_took_it(settings: dict[str, Any]) -> None:
    asked(settings, "declare", "salesdesk.example", "--domain", "EXAMPLE.com")
    asked(settings, "deny", "salesdesk.example", "--domain", "example.com")
    (row,) = asked(settings, "list", "--format", "json")
    assert (row["sender"], row["domain"], row["decision"]) == (
        "salesdesk.example",
        "example.com",
        "denied",
    )
    assert None not in (row["by"], row["at"])
    assert "denied" in asked(settings, "list")


def test_the_settings_win(settings: dict[str, Any]) -> None:
    both = {**settings, "senders": [{"name": "salesdesk.example", "kind": "crm"}]}
    said = asked(both, "deny", "salesdesk.example", "--domain", "example.com")
    assert "The settings say something about it too, and win" in said
    (row,) = asked(both, "list", "--format", "json")
    assert (row["decision"], row["by"]) == ("declared", "settings")


def test_a_decision_of_the_settings_at_another_domain_leaves_it(settings: dict[str, Any]) -> None:
    other = {"name": "salesdesk.example", "domain": "shop.example", "denied": True}
    both = {**settings, "senders": [other]}
    assert "win" not in asked(both, "declare", "salesdesk.example", "--domain", "example.com")
    assert len(asked(both, "list", "--format", "json")) == 2
    assert len(asked(both, "list", "--format", "json", "--domain", "shop.example")) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("declare", "Salesdesk"), "--domain example.com"),
        (("declare", "Salesdesk", "-d", "exmaple.com"), "did you mean example.com"),
        (("declare", " ", "-d", "example.com"), "1 to 200 characters"),
        (("declare", "x" * 201, "-d", "example.com"), "1 to 200 characters"),
        (("declare", "S", "-d", "example.com", "--kind", "shop"), "there are: mailbox provider"),
        (("declare", "S", "-d", "example.com", "--network", "192.0.2"), "write it as 192.0.2.0/24"),
        (("forget", "Salesdesk", "-d", "example.com"), "nothing was decided at example.com"),
    ],
)
def test_what_cannot_be_is_refused(
    settings: dict[str, Any], arguments: tuple[str, ...], says: str
) -> None:
    assert says in refused(settings, *arguments)
    assert asked(settings, "list").startswith("Nothing was decided")


def test_a_name_that_a_mail_chose_does_not_reach_the_terminal(settings: dict[str, Any]) -> None:
    asked(settings, "deny", "evil\x1b[2J.example", "--domain", "example.com")
    assert "\x1b" not in asked(settings, "list")
