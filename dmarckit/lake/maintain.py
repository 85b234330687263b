"""Upkeep of the lake: what is too old goes, what lies in pieces is put in order.

Every step is one commit of Delta's, looked at anew when another's came between. Within a month (a
partition) rows are ordered by domain, so that readers skip what one domain is not in.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from dmarckit import core
from dmarckit.core import Settings, SettingsError, StoredObject, _
from dmarckit.lake.lake import Lake
from dmarckit.lake.location import RowGroup
from dmarckit.lake.rows import month_of
from dmarckit.lake.schema import ALL_TABLES
from dmarckit.lake.write import GROUP_ROWS, TARGET_SIZE, claim_rewriting, commit, compressed

if TYPE_CHECKING:
    from deltalake import DeltaTable

KEEP_DAYS: Mapping[str, int] = {"failures": 30}
"""What holds without the setting; failure reports hold personal data. Others stay for ever."""
TO_THE_DAY = {"failures": "arrival"}
"""table → time by which single rows go; of other tables whole months go, once all of a month
is old enough: that rewrites nothing"""
LOOKS_BACK = 91  # days that senders are learnt from, and the day that is not over
CLUSTERED = {"records": "domain", "reports": "domain", "tls": "policy_domain"}
"""table → column by which the rows of a month are ordered; other tables are read whole"""

MIXED_GROUPS = 4
"""row groups with several domains that one domain may lie in; in a month in order it is two"""

SMALL_FILES = 4  # files below half the target size that a month may have

VACUUM_DAYS = 7  # a file that no version refers to stays this long, for readers that began before
LOG_DAYS = 30  # as the tables say themselves (delta.logRetentionDuration)
CHECKPOINT_AFTER = 10  # commits since the last checkpoint: what opening a table has to read
MEMORY = 400_000_000  # bytes that ordering a month holds before it spills to disk


@dataclass(frozen=True)
class Step:
    """One thing that was done to a table, or is to be done."""

    table: str
    what: str  # delete, order, compact, vacuum, checkpoint, log or classify
    months: tuple[str, ...] = ()
    files: int = 0
    size: int = 0  # bytes of these files, before
    rows: int = 0


@dataclass(frozen=True)
class MaintenanceResult:
    """What a maintenance did, or would do."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...]  # what a person should know, a sentence each


def maintain_lake(
    settings: Settings,
    *,
    now: datetime,
    dry_run: bool = False,
    vacuum_days: int = VACUUM_DAYS,
    lake: Lake | None = None,
    step: Callable[[str], None] = lambda text: None,
) -> MaintenanceResult:
    """Delete what is too old of every table, and put the rest in order; nothing twice.

    With `dry_run` nothing is written, and the steps are what would be done now. `step` is
    called with the name of a step that may take long. Raises SettingsError when `keep_days`
    names no table, or would send Slack messages again; LakeError; StorageError.
    """
    lake = lake or Lake(settings.lake_url)
    oldest, warnings = oldest_kept(settings, lake, now)
    steps: list[Step] = []
    for name in ALL_TABLES:
        table = _TableUpkeep(lake, name, oldest.get(name), now, dry_run, step)
        steps += table.run(vacuum_days)
    return MaintenanceResult(tuple(steps), tuple(warnings))


def kept_days(settings: Settings) -> dict[str, int]:
    """Return table → days that its rows are kept; `messages` goes with the records."""
    days = {**KEEP_DAYS, **settings.keep_days}
    return {"messages": days["records"], **days} if "records" in days else days


def oldest_kept(
    settings: Settings, lake: Lake, now: datetime
) -> tuple[dict[str, datetime], list[str]]:
    """Return table → moment before which its rows are too old, and warnings (sentences).

    The ledger's rows (`mails`) outlive the objects that they tell of: else these would be
    read again as new mails. Raises as `maintain_lake`.
    """
    days = kept_days(settings)
    if unknown := [name for name in days if name not in ALL_TABLES]:
        raise SettingsError(
            f"setting keep_days: no table {core.one_line(unknown[0])!r}; "
            f"tables are {', '.join(ALL_TABLES)}"
        )
    if "alerts" in days and days.get("outbox", days["alerts"] + 1) > days["alerts"]:
        raise SettingsError(
            f"setting keep_days: alerts ({days['alerts']}) is less than outbox "
            f"({days.get('outbox', 'for ever')}): what was told would be told again; "
            f"set outbox to {days['alerts']} or less"
        )
    found = {name: now - timedelta(days=n) for name, n in days.items()}
    warnings = [
        _(
            "keep_days.{table} is {n}: findings learn the usual senders from {days} days, "
            "and will be wrong about them."
        ).format(table=name, n=days[name], days=LOOKS_BACK)
        for name in ("reports", "records")
        if days.get(name, LOOKS_BACK) < LOOKS_BACK
    ]
    if "mails" in found:
        known = lake.arrow("SELECT min(month) AS first FROM mails")["first"][0].as_py()
        if known is not None and known < month_of(found["mails"]):
            times = (item.modified for item in core.open_storage(settings.mail_url).list())
            oldest = min(times, default=now)
            if month_of(oldest) < month_of(found["mails"]):
                found["mails"] = oldest.astimezone(UTC)
                warnings.append(
                    _(
                        "Mails of {month} are still in the mail storage: their rows in the table "
                        "mails stay until the mails are deleted there, or they would be read "
                        "again."
                    ).format(month=month_of(oldest))
                )
    return found, warnings


class _File(NamedTuple):
    uri: str
    size: int  # bytes
    rows: int


def is_mixed(groups: Sequence[RowGroup]) -> bool:
    """Return True if a domain lies, on average, in too many bytes that hold other domains too.

    Too many are more than `MIXED_GROUPS` row groups have. Small groups of late reports weigh what
    they hold, so that a large month is not written anew because of a few.

    >>> is_mixed([RowGroup("a", "z", 100, GROUP_ROWS)] * 10)
    True
    >>> is_mixed([RowGroup(name, name, 100, GROUP_ROWS) for name in "abcdefghij"])
    False
    """
    total, rows = sum(g.size for g in groups), sum(g.rows for g in groups)
    if not total or not rows:
        return False
    shared = [g for g in groups if g.first != g.last]
    read = sum(g.size * sum(s.size for s in shared if s.first <= g.first <= s.last) for g in groups)
    one_group = total * min(1.0, GROUP_ROWS / rows)
    return read / total > MIXED_GROUPS * one_group


@dataclass
class _TableUpkeep:
    """The steps of one table; rows before `oldest` need not be kept."""

    lake: Lake
    name: str
    oldest: datetime | None
    now: datetime
    dry_run: bool
    report: Callable[[str], None]
    table: DeltaTable | None = None  # the table as last seen
    options: Mapping[str, str] | None = None  # with which it was opened

    def run(self, vacuum_days: int) -> list[Step]:
        table = self._newest()
        if table is None:
            return []
        steps = self._commit(self._delete_months) + self._commit(self._delete_rows)
        for month, files in self._by_month(table).items():
            if self._needs(files):  # of years of months few do: the rest is not looked at anew
                steps += self._commit(functools.partial(self._arrange, month))
        steps += self._commit(functools.partial(self._vacuum, vacuum_days))
        return steps + self._commit(functools.partial(self._clean_log, bool(steps)))

    def _commit(self, action: Callable[[DeltaTable], list[Step]]) -> list[Step]:
        """Return the steps of the action on the newest version of the table."""

        def act() -> list[Step]:
            table = self._newest()
            return [] if table is None else action(table)

        return commit(self.lake.location, self.name, "maintain", act)

    def _newest(self) -> DeltaTable | None:
        """Return the table as its last commit left it; opened anew, too, when keys have changed."""
        if self.table is None or self.options != self.lake.location.options():
            self.options = self.lake.location.options()
            self.table = self.lake.location.open(self.name)
        else:
            self.table.update_incremental()  # opening takes ten times as long
        return self.table

    @property
    def _first_month(self) -> str:
        return month_of(self.oldest) if self.oldest is not None else ""

    def _by_month(self, table: DeltaTable, *, too_old: bool = False) -> dict[str, list[_File]]:
        """Return the months that stay (or are too old) → their files, in order of time."""
        actions = pa.table(table.get_add_actions(flatten=True))
        columns = ("path", "partition.month", "size_bytes", "num_records")
        found: dict[str, list[_File]] = defaultdict(list)
        uri = self.lake.location.table_uri(self.name)
        rows = zip(*(actions[c].to_pylist() for c in columns if actions.num_rows), strict=True)
        for path, month, size, count in rows:
            if (month < self._first_month) == too_old:
                found[month].append(_File(f"{uri}/{path}", size, count))
        return dict(sorted(found.items()))

    def _step(self, what: str, months: Mapping[str, Sequence[_File]]) -> Step:
        files = [file for month in months.values() for file in month]
        size, rows = sum(f.size for f in files), sum(f.rows for f in files)
        return Step(self.name, what, tuple(months), len(files), size, rows)

    def _delete_months(self, table: DeltaTable) -> list[Step]:
        old = self._by_month(table, too_old=True)
        if old and not self.dry_run:
            table.delete(f"month < '{self._first_month}'")
        return [self._step("delete", old)] if old else []

    def _delete_rows(self, table: DeltaTable) -> list[Step]:
        column = TO_THE_DAY.get(self.name)
        if self.oldest is None or column is None:
            return []
        month, before = self._first_month, self.oldest
        with self.lake.session(self.name, first_month=month, outvoted=True) as connection:
            query = f"SELECT count(*) FROM {self.name} WHERE month = $month AND {column} < $before"  # noqa: S608
            found = connection.execute(query, {"month": month, "before": before}).fetchall()
        rows = int(found[0][0])
        if rows and not self.dry_run:
            table.delete(f"month = '{month}' AND {column} < '{before:%Y-%m-%dT%H:%M:%S.%fZ}'")
        return [Step(self.name, "delete", (month,), rows=rows)] if rows else []

    def _needs(self, files: Sequence[_File]) -> str:
        """Return what a month's files need: order, compact, or nothing (empty)."""
        column = CLUSTERED.get(self.name)
        # reading all of a small month costs little
        if column and sum(file.rows for file in files) > MIXED_GROUPS * GROUP_ROWS:
            groups = self.lake.location.row_groups([file.uri for file in files], column)
            if is_mixed(groups):
                return "order"
        return "compact" if sum(f.size < TARGET_SIZE / 2 for f in files) > SMALL_FILES else ""

    def _arrange(self, month: str, table: DeltaTable) -> list[Step]:
        """Put a month in order of its column where that is worth it, else into fewer files."""
        files = self._by_month(table).get(month, [])
        what, only = self._needs(files), [("month", "=", month)]
        if what and not self.dry_run:
            if what == "order":
                self.report(f"Putting table {self.name} of {month} in order")
            claim_rewriting(table)
            if what == "order":
                _order(table, CLUSTERED[self.name], only)
            else:
                table.optimize.compact(partition_filters=only, target_size=TARGET_SIZE)
        return [self._step(what, {month: files})] if what else []

    def _vacuum(self, days: int, table: DeltaTable) -> list[Step]:
        """Delete files that no version of the last days refers to, and crashed writers' ones."""
        vacuum = functools.partial(
            table.vacuum, retention_hours=24 * days, enforce_retention_duration=False, full=True
        )
        stale = vacuum(dry_run=True)
        if not stale:
            return []
        sizes = {item.key: item.size for item in self.lake.location.storage.list(f"{self.name}/")}
        size = sum(sizes.get(f"{self.name}/{path}", 0) for path in stale)
        if not self.dry_run:
            vacuum(dry_run=False)
        return [Step(self.name, "vacuum", files=len(stale), size=size)]

    def _clean_log(self, changed: bool, table: DeltaTable) -> list[Step]:
        """Write a checkpoint, so that opening reads little; then delete old entries of the log."""
        steps, last = [], -1
        with contextlib.suppress(core.MissingObject, ValueError, KeyError):
            checkpoint = self.lake.location.storage.get(f"{self.name}/_delta_log/_last_checkpoint")
            last = int(json.loads(checkpoint)["version"])
        behind = table.version() - last
        if behind and (changed or behind >= CHECKPOINT_AFTER):
            steps.append(Step(self.name, "checkpoint"))
            if not self.dry_run:
                table.create_checkpoint()
        old = self._old_entries()
        if old and not self.dry_run:
            table.cleanup_metadata()
            left = {item.key for item in self._old_entries()}
            old = [item for item in old if item.key not in left]
        if old:
            size = sum(item.size for item in old)
            steps.append(Step(self.name, "log", files=len(old), size=size))
        return steps

    def _old_entries(self) -> list[StoredObject]:
        """Return the log's entries before the last checkpoint as old as the log's retention."""
        before = self.now - timedelta(days=LOG_DAYS)
        log = self.lake.location.storage.list(f"{self.name}/_delta_log/")
        old = {e.key.rpartition("/")[2]: e for e in log if e.modified < before}
        last = max((name for name in old if ".checkpoint." in name), default="")
        return [entry for name, entry in old.items() if name[:20].isdecimal() and name < last[:20]]


def _order(table: DeltaTable, column: str, only: list[tuple[str, str, str]]) -> None:
    """Rewrite a month by the column: the Z-order of a single column is its sorted order."""
    table.optimize.z_order(
        [column],
        partition_filters=only,
        target_size=TARGET_SIZE,
        max_concurrent_tasks=1,
        max_spill_size=MEMORY,
        writer_properties=compressed(GROUP_ROWS),
    )
