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


@pytest.mark.parametrize(
    "results",
    [
        "amazonses.com (; dmarc=fail header.from=mail.example",
        'amazonses.com; spf=pass smtp.mailfrom="x; dmarc=fail header.from=mail.example',
        "amazonses.com; spf=pass; dmarc=pass header.from=mail.example (; dmarc=fail",
        "amazonses.com; spf=pass; dm",
        "amazonses.com; dmarc",
        "amazonses.com; dmarc=",
        "amazonses.com; dmarc=fail. header.from=mail.example",
        "amazonses.com; dmarc=bogus header.from=mail.example",
        "amazonses.com; dmarc=none; dmarc=bogus",
        "amazonses.com 1 2; dmarc=none",
        '"amazonses.com"; dmarc=fail',
        "; dmarc=none",
    ],
)
def test_results_that_are_unfinished_or_odd_are_a_fail(tmp_path: Path, results: str) -> None:
    for trust in ("not-fail", "pass"):
        (tmp_path / trust).mkdir()
        found, reason = outcome(tmp_path / trust, make_mail(REPORT, results=results), trust)
        assert found == "untrusted"
        assert "unfinished or odd" in str(reason)


@pytest.mark.parametrize(
    "results",
    [
        "amazonses.com; dmarc=none header.from=mail.example;",
        "amazonses.com; spf=pass (a (nested) comment) smtp.mailfrom=x@mail.example; dkim=pass",
        "amazonses.com 1; none",
        "amazonses.com; dmarc=temperror header.from=mail.example",
        "amazonses.com; dmarc=permerror (bad record; see there) header.from=mail.example",
        "mx.other.example; dmarc=fail",
        "",
    ],
)
def test_whole_results_without_a_fail_are_no_fail(tmp_path: Path, results: str) -> None:
    assert outcome(tmp_path, make_mail(REPORT, results=results), "not-fail")[0] == "stored"
