"""axe-core, the checker that audits use, on finished pages in a real Chromium."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.support.finished_pages import AUDITED, FinishedPages

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.slow,
]


@pytest.mark.parametrize("name", AUDITED)
def test_axe_finds_nothing(browser: Browser, finished: FinishedPages, name: str) -> None:
    """In both schemes; contrast, by far the longest of its rules, in the dark.

    In the light `test_text_has_contrast` measures it, more strictly, on the same pages.
    """
    violations: list[Any] = []
    tab = browser.new_page(viewport={"width": 1280, "height": 900}, offline=True)
    tab.set_default_timeout(60_000)
    tab.emulate_media(color_scheme="light")
    tab.goto(finished(name).as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    for scheme, width in (("light", 1280), ("dark", 390)):
        tab.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        tab.set_viewport_size({"width": width, "height": 900})
        options: dict[str, Any] = {"resultTypes": ["violations"]}
        options |= {"rules": {"color-contrast": {"enabled": scheme == "dark"}}}
        found = Axe().run(tab, options=options).response["violations"]
        violations += [
            (scheme, v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found
        ]
    tab.close()
    assert violations == []
