"""Google Postmaster Tools → the lake: the days that are missing, and what Google has revised.

Google publishes a day some days later, corrects it now and then, and says nothing of days
with too little mail. So each pull asks again for the last days, and keeps a value only when
it differs from the newest that is in the lake. A second pull writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa

from dmarckit import core
from dmarckit.checks.postmaster_client import Query, connect
from dmarckit.checks.postmaster_metrics import FAMILIES, Metric, Row, compliance_rows, loop_metrics
from dmarckit.core import PostmasterError, SettingsError, normalize_domain, one_line
from dmarckit.facts import HOST
from dmarckit.lake import POSTMASTER, Lake, month_of, open_lake

METRICS = ["domain", "day", "metric", "detail", "share", "number", "text", "pulled"]
"""Columns of `latest_metrics`."""


def latest_metrics(
    lake: Lake,
    domains: Sequence[str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
) -> pd.DataFrame:
    """Return what Google said last about each metric of the days in [start, end).

    One row (`METRICS`) per domain, day, metric and detail: `share` is a rate from 0 to 1,
    `number` a count, `text` a state or a JSON list. A day that Google has no data about has
    no row (it is not 0). Without domains those of all. Raises LakeError for a time without
    zone, or when the lake cannot be read.
    """
    day = ["domain", "day", "metric", "detail"]
    frame = lake.postmaster(domains or None, start, end)
    newest = frame.sort_values([*day, "pulled", "run"]).drop_duplicates(day, keep="last")
    return newest[METRICS].reset_index(drop=True)


FIRST_DAYS = 120
"""days that the first pull of a domain asks for: as far back as Postmaster Tools shows"""
LATE_DAYS = 7
"""days before the last one known that are asked for again: data arrives late, and is revised"""
TOGETHER = 20
"""domains whose answers are held in memory at once"""
LOOPS = 100
"""feedback loops of a domain whose rate is asked; more are named as a problem"""


class _Source(Protocol):
    """A `PostmasterClient`, or the demo's."""

    def domains(self) -> list[dict[str, Any]]: ...
    def compliance(self, domain: str) -> dict[str, Any]: ...
    def stats(self, queries: Sequence[Query]) -> list[list[Row] | PostmasterError]: ...


@dataclass(frozen=True)
class PullResult:
    """What a pull did."""

    run: str
    domains: tuple[str, ...]
    """those that Google was asked about"""
    rows: int
    """values that were new, or that Google has revised"""
    problems: tuple[str, ...]
    """what Google refused, a line each; everything else was pulled all the same"""


def pull_metrics(
    settings: core.Settings,
    *,
    now: datetime,
    days: int | None = None,
    client: _Source | None = None,
    run: str | None = None,
) -> PullResult:
    """Ask Google for what is missing and keep it in the table `postmaster`.

    Days up to yesterday (UTC): for each domain and group of metrics from `LATE_DAYS` before
    the last day known, at first `FIRST_DAYS`; with `days` the last so many. The compliance
    status has no date at Google and is kept as of today. A domain that Google refuses is a
    problem of its own; what was written before an error stays.

    Raises what `google_identity` raises, LakeError, and PostmasterError when Google refuses
    everything, is out of reach, or changed the unit of rates.
    """
    if days is not None and days < 1:
        raise SettingsError(f"days is {days}: it must be at least 1")
    with nullcontext(client) if client else closing(connect(settings)) as source:
        stored = open_lake(settings)
        task = _Pull(source, stored, now.astimezone(UTC), days, run or core.new_run())
        domains = task.domains(settings)
        task.compliance(domains)
        for start in range(0, len(domains), TOGETHER):
            task.statistics(domains[start : start + TOGETHER])
    return PullResult(task.run, tuple(domains), task.rows, tuple(dict.fromkeys(task.problems)))


def ascii_name(name: str) -> str:
    """Return a domain as DNS and Google write it: lower case, IDNA. Raises SettingsError."""
    try:
        ascii_ = normalize_domain(name.strip()).encode("idna").decode()
    except UnicodeError:
        ascii_ = ""
    if not HOST.fullmatch(ascii_):
        raise SettingsError(f"setting postmaster_domains: {one_line(repr(name))} is no domain name")
    return ascii_


@dataclass
class _Pull:
    client: _Source
    lake: Lake
    now: datetime
    days: int | None
    run: str
    rows: int = 0
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.today = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        self._known: dict[tuple[str, str], datetime] = {}
        """domain and metric → the last day that has a value"""
        if self.days is None:
            last = "SELECT domain, metric, max(day) AS last FROM postmaster GROUP BY 1, 2"
            for domain, metric, day in self.lake.sql(last).itertuples(index=False, name=None):
                self._known[domain, metric] = day.to_pydatetime()

    def domains(self, settings: core.Settings) -> list[str]:
        """Return those of the settings, else those that Google lists and lets us read."""
        if settings.postmaster_domains:
            return list(dict.fromkeys(ascii_name(name) for name in settings.postmaster_domains))
        names = []
        for domain in self.client.domains():
            name = normalize_domain(str(domain.get("name") or "").removeprefix("domains/"))
            if not HOST.fullmatch(name):
                self.problems.append(f"Postmaster Tools lists {one_line(name)!r}: no domain name")
            elif domain.get("verificationState") == "UNVERIFIED":
                self.problems.append(f"{name} is not verified in Postmaster Tools; verify it there")
            elif domain.get("permission") == "NONE":
                self.problems.append(f"{name}: no permission in Postmaster Tools; ask its owner")
            else:
                names.append(name)
        return sorted(dict.fromkeys(names))

    def compliance(self, domains: Sequence[str]) -> None:
        rows: list[Row] = []
        for domain in domains:
            try:
                rows += compliance_rows(domain, self.client.compliance(domain), self.today)
            except core.PostmasterAccess:
                raise
            except PostmasterError as error:
                self.problems.append(str(error))
        self._keep(rows)

    def statistics(self, domains: Sequence[str]) -> None:
        """Keep all metrics of these domains; rates of feedback loops once their ids are known."""
        queries = [self._query(d, name, m, m) for d in domains for name, m in FAMILIES.items()]
        rows = self._ask(queries)
        loops = []
        for domain in domains:
            metrics = loop_metrics([row for row in rows if row["domain"] == domain])
            if len(metrics) > LOOPS:
                self.problems.append(
                    f"{domain} has {len(metrics)} feedback loops; "
                    f"rates of the first {LOOPS} were asked"
                )
            if metrics:
                ids = FAMILIES["feedback loops"]
                loops.append(self._query(domain, "feedback loop rates", metrics[:LOOPS], ids))
        self._keep([*rows, *self._ask(loops)])

    def _ask(self, queries: Sequence[Query]) -> list[Row]:
        rows: list[Row] = []
        for answer in self.client.stats(queries):
            if isinstance(answer, PostmasterError):
                self.problems.append(str(answer))
            else:
                rows += answer
        return rows

    def _query(
        self, domain: str, name: str, metrics: Sequence[Metric], since: Sequence[Metric]
    ) -> Query:
        """Make a query for metrics from some days before the last one of `since` that is known."""
        first = self.today - timedelta(days=self.days or FIRST_DAYS)
        known = [self._known.get((domain, metric.metric)) for metric in since]
        if last := max((day for day in known if day), default=None):
            first = max(first, min(last, self.today) - timedelta(days=LATE_DAYS))
        yesterday = self.today - timedelta(days=1)
        return Query(domain, name, metrics, first.date(), yesterday.date())

    def _keep(self, rows: Sequence[Row]) -> None:
        """Write the values that differ from the newest in the lake, with one commit."""
        if not rows:
            return
        days = [row["day"] for row in rows]
        names = sorted({str(row["domain"]) for row in rows})
        stored = latest_metrics(self.lake, names, min(days), max(days) + timedelta(days=1))
        known = {_key(row): _value(row) for row in stored.to_dict("records")}
        more = {"pulled": self.now, "run": self.run}
        new = [
            row | more | {"month": month_of(row["day"])}
            for key, row in {_key(row): row for row in rows}.items()
            if known.get(key) != _value(row)
        ]
        if new:
            table = pa.Table.from_pylist(new, schema=POSTMASTER.schema)
            self.lake.write.append_new("postmaster", table)
        self.rows += len(new)


def _key(row: Mapping[Any, Any]) -> tuple[str, datetime, str, str]:
    return row["domain"], row["day"], row["metric"], row["detail"]


def _value(row: Mapping[Any, Any]) -> list[Any]:
    return [None if pd.isna(row[name]) else row[name] for name in ("share", "number", "text")]
