"""Postmaster Tools and DNS, asked for real and kept in the lake: what matrix and findings make."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from dmarckit.checks.dns import check_dns, load_outside
from dmarckit.checks.postmaster import pull_metrics
from dmarckit.checks.requirements import requirement_matrix
from dmarckit.core.settings import Settings
from dmarckit.findings.analysis import analyse
from dmarckit.lake.lake import Lake
from dmarckit.reports.model import SpfResult
from tests.checks.test_dns_dkim import rsa
from tests.support.dns_server import serving
from tests.support.lakes import lake_of, report
from tests.support.model_builders import make_record
from tests.support.postmaster_server import postmaster_server, service_account

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
ZONE = {
    "example.com MX": ["10 mail.example.com"],
    "example.com TXT": [
        "v=spf1 mx " + " ".join(f"a:h{n}.example.com" for n in range(11)) + " -all"
    ],
    "_dmarc.example.com TXT": ["v=DMARC1; p=none; rua=mailto:d@example.com"],
    "s1._domainkey.example.com TXT": [f"v=DKIM1; p={rsa(1024)}"],
    "mail.example.com A": ["192.0.2.1"],
} | {f"h{n}.example.com A": ["192.0.2.1"] for n in range(11)}
STATUS = {
    "ENCRYPTION": "COMPLIANT",
    "SPF": "COMPLIANT",
    "ONE_CLICK_UNSUBSCRIBE": "NEEDS_WORK",
    "DNS_RECORDS": "COMPLIANT",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with ten days of mail to Gmail, a pull and a check of yesterday."""
    folder: Path = tmp_path_factory.mktemp("outside")
    mail = make_record("192.0.2.1", 40, spf=(SpfResult("example.com", "mfrom", "pass"),))
    days = (report(mail, days_ago=ago, reporter="google.com") for ago in range(1, 11))
    lake_of(folder, *days)
    with serving(ZONE) as server, postmaster_server() as google:
        google.add("example.com")
        rows = [{"requirement": r, "status": {"status": s}} for r, s in STATUS.items()]
        google.status["example.com"] = {
            "complianceData": {"domainId": "example.com", "rowData": rows}
        }
        for ago, rate in ((2, 0.0031), (3, 0.0045), (4, 0.0002)):
            at = NOW.date() - timedelta(days=ago)
            google.says("example.com", at, "SPAM_RATE", doubleValue=rate)
        made = Settings(  # type: ignore[call-arg]
            home=str(folder),
            domains=("example.com",),
            resolvers=(server.address,),
            dns_timeout=5,
            google_credentials=service_account(google, folder),
            postmaster_url=google.url,
        )
        check_dns(made, now=NOW)
        pull_metrics(made, now=NOW)
    return made


def test_each_view_reads_what_was_stored(settings: Settings) -> None:
    seen = analyse(settings, now=NOW)
    table = requirement_matrix(seen.facts, seen.outside, ["example.com"])
    google = table[table["provider"] == "Google"].set_index("rule")
    views = google[["reports", "postmaster", "dns"]].where(google.notna(), None)
    assert {rule: tuple(row) for rule, row in zip(views.index, views.to_numpy(), strict=True)} == {
        "authentication": ("met", None, None),
        "spf": ("met", "met", "not met"),
        "dkim": ("met", None, "unknown"),
        "dmarc_record": ("met", None, "met"),
        "alignment": ("met", None, None),
        "spam_rate": (None, "not met", None),
        "ptr": (None, "met", "not met"),
        "tls": (None, "met", None),
        "dkim_key": (None, None, "met"),
        "spf_lookups": (None, None, "not met"),
        "one_click_unsubscribe": (None, "not met", None),
        "honour_unsubscribe": (None, None, None),
        "message_format": (None, None, None),
    }
    assert google.loc["spf_lookups", "dns_why"] == "example.com needs 12 lookups"
    assert google.loc["dkim_key", "dns_why"] == "the shortest has 1024 bits"
    assert "at most 0.45%" in google.loc["spam_rate", "why"]
    assert google.loc["ptr", "disagree"]


def test_findings_tell_each_cause_once(settings: Settings) -> None:
    found = [item.finding for item in analyse(settings, now=NOW).findings]
    kinds = {(f.kind, f.subject): f.severity for f in found}
    assert kinds["spam_rate", ""] == "critical"
    assert kinds["dns_record", "spf example.com"] == "critical"
    assert kinds["dns_record", "ptr 192.0.2.1"] == "warning"
    told = [f for f in found if f.kind == "requirement_not_met"]
    assert [(f.subject, f.severity) for f in told] == [("one_click_unsubscribe", "info")]
    assert told[0].summary == (
        "example.com does not meet a requirement of Google: One-click unsubscribe. Marketing "
        "mail supports one-click unsubscribe (RFC 8058). Observed: Postmaster Tools: needs work, "
        "as of 24 Nov. Applies to bulk senders only."
    )


def test_a_day_of_the_past_is_told_by_its_own_rows(settings: Settings) -> None:
    lake = Lake(settings.lake_url)
    before = load_outside(lake, ["example.com"], NOW - timedelta(days=3))
    assert before.dns.empty
    assert before.postmaster["day"].max() < pd.Timestamp("2026-11-22", tz="UTC")
    assert load_outside(lake, ["example.com"], NOW + timedelta(days=31)).empty


def test_a_subdomain_sees_what_google_says_of_its_organisation(settings: Settings) -> None:
    out = load_outside(Lake(settings.lake_url), ["a.example.com"], NOW)
    assert set(out.postmaster["domain"]) == {"example.com"}
    assert out.dns.empty
    assert load_outside(Lake(settings.lake_url), ["other.example"], NOW).empty


def test_empty_tables_are_empty_frames(tmp_path: Path) -> None:
    out = load_outside(Lake(f"{tmp_path}/lake"), [], NOW)
    assert out.empty
    assert list(out.dns["domain"]) == list(out.changes["record"]) == []
