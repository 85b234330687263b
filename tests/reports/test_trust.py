"""Which mails count: the receiver's verdict and the setting `trust` (design, section 4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmarckit.core.settings import Settings, load_settings
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake.lake import Lake
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml

REPORT = gz(report_xml(make_report(make_record(messages=3))))
FORGED = "Authentication-Results: amazonses.com; dmarc=pass header.from=mail.example"


def outcome(tmp_path: Path, mail: bytes, trust: str) -> tuple[str, str | None]:
    settings = _settings(tmp_path, mail, trust)
    result = ingest_mails(settings)
    ((_, found),) = ((result.run, o) for o in result.outcomes)
    return found, result.problems[0][2] if result.problems else None


def _settings(tmp_path: Path, mail: bytes, trust: str) -> Settings:
    settings = load_settings(home=str(tmp_path / "home"), trust=trust)
    folder = Path(settings.mail_url)
    folder.mkdir(parents=True)
    (folder / "mail").write_bytes(mail)
    return settings


@pytest.mark.parametrize(
    ("dmarc", "trust", "expected"),
    [
        ("pass", "pass", "stored"),
        ("none", "pass", "untrusted"),
        ("fail", "pass", "untrusted"),
        ("pass", "not-fail", "stored"),
        ("none", "not-fail", "stored"),
        ("fail", "not-fail", "untrusted"),
        ("fail", "any", "stored"),
    ],
)
def test_what_the_receiver_found_decides(
    tmp_path: Path, dmarc: str, trust: str, expected: str
) -> None:
    assert outcome(tmp_path, make_mail(REPORT, dmarc=dmarc), trust)[0] == expected


def test_a_forged_pass_below_the_receivers_fail_does_not_count(tmp_path: Path) -> None:
    found, reason = outcome(tmp_path, make_mail(REPORT, dmarc="fail", below=FORGED), "pass")
    assert (found, reason) == ("untrusted", "dmarc=fail for mail.example")


@pytest.mark.parametrize("authserv", ["amazonses.com.evil.example", "evil.example"])
def test_results_by_somebody_else_do_not_count(tmp_path: Path, authserv: str) -> None:
    found, reason = outcome(tmp_path, make_mail(REPORT, authserv=authserv), "pass")
    assert (found, reason) == ("untrusted", "no DMARC result by amazonses.com")


def test_a_bare_file_in_a_bucket_is_nobodys_word(tmp_path: Path) -> None:
    assert outcome(tmp_path, REPORT, "pass")[0] == "untrusted"


@pytest.mark.parametrize("verdict", ["Spam", "Virus"])
def test_spam_and_viruses_are_untrusted_even_when_authentic(tmp_path: Path, verdict: str) -> None:
    mail = make_mail(REPORT).replace(
        f"X-SES-{verdict}-Verdict: PASS".encode(), f"X-SES-{verdict}-Verdict: FAIL".encode()
    )
    found, reason = outcome(tmp_path, mail, "not-fail")
    assert (found, reason) == ("untrusted", f"the {verdict.lower()} verdict is FAIL")


def test_an_untrusted_mail_is_kept_in_the_ledger_with_its_reason(tmp_path: Path) -> None:
    settings = _settings(tmp_path, make_mail(REPORT, dmarc="fail"), "pass")
    ingest_mails(settings)
    lake = Lake(settings.lake_url)
    (row,) = lake.mails().to_dict("records")
    assert (row["outcome"], row["from_domain"], row["dmarc"]) == (
        "untrusted",
        "mail.example",
        "fail",
    )
    assert lake.reports().empty
    assert lake.records().empty
