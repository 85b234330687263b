"""How long pages take and how large they are: 200 domains × 30 days over 1 million records."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.benchmarks.analysis_data import DAYS, DOMAINS, END, fill
from tests.benchmarks.measure import HERE, table

WINDOW = 30  # days
SIZES = (1_000_000, 1_000_000 * DAYS // WINDOW)
"""records in the lake, which covers 90 days; of the second a million are in the window"""
FLEET = 8  # domains of which pages are built
SLOWER = 4  # times that Chromium's processor is slowed down
NOW = END + timedelta(hours=9)
PARAMETERS = {"days": WINDOW, "end": f"{END - timedelta(days=1):%Y-%m-%d}"}


def run() -> None:
    """The overview, opened in Chromium; then pages of single domains, twice."""
    rows = []
    for records in SIZES:
        seconds, printed = _process(_lake(records), "overview")
        page = Path(printed["page"])
        html = page.read_bytes()
        opened = _opened(page)
        rows.append(
            [
                f"{records:,}",
                f"{seconds:.1f}",
                f"{len(html) / 1e6:.1f}",
                f"{len(gzip.compress(html, 6)) / 1e6:.2f}",
                *(f"{seconds:.1f}" for seconds in opened or ()),
            ]
        )
    columns = ["records", "built, s", "size, MB", "gzip-encoded, MB"]
    columns += [f"{what}, s (CPU / {SLOWER})" for what in ("painted", "interactive", "all charts")]
    table(f"overview of {DOMAINS} domains × {WINDOW} days in a lake of {DAYS} days", columns, rows)
    _, took = _process(_lake(SIZES[-1]), "fleet")
    row = [f"{took['first']:.1f}", f"{took['first'] / FLEET:.1f}", f"{took['again']:.1f}"]
    table(
        f"pages of {FLEET} domains of that lake, {took['workers']} at once",
        ["all, s", "each, s", "all again, unchanged, s", "built", "unchanged"],
        [[*row, str(took["built"]), str(took["unchanged"])]],
    )


def _lake(records: int) -> Path:
    """The home of a lake with so many records, made on first use."""
    home = HERE / f"pages-{records}"
    if not home.exists():
        unfinished = home.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        fill(unfinished, records)
        unfinished.rename(home)
    return home


def _process(home: Path, what: str) -> tuple[float, dict[str, Any]]:
    """Seconds of a whole process, and what it printed."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.pages", what],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DMARCKIT_HOME": str(home.absolute())},
    )
    return time.monotonic() - started, json.loads(done.stdout)


def _opened(page: Path) -> tuple[float, float, float] | None:
    """Seconds to the first paint, until the page answers, and to draw all charts at CPU / 4."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        slow = {"rate": SLOWER}
        tab.context.new_cdp_session(tab).send("Emulation.setCPUThrottlingRate", slow)
        tab.goto(page.absolute().as_uri())
        painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        first = float(tab.wait_for_function(painted).json_value()) / 1000
        answers = tab.evaluate("performance.getEntriesByType('navigation')[0].domComplete") / 1000
        started = time.monotonic()
        tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        drawn = time.monotonic() - started
        browser.close()
    return first, float(answers), drawn


def main() -> None:
    """The measured process: prints what it did as JSON."""
    from dmarckit.core.settings import load_settings

    settings = load_settings()
    if sys.argv[1] == "overview":
        from dmarckit.pages.publish import publish_notebook

        published = publish_notebook(settings, "overview", PARAMETERS, NOW)
        print(json.dumps({"page": str(Path(settings.pages_url) / published.key)}))
        return
    from dmarckit.pages.fleet import MOST_WORKERS, publish_fleet

    domains = [f"brand{n}.example" for n in range(FLEET)]
    started = time.monotonic()
    first = publish_fleet(settings, domains, parameters=PARAMETERS, now=NOW, force=True)
    middle = time.monotonic()
    again = publish_fleet(settings, domains, parameters=PARAMETERS, now=NOW)
    took = {
        "workers": min(os.cpu_count() or 1, MOST_WORKERS),
        "first": middle - started,
        "again": time.monotonic() - middle,
        "built": sum(page.outcome == "built" for page in first),
        "unchanged": sum(page.outcome == "unchanged" for page in again),
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main()
