"""axe-core, the checker that audits use, on finished pages in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from dmarckit import page_index
from dmarckit.models import StoredObject
from dmarckit.pages import build_page
from tests import frames
from tests.test_notebooks import FOLDER

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
PARAMETERS = {"domain": {"domain": "example.com"}}

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Notebook and lake (``demo`` or ``empty``) → the file of the page, made once."""
    folder = tmp_path_factory.mktemp("pages")
    demo = frames.fill(folder / "demo", *frames.lake(days=60, domains=3, reporters=4))
    empty = frames.fill(folder / "empty", frames.records(), frames.reports(), frames.mails())
    settings = {"demo": str(demo), "empty": str(empty)}

    def make(notebook: str, lake: str) -> Path:
        page = folder / f"{notebook}-{lake}.html"
        if not page.exists():
            if notebook == "index":
                page.write_bytes(page_index.index_page(index_of(lake)))
            else:
                path, given = FOLDER / f"{notebook}.ipynb", PARAMETERS.get(notebook, {})
                page.write_bytes(build_page(path, given, config=settings[lake], now=NOW).html)
        return page

    return make


def index_of(lake: str) -> list[StoredObject]:
    days = [f"2026-11-{day:02}.html" for day in range(1, 25)] if lake == "demo" else []
    folders = ["overview", *(f"domain/brand{n}.example" for n in range(12))]
    return [StoredObject(f"{folder}/{day}", "e", 1, NOW) for folder in folders for day in days]


@pytest.mark.parametrize("lake", ["demo", "empty"])
@pytest.mark.parametrize(
    "notebook", [n for n in ("overview", "domain") if (FOLDER / f"{n}.ipynb").is_file()] + ["index"]
)
def test_axe_finds_nothing_serious(
    browser: Browser, made: Callable[[str, str], Path], notebook: str, lake: str
) -> None:
    violations: list[Any] = []
    page = made(notebook, lake)
    for scheme, width in (("light", 1280), ("dark", 390)):
        tab = browser.new_page(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            offline=True,
        )
        tab.goto(page.as_uri())
        tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        found = Axe().run(tab).response["violations"]
        violations += [
            (scheme, v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]])
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        tab.close()
    assert violations == []
