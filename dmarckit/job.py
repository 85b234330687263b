"""The main job: new mails → lake → page → alerts and summary in Slack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from dmarckit.ingest import ingest
from dmarckit.ingest_commit import IngestResult, Progress
from dmarckit.publishing import Published, publish_notebook
from dmarckit.schedules import Schedule
from dmarckit.settings import Settings
from dmarckit.telling import Told, check_slack, tell


@dataclass(frozen=True)
class JobResult:
    """What a job did."""

    ingest: IngestResult
    published: Published
    told: Told


def run_job(
    settings: Settings,
    schedule: Schedule,
    *,
    now: datetime | None = None,
    progress: Progress | None = None,
    step: Callable[[str], None] = lambda text: None,
) -> JobResult:
    """Ingest, publish the page, then tell: alerts about failing reports, and the summary.

    `step` hears of each step in words. Raises what its parts raise; what was stored stays,
    and what was told is not told again.
    """
    now = now or datetime.now(UTC)
    check_slack(settings)
    step("Reading new mails")
    ingested = ingest(settings, progress=progress)
    return publish_and_tell(settings, schedule, ingested, now=now, step=step)


def publish_and_tell(
    settings: Settings,
    schedule: Schedule,
    ingested: IngestResult,
    *,
    now: datetime,
    step: Callable[[str], None] = lambda text: None,
) -> JobResult:
    """What follows an ingest: the page, alerts about failing reports, the summary."""
    step(f"Building the page {schedule.notebook}")
    published = publish_notebook(settings, schedule.notebook, schedule.parameters, now)
    told = tell(settings, schedule, ingested, published, now=now, step=step)
    return JobResult(ingested, published, told)
