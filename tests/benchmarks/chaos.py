"""A bad day in large: kills, faults of S3, two at once, Slack refusing; differences are counted."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

import boto3

from dmarckit.demo.server import s3_server
from tests.support.chaos import bad_day

SEED = 1


def run(rounds: int = 0, seconds: float = 300.0, mails: int = 200) -> int:
    """Print rounds, faults, kills and differences; return the number of the last."""

    def another() -> str:
        name = f"chaos-{uuid.uuid4().hex[:12]}"
        boto3.session.Session().client("s3").create_bucket(Bucket=name)
        return f"s3://{name}"

    with s3_server() as server, tempfile.TemporaryDirectory() as folder:
        os.environ.update(server.environment())
        given = {"seed": SEED, "mails": mails, "rounds": rounds, "seconds": seconds}
        log = Path(folder) / "log"
        result = bad_day(another, server.environment(), server.endpoint, log, **given)  # type: ignore[arg-type]
    differences = len(result.different) + len(result.never)
    print(
        f"chaos: {result.rounds} rounds with {mails} mails, {result.faults} faults of S3, "
        f"{result.slack_refused} refusals of Slack, {result.kills} kills"
    )
    print(
        f"chaos: {differences} differences to an undisturbed run "
        f"(tables: {', '.join(result.different) or 'none'}; alerts missing: {len(result.never)}); "
        f"{result.again} alerts again, after a kill between posting and recording"
    )
    return differences
