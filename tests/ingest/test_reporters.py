"""Who may report in whose name: listed reporters, and domains that a reporter never wrote from."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dmarckit.core.settings import Settings, load_settings
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake.lake import Lake
from dmarckit.reports.model import AggregateReport
from tests.support.builders import make_mail, make_record, make_report, report_xml

REPORT = make_report(make_record(messages=3))


def claiming(reporter: str | None, *, days: int = 0) -> AggregateReport:
    """A report in this name, `days` later than the others and with an id of its own."""
    later = {name: getattr(REPORT, name) + timedelta(days) for name in ("begin", "end")}
    return replace(REPORT, reporter=reporter, report_id=f"r-{days}", **later)


def mail(report: AggregateReport, sender: str | None, dmarc: str = "pass", seen: str = "") -> bytes:
    """The mail in which `sender` brings it; `seen` is the From domain that SES found instead."""
    found = f"amazonses.com; dmarc={dmarc} header.from={seen or sender};"
    head = f"Reports <noreply@{sender}>" if sender else "undisclosed"
    return make_mail(report_xml(report), "report.xml", "text/xml", results=found, from_=head)


def ingest(home: Path, *mails: bytes, trust: str = "pass", **more: Any) -> tuple[Any, Settings]:
    """Ingest mails after those that are there; their outcomes and reasons, in order."""
    settings = load_settings(home=str(home), trust=trust, workers=1, **more)
    folder = Path(settings.mail_url)
    folder.mkdir(parents=True, exist_ok=True)
    start = len(list(folder.iterdir()))
    for n, raw in enumerate(mails, start):
        (folder / f"mail{n:03}").write_bytes(raw)
    ingest_mails(settings)
    frame = Lake(settings.lake_url).mails().sort_values("key")[start:]
    return list(zip(frame["outcome"], frame["error"], strict=True)), settings


def warnings(settings: Settings) -> list[list[str]]:
    """The warnings of each report, by begin."""
    return [list(each) for each in Lake(settings.lake_url).reports()["warnings"]]


@pytest.mark.parametrize(
    "name", ["google.com", "GOOGLE.com.", " Google.com\u200b", "mail.google.com"]
)
@pytest.mark.parametrize("trust", ["pass", "not-fail"])
def test_a_listed_name_from_elsewhere_is_untrusted(tmp_path: Path, name: str, trust: str) -> None:
    ((outcome, reason),), settings = ingest(
        tmp_path, mail(claiming(name), "evil.example"), trust=trust
    )
    assert outcome == "untrusted"
    assert reason.startswith("claims to be ")
    assert reason.endswith(", sent by evil.example")
    assert Lake(settings.lake_url).records().empty


def test_the_reason_names_both(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, mail(claiming("google.com"), "evil.example"))
    assert found == [("untrusted", "claims to be google.com, sent by evil.example")]


@pytest.mark.parametrize("sender", ["google.com", "mail.google.com"])
def test_a_listed_name_from_its_own_domain_is_stored(tmp_path: Path, sender: str) -> None:
    found, settings = ingest(tmp_path, mail(claiming("google.com"), sender))
    assert [outcome for outcome, _ in found] == ["stored"]
    assert warnings(settings) == [[]]
    assert Lake(settings.lake_url).reports()["authenticated_from"].tolist() == [sender]


@pytest.mark.parametrize("sender", ["google.com.evil.example", "evilgoogle.com", "oogle.com"])
def test_a_domain_that_looks_like_its_own_is_not(tmp_path: Path, sender: str) -> None:
    found, _ = ingest(tmp_path, mail(claiming("google.com"), sender))
    assert found[0][0] == "untrusted"


def test_what_was_authenticated_decides_not_the_from_header(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, mail(claiming("google.com"), "google.com", seen="evil.example"))
    assert found == [("untrusted", "claims to be google.com, sent by evil.example")]


def test_without_authentication_the_from_header_may_still_contradict(tmp_path: Path) -> None:
    found, settings = ingest(
        tmp_path,
        mail(claiming("google.com"), "evil.example", dmarc="none"),
        mail(claiming("google.com", days=1), "google.com", dmarc="none"),
        trust="not-fail",
    )
    assert [outcome for outcome, _ in found] == ["untrusted", "stored"]
    assert Lake(settings.lake_url).reports()["authenticated_from"].isna().all()


def test_where_anything_counts_a_contradiction_is_a_warning(tmp_path: Path) -> None:
    found, settings = ingest(
        tmp_path,
        mail(claiming("google.com"), "evil.example", dmarc="fail"),
        mail(claiming("google.com", days=1), "google.com", dmarc="fail"),
        report_xml(claiming("google.com", days=2)),
        trust="any",
    )
    assert [outcome for outcome, _ in found] == ["stored"] * 3
    assert warnings(settings) == [["claims to be google.com, sent by evil.example"], [], []]


def test_a_setting_adds_domains_of_a_listed_reporter(tmp_path: Path) -> None:
    found, settings = ingest(
        tmp_path,
        mail(claiming("google.com"), "reports.example"),
        mail(claiming("google.com", days=1), "evil.example"),
        reporters={"Google.com": ["Reports.example"]},
    )
    assert [outcome for outcome, _ in found] == ["stored", "untrusted"]
    assert warnings(settings) == [[]]


def test_a_tls_report_in_a_listed_name_is_untrusted_too(tmp_path: Path) -> None:
    body = (
        b'{"organization-name": "Google Inc.", "report-id": "t-1", "date-range": '
        b'{"start-datetime": "2026-11-01T00:00:00Z", "end-datetime": "2026-11-01T23:59:59Z"}, '
        b'"policies": []}'
    )
    results = "amazonses.com; dmarc=pass header.from=evil.example;"
    raw = make_mail(body, "t.json", "application/tlsrpt+json", results=results)
    found, _ = ingest(tmp_path, raw)
    assert found == [("untrusted", "claims to be Google Inc., sent by evil.example")]


def test_other_reporters_are_asked_about_when_they_write_from_a_new_domain(tmp_path: Path) -> None:
    first = [mail(claiming("Acme Mail", days=n), "acme.example") for n in range(2)]
    moved = [mail(claiming("ACME  mail", days=n), "new.example") for n in (2, 3)]
    below = mail(claiming("Acme Mail", days=4), "out.acme.example")
    other = mail(claiming("Bravo", days=5), "new.example")
    found, settings = ingest(tmp_path, *first, *moved, below, other)
    assert [outcome for outcome, _ in found] == ["stored"] * 6
    flagged = warnings(settings)
    assert [bool(each) for each in flagged] == [False, False, True, False, False, False]
    assert "sent by new.example" in flagged[2][0]
    assert "acme.example" in flagged[2][0]


def test_a_new_domain_is_seen_across_runs_and_settled_by_the_setting(tmp_path: Path) -> None:
    runs = [("acme.example", {}), ("new.example", {"Acme": ["new.example"]}), ("third.example", {})]
    for days, (sender, settled) in enumerate(runs):
        _, settings = ingest(tmp_path, mail(claiming("Acme", days=days), sender), reporters=settled)
    assert [bool(each) for each in warnings(settings)] == [False, False, True]


def test_without_authentication_no_domain_is_a_reporters(tmp_path: Path) -> None:
    found, settings = ingest(
        tmp_path,
        mail(claiming("Acme"), "acme.example", dmarc="none"),
        mail(claiming("Acme", days=1), "new.example"),
        trust="not-fail",
    )
    assert [outcome for outcome, _ in found] == ["stored", "stored"]
    assert warnings(settings) == [[], []]
