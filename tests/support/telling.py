"""An installation with report mails and a Slack, for tests of what is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from nbformat.v4 import new_notebook

from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.ingest.commit import IngestResult
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.jobs.notify import Notifier
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import failing_messages, month_of, report_row, report_uid
from dmarckit.lake.schema import RUNS
from dmarckit.pages.build import BuiltPage
from dmarckit.pages.publish import StoredPage
from dmarckit.reports.model import AggregateReport, Policy, Record
from dmarckit.slack.alerts import Sender, report_alert
from dmarckit.slack.blocks import Message, StoredFile, with_addresses
from dmarckit.slack.outbox import DeliveryResult
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=1)
"""after all mails have come in, and far from midnight: some things are told once a day"""
ALERTS = Schedule(name="alerts", alerts=3, slack={"when": "failing"})
DAILY = Schedule(name="daily", notebook="overview", parameters={"days": 7}, alerts=3)
PAGE = StoredPage(
    BuiltPage("overview", "overview/x.html", "DMARC overview", b"<p>page", new_notebook(), ()),
    "overview/x.html",
    "",
)


def leave_out_charts(patch: pytest.MonkeyPatch) -> None:
    """Messages carry a few bytes in place of charts that matplotlib draws."""
    patch.setattr("dmarckit.slack.daily_chart", lambda _: b"a chart")
    patch.setattr("dmarckit.slack.chart.alert_chart", lambda _: b"a chart")


def a_report(
    number: int, *records: Record, domain: str = "example.com", **other: Any
) -> AggregateReport:
    """A report about yesterday; with one failing message unless it has records."""
    begin = (NOW - timedelta(days=1)).replace(hour=0, minute=0, second=0)
    rows = records or (make_record(messages=10), make_failing("198.51.100.7", 1))
    return make_report(
        *rows,
        report_id=f"r-{number}",
        begin=begin,
        end=begin + timedelta(days=1),
        policy=Policy(domain, p="reject"),
        **other,
    )


def stored(address: str) -> StoredFile:
    """A file of ours that has this address in `addressed`."""
    return StoredFile("exports", address)


def addressed(message: Message, above: str = "") -> Message:
    """The message as it goes out."""
    return with_addresses(message, lambda file: file.key, above)


def alert_about(
    *found: AggregateReport,
    links: Sequence[tuple[str, str]] = (),
    chart: str | None = None,
    senders: Sequence[Sender] = (),
) -> Message:
    """The alert about reports that are in the lake, as it goes out."""
    rows = [report_row(r, report_uid(r), "mail", failing_messages(r.records)) for r in found]
    records = [record for r in found for record in r.records]
    files = [(label, stored(address)) for label, address in links]
    picture = stored(chart) if chart else None
    return addressed(report_alert(rows, records, files, picture, senders))


@dataclass
class World:
    """A home in a folder (or a bucket) and a Slack server."""

    home: Path | str
    slack: SlackServer
    more: dict[str, Any] = field(default_factory=dict)
    runs: int = 0

    @property
    def settings(self) -> Settings:
        values = {"slack_token": TOKEN, "slack_channel": CHANNEL, "slack_url": self.slack.url}
        return load_settings(home=str(self.home), trust="any", **(values | self.more))

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_url)

    def mail(self, *reports: AggregateReport) -> World:
        """Report mails come in."""
        storage = open_storage(self.settings.mail_url)
        for made in reports:
            raw = make_mail(gz(report_xml(made)))
            storage.put(f"m-{made.report_id}", raw, content_type="message/rfc822")
        return self

    def broken(self, name: str) -> World:
        """A mail comes in that cannot be read."""
        raw = make_mail(b"\x1f\x8b\x08broken")
        open_storage(self.settings.mail_url).put(name, raw, content_type="message/rfc822")
        return self

    def run(self, schedule: Schedule = ALERTS, minutes: float = 0, **how: Any) -> DeliveryResult:
        """A run of a job, its start `minutes` after `NOW`."""
        return self.ends(schedule, self.begins(schedule), minutes, **how)

    def begins(self, schedule: Schedule = ALERTS) -> Callable[..., DeliveryResult]:
        """A run that has read the mails, and is about to tell."""
        self.runs += 1
        run = f"run-{self.runs}"
        self.ingested: IngestResult = ingest_mails(self.settings, run=run)
        page = PAGE if schedule.notebook else None

        def tells(now: datetime, **how: Any) -> DeliveryResult:
            return Notifier(self.settings, schedule, run=run, now=now, **how).notify_run(page)

        return tells

    def ends(
        self,
        schedule: Schedule,
        tells: Callable[..., DeliveryResult],
        minutes: float = 0,
        **how: Any,
    ) -> DeliveryResult:
        """It tells, and is recorded."""
        now = NOW + timedelta(minutes=minutes)
        told = tells(now, **how)
        self.recorded(schedule.name, f"run-{self.runs}", now)
        return told

    def fails(
        self, schedule: Schedule = ALERTS, minutes: float = 0, since: float = 0
    ) -> DeliveryResult:
        """A run that fails."""
        self.runs += 1
        moment = NOW + timedelta(minutes=minutes)
        return Notifier(self.settings, schedule, run=f"run-{self.runs}", now=moment).notify_failure(
            "the bucket does not exist; check its name and the account (NoSuchBucket)",
            since=NOW + timedelta(minutes=since),
        )

    def recorded(self, job: str, run: str, started: datetime, result: str = "ok") -> None:
        """The row of a run that has ended."""
        row = {"run": run, "job": job, "started": started, "result": result}
        row["month"] = month_of(started)
        table = pa.Table.from_pylist([row], schema=RUNS.schema)
        self.lake.write.append_new("runs", table)

    def told(self) -> set[str]:
        """The subjects that were told."""
        return set(self.lake.sql("SELECT subject FROM alerts")["subject"])

    def waits(self) -> list[str]:
        """The subjects that wait in the outbox."""
        query = "SELECT subject FROM outbox WHERE subject NOT IN (SELECT subject FROM alerts)"
        return sorted(self.lake.sql(query)["subject"])
