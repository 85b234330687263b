"""From page to page: links to what is there, words alone for what is not."""

from __future__ import annotations

import gzip
import re
import urllib.request
from datetime import UTC, date, datetime
from html import unescape
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.ingest.commit import IngestResult
from dmarckit.jobs.run import publish_and_notify
from dmarckit.jobs.schedule import load_schedule
from dmarckit.pages.links import (
    command,
    newest_days,
    newest_key,
    page_key,
    page_target,
    read_target,
    targets_of,
    with_links,
)
from dmarckit.pages.publish import link_pages, load_page, refresh_index, store_page
from tests.support import frames
from tests.support.pages import markup, page_about

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HREF = re.compile(r'<a [^>]*href="([^"#][^"]*)"')


def test_a_target_is_read_as_it_was_written() -> None:
    for sender in ("Mail & Co", '"><img>', "\udcff", "a=b?c", ""):
        target = page_target("sender", domain="b.example", sender=sender)
        assert read_target(target) == ("sender", {"domain": "b.example", "sender": sender})
    assert read_target(page_target("overview")) == ("overview", {})


def test_a_link_leads_to_the_newest_page_with_default_parameters() -> None:
    sender = page_key("sender", {"domain": "b.example", "sender": "Mail & Co"}, date(2026, 11, 20))
    days = newest_days(
        [
            "domain/b.example/2026-11-24.html",
            "domain/b.example/2026-11-23.html",
            "domain/b.example/2026-11-24.html.manifest.json",
            "domain/b.example/2026-11-25.days-7.0123abcd.html",
            sender,
        ]
    )
    domain = page_target("domain", domain="b.example")
    assert newest_key(domain, days) == "domain/b.example/2026-11-24.html"
    assert newest_key("sender?sender=Mail+%26+Co&domain=b.example", days) == sender
    assert newest_key(page_target("domain", domain="c.example"), days) is None
    assert newest_key("index", days) == "index.html"


def test_a_page_gets_addresses_where_there_are_any_and_again_later() -> None:
    page = '<a data-page="a?x=1&amp;y=2">One</a> <a data-page="b">Two</a>'
    assert targets_of(page) == ["a?x=1&y=2", "b"]
    linked = with_links(page, {"a?x=1&y=2": "s3?k=1&v=2"}.get)
    assert linked.startswith('<a data-page="a?x=1&amp;y=2" href="s3?k=1&amp;v=2">One</a> ')
    assert linked.endswith(' <a data-page="b">Two</a>')
    assert with_links(linked, {"b": "b.html"}.get).endswith(
        '<a data-page="b" href="b.html">Two</a>'
    )
    assert with_links(linked, {}.get) == page


def test_a_command_is_quoted_for_a_shell() -> None:
    assert command("report", report_uid="a'b\n") == (
        "dmarckit page report -p report_uid 'a'\"'\"'b\\x0a'"
    )


def test_navigation_leads_up_and_to_its_like() -> None:
    assert targets_of(markup(page_about().navigation(of="overview"))) == [
        "requirements",
        "postmaster",
        "tls",
    ]
    sender = page_about(domain="b.example").navigation(of="sender")
    assert targets_of(markup(sender)) == ["overview", "domain?domain=b.example"]


OVERVIEW = '<a data-page="index">i</a><a data-page="domain?domain=b.example">b</a>'
DOMAIN = '<a data-page="overview">all</a><a data-page="sender?domain=b.example&amp;sender=x">x</a>'


@pytest.mark.parametrize(
    ("base", "there"),
    [("", "../domain/b.example/2026-11-20.html"), ("https://dmarc.example/", None)],
)
def test_links_of_a_folder_are_relative_and_lead_both_ways(
    tmp_path: Path, base: str, there: str | None
) -> None:
    settings = Settings(home=str(tmp_path), page_base_url=base or None)
    storage = open_storage(settings.pages_url)
    store_page(storage, "overview/2026-11-24.html", OVERVIEW.encode())
    store_page(storage, "domain/b.example/2026-11-20.html", DOMAIN.encode())
    link_pages(settings, ["overview/2026-11-24.html"])
    overview = load_page(storage, "overview/2026-11-24.html")
    assert HREF.findall(overview) == ["../index.html", "../domain/b.example/2026-11-20.html"]
    domain = load_page(storage, "domain/b.example/2026-11-20.html")
    assert HREF.findall(domain) == ["../../overview/2026-11-24.html"]


def read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=60) as answer:
        assert answer.status == 200
        page = answer.read()
    text = (gzip.decompress(page) if page[:2] == b"\x1f\x8b" else page).decode()
    return re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)


@pytest.mark.s3
@pytest.mark.slow
def test_every_link_of_a_day_behind_presigned_addresses_opens(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Browser
) -> None:
    """`run daily` on a bucket: from its one address one gets to all pages and back."""
    # every page costs a kernel: one domain with two senders has all kinds of links
    records, reports, mails = frames.lake(days=20, domains=1, reporters=2)
    few = records["source_ip"].str.startswith(("192.0.2.", "2001:db8:77:"))
    frames.fill(tmp_path, records[few], reports, mails)
    monkeypatch.setenv("DMARCKIT_HOME", f"{bucket}/home")
    monkeypatch.setenv("DMARCKIT_LAKE", str(tmp_path / "lake"))
    settings = load_settings()
    done = publish_and_notify(settings, load_schedule("daily"), IngestResult("r1"), now=NOW)
    assert done.published is not None
    assert not [text for text in done.warnings if "page" in text]
    refresh_index(settings)
    seen: dict[str, str] = {}
    todo = [done.published.link]
    while todo:
        address = todo.pop()
        place = address.partition("?")[0].rpartition("/home/pages/")[2]
        if place not in seen:
            seen[place] = read(address)
            todo += map(unescape, HREF.findall(seen[place]))
    kinds = {place.partition("/")[0] for place in seen}
    assert {"overview", "domain", "sender", "index.html"} <= kinds
    for place, page in seen.items():
        led = {unescape(a).partition("?")[0].rpartition("/pages/")[2] for a in HREF.findall(page)}
        if place != "index.html":
            assert "index.html" in led
        if place.startswith(("domain/", "sender/")):
            assert "overview/2026-11-24.html" in led
        assert "dmarckit page " not in page.partition("<footer>")[0]
    tab = browser.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(done.published.link)
    assert tab.locator("a[data-page][href]").count() > 3
    tab.clock.install(time=datetime(2027, 1, 1, tzinfo=UTC))
    tab.reload()
    assert tab.locator("a[data-page][href]").count() == 0, "they have run out: no dead link"
    tab.close()
    assert said == []
