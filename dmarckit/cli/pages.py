"""`dmarckit page --all` and `dmarckit lab`: a page for each domain, and JupyterLab.

JupyterLab shows made-up data where there is none yet.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from dmarckit import core, pages
from dmarckit.cli.demo import store
from dmarckit.cli.output import console, ingest_progress
from dmarckit.core import CONFIG_VARIABLE, PREFIX, Settings, one_line, open_storage, plural
from dmarckit.demo import demo_mails, demo_settings, fill_outside_tables
from dmarckit.ingest import cluster_of, ingest_mails
from dmarckit.lake import Lake
from dmarckit.pages import INDEX, FleetPage, Outcome

WORDS: dict[Outcome, str] = {
    "built": "built", "unchanged": "unchanged, not built again", "failed": "failed"
}  # fmt: skip


def build_fleet(
    settings: Settings,
    notebook: str,
    parameters: Mapping[str, Any],
    *,
    force: bool = False,
    now: datetime | None = None,
    dask: str | None = None,
) -> int:
    """Build the page of every domain and print how each ended; return 1 when one failed.

    Domains are those of the settings, else all that reports speak of. `dask` is the address
    of a scheduler whose workers build them (else that of the settings, if there is one).
    """
    now = now or datetime.now(UTC)
    screen = console()
    domains = pages.fleet_domains(settings, pages.fleet_window(notebook, parameters, now))
    if not domains:
        screen.print("There are no domains yet: dmarckit ingest reads the reports.")
        return 0

    def print_page(page: FleetPage) -> None:
        took = f" ({page.seconds:.1f} s)" if page.seconds else ""
        screen.print(f"  {page.domain}: {WORDS[page.outcome]}{took}", soft_wrap=True)

    with cluster_of(settings, "settings", dask) as cluster:
        built = pages.publish_fleet(
            settings,
            domains,
            notebook=notebook,
            parameters=parameters,
            now=now,
            force=force,
            progress=print_page,
            cluster=cluster,
        )
    for page in built:
        if page.outcome == "failed":
            screen.print(f"{page.domain}: {page.error}", soft_wrap=True)
    count = Counter(page.outcome for page in built)
    parts = [f"{count[outcome]} {words}" for outcome, words in WORDS.items() if count[outcome]]
    screen.print(f"{plural(len(built), 'page')}: {', '.join(parts)}")
    storage = open_storage(settings.pages_url, settings.presign_keys())
    screen.print(f"All pages: {pages.link_to(settings, storage, INDEX)}", soft_wrap=True)
    return 1 if count["failed"] else 0


START = ("explore", "overview")  # the notebook to open first, if it is there


def run_lab(arguments: Sequence[str]) -> int:
    """Run JupyterLab until it is stopped; return its exit status.

    `arguments` go to JupyterLab. While the lake in force holds no report, a temporary one
    with the demo's mails is shown instead, and the terminal says so. Raises LakeError when it
    cannot be reached.
    """
    screen = console(stderr=True)
    folder = pages.find_notebook("overview").parent.absolute()
    screen.print(f"Notebooks: {folder}", soft_wrap=True)
    if not os.access(folder, os.W_OK):
        screen.print("You may not write there: to keep changes, copy it to ./notebooks.")
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        settings = core.load_settings()
        count = Lake(settings.lake_url).sql("SELECT count(*) AS n FROM reports")["n"]
        if not int(count.iloc[0]):
            lake = one_line(settings.lake_url)
            screen.print(f"No reports in {lake} yet (dmarckit ingest reads them): ", end="")
            screen.print("showing made-up mails of the demo, until the lab is closed.")
            environment = stack.enter_context(demo_environment())
        # Ctrl-C reaches JupyterLab too, which asks whether it is meant
        process = subprocess.Popen(lab_command(folder, arguments), env=environment)
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def lab_command(folder: Path, arguments: Sequence[str] = ()) -> list[str]:
    """Return the command that runs JupyterLab on `folder`, with no kernel but this environment's.

    Kernels start in the working directory, as pages do, so that relative settings mean the
    same in both.
    """
    first = next((name for name in START if (folder / f"{name}.ipynb").is_file()), None)
    options = {
        "ServerApp.root_dir": str(folder),
        "ServerApp.kernel_spec_manager_class": "dmarckit.pages.build.OwnKernels",
        "MappingKernelManager.root_dir": str(Path.cwd()),
        "LabApp.default_url": f"/lab/tree/{first}.ipynb" if first else "/lab",
        # neither news nor updates are asked for: nothing leaves this machine
        "LabApp.news_url": "None",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    settings = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "jupyterlab", *settings, *arguments]


@contextlib.contextmanager
def demo_environment() -> Iterator[dict[str, str]]:
    """Yield the environment that points at a temporary lake with the demo's reports."""
    with tempfile.TemporaryDirectory(prefix="dmarckit-lab-") as name:
        home = Path(name)
        config = home / "dmarckit.toml"
        own = f'home = "{home.as_posix()}"\ntrust = "pass"\nexports = "none"\n'
        config.write_text(own + demo_settings(), "utf-8")
        theirs = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        environment = {**theirs, CONFIG_VARIABLE: str(config)}
        with mock.patch.dict(os.environ, environment, clear=True):
            settings = core.load_settings()
            raw = {mail.key: mail.raw for mail in demo_mails(datetime.now(UTC).date())}
            store(open_storage(settings.mail_url), raw, raw.__getitem__)
            with ingest_progress() as progress:
                ingest_mails(settings, progress=progress)
            fill_outside_tables(settings, datetime.now(UTC))
        yield environment
