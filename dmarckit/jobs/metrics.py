"""What the lake says of the work so far, as numbers for monitoring.

`read_facts` asks the tables, `exposition` writes them as Prometheus reads them. Counters
count rows of tables, so that they go on after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dmarckit import __version__
from dmarckit.ingest.ingest_commit import OUTCOMES
from dmarckit.lake.lake import Lake

SUCCESSES = ("ok", "problems")
"""results of a run that did its work; `problems`: a mail among others was unreadable"""
RESULTS = ("ok", "problems", "failed", "interrupted")
SEVERITIES = ("critical", "warning", "info", "good")

_NEWEST_RUNS = """
    SELECT job, result, started, ended,
        max(slot) OVER (PARTITION BY job) AS slot,
        max(ended) FILTER (result IN ('ok', 'problems')) OVER (PARTITION BY job) AS success
    FROM runs QUALIFY row_number() OVER (PARTITION BY job ORDER BY started DESC, run) = 1
"""
_RUNS = "SELECT job, result, count(*) AS number FROM runs GROUP BY ALL"
_MAILS = "SELECT outcome, count(*) AS number FROM mails GROUP BY ALL"
# a run without findings leaves no row, but the one that ends a finding leaves RESOLVED
_FINDINGS = """
    SELECT severity, count(DISTINCT fingerprint) AS number FROM (
        SELECT * FROM findings QUALIFY "at" = max("at") OVER (PARTITION BY job)
    ) WHERE status <> 'RESOLVED' AND mute_reason IS NULL GROUP BY ALL
"""
_OUTBOX = """
    SELECT count(*) AS number FROM outbox
    WHERE subject NOT IN (SELECT subject FROM alerts)
"""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run of a job, and when the job last went well. Times are UTC."""

    result: str
    started: datetime
    ended: datetime
    slot: datetime | None
    """newest slot that any run of the job was for; None: all were started by hand"""
    success: datetime | None
    """end of the newest run that did its work; None: there is none"""

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return max(0.0, (self.ended - self.started).total_seconds())


@dataclass(frozen=True)
class Facts:
    """What the lake says; all numbers are 0 in an empty one."""

    last: Mapping[str, LastRun] = field(default_factory=dict)
    """job → its newest run; jobs that never ran are not in"""
    runs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(job, result) → runs"""
    mails: Mapping[str, int] = field(default_factory=dict)
    """outcome → mails"""
    findings: Mapping[str, int] = field(default_factory=dict)
    """severity → findings open and not muted in the newest run of each job"""
    outbox: int = 0
    """messages that wait for Slack"""


def read_facts(lake: Lake) -> Facts:
    """The numbers as the tables stand now. Raises LakeError or StorageError."""
    with lake.session("runs", "mails", "findings", "outbox", "alerts") as connection:

        def rows(query: str) -> Iterable[dict[str, Any]]:
            found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
            return found

        return Facts(
            last={
                r["job"]: LastRun(r["result"], r["started"], r["ended"], r["slot"], r["success"])
                for r in rows(_NEWEST_RUNS)
            },
            runs={(r["job"], r["result"]): r["number"] for r in rows(_RUNS)},
            mails={r["outcome"]: r["number"] for r in rows(_MAILS)},
            findings={r["severity"]: r["number"] for r in rows(_FINDINGS)},
            outbox=sum(r["number"] for r in rows(_OUTBOX)),
        )


def exposition(facts: Facts | None, overdue: Mapping[str, bool]) -> bytes:
    """The metrics in Prometheus' text format.

    `overdue` names the jobs that are scheduled, and whether their run is missing. Without
    `facts` the lake could not be read: only that, and the version, are said.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Lake(facts, overdue))
    return generate_latest(registry)


class _Lake(Collector):
    def __init__(self, facts: Facts | None, overdue: Mapping[str, bool]) -> None:
        self.facts = facts
        self.overdue = overdue

    def collect(self) -> Iterator[Metric]:
        """Every metric, also those that are 0, so that a query never finds nothing."""
        yield _gauge("build_info", "Version of dmarckit.", "version", {__version__: 1})
        readable = int(self.facts is not None)
        yield GaugeMetricFamily(
            "dmarckit_lake_readable", "1: the tables could be read; 0: not.", value=readable
        )
        if self.facts is None:
            return
        yield from _jobs(self.facts, self.overdue)
        mails = CounterMetricFamily("dmarckit_mails", "Mails by outcome.", labels=["outcome"])
        for outcome in OUTCOMES:
            mails.add_metric([outcome], self.facts.mails.get(outcome, 0))
        yield mails
        findings = {s: self.facts.findings.get(s, 0) for s in SEVERITIES}
        yield _gauge("findings", "Open findings that are not muted.", "severity", findings)
        yield GaugeMetricFamily(
            "dmarckit_outbox_messages", "Messages that wait for Slack.", value=self.facts.outbox
        )


def _jobs(facts: Facts, overdue: Mapping[str, bool]) -> Iterator[Metric]:
    names = sorted({*overdue, *facts.last})
    runs = CounterMetricFamily("dmarckit_job_runs", "Runs by result.", labels=["job", "result"])
    for job in names:
        for result in RESULTS:
            runs.add_metric([job, result], facts.runs.get((job, result), 0))
    yield runs
    yield _gauge(
        "job_last_success_timestamp_seconds",
        "End of the newest run that did its work; 0: there is none.",
        "job",
        {job: _epoch(facts.last[job].success if job in facts.last else None) for job in names},
    )
    yield _gauge(
        "job_overdue",
        "1: the run of the newest slot is missing.",
        "job",
        {job: int(late) for job, late in sorted(overdue.items())},
    )
    yield _gauge(
        "run_duration_seconds",
        "How long the newest run took.",
        "job",
        {job: run.seconds for job, run in sorted(facts.last.items())},
    )


def _gauge(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"dmarckit_{name}", help_, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _epoch(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
