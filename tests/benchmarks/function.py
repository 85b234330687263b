"""What a call of the function takes: processor time from its start on, and memory.

The real runtime client is called through a local runtime API; S3 and Slack are on this machine.
The kernel of a page counts as well. Cost tables in schedules/aws/README.md are made of this.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from dmarckit.core.storage import open_storage
from dmarckit.demo.server import s3_server
from dmarckit.jobs.schedule import load_schedule
from tests.benchmarks.measure import table
from tests.support.arrivals import record, s3_event
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.lambda_runtime import Function, function, is_locked
from tests.support.model_builders import make_failing
from tests.support.slack_server import CHANNEL, TOKEN, slack_server

BUCKET = "bench"
DAYS = 30  # of reports before the runs
ARN = "arn:aws:sqs:eu-west-1:111122223333:bench"
NOW = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def run() -> None:
    """A start, calls with 1, 10 and 100 mails, and slots of `alerts` and `daily`."""
    with s3_server() as server, slack_server() as slack:
        os.environ.update(server.environment())
        boto3.session.Session().client("s3").create_bucket(Bucket=BUCKET)
        variables = {
            "DMARCKIT_HOME": f"s3://{BUCKET}/kit",
            "DMARCKIT_MAIL": f"s3://{BUCKET}/rua",
            "DMARCKIT_TRUST": "any",
            "DMARCKIT_SLACK_TOKEN": TOKEN,
            "DMARCKIT_SLACK_CHANNEL": CHANNEL,
            "DMARCKIT_SLACK_URL": slack.url,
        }
        rows = []
        with function(variables) as called:
            for day in range(DAYS, 0, -1):
                _cpu(called, _arrivals(f"before-{day}-", 10, day))
        for title, event in _calls():
            with function(variables) as called:
                seconds = [_cpu(called, given) for given in ({}, event(), event())]
                memory = f"{called.memory() / 1e6:,.0f}"
                rows.append([title, *(f"{used:.1f}" for used in seconds), memory])
        place = "nothing but /tmp to write, no /dev/shm" if is_locked() else "an open file system"
        table(
            f"Calls of the function, {place}: seconds of processor time",
            ["call", "start", "first call", "another", "MB at most, kernel aside"],
            rows,
        )


def _calls() -> list[tuple[str, Callable[[], dict[str, Any]]]]:
    numbers = iter(range(1_000_000))

    def arrivals(count: int) -> Callable[[], dict[str, Any]]:
        return lambda: _arrivals(f"{next(numbers)}-", count, 1)

    def slot(name: str) -> Callable[[], dict[str, Any]]:
        def event() -> dict[str, Any]:
            newest = load_schedule(name).newest_slot(NOW - timedelta(days=next(numbers)))
            assert newest is not None
            return {"run": name, "slot": newest.isoformat()}

        return event

    return [
        ("1 mail", arrivals(1)),
        ("10 mails", arrivals(10)),
        ("100 mails", arrivals(100)),
        ("`alerts`, nothing new", slot("alerts")),
        ("`daily`, with its pages", slot("daily")),
    ]


def _arrivals(prefix: str, count: int, days_ago: int) -> dict[str, Any]:
    """Mails put into the bucket, and the event about them; each tenth has failing messages."""
    begin = NOW - timedelta(days=days_ago)
    mails, records = open_storage(f"s3://{BUCKET}/rua"), []
    for number in range(count):
        key = f"{prefix}{number}"
        parts = [make_record(f"192.0.2.{n}", messages=10) for n in range(8)]
        parts += [make_failing("198.51.100.7", 3)] if number % 10 == 0 else []
        report = make_report(
            *parts, report_id=f"bench-{key}", begin=begin, end=begin + timedelta(days=1)
        )
        mails.put(key, make_mail(gz(report_xml(report))), content_type="message/rfc822")
        message = {"messageId": key, "receiptHandle": key, "eventSourceARN": ARN}
        records.append({**message, "body": s3_event(record(f"rua/{key}", BUCKET))})
    return {"Records": records}


def _cpu(called: Function, event: dict[str, Any]) -> float:
    """Seconds of processor time that a call takes; an empty event is a start."""
    before = called.cpu_seconds() if called.starts else 0.0
    done = called.call(event, seconds=840)
    if done.outcome != ("result" if event else "error"):
        raise RuntimeError(called.lines())
    return called.cpu_seconds() - before
