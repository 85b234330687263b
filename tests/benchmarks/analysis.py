"""How long classes and findings take: 1 and 10 million records, in a process of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.analysis_data import DAYS, DECLARED, DOMAINS, END, fill
from tests.benchmarks.measure import HERE, Run, run as measured, table
from tests.support.floods import flood
from tests.support.lakes import NOW

SIZES = (1_000_000, 10_000_000)


def run() -> None:
    """Facts with classes, and all findings, of 200 domains over 90 days."""
    rows = []
    for records in SIZES:
        home = filled(records)
        command = [sys.executable, "-m", "tests.benchmarks.analysis", str(home)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        took = json.loads(done.stdout)
        rows.append(
            [
                f"{records:,}",
                f"{took['facts']:.1f}",
                f"{took['findings']:.1f}",
                f"{took['facts'] + took['findings']:.1f}",
                f"{took['peak'] / 1e9:.2f}",
                f"{took['found']:,}",
            ]
        )
    columns = ["records", "classes, s", "findings, s", "together, s", "peak memory, GB", "findings"]
    table(f"analysis of {DOMAINS} domains over {DAYS} days", columns, rows)


FLOODS = {"subdomains": 100_000, "addresses": 100_000, "selectors": 20_000, "domains": 20_000}
FLOODS |= {"signing domains": 20_000, "reporters": 20_000, "spam": 20_000}


def flooded() -> None:
    """Processor time of commands over what one attacker can send."""
    rows = []
    for name, n in FLOODS.items():
        home = HERE / f"flood-{name.replace(' ', '-')}"
        if not home.exists():
            flood(home / "mail", name, n)
            run_command(home, "ingest")
        took = [run_command(home, *command.split()) for command in COMMANDS]
        rows.append([f"{n:,} {name}", *(f"{each.cpu:.1f} s" for each in took)])
    table("floods", ["flood", *COMMANDS], rows)


COMMANDS = (f"findings --now {NOW.isoformat()}", "page overview -p end 2026-11-23", "run alerts")


def run_command(home: Path, *arguments: str) -> Run:
    """Run a command on a home, whatever it finds."""
    script = "import sys; from dmarckit.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    command = [sys.executable, "-c", script, *arguments]
    return measured(command, {"DMARCKIT_HOME": str(home.absolute())})


def filled(records: int) -> Path:
    """A home whose lake has so many records; made unless it is there."""
    home = HERE / f"analysis-{records}"
    if not home.exists():
        unfinished = home.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        fill(unfinished, records)
        unfinished.rename(home)
    return home


def main() -> None:
    """The measured process: prints seconds and bytes as JSON."""
    from dmarckit.core.settings import Settings
    from dmarckit.facts.load import load_facts
    from dmarckit.findings.find import find
    from dmarckit.lake.lake import Lake
    from tests.support.bombs import memory_peak

    lake, settings = Lake(str(Path(sys.argv[1]) / "lake")), Settings(senders=DECLARED)
    started = time.monotonic()
    facts = load_facts(lake, END, days=DAYS, settings=settings)
    loaded = time.monotonic()
    found = find(facts, now=END, days=7)
    took = {
        "facts": loaded - started,
        "findings": time.monotonic() - loaded,
        "peak": memory_peak(),
        "found": len(found),
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main()
