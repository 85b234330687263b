"""`dmarckit page NOTEBOOK --all`: one page a domain, and what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dmarckit.errors import one_line
from dmarckit.fleet import FleetPage, fleet_domains, fleet_window, publish_fleet
from dmarckit.progress import console
from dmarckit.settings import Settings


def publish_all(
    settings: Settings, notebook: str, parameters: Mapping[str, Any], *, force: bool
) -> int:
    """Build the pages and say so; exit status 1 when one of them failed.

    Raises what `publish_fleet` raises.
    """
    now = datetime.now(UTC)
    screen = console()
    domains = fleet_domains(settings, fleet_window(notebook, parameters, now))
    if not domains:
        screen.print("No domain has reports in this window: nothing to build.")
        return 0

    def show(page: FleetPage) -> None:
        why = f": {page.error}" if page.error else f" in {page.seconds:.1f} s"
        took = "" if page.outcome == "unchanged" else why
        screen.print(f"{page.outcome}: {one_line(page.domain)}{took}", soft_wrap=True)

    pages = publish_fleet(
        settings, domains, notebook=notebook, parameters=parameters, now=now, force=force,
        progress=show,
    )  # fmt: skip
    counts = Counter(page.outcome for page in pages)
    screen.print(", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    return 1 if counts["failed"] else 0
