"""The finished pages in a real Chromium with the network off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Page as Tab, expect

from dmarckit.pages.build import build_page
from tests.support.finished_pages import (
    AUDITED,
    HOSTILE,
    JAPANESE,
    NOW,
    PAGES,
    TITLES,
    FinishedPages,
)

CHARTS = {"overview": 1, "domain": 1, "sender": 1, "explore": 1, "tls": 1, "postmaster": 4}
"""charts of a page with data"""

pytestmark = [
    pytest.mark.chromium,
]


@pytest.fixture
def open_page(browser: Browser, finished: FinishedPages) -> Iterator[Callable[..., Tab]]:
    """Opens a page; at the end nothing may have been said, asked for, or thrown."""
    trouble: list[str] = []
    contexts = []

    def visit(name: str, width: int = 1280, **options: Any) -> Tab:
        viewport: Any = {"width": width, "height": 900}
        context = browser.new_context(viewport=viewport, offline=True, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        tab = context.new_page()
        tab.on("console", lambda message: trouble.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        url = finished(name).as_uri()
        tab.on("request", lambda r: None if r.url in (url, "data:,") else trouble.append(r.url))
        tab.goto(url)
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES + JAPANESE)
def test_nothing_overflows_and_every_chart_is_drawn(
    open_page: Callable[..., Tab], name: str, width: int
) -> None:
    tab = open_page(name, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    notebook, lake = name.split("-")[:2]
    plots = tab.locator(".plot")
    expect(plots).to_have_count(0 if lake == "empty" else CHARTS.get(notebook, 0))
    for plot in plots.all():
        plot.scroll_into_view_if_needed()
        expect(plot.locator(".point").first).to_be_attached()


def test_charts_wait_until_they_are_near_and_move_nothing(open_page: Callable[..., Tab]) -> None:
    tab = open_page("overview-demo")
    assert tab.evaluate("typeof Plotly") == "undefined", "text sorts and filters without it"
    height = tab.evaluate("document.documentElement.scrollHeight")
    chart = tab.locator(".plot").last
    chart.scroll_into_view_if_needed()
    expect(chart.locator(".point").first).to_be_attached()
    assert tab.evaluate("document.documentElement.scrollHeight") == height


def test_paper_holds_charts_that_were_never_near(open_page: Callable[..., Tab]) -> None:
    tab = open_page("overview-demo")
    assert not tab.locator(".plot .main-svg").count()
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    for plot in tab.locator(".plot").all():
        expect(plot.locator(".point").first).to_be_attached()


def test_paper_holds_the_tables(open_page: Callable[..., Tab]) -> None:
    tab = open_page("overview-demo", 700)  # A4 without its margins
    tab.emulate_media(media="print")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 700
    assert not tab.get_by_text("The numbers", exact=True).first.is_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_domain_is_on_three_sheets_of_paper_whatever_the_window(
    open_page: Callable[..., Tab], width: int
) -> None:
    tab = open_page("domain-demo", width)
    sheets = tab.pdf(prefer_css_page_size=True)
    assert re.findall(rb"/MediaBox \[0 0 59\d[.\d]* 84", sheets), "A4"
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", sheets)) <= 3
    labels = tab.locator(".plot .annotation-text").all_text_contents()
    assert ("authenticated" in " ".join(labels)) == (width > 760), "as before once it is printed"


@pytest.mark.parametrize("notebook", TITLES)
def test_outside_text_is_shown_and_does_nothing(
    open_page: Callable[..., Tab], notebook: str
) -> None:
    tab = open_page(f"{notebook}-hostile")
    assert tab.title().startswith(TITLES[notebook])
    shown = tab.inner_text("main")
    for part in ("<script>document.title='run'</script>", "onerror=", r"\u202ejavascript:alert(1)"):
        assert shown.count(part) >= 2
    assert tab.evaluate("document.querySelectorAll('main img').length") == 0
    links = tab.evaluate("[...document.links].map(link => link.getAttribute('href'))")
    assert not [link for link in links if ":" in link]


def test_a_script_that_a_notebook_lets_through_does_not_run(
    browser: Browser, tmp_path: Path
) -> None:
    cell = nbformat.v4.new_code_cell(f"from IPython.display import HTML; HTML({HOSTILE!r})")
    notebook = tmp_path / "careless.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebook)
    page = tmp_path / "page.html"
    page.write_bytes(build_page(notebook, {}, now=NOW).html)
    assert b"<script>document.title='run'</script>" in page.read_bytes()
    tab = browser.new_page()
    tab.goto(page.as_uri())
    assert tab.title() == "Careless"
    tab.close()


def test_empty_page_says_what_to_do(open_page: Callable[..., Tab]) -> None:
    shown = open_page("overview-empty").inner_text("main")
    assert "No reports for this period." in shown
    assert "dmarckit ingest" in shown
    assert not re.search(r"(?<!\d)0\s%", shown)


def test_pressing_a_heading_sorts(open_page: Callable[..., Tab]) -> None:
    tab = open_page("overview-demo")
    table = tab.locator("table.dk-table", has=tab.get_by_text("Rules not met")).first
    heading = table.get_by_role("button", name="Messages")

    def numbers() -> list[int]:
        cells = table.locator("tbody tr td:nth-child(2)").all_inner_texts()
        return [int(cell.replace(",", "")) for cell in cells]

    heading.click()
    assert numbers() == sorted(numbers(), reverse=True)
    heading.click()
    assert numbers() == sorted(numbers())
    assert table.locator("[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_a_long_table_is_filtered_by_words(open_page: Callable[..., Tab]) -> None:
    tab = open_page("overview-demo")
    box = tab.get_by_label("Filter: The newest reports")
    rows = tab.locator("table", has=tab.get_by_text("The newest reports")).locator("tbody tr")
    few = rows.count()
    box.fill("receiver1 BRAND1.example 2026-10-30")
    (left,) = rows.all_inner_texts()
    assert "receiver1" in left
    assert "brand1" in left, "of a row that was not in sight"
    box.fill("")
    expect(rows).to_have_count(few)
    whole = tab.get_by_role("button", name="Show all 360")
    whole.click()
    expect(rows).to_have_count(360)
    assert not whole.is_visible()


def test_what_is_pressed_is_large_enough_and_shows_the_focus(open_page: Callable[..., Tab]) -> None:
    """WCAG 2.2: 24 pixels, links in running text aside; all of it is reached by the keyboard."""
    tab = open_page("domain-demo", 390)
    small = """
        [...document.querySelectorAll('a[href], button, input, summary')]
          .filter(e => e.checkVisibility() && !e.closest('.skip'))
          .filter(e => Math.min(e.getBoundingClientRect().height, e.offsetWidth) < 23.9)
          .map(e => e.outerHTML.slice(0, 120))"""
    assert tab.evaluate(small) == []
    for _press in range(25):
        tab.keyboard.press("Tab")
        style = "getComputedStyle(document.activeElement)"
        seen = tab.evaluate(f"[document.activeElement.tagName, {style}.outlineStyle]")
        assert seen[0] != "BODY"
        assert seen[1] != "none", seen


@pytest.mark.parametrize("name", ["overview-demo", "domain-demo", "requirements-demo"])
def test_no_table_scrolls_sideways_on_a_phone(open_page: Callable[..., Tab], name: str) -> None:
    tab = open_page(name, 390)
    wide = """
        [...document.querySelectorAll('.dk-scroll:has(> .dk-table)')]
          .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1)
          .map(e => e.getAttribute('aria-label'))"""
    assert tab.evaluate(wide) == []


def test_a_domain_is_printed_on_three_pages_with_what_is_folded(
    open_page: Callable[..., Tab],
) -> None:
    tab = open_page("domain-demo")
    paper = tab.pdf(format="A4", margin=dict.fromkeys(("top", "right", "bottom", "left"), "12mm"))
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) <= 3
    tab.emulate_media(media="print")
    assert tab.locator(".dk-evidence dd").first.is_visible()
    assert not tab.locator(".dk-mute").first.is_visible()
    cell = tab.locator(".dk-days td").last
    assert cell.evaluate("e => getComputedStyle(e).printColorAdjust") == "exact"


def test_code_is_behind_a_toggle(open_page: Callable[..., Tab]) -> None:
    tab = open_page("overview-demo")
    code = tab.locator("pre.code").first
    assert not code.is_visible()
    tab.get_by_text("How this page was made").click()
    assert code.is_visible()
    assert "days: int = 30" in code.inner_text()


def test_a_record_is_copied_by_one_press(open_page: Callable[..., Tab]) -> None:
    tab = open_page("domain-demo", permissions=["clipboard-read", "clipboard-write"])
    tab.evaluate("window.setTimeout = () => 0")  # what the button says stays until it is read
    box = tab.locator(".dk-record:visible").first
    box.get_by_role("button", name="Copy").click()
    expect(box.get_by_role("button")).not_to_have_text("Copy")
    taken = "[window.getSelection().toString(), navigator.clipboard?.readText()]"
    found = tab.evaluate(f"Promise.all({taken})")
    assert box.locator("code").inner_text() in found


def test_evidence_and_quiet_findings_are_folded(open_page: Callable[..., Tab]) -> None:
    tab = open_page("overview-demo")
    query = tab.locator(".dk-finding dd code").first
    assert not query.is_visible()
    tab.get_by_text("Evidence", exact=True).first.click()
    tab.get_by_text("Show the query").first.click()
    assert query.inner_text().startswith("SELECT")


def test_charts_follow_dark_mode(open_page: Callable[..., Tab]) -> None:
    tab = open_page("overview-demo", color_scheme="light")
    tab.locator("#chart-1").scroll_into_view_if_needed()
    bar = tab.locator("#chart-1 .point path").first
    expect(bar).to_have_css("fill", "rgb(0, 93, 147)")
    tab.emulate_media(color_scheme="dark")
    expect(bar).to_have_css("fill", "rgb(64, 147, 254)")


def test_without_scripts_the_numbers_are_there(open_page: Callable[..., Tab]) -> None:
    tab = open_page("overview-demo", java_script_enabled=False)
    assert not tab.locator(".plot").first.is_visible()
    tab.locator(".data summary").first.click()
    assert "2026-11-23" in tab.locator("details[open]").inner_text()


CONTRAST = """
() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const v = c[i] / 255;
    return sum + weight * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
  const ground = (e) => { for (; e; e = e.parentElement) {
    const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; }
    return [255, 255, 255]; };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility()) continue;
    if (e.closest('script, svg, .skip')) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(1)} ${walker.currentNode.data.trim()}`);
  }
  return poor;
}
"""


@pytest.mark.parametrize("name", AUDITED)
def test_text_has_contrast(open_page: Callable[..., Tab], name: str) -> None:
    """WCAG 2 AA: 4.5 to 1 for text, also for what is folded."""
    tab = open_page(name, color_scheme="light")
    tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert tab.evaluate(CONTRAST) == []
    tab.emulate_media(color_scheme="dark")
    assert tab.evaluate(CONTRAST) == []


@pytest.mark.parametrize("name", [f"{n}-demo" for n in CHARTS] + ["overview-demo-ja"])
def test_what_a_screen_reader_needs(open_page: Callable[..., Tab], name: str) -> None:
    tab = open_page(name)
    language = "ja" if name.endswith("-ja") else "en"
    assert tab.evaluate("document.documentElement.lang") == language
    headings = tab.evaluate(
        "[...document.querySelectorAll('main h2, main h3, h1')].map(h => +h.tagName[1])"
    )
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert tab.evaluate(
        "[...document.querySelectorAll('.plot')].every(p => p.getAttribute('aria-label'))"
    )
    assert tab.evaluate("[...document.querySelectorAll('.dk table')].every(t => t.caption)")
    assert tab.locator("main").count() == tab.locator("footer").count() == 1
