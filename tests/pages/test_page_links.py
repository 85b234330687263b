"""From page to page: links to what is there, commands for what is not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from dmarckit.core.settings import Settings
from dmarckit.core.storage import StoredObject, open_storage
from dmarckit.pages.links import PageLinks, command, find_links, newest_days, page_key

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SENDER = page_key("sender", {"domain": "b.example", "sender": "Mail & Co"}, date(2026, 11, 20))


def links_of(*keys: str, up: str = "../") -> PageLinks:
    return PageLinks(newest_days(StoredObject(key, "e", 1, NOW) for key in keys), up)


def test_a_link_leads_to_the_newest_page_with_default_parameters() -> None:
    links = links_of(
        "domain/b.example/2026-11-23.html",
        "domain/b.example/2026-11-24.html",
        "domain/b.example/2026-11-24.html.manifest.json",
        "domain/b.example/2026-11-25.days-7.0123abcd.html",
        SENDER,
    )
    assert links.address("domain", domain="b.example") == "../domain/b.example/2026-11-24.html"
    assert links.address("sender", domain="b.example", sender="Mail & Co") == f"../{SENDER}"
    assert links.address("sender", domain="b.example", sender="Mail and Co") is None
    assert links.address("domain", domain="c.example") is None


def test_without_a_page_there_is_the_command_that_builds_it() -> None:
    link = links_of().row_link("sender", domain="b.example", sender="Mail & Co; rm -rf ~")
    assert link.address is None
    assert link.command.endswith("-p domain b.example -p sender 'Mail & Co; rm -rf ~'")
    assert command("report", report_uid="a'b\n") == (
        "dmarckit page report -p report_uid 'a'\"'\"'b\\x0a'"
    )


def test_navigation_names_only_pages_that_are_there() -> None:
    keys = ["overview/2026-11-23.html", "domain/b.example/2026-11-24.html"]
    assert links_of(*keys, up="../../").navigation("b.example") == [
        ("All domains", "../../overview/2026-11-23.html"),
        ("All senders of b.example", "../../domain/b.example/2026-11-24.html"),
    ]
    assert links_of().navigation("b.example") == []


def test_pages_about_all_domains_lead_to_each_other() -> None:
    links = links_of("overview/2026-11-24.html", "requirements/2026-11-23.html")
    requirements = ("Sender requirements", "../requirements/2026-11-23.html")
    assert links.navigation(of="overview") == [requirements], "of postmaster there is none"
    assert links.navigation(of="tls") == [
        ("All domains", "../overview/2026-11-24.html"),
        requirements,
    ]


@pytest.mark.parametrize("there", [True, False])
def test_links_of_a_folder_that_may_not_be_there_yet(tmp_path: Path, there: bool) -> None:
    settings = Settings(home=str(tmp_path))
    if there:
        pages = open_storage(settings.pages_url)
        pages.put("domain/b.example/2026-11-24.html", b"", content_type="text/html")
    links = find_links(settings, "b.example")
    found = links.address("domain", domain="b.example")
    assert found == ("../../domain/b.example/2026-11-24.html" if there else None)


def test_a_bucket_without_an_address_has_no_links_that_lead_nowhere() -> None:
    """Nothing is asked of S3 either: every page there needs a signed link of its own."""
    assert find_links(Settings(home="s3://bucket/home")) == PageLinks()
