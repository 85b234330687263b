"""The table `dns`: what was found about the domains, checked once a day, and compared.

With the table `postmaster` it is all that the outside says about the domains (`Outside`).

A row is what was found on its day, and proves nothing about any day before. Reading needs no
DNS library; a check does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow as pa

from dmarckit.checks.postmaster import METRICS, latest_metrics
from dmarckit.checks.record import DnsRow
from dmarckit.core import Settings, normalize_domain
from dmarckit.facts import organisation
from dmarckit.lake import DNS, Lake

OPTIONAL = ("mx", "mta_sts", "tls_rpt", "bimi")
"""records that a domain may do without; that they are missing is worth knowing, no more"""


@dataclass(frozen=True)
class DnsCheckResult:
    """What a check of DNS did."""

    rows: dict[str, list[DnsRow]]
    """domain → what was found now"""
    silent: list[str]
    """domains without any answer, or not asked about because nobody answers; not kept"""
    kept: int
    """rows that are new in the lake; a domain is kept once a day"""

    @property
    def problems(self) -> int:
        """Rows with something to do: wrong, weak, or missing although it is needed."""
        return sum(is_problem(row.record, row.state) for rows in self.rows.values() for row in rows)


def is_problem(record: str, state: str) -> bool:
    """Return True when something is to be done about a record in this state."""
    return state in ("invalid", "weak") or (state == "missing" and record not in OPTIONAL)


def check_dns(
    settings: Settings,
    *,
    now: datetime,
    domains: Sequence[str] = (),
    fetch: Callable[[str, float], str] | None = None,
    run: str | None = None,
) -> DnsCheckResult:
    """Ask DNS about the domains, and keep what it says in the table `dns`.

    `domains` are those of the settings, or all that reports of the last 90 days speak of,
    unless given. The MTA-STS policy file is only looked at with a `fetch` (`fetch_policy`). One
    answer may take `dns_timeout` seconds, a domain 12 times as long. The first check of a day
    is the one that is kept.

    Raises MissingExtra without checkdmarc or dnspython, SettingsError when a DNS server is no
    address, LakeError when the lake cannot be used.
    """
    from dmarckit.checks.domains import check_domains, chosen_domains, read_targets
    from dmarckit.checks.resolver import Servers

    lake = Lake(settings.lake_url)
    servers = Servers(settings.resolvers, settings.dns_timeout)
    wanted = chosen_domains(settings, lake, now, domains)
    seen = read_targets(settings, lake, now) if wanted else {}
    rows: dict[str, list[DnsRow]] = {}
    kept, day = 0, _midnight(now)
    common = {"day": day, "checked": now, "run": run or f"dns@{now.isoformat()}"}
    common["month"] = f"{day:%Y-%m}"
    for batch in check_domains(servers, wanted, seen, fetch):
        answered = {domain: found for domain, found in batch.items() if found is not None}
        rows |= answered
        made = []
        for domain, row in ((domain, row) for domain, found in answered.items() for row in found):
            values = json.dumps(row.values, sort_keys=True, ensure_ascii=False)
            made.append(asdict(row) | {"domain": domain, "values": values} | common)
        if made:
            new = lake.write.append_new("dns", pa.Table.from_pylist(made, schema=DNS.schema))
            kept += sum(len(rows[domain]) for domain in {unit.split("\x1f")[0] for unit in new})
    return DnsCheckResult(rows, [domain for domain in wanted if domain not in rows], kept)


_SNAPSHOT = """
WITH mine AS (SELECT domain, day, record, name, state, found, checked FROM dns WHERE day <= $day
              AND (len($domains) = 0 OR domain IN (SELECT unnest($domains)))),
newest AS (SELECT domain, max(day) AS day FROM mine GROUP BY domain),
changed AS (
    SELECT domain, record, name, checked, lag(found) OVER w IS DISTINCT FROM found AS new
    FROM mine WHERE state != 'unknown' WINDOW w AS (PARTITION BY domain, record, name ORDER BY day)
),
since AS (SELECT domain, record, name, max(checked) AS since FROM changed WHERE new GROUP BY ALL)
SELECT dns.*, since.since
FROM dns JOIN newest USING (domain, day) LEFT JOIN since USING (domain, record, name)
ORDER BY domain, record, name
"""

SNAPSHOT = [*(c for c in DNS.columns if c != "month"), "since"]


def dns_snapshot(lake: Lake, domains: Sequence[str] = (), day: date = date.max) -> pd.DataFrame:
    """Return what the newest check of each domain found, on that day or before, a row a record.

    Columns as in `dmarckit schema dns`, and `since`: the first check that found the same
    records, with no other since; null when DNS has never answered. No `domains`: all.
    Empty when there was no check.
    """
    names = [normalize_domain(name) for name in domains]
    return lake.sql(_SNAPSHOT, day=_midnight(day), domains=names)[SNAPSHOT]


_CHANGES = """
WITH known AS (SELECT domain, record, name, day, state, found FROM dns WHERE state != 'unknown'
               AND day < $end AND (len($domains) = 0 OR domain IN (SELECT unnest($domains)))),
pairs AS (
    SELECT domain, record, name, day, lag(day) OVER w AS day_before,
           lag(found) OVER w AS before, found AS after,
           lag(state) OVER w AS state_before, state AS state_after
    FROM known WINDOW w AS (PARTITION BY domain, record, name ORDER BY day)
)
SELECT * FROM pairs
WHERE day >= $start AND day_before IS NOT NULL AND before IS DISTINCT FROM after
ORDER BY day, domain, record, name
"""
CHANGES = [
    "domain", "record", "name", "day", "day_before", "before", "after",
    "state_before", "state_after",
]  # fmt: skip


def dns_changes(lake: Lake, domains: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
    """Return records that a check on a day in [start, end) found other than the check before.

    One row per change: `CHANGES`; day is that of the check that saw it, day_before that of the
    last check that answered, before and after are lists of records. What DNS did not answer
    is no change, nor is a name that is looked at for the first time, or no more. No `domains`:
    all.
    """
    names = [normalize_domain(name) for name in domains]
    return lake.sql(_CHANGES, start=start, end=end, domains=names)


def changes_window(now: datetime, days: int) -> tuple[datetime, datetime]:
    """Return the last `days` whole days and today, for `dns_changes`."""
    today = _midnight(now)
    return today - timedelta(days=days), today + timedelta(days=1)


STALE = timedelta(days=30)
"""what is older tells nothing about today: Google's days, and a check of DNS alike"""


@dataclass(frozen=True)
class Outside:
    """What was asked of the outside. Empty frames: nothing was asked, or nobody answered."""

    postmaster: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=METRICS))
    """as `latest_metrics`, of the last 30 days; also of the organisations of the domains"""
    dns: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SNAPSHOT))
    """as `dns_snapshot`, unless the check is older than 30 days"""
    changes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=CHANGES))
    """as `dns_changes`, of the days that findings are about"""
    domains: tuple[str, ...] = ()
    """those that were asked for; empty: all"""

    @property
    def empty(self) -> bool:
        """Nothing is known."""
        return self.postmaster.empty and self.dns.empty and self.changes.empty


def load_outside(lake: Lake, domains: Sequence[str], now: datetime, days: int = 7) -> Outside:
    """Return what Postmaster Tools and DNS said last, and changes of the last `days` days.

    Of the named domains, or of all. Empty frames when the tables are empty. Raises LakeError
    for a `now` without time zone, or when the lake cannot be read.
    """
    names = list(dict.fromkeys(normalize_domain(name) for name in domains))
    today = _midnight(now.astimezone(UTC))
    known = [*names, *(organisation(name) for name in names)]
    metrics = latest_metrics(lake, known, today - STALE, today + timedelta(days=1))
    rows = dns_snapshot(lake, names, today.date())
    rows = rows[rows["day"] >= today - STALE].reset_index(drop=True)
    if rows.empty:
        return Outside(metrics, domains=tuple(names))
    changed = dns_changes(lake, names, *changes_window(now.astimezone(UTC), days))
    return Outside(metrics, rows, changed, tuple(names))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
