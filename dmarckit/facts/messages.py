"""The table `messages`: what `Lake.messages` gives, kept for engines that cannot classify.

Its last days are classified anew with what is known now; those before stay as they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from dmarckit.core import Settings
from dmarckit.lake import MADE_FROM, Lake, Step, kept_days, month_of

if TYPE_CHECKING:
    from deltalake import DeltaTable

DAYS = 31  # at least, and whole months
SOURCES = ("records", "reports", "senders", "ptr", "dns")  # tables that the rows depend on


def keep_messages(
    settings: Settings,
    *,
    now: datetime,
    dry_run: bool = False,
    step: Callable[[str], None] = lambda text: None,
) -> tuple[Step, ...]:
    """Bring the table `messages` up to date, in one commit; return what was done, if anything.

    Nothing is done twice on a day, unless what the rows are made from has changed. The months
    of the last 31 days are replaced; with a new or mended table, or after a longer pause, all
    of the last 90 days. With `dry_run` nothing is written.

    Raises:
        LakeError: The lake cannot be read or written.
    """
    stored = Lake(settings.lake_url)
    opened = {name: stored.location.open(name) for name in SOURCES}
    if not settings.messages_table or opened["records"] is None:
        return ()
    versions = {name: t.version() if t is not None else None for name, t in opened.items()}
    made_from = _fingerprint(settings, now, versions)
    table = stored.location.open("messages")
    before = table and table.transaction_version(MADE_FROM)
    if before == made_from:
        return ()

    from dmarckit.facts.lake import Lake as ClassifiedLake  # loads pandas
    from dmarckit.facts.load import HISTORY

    lake = ClassifiedLake(settings.lake_url, settings, now=now)
    until = lake.newest.astimezone(UTC)
    start = _midnight(until) - timedelta(days=HISTORY)
    if table is not None and before and (last := _last_day(table)):
        start = max(start, _midnight(min(last, until) - timedelta(days=DAYS)).replace(day=1))
    if days := kept_days(settings).get("messages"):
        start = max(start, _midnight(now - timedelta(days=days)).replace(day=1))
    rows = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        rows = 0
        for batch in lake.daily_messages(start):
            rows += batch.num_rows
            yield batch

    if not dry_run:
        step("Classifying messages for the table messages")
        lake.write.replace_from("messages", start, made_from, batches)
    return (Step("messages", "classify", (month_of(start), month_of(until)), rows=rows),)


def _midnight(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _last_day(table: DeltaTable) -> datetime | None:
    """Return the newest day that the table has rows of."""
    files = pa.table(table.get_add_actions(flatten=True))
    if not files.num_rows:
        return None
    last: datetime = max(files.column("max.day").to_pylist())
    return last


def _fingerprint(settings: Settings, now: datetime, versions: Mapping[str, int | None]) -> int:
    """Return a number above 0 for all that decides what the rows are."""
    mmdb = settings.mmdb
    status = mmdb.stat() if mmdb and mmdb.is_file() else None
    parts = {
        "day": f"{now.astimezone(UTC):%Y-%m-%d}",
        "tables": versions,
        "domains": settings.domain_names,
        "settings": settings.model_dump(mode="json", include={"senders", "reporters", "keep_days"}),
        "mmdb": [str(mmdb), status.st_size, status.st_mtime_ns] if status else [],
    }
    text = json.dumps(parts, sort_keys=True)
    return 1 + int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7])
