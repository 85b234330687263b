"""How soon Slack hears of a mail that came in, and how fast a backlog is taken."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import boto3

from dmarckit.core.storage import POOL, open_storage
from dmarckit.demo.server import s3_server
from dmarckit.lake.lake import Lake
from tests.benchmarks.measure import table
from tests.support.arrivals import TestQueue, make_queue, record, s3_event
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, slack_server
from tests.support.sqs_server import fast_sqs_server

ROUNDS = 50
BACKLOG, TWICE = 10_000, 2_000
BUCKET = "bench"


def run() -> None:
    """50 mails one by one, from the put to the message; then 12,000 events about 10,000 mails."""
    with s3_server() as server, fast_sqs_server() as sqs, slack_server() as slack:
        os.environ.update(server.environment())
        os.environ["AWS_ENDPOINT_URL_SQS"] = sqs
        boto3.session.Session().client("s3").create_bucket(Bucket=BUCKET)
        queue = make_queue(sqs)
        settings = {
            "DMARCKIT_HOME": f"s3://{BUCKET}/kit",
            "DMARCKIT_MAIL": f"s3://{BUCKET}/rua",
            "DMARCKIT_SLACK_TOKEN": TOKEN,
            "DMARCKIT_SLACK_CHANNEL": CHANNEL,
            "DMARCKIT_SLACK_URL": slack.url,
            "DMARCKIT_WATCH_QUEUE": queue.url,
        }
        with _watcher(settings):
            seconds = [_one(queue, slack, number) for number in range(ROUNDS + 1)][1:]
        seconds.sort()
        p95 = seconds[int(len(seconds) * 0.95)]
        table(
            f"From put to Slack, {ROUNDS} mails one by one (lake on S3, all on this machine)",
            ["", "seconds"],
            [
                ["median", f"{statistics.median(seconds):.2f}"],
                ["95 %", f"{p95:.2f}"],
                ["longest", f"{seconds[-1]:.2f}"],
            ],
        )
        _backlog(queue, settings)


@contextmanager
def _watcher(settings: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dmarckit", "watch"],
        env={**os.environ, **settings},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _one(queue: TestQueue, slack: SlackServer, number: int) -> float:
    """Seconds from the put of a mail with failing messages to its alert."""
    mail = _mail(number, failing=True)
    told = len(slack.posted)
    started = time.monotonic()
    open_storage(f"s3://{BUCKET}/rua").put(f"one-{number}", mail, content_type="message/rfc822")
    queue.send([s3_event(record(f"rua/one-{number}", BUCKET))])
    while len(slack.posted) == told:
        if time.monotonic() > started + 60:
            raise TimeoutError(f"mail {number} is not in Slack after a minute")
        time.sleep(0.01)
    return time.monotonic() - started


def _backlog(queue: TestQueue, settings: dict[str, str]) -> None:
    mails = open_storage(f"s3://{BUCKET}/rua")
    with ThreadPoolExecutor(POOL) as pool:
        list(
            pool.map(
                lambda n: mails.put(f"many-{n}", _mail(n + 1000), content_type="message/rfc822"),
                range(BACKLOG),
            )
        )
    numbers = [*range(BACKLOG), *range(0, BACKLOG, BACKLOG // TWICE)]
    queue.send([s3_event(record(f"rua/many-{n}", BUCKET)) for n in numbers])
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "dmarckit", "watch", "--once"],
        env={**os.environ, **settings},
        stderr=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.monotonic() - started
    stored = len(Lake(settings["DMARCKIT_HOME"] + "/lake").mails(columns=["key"]))
    table(
        f"{len(numbers):,} events about {BACKLOG:,} mails, one watcher, a whole process",
        ["seconds", "mails/s", "mails in the ledger", "events left"],
        [[f"{seconds:.1f}", f"{BACKLOG / seconds:,.0f}", f"{stored:,}", str(queue.left())]],
    )


def _mail(number: int, failing: bool = False) -> bytes:
    begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(1)
    records = [make_record(messages=10)]
    if failing:
        records.append(make_failing("198.51.100.7", 3))
    report = make_report(
        *records, report_id=f"watch-{number}", begin=begin, end=begin + timedelta(days=1)
    )
    return make_mail(gz(report_xml(report)))
