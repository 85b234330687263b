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

from tests.benchmarks.analysis_data import DAYS, DOMAINS, END, fill
from tests.benchmarks.measure import HERE, table

WINDOW = 30  # days
RECORDS = 1_000_000 * DAYS // WINDOW  # so that a million are in the window
FLEET = 8  # domains of which pages are built
NOW = END + timedelta(hours=9)
PARAMETERS = {"days": WINDOW, "end": f"{END - timedelta(days=1):%Y-%m-%d}"}


def run() -> None:
    """The overview, opened in Chromium; then pages of single domains, twice."""
    home = HERE / "pages"
    if not (home / "lake").exists():
        unfinished = home.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        fill(unfinished, RECORDS)
        unfinished.rename(home)
    environment = {**os.environ, "DMARCKIT_HOME": str(home.absolute())}
    command = [sys.executable, "-m", "tests.benchmarks.pages"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, "overview"], check=True, capture_output=True, text=True, env=environment
    )
    seconds = time.monotonic() - started
    page = Path(json.loads(done.stdout)["page"])
    html = page.read_bytes()
    opened = _opened(page)
    table(
        f"overview of {DOMAINS} domains × {WINDOW} days over 1,000,000 records",
        ["built, s", "size, MB", "gzip-encoded, MB", "interactive in Chromium, s"],
        [
            [
                f"{seconds:.1f}",
                f"{len(html) / 1e6:.1f}",
                f"{len(gzip.compress(html, 6)) / 1e6:.2f}",
                f"{opened:.1f}" if opened else "no Chromium",
            ]
        ],
    )
    done = subprocess.run(
        [*command, "fleet"], check=True, capture_output=True, text=True, env=environment
    )
    took = json.loads(done.stdout)
    table(
        f"pages of {FLEET} domains of the same lake, {took['workers']} at once",
        ["built, s", "each, s", "again, unchanged, s", "built", "unchanged"],
        [
            [
                f"{took['first']:.1f}",
                f"{took['first'] / FLEET:.1f}",
                f"{took['again']:.1f}",
                str(took["built"]),
                str(took["unchanged"]),
            ]
        ],
    )


def _opened(page: Path) -> float | None:
    """Seconds until every chart of the page is drawn; None without a Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        started = time.monotonic()
        tab.goto(page.absolute().as_uri())
        tab.wait_for_function(
            "[...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))"
        )
        seconds = time.monotonic() - started
        browser.close()
    return seconds


def main() -> None:
    """The measured process: prints what it did as JSON."""
    from dmarckit.settings import load_settings

    settings = load_settings()
    if sys.argv[1] == "overview":
        from dmarckit.publishing import publish_notebook

        published = publish_notebook(settings, "overview", PARAMETERS, NOW)
        print(json.dumps({"page": str(Path(settings.pages_url) / published.key)}))
        return
    from dmarckit.fleet import MOST_WORKERS, publish_fleet

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
