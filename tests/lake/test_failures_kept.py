"""Failure reports in the lake: off by default, and redacted when on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dmarckit.core.settings import load_settings
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import redact

ARF = b"""\
From: Example Mail <noreply@mail.example>
To: ruf@example.com
Subject: FW: A private matter
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is an authentication failure report.

--b
Content-Type: message/feedback-report

Feedback-Type: auth-failure
User-Agent: Example/1.0
Version: 1
Original-Mail-From: <ann.smith@example.com>
Original-Rcpt-To: <bob@mail.example>
Arrival-Date: Mon, 02 Nov 2026 05:00:00 +0000
Source-IP: 192.0.2.7
Reported-Domain: example.com
Auth-Failure: dmarc
Authentication-Results: mail.example; dkim=fail header.i=ann.smith@example.com

--b
Content-Type: message/rfc822

From: "Ann Smith" <ann.smith@example.com>
To: bob@mail.example
Subject: A private matter
Message-ID: <private-1@example.com>

Dear Bob, this is secret.
--b--
"""
PRIVATE = ("ann", "smith", "bob", "secret", "private")


def kept(tmp_path: Path, **settings: Any) -> list[dict[Any, Any]]:
    installed = load_settings(home=str(tmp_path / "home"), **settings)
    folder = Path(installed.mail_url)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ruf").write_bytes(ARF)
    ingest_mails(installed)
    rows: list[dict[Any, Any]] = (
        Lake(installed.lake_url).sql("SELECT * FROM failures").to_dict("records")
    )
    return rows


def test_they_are_not_kept_unless_asked_for(tmp_path: Path) -> None:
    assert kept(tmp_path) == []
    (mail,) = Lake(str(tmp_path / "home/lake")).mails().to_dict("records")
    assert mail["outcome"] == "not_a_report"
    assert "failures = true" in mail["error"]


def test_once_asked_for_they_can_be_taken_again(tmp_path: Path) -> None:
    kept(tmp_path)
    settings = load_settings(home=str(tmp_path / "home"), failures=True)
    assert ingest_mails(settings, retry=["not_a_report"]).outcomes == {"stored": 1}


def test_no_local_part_subject_or_body_is_kept(tmp_path: Path) -> None:
    (row,) = kept(tmp_path, failures=True)
    text = " ".join(str(value).lower() for value in row.values())
    assert not [word for word in PRIVATE if word in text]
    assert (row["source_ip"], row["domain"], row["auth_failure"]) == (
        "192.0.2.7",
        "example.com",
        "dmarc",
    )
    assert row["original_mail_from"].endswith("@example.com>")


def test_content_is_kept_only_on_a_second_request(tmp_path: Path) -> None:
    (row,) = kept(tmp_path, failures=True, failures_content=True)
    assert row["subject"] == "A private matter"
    assert "this is secret" in row["body"]


def test_the_salt_is_for_its_owner_alone(tmp_path: Path) -> None:
    kept(tmp_path, failures=True)
    assert (tmp_path / "home/salt").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home/mail/ruf").stat().st_mode & 0o777 != 0o600


def test_equal_addresses_stay_equal_within_an_installation(tmp_path: Path) -> None:
    (row,) = kept(tmp_path / "one", failures=True)
    hashed = row["original_mail_from"].strip("<>").partition("@")[0]
    assert hashed in row["authentication_results"]
    (other,) = kept(tmp_path / "two", failures=True)
    assert other["original_mail_from"] != row["original_mail_from"]


def test_the_salt_may_be_a_setting(tmp_path: Path) -> None:
    (one,) = kept(tmp_path / "one", failures=True, salt="pepper")
    (two,) = kept(tmp_path / "two", failures=True, salt="pepper")
    assert one["original_mail_from"] == two["original_mail_from"]


@pytest.mark.parametrize(
    "text",
    ['"ann smith"@example.com', "Ann <ANN@example.com>", "x=ann@example.com;", "a+ann@[192.0.2.1]"],
)
def test_every_form_of_an_address_is_hashed(text: str) -> None:
    assert "ann@" not in redact(text, b"salt").lower()
    assert "smith" not in redact(text, b"salt")
