"""`dmarckit page NOTEBOOK --all`: a page for each domain, told on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dmarckit.cli.progress import console
from dmarckit.core.settings import Settings
from dmarckit.core.storage import open_storage
from dmarckit.core.words import plural
from dmarckit.ingest.cluster_check import cluster_of
from dmarckit.pages.fleet import FleetPage, Outcome, fleet_domains, fleet_window, publish_fleet
from dmarckit.pages.page_index import INDEX
from dmarckit.pages.publishing import link_to

WORDS: dict[Outcome, str] = {
    "built": "built",
    "unchanged": "unchanged, not built again",
    "failed": "failed",
}


def fleet_command(
    settings: Settings,
    notebook: str,
    parameters: Mapping[str, Any],
    *,
    force: bool = False,
    workers: int = 0,
    now: datetime | None = None,
    dask: str | None = None,
) -> int:
    """Build the page of every domain and say what became of each; 1 when one failed, else 0.

    Domains are those of the settings, else all that reports speak of. `dask` is the address
    of a scheduler whose workers build them (else that of the settings, if there is one).
    Raises what `publish_fleet` and `cluster_of` raise.
    """
    now = now or datetime.now(UTC)
    screen = console()
    domains = fleet_domains(settings, fleet_window(notebook, parameters, now))
    if not domains:
        screen.print("There are no domains yet: dmarckit ingest reads the reports.")
        return 0

    def tell(page: FleetPage) -> None:
        took = f" ({page.seconds:.1f} s)" if page.seconds else ""
        screen.print(f"  {page.domain}: {WORDS[page.outcome]}{took}", soft_wrap=True)

    with cluster_of(settings, "settings", dask) as cluster:
        pages = publish_fleet(
            settings,
            domains,
            notebook=notebook,
            parameters=parameters,
            workers=workers,
            now=now,
            force=force,
            progress=tell,
            cluster=cluster,
        )
    for page in pages:
        if page.outcome == "failed":
            screen.print(f"{page.domain}: {page.error}", soft_wrap=True)
    count = Counter(page.outcome for page in pages)
    parts = [f"{count[outcome]} {words}" for outcome, words in WORDS.items() if count[outcome]]
    screen.print(f"{plural(len(pages), 'page')}: {', '.join(parts)}")
    storage = open_storage(settings.pages_url, settings.presign_keys())
    screen.print(f"All pages: {link_to(settings, storage, INDEX)}", soft_wrap=True)
    return 1 if count["failed"] else 0
