"""How time and memory grow: mails, known mails, records. Sizes are chosen on the command line:

make bench ARGS="growth"                                    what takes some minutes
make bench ARGS="growth --mails 100000 --mails 300000"      these sizes, and nothing else
make bench ARGS="growth --records 10000000"
make bench ARGS="growth --keys 1000000"
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.benchmarks.analysis_data import DAYS, DECLARED, DOMAINS, END, fill
from tests.benchmarks.data import write_mails
from tests.benchmarks.measure import HERE, Run, run_tree, table

MAILS, KEYS, RECORDS = (10_000,), (1_000_000,), (100_000, 1_000_000)
RECORDS_A_MAIL = 8
DOMAIN = "brand7.example"
NOW = END + timedelta(hours=9)
PARAMETERS = {"days": 30, "end": f"{END - timedelta(days=1):%Y-%m-%d}"}
DMARCKIT = [sys.executable, "-m", "dmarckit"]
SELF = [sys.executable, "-m", "tests.benchmarks.growth"]


def run(mails: Sequence[int] = (), keys: Sequence[int] = (), records: Sequence[int] = ()) -> None:
    """The sizes that are given, else those that take some minutes."""
    if not (mails or keys or records):
        mails, keys, records = MAILS, KEYS, RECORDS
    if mails:
        rows = [_ingested(count) for count in mails]
        columns = ["mails", "s", "mails/s", "peak memory", "lake, MB", "again, none new: s", "peak"]
        table(f"ingest of mails of {RECORDS_A_MAIL} records from a folder", columns, rows)
    if keys:
        columns = ["known mails", "s", "peak memory"]
        table("ingest that finds no new mail", columns, [_none_new(count) for count in keys])
    if records:
        rows = [_analysed(count) for count in records]
        columns = ["records", "findings, s", "peak memory", "overview, s", "peak memory"]
        table(f"{DOMAINS} domains over {DAYS} days (whole processes)", columns, rows)
        rows = [row for count in records for row in _one_domain(count)]
        columns = ["records", "tables", "page, s", "its records, s", "read, MB"]
        table("the page of one domain, before and after `dmarckit maintain`", columns, rows)


def _ingested(count: int) -> list[str]:
    mails = HERE / f"mails-{count}x{RECORDS_A_MAIL}"
    write_mails(mails, count, RECORDS_A_MAIL)
    home = HERE / f"growth-ingest-{count}"
    shutil.rmtree(home, ignore_errors=True)
    variables = {"DMARCKIT_MAIL": str(mails), "DMARCKIT_EXPORTS": "none"}
    first = _in(home, [*DMARCKIT, "ingest"], variables)
    again = _in(home, [*DMARCKIT, "ingest"], variables)
    size = sum(f.stat().st_size for f in (home / "lake").rglob("*.parquet"))
    shutil.rmtree(home)
    return [
        f"{count:,}",
        f"{first.seconds:.0f}",
        f"{count / first.seconds:,.0f}",
        _memory(first),
        f"{size / 1e6:.0f}",
        f"{again.seconds:.1f}",
        _memory(again),
    ]


def _none_new(count: int) -> list[str]:
    """Empty files, all of which are in the ledger."""
    home = HERE / f"growth-keys-{count}"
    if not home.exists():
        unfinished = home.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        for number in range(count):
            if number % 1000 == 0:
                folder = unfinished / "mail" / f"{number // 1000:06}"
                folder.mkdir(parents=True)
            (folder / f"{number:024x}{number * 7919 % 2**64:016x}.eml").touch()
        unfinished.rename(home)
        subprocess.run([*SELF, "ledger", str(home)], check=True)
    taken = _in(home, [*DMARCKIT, "ingest"])
    return [f"{count:,}", f"{taken.seconds:.1f}", _memory(taken)]


def _analysed(count: int) -> list[str]:
    home = _lake(count, anew=True)
    command = [*DMARCKIT, "findings", "--now", NOW.isoformat(), "--format", "json"]
    # findings that call for somebody are status 1
    found = _in(home, ["sh", "-c", f"{' '.join(command)} || [ $? -eq 1 ]"])
    overview = _in(home, [*SELF, "page", "overview"])
    return [
        f"{count:,}",
        f"{found.seconds:.1f}",
        _memory(found),
        f"{overview.seconds:.1f}",
        _memory(overview),
    ]


def _one_domain(count: int) -> list[list[str]]:
    rows = []
    home = _lake(count)
    for tables in ("as they came", "in order"):
        page = _in(home, [*SELF, "page", "domain", DOMAIN])
        done = subprocess.run(
            [*SELF, "read", str(home)], check=True, capture_output=True, text=True
        )
        took = json.loads(done.stdout)
        numbers = [f"{page.seconds:.1f}", f"{took['seconds']:.2f}", f"{took['bytes'] / 1e6:.1f}"]
        rows.append([f"{count:,}", tables, *numbers])
        if tables == "as they came":
            order = _in(home, [*DMARCKIT, "maintain"])
            print(f"dmarckit maintain, {count:,}: {order.seconds:.0f} s, {_memory(order)}")
    return rows


def _lake(count: int, *, anew: bool = False) -> Path:
    """The home of a lake with so many records; `anew`: its tables as they came."""
    home = HERE / f"growth-{count}"
    if anew:
        shutil.rmtree(home, ignore_errors=True)
    if not home.exists():
        unfinished = home.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        fill(unfinished, count)
        unfinished.rename(home)
    return home


def _in(home: Path, command: list[str], variables: dict[str, str] | None = None) -> Run:
    return run_tree(command, {"DMARCKIT_HOME": str(home.absolute()), **(variables or {})})


def _memory(run: Run) -> str:
    return f"{run.peak / 1e6:,.0f} MB"


def main() -> None:
    """The measured processes, and what must not share memory with the one that measures."""
    what, *rest = sys.argv[1:]
    if what == "ledger":
        _write_ledger(Path(rest[0]))
    elif what == "read":
        print(json.dumps(_read(Path(rest[0]))))
    else:
        from dmarckit.core.settings import load_settings
        from dmarckit.pages.publish import publish_notebook

        notebook, *domain = rest
        parameters = {**PARAMETERS, **({"domain": domain[0]} if domain else {})}
        publish_notebook(load_settings(), notebook, parameters, NOW)


def _write_ledger(home: Path) -> None:
    import pyarrow as pa

    from dmarckit.core.storage import open_storage
    from dmarckit.lake.lake import Lake
    from dmarckit.lake.rows import month_of
    from dmarckit.lake.schema import MAILS

    def row(number: int, item: Any) -> dict[str, Any]:
        received = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number % 360)
        told = {"outcome": "stored", "reports": 1, "run": "bench", "month": month_of(received)}
        return {"key": item.key, "etag": item.etag, "size": 0, "received": received, **told}

    listed = list(open_storage(str(home / "mail")).list())
    lake = Lake(str(home / "lake"))
    for first in range(0, len(listed), 100_000):
        rows = [row(first + n, item) for n, item in enumerate(listed[first : first + 100_000])]
        lake.write.append_new("mails", pa.Table.from_pylist(rows, schema=MAILS.schema))


def _read(home: Path) -> dict[str, float]:
    """Seconds and bytes that the records of one domain take (bytes: what the process reads)."""
    from dmarckit.core.settings import Settings
    from dmarckit.facts.load import load_facts
    from dmarckit.lake.lake import Lake

    def read() -> int:
        try:
            return int(Path("/proc/self/io").read_text().split()[1])
        except OSError:
            return 0

    settings = Settings(senders=DECLARED)
    before, started = read(), time.monotonic()
    load_facts(Lake(str(home / "lake")), NOW, days=30, domains=[DOMAIN], settings=settings)
    return {"seconds": time.monotonic() - started, "bytes": read() - before}


if __name__ == "__main__":
    os.environ.setdefault("DMARCKIT_LOG_FORMAT", "text")
    main()
