"""One sender or address followed down to the single records, and what its page says."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dmarckit.core.settings import Settings
from dmarckit.core.window import last_days
from dmarckit.facts.trace import Trace, trace_sender
from dmarckit.findings.analysis import read_facts
from dmarckit.lake.lake import Lake
from dmarckit.pages.page import Page, open_page
from dmarckit.reports.model import AggregateReport, DkimResult, Reason, SpfResult
from tests.support.lakes import NOW, lake_of, report
from tests.support.model_builders import make_failing, make_record
from tests.support.pages import markup, page_about, text

WINDOW = last_days(7, "2026-11-23")
OTHER = (SpfResult("bounces.mailer.example", "mfrom", "pass"),)


def mailer(ip: str = "198.51.100.7", messages: int = 10, **other: Any) -> Any:
    """A record of the service mailer.example, which nothing aligns."""
    return make_failing(source_ip=ip, messages=messages, spf=OTHER, **other)


def traced(lake: Lake, sender: str = "", now: datetime = NOW) -> Trace:
    return trace_sender(Settings(home="unused"), lake, "example.com", sender, WINDOW, now)


def page_of(lake: Lake) -> Page:
    page = page_about(domain="example.com", window=WINDOW, lake=lake)
    page._end = "2026-11-23"
    return page


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_of(tmp_path, *reports())


def reports() -> list[AggregateReport]:
    signed = make_record(messages=100, source_ip="192.0.2.1")
    return [
        report(signed, mailer(), days_ago=1, report_id="r1"),
        report(mailer("198.51.100.8", 30, disposition="reject"), days_ago=2, report_id="r2"),
        report(mailer(messages=7), days_ago=10, report_id="before"),
        report(mailer(messages=1000), domain="other.example", report_id="other"),
    ]


def test_without_a_name_it_is_the_sender_that_fails_most(lake: Lake) -> None:
    found = traced(lake)
    assert (found.name, found.is_address) == ("mailer.example", False)
    assert found.addresses[["source_ip", "messages"]].values.tolist() == [
        ["198.51.100.8", 30],
        ["198.51.100.7", 10],
    ]
    assert found.records["report_id"].tolist() == ["r1", "r2"]
    assert found.number == 2


def test_it_counts_what_the_facts_count(lake: Lake) -> None:
    """The page of a domain and the page of its sender must not contradict each other."""
    settings = Settings(home="unused")
    messages = read_facts(settings, lake, NOW, 14, ["example.com"]).messages
    for sender in map(str, messages["sender"].unique()):
        mine = messages[messages["sender"] == sender].groupby(["day", "class"], observed=True)
        daily = traced(lake, sender).daily.groupby(["day", "class"])["messages"].sum()
        assert daily.to_dict() == mine["messages"].sum().to_dict()


@pytest.mark.parametrize("asked", ["198.51.100.8", "198.51.100.8/31", "198.51.100.8/32"])
def test_an_address_or_network_is_followed_too(lake: Lake, asked: str) -> None:
    found = traced(lake, asked)
    assert found.is_address
    assert found.kinds == ("mailer.example",)
    assert found.addresses["source_ip"].tolist() == ["198.51.100.8"]


def test_a_name_is_found_whatever_its_case_and_nobody_is_no_error(lake: Lake) -> None:
    assert traced(lake, "MAILER.example").name == "mailer.example"
    assert traced(lake, "nobody").number == 0
    page = page_of(lake)
    assert "nobody sent nothing as example.com in this period." in text(page.sender("nobody"))
    assert "No report mentions it in this period" in text(page.sender_records("nobody"))


def test_an_empty_lake(tmp_path: Path) -> None:
    lake = lake_of(tmp_path)
    assert traced(lake).name == ""
    found = page_of(lake).sender()
    assert "Nobody sent anything as example.com" in text(found)
    assert found.data["value"].fillna(0).sum() == 0


def test_the_headline_compares_with_the_days_before(lake: Lake) -> None:
    shown = page_of(lake).sender()
    assert shown.data.set_index("measure").loc["messages"].tolist() == [40, 7]
    assert shown.html is not None
    assert shown.html.title == "mailer.example, sending as example.com"
    assert "All 40 messages failed DMARC." in text(shown)
    assert "Receivers blocked 30 of the failing ones." in text(shown)


def test_the_page_of_a_sender_looks_for_no_findings(lake: Lake) -> None:
    page = open_page(
        7, "2026-11-23", domain="example.com", settings=Settings(home="unused"), lake=lake
    )
    assert page.sender().data.set_index("measure").loc["messages", "value"] == 40
    assert "analysis" not in vars(page)


def test_signatures_and_spf_have_their_raw_results(tmp_path: Path) -> None:
    ours = (DkimResult("example.com", "s1", "fail"), DkimResult("mailer.example", "k", "pass"))
    lake = lake_of(tmp_path, report(mailer(dkim=ours), mailer(messages=3, dkim=ours[1:])))
    page = page_of(lake)
    rows = page.sender_signatures().data
    assert rows[["dkim_domain", "aligned", "messages", "results"]].values.tolist() == [
        ["mailer.example", False, 13, {"pass": 13}],
        ["example.com", True, 10, {"fail": 10}],
    ]
    assert page.sender_spf().data["results"].tolist() == [{"pass": 13}]


def test_gmail_s_codes_are_decoded(tmp_path: Path) -> None:
    said = (Reason("other", "Sender requirement failed: 550-5.7.30"), Reason("forwarded", None))
    page = page_of(lake_of(tmp_path, report(mailer(reasons=said))))
    rows = page.sender_reasons().data.set_index("type")
    assert rows.loc["other", "code"] == "5.7.30"
    assert "DKIM does not pass" in rows.loc["other", "means"]
    assert rows.loc["forwarded", "means"] == ""


def test_a_record_leads_to_the_page_of_its_report(lake: Lake) -> None:
    found = page_of(lake).sender_records()
    uid = found.data["report_uid"].iloc[0]
    assert f'<a data-page="report?report_uid={uid}">' in markup(found)


def test_a_long_report_counts_with_the_days_of_the_window(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, report(mailer(messages=40), days_ago=9, days=4))
    assert traced(lake).addresses["messages"].tolist() == [20]
