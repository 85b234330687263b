"""The list of all pages: by notebook, domain and day; for a fleet of hundreds."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from dmarckit.core.storage import StoredObject
from dmarckit.pages.index import index_page

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def stored(*keys: str) -> list[StoredObject]:
    return [StoredObject(key, "e", 1, NOW) for key in keys]


def days(number: int) -> list[str]:
    return [f"{NOW - timedelta(days=back):%Y-%m-%d}" for back in range(number)]


def links(page: str) -> list[tuple[str, str]]:
    found = re.findall(r'<a href="([^"#]+)">(.*?)</a>', page)
    return [(address, re.sub("<[^>]+>", "", text)) for address, text in found]


def test_domains_are_named_with_their_newest_page_and_the_older_ones_behind() -> None:
    page = index_page(
        stored(
            "domain/b.example/2026-11-23.html",
            "domain/b.example/2026-11-24.html",
            "domain/b.example/2026-11-24.html.manifest.json",
            "domain/c.example/2026-11-24.days-7.0123abcd.html",
            "domain/a.example/2026-10-01.html",
            "failed/domain/a.example/2026-11-24.ipynb",
            "overview/2026-11-24.html",
        )
    ).decode()
    assert links(page) == [
        ("overview/2026-11-24.html", "2026-11-24"),
        ("domain/b.example/2026-11-24.html", "b.example"),
        ("domain/b.example/2026-11-23.html", "2026-11-23"),
        ("domain/c.example/2026-11-24.days-7.0123abcd.html", "c.example"),
        ("domain/a.example/2026-10-01.html", "a.example"),
    ]
    assert "2026-11-24</time>, days 7</span>" in page


def run(**row: Any) -> dict[str, Any]:
    """A row of the table `runs`; what is not said is that of a quiet run at 6."""
    numbers = ["stored", "duplicate", "untrusted", "not_a_report", "unreadable", "told", "waiting"]
    numbers += ["unreachable"]
    usual = dict.fromkeys(numbers, 0) | {"mails": 0, "findings": None, "result": "ok"}
    usual |= dict.fromkeys(["page", "error", "notebook"], None)
    usual |= {"job": "daily", "started": NOW + timedelta(hours=6)}
    made = usual | row
    return {"run": f"{made['job']}-{made['started']:%d%H%M}"} | made


def test_runs_stand_below_their_schedule_before_the_rest() -> None:
    objects = stored(
        "overview/2026-11-24.html",
        "overview/2026-11-23.html",
        "domain/a.example/2026-11-24.html",
        "tls/2026-11-24.html",
    )
    yesterday = NOW - timedelta(hours=18)
    runs = [
        run(page="overview/2026-11-24.html", mails=12, stored=10, unreadable=2, findings=3),
        run(page="overview/2026-11-22.html", started=yesterday),
        run(job="hourly", result="problems", told=1),
    ]
    page = index_page(objects, runs).decode()
    headings = re.findall("<h2[^>]*>(.*?)</h2>", page)
    assert headings == ["daily", "hourly", "Overview", "Domains", "TLS reports"]
    assert "12 emails, 10 stored, 2 unreadable, 3 open findings" in page
    assert [address for address, _ in links(page)] == [
        "overview/2026-11-24.html",
        "overview/2026-11-23.html",
        "domain/a.example/2026-11-24.html",
        "tls/2026-11-24.html",
    ]
    assert ">2026-11-23 06:00</time>" in page  # its page is gone


def test_a_failed_run_says_why_and_where_its_notebook_is() -> None:
    runs = [
        run(
            result="failed",
            error="notebook overview failed: <b>KeyError</b>",
            notebook="s3://bucket/pages/failed/overview/2026-11-24.ipynb",
        ),
        run(job="watch", result="interrupted", error="found dead"),
    ]
    page = index_page([], runs).decode()
    assert "notebook overview failed: &lt;b&gt;KeyError&lt;/b&gt;" in page
    assert "<code>s3://bucket/pages/failed/overview/2026-11-24.ipynb</code>" in page
    assert "found dead" in page
    assert "There are no pages yet" not in page


def test_runs_that_ended_alike_are_one_entry_a_day() -> None:
    """Alerts run every five minutes; the one that failed must not drown."""
    times = [NOW + timedelta(minutes=5 * n) for n in range(288)]
    rows = [run(job="alerts", started=time) for time in times]
    rows[7] |= {"result": "failed", "error": "S3 is down"}
    page = index_page([], rows).decode()
    assert page.count("<li>") == 2
    assert "and 286 earlier runs like it" in page
    assert "S3 is down" in page


def test_pages_of_several_senders_are_all_in_sight() -> None:
    keys = [f"sender/a.example/2026-11-2{n}.sender-mail{n}.0123abc{n}.html" for n in range(3)]
    page = index_page(stored(*keys)).decode()
    names = ["a.example: mail2", "a.example: mail1", "a.example: mail0"]
    assert [text for _, text in links(page)] == names
    assert "<details>" not in page


def test_older_pages_of_a_notebook_are_folded() -> None:
    page = index_page(stored(*(f"overview/{day}.html" for day in days(30)))).decode()
    assert "<summary>16 older</summary>" in page
    assert [text for _, text in links(page)] == days(30)


def fleet() -> bytes:
    return index_page(
        stored(*(f"domain/brand{n}.example/{day}.html" for n in range(400) for day in days(30)))
    )


def test_400_domains_of_30_days_are_a_small_page() -> None:
    assert len(gzip.compress(fleet())) < 100_000


@pytest.mark.chromium
def test_a_domain_is_found_by_typing_and_without_scripts_too(
    tmp_path: Path, browser: Browser
) -> None:
    page = tmp_path / "index.html"
    page.write_bytes(fleet())
    tab = browser.new_page()
    tab.goto(page.as_uri())
    expect(tab.get_by_role("status")).to_have_text("400 of 400")
    tab.get_by_label("Filter").fill("Brand39")
    expect(tab.get_by_role("status")).to_have_text("11 of 400")
    shown = tab.locator(".domains > li:visible > a").all_inner_texts()
    assert shown == ["brand39.example", *(f"brand39{n}.example" for n in range(10))]
    older = tab.get_by_text("29 older").locator("visible=true").first
    older.click()
    expect(tab.get_by_role("link", name="2026-11-23").first).to_be_visible()
    tab.close()
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(page.as_uri())
    assert plain.locator(".filter").count() == 0
    expect(plain.get_by_role("link", name="brand399.example")).to_be_visible()
    plain.context.close()
