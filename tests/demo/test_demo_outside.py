"""What DNS and Google say in the demo: the real checks find the troubles, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmarckit.checks import dns
from dmarckit.checks.dns import load_outside
from dmarckit.checks.postmaster import latest_metrics
from dmarckit.core.settings import load_settings
from dmarckit.demo.company import demo_domains
from dmarckit.demo.outside import Google, fill_outside_tables
from dmarckit.lake.lake import Lake
from dmarckit.reports.model import DkimResult
from tests.support.lakes import NOW, TODAY, lake_of, report
from tests.support.model_builders import make_record

DOMAINS = [domain.name for domain in demo_domains(TODAY.date())]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Office mail of the company, of which DNS and Google are asked."""
    keys = tuple(DkimResult("example.com", key, "pass") for key in ("s2026", "pw1", "inv"))
    sources = ("192.0.2.10", "2001:db8:10::25")
    records = (make_record(address, messages=90, dkim=keys) for address in sources)
    made = lake_of(tmp_path, report(*records))
    fill_outside_tables(load_settings(home=str(tmp_path), domains=DOMAINS), NOW)
    return made


def test_dns_is_in_order_but_for_a_key_and_a_host_name(lake: Lake) -> None:
    rows = dns.dns_snapshot(lake)
    assert sorted(rows["domain"].unique()) == sorted(DOMAINS)
    assert "unknown" not in set(rows["state"])
    wrong = rows[[dns.is_problem(r, s) for r, s in zip(rows["record"], rows["state"], strict=True)]]
    assert dict(zip(wrong["name"], wrong["state"], strict=True)) == {
        "2001:db8:10::25": "missing",
        "pw1._domainkey.example.com": "weak",
        "_dmarc.shop.example": "weak",  # p=none
        "_dmarc.example.net": "weak",
    }
    assert list(rows.loc[rows["state"] == "missing", "record"]) == ["ptr"]


def test_google_has_days_up_to_the_day_before_yesterday(lake: Lake) -> None:
    rows = latest_metrics(lake, ["shop.example"])
    spam = rows[rows["metric"] == "spam_rate"]
    assert len(spam) == Google.DAYS
    assert (TODAY - spam["day"].max()).days == Google.LATE
    assert (spam["share"].tail(4) >= 0.001).all()
    states = rows[rows["metric"] == "compliance"].set_index("detail")["text"]
    assert states.pop("ONE_CLICK_UNSUBSCRIBE") == "NEEDS_WORK"
    assert set(states) == {"COMPLIANT"}


def test_asked_twice_nothing_is_kept_twice(lake: Lake, tmp_path: Path) -> None:
    before = len(lake.sql("SELECT 1 FROM postmaster UNION ALL SELECT 1 FROM dns"))
    fill_outside_tables(load_settings(home=str(tmp_path), domains=DOMAINS), NOW)
    assert len(lake.sql("SELECT 1 FROM postmaster UNION ALL SELECT 1 FROM dns")) == before
    assert not load_outside(lake, DOMAINS, NOW).empty
