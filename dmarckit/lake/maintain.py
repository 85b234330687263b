"""Upkeep of the lake: what is too old goes, what lies in pieces is put in order.

Every step is one commit of Delta's: readers see the table before or after it, and ingests
go on. A step that loses against another's commit is looked at anew, since the other may
have done it. Files that no version of the last days refers to are deleted last.

How long the rows of each table are kept: the setting `keep_days`, and what it may not break.
"""

from __future__ import annotations

import functools
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dmarckit.core import (
    LakeError,
    MissingObject,
    Settings,
    SettingsError,
    StoredObject,
    _,
    one_line,
    open_storage,
)
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import month_of
from dmarckit.lake.schema import TABLES
from dmarckit.lake.write import (
    CLUSTERED,
    GROUP_ROWS,
    TARGET_SIZE,
    File,
    by_month,
    claim_rewriting,
    files_of,
    wants_compaction,
    wants_order,
)

if TYPE_CHECKING:
    from deltalake import DeltaTable


KEEP_DAYS: Mapping[str, int] = {"failures": 30}
"""What holds without the setting; failure reports hold personal data. Others stay for ever."""

TO_THE_DAY = {"failures": "arrival"}
"""table → time by which single rows go; of other tables whole months go, once all of a month
is old enough: that rewrites nothing"""

LOOKS_BACK = 91  # days that senders are learnt from, and the day that is not over


@dataclass(frozen=True)
class Expiry:
    """What of a table is too old."""

    before: datetime
    """rows before this moment need not be kept"""

    @property
    def month(self) -> str:
        """Months before this one (``YYYY-MM``) hold nothing that must be kept."""
        return month_of(self.before)


def expiries(settings: Settings, lake: Lake, now: datetime) -> tuple[dict[str, Expiry], list[str]]:
    """Table → what of it is too old at `now`, and sentences about what stays all the same.

    The ledger's rows (`mails`) outlive the objects that they tell of: else these would be
    read again as new mails. Raises SettingsError for a table that there is not, or an order
    of days that would send Slack messages again; StorageError when the mails cannot be listed.
    """
    days = {**KEEP_DAYS, **settings.keep_days}
    _check(days)
    found = {name: Expiry(now - timedelta(days=n)) for name, n in days.items()}
    warnings = [
        _(
            "keep_days.{table} is {n}: findings learn the usual senders from {days} days, "
            "and will be wrong about them."
        ).format(table=name, n=days[name], days=LOOKS_BACK)
        for name in ("reports", "records")
        if days.get(name, LOOKS_BACK) < LOOKS_BACK
    ]
    if "mails" in found and _has_months_before(lake, found["mails"]):
        oldest = _oldest_mail(settings)
        if oldest is not None and month_of(oldest) < found["mails"].month:
            found["mails"] = Expiry(oldest)
            warnings.append(
                _(
                    "Mails of {month} are still in the mail storage: their rows in the table "
                    "mails stay until the mails are deleted there, or they would be read again."
                ).format(month=month_of(oldest))
            )
    return found, warnings


def _check(days: Mapping[str, int]) -> None:
    for name in days:
        if name not in TABLES:
            raise SettingsError(
                f"setting keep_days: no table {one_line(name)!r}; tables are {', '.join(TABLES)}"
            )
    if "alerts" in days and days.get("outbox", days["alerts"] + 1) > days["alerts"]:
        raise SettingsError(
            f"setting keep_days: alerts ({days['alerts']}) is less than outbox "
            f"({days.get('outbox', 'for ever')}): what was told would be told again; "
            f"set outbox to {days['alerts']} or less"
        )


def _has_months_before(lake: Lake, expiry: Expiry) -> bool:
    with lake.session("mails") as connection:
        row = connection.execute("SELECT min(month) FROM mails").fetchone()
    return bool(row and row[0] and row[0] < expiry.month)


def _oldest_mail(settings: Settings) -> datetime | None:
    times = (item.modified for item in open_storage(settings.mail_url).list())
    oldest = min(times, default=None)
    return None if oldest is None else oldest.astimezone(UTC)


VACUUM_DAYS = 7  # a file that no version refers to stays this long, for readers that began before
LOG_DAYS = 30  # as the tables say themselves (delta.logRetentionDuration)
CHECKPOINT_AFTER = 10  # commits since the last checkpoint: what opening a table has to read
ATTEMPTS = 30
MEMORY = 400_000_000  # bytes that ordering a month holds before it spills to disk


@dataclass(frozen=True)
class Step:
    """One thing that was done to a table, or is to be done."""

    table: str
    what: str
    """delete, order, compact, vacuum, checkpoint or log"""
    months: tuple[str, ...] = ()
    files: int = 0
    size: int = 0
    """bytes of these files, before"""
    rows: int = 0


@dataclass(frozen=True)
class Maintained:
    """What a maintenance did, or would do."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...]
    """what a person should know, a sentence each"""


def maintain_lake(
    settings: Settings,
    *,
    now: datetime,
    dry_run: bool = False,
    vacuum_days: int = VACUUM_DAYS,
    lake: Lake | None = None,
    step: Callable[[str], None] = lambda text: None,
) -> Maintained:
    """Retention, order, compaction, vacuum and log of every table; nothing twice.

    With `dry_run` nothing is written, and the steps are what would be done now. Raises
    SettingsError for `keep_days` that cannot be, LakeError or StorageError when the lake or
    the mails cannot be reached; steps that were done stay.
    """
    lake = lake or Lake(settings.lake_url)
    old, warnings = expiries(settings, lake, now)
    steps: list[Step] = []
    for name in TABLES:
        steps += _Upkeep(lake, name, old.get(name), now, dry_run, step).run(vacuum_days)
    return Maintained(tuple(steps), tuple(warnings))


class _Upkeep:
    """The steps of one table."""

    def __init__(
        self,
        lake: Lake,
        name: str,
        expiry: Expiry | None,
        now: datetime,
        dry_run: bool,
        say: Callable[[str], None],
    ) -> None:
        self._lake = lake
        self._name = name
        self._expiry = expiry
        self._now = now
        self._dry_run = dry_run
        self._say = say

    def run(self, vacuum_days: int) -> list[Step]:
        """Each step on the table as the one before left it."""
        table = self._lake.location.open(self._name)
        if table is None:
            return []
        steps = self._again(self._delete_months) + self._again(self._delete_rows)
        for month, files in by_month(self._files(table)).items():
            if self._wanted(files):  # of years of months few are: the rest is not looked at anew
                steps += self._again(functools.partial(self._arrange, month))
        steps += self._again(functools.partial(self._vacuum, vacuum_days))
        return steps + self._again(functools.partial(self._log, bool(steps)))

    def _again(self, act: Callable[[DeltaTable], list[Step]]) -> list[Step]:
        """The action on the newest version; again when another's commit came between."""
        from deltalake.exceptions import CommitFailedError

        location = self._lake.location
        for attempt in range(ATTEMPTS):
            table = location.open(self._name)
            if table is None:
                return []
            with location.explained(self._name, "maintain"):
                try:
                    return act(table)
                except CommitFailedError:
                    time.sleep(random.uniform(0, 0.05 * (attempt + 1)))  # noqa: S311
        raise LakeError(
            f"table {self._name}: others wrote {ATTEMPTS} times in between; maintain it when "
            "fewer ingests run"
        )

    def _files(self, table: DeltaTable) -> list[File]:
        """The files of months that stay."""
        files = files_of(table, self._lake.location.table_uri(self._name))
        return [f for f in files if self._expiry is None or f.month >= self._expiry.month]

    def _delete_months(self, table: DeltaTable) -> list[Step]:
        if self._expiry is None:
            return []
        files = files_of(table, self._lake.location.table_uri(self._name))
        old = [file for file in files if file.month < self._expiry.month]
        if old and not self._dry_run:
            table.delete(f"month < '{self._expiry.month}'")
        return [_step(self._name, "delete", old)] if old else []

    def _delete_rows(self, table: DeltaTable) -> list[Step]:
        column = TO_THE_DAY.get(self._name)
        if self._expiry is None or column is None:
            return []
        month, before = self._expiry.month, self._expiry.before
        with self._lake.session(self._name, first_month=month) as connection:
            query = f"SELECT count(*) FROM {self._name} WHERE month = $month AND {column} < $before"  # noqa: S608
            found = connection.execute(query, {"month": month, "before": before}).fetchall()
        rows = int(found[0][0])
        if rows and not self._dry_run:
            table.delete(f"month = '{month}' AND {column} < '{before:%Y-%m-%dT%H:%M:%S.%fZ}'")
        return [Step(self._name, "delete", (month,), rows=rows)] if rows else []

    def _arrange(self, month: str, table: DeltaTable) -> list[Step]:
        """A month in order of its column where that is worth it, else with fewer files."""
        files = by_month(self._files(table)).get(month, [])
        what, only = self._wanted(files), [("month", "=", month)]
        if what == "order":
            if not self._dry_run:
                self._say(f"Putting table {self._name} of {month} in order")
                claim_rewriting(table)
                _order(table, CLUSTERED[self._name], only)
        elif what == "compact" and not self._dry_run:
            claim_rewriting(table)
            table.optimize.compact(partition_filters=only, target_size=TARGET_SIZE)
        return [_step(self._name, what, files)] if what else []

    def _wanted(self, files: Sequence[File]) -> str:
        """What a month's files want: order, compact, or nothing (empty)."""
        column = CLUSTERED.get(self._name)
        if column and wants_order(self._lake.location, files, column):
            return "order"
        return "compact" if wants_compaction(files) else ""

    def _vacuum(self, days: int, table: DeltaTable) -> list[Step]:
        """Files that no version of the last days refers to, and what crashed writers left."""
        vacuum = functools.partial(
            table.vacuum, retention_hours=24 * days, enforce_retention_duration=False, full=True
        )
        stale = vacuum(dry_run=True)
        if not stale:
            return []
        storage = open_storage(self._lake.location.url)
        sizes = {item.key: item.size for item in storage.list(f"{self._name}/")}
        size = sum(sizes.get(f"{self._name}/{path}", 0) for path in stale)
        if not self._dry_run:
            vacuum(dry_run=False)
        return [Step(self._name, "vacuum", files=len(stale), size=size)]

    def _log(self, changed: bool, table: DeltaTable) -> list[Step]:
        """A checkpoint, so that opening the table reads little; then old entries of its log."""
        steps = []
        behind = table.version() - self._checkpoint()
        if behind and (changed or behind >= CHECKPOINT_AFTER):
            steps.append(Step(self._name, "checkpoint"))
            if not self._dry_run:
                table.create_checkpoint()
        old = self._old_entries()
        if old and not self._dry_run:
            table.cleanup_metadata()
            left = {item.key for item in self._old_entries()}
            old = [item for item in old if item.key not in left]
        if old:
            size = sum(item.size for item in old)
            steps.append(Step(self._name, "log", files=len(old), size=size))
        return steps

    def _checkpoint(self) -> int:
        storage = open_storage(self._lake.location.url)
        try:
            return int(
                json.loads(storage.get(f"{self._name}/_delta_log/_last_checkpoint"))["version"]
            )
        except (MissingObject, ValueError, KeyError):
            return -1

    def _old_entries(self) -> list[StoredObject]:
        """Entries of the log that no version within its retention is read from.

        These are the ones before the last checkpoint that is as old as the retention.
        """
        before = self._now - timedelta(days=LOG_DAYS)
        log = open_storage(self._lake.location.url).list(f"{self._name}/_delta_log/")
        old = {e.key.rpartition("/")[2]: e for e in log if e.modified < before}
        last = max((name for name in old if ".checkpoint." in name), default="")
        return [entry for name, entry in old.items() if name[:20].isdecimal() and name < last[:20]]


def _step(name: str, what: str, files: Sequence[File]) -> Step:
    months = tuple(by_month(files))
    return Step(
        name, what, months, len(files), sum(f.size for f in files), sum(f.rows for f in files)
    )


def _order(table: DeltaTable, column: str, only: list[tuple[str, str, str]]) -> None:
    """Rewrite a month by the column: the Z-order of a single column is its sorted order."""
    from deltalake import WriterProperties

    table.optimize.z_order(
        [column],
        partition_filters=only,
        target_size=TARGET_SIZE,
        max_concurrent_tasks=1,
        max_spill_size=MEMORY,
        writer_properties=WriterProperties(
            max_row_group_size=GROUP_ROWS, compression="ZSTD", compression_level=3
        ),
    )
