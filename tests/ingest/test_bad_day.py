"""Faults, kills, two at once and a Slack that refuses leave the tables of an undisturbed run."""

from __future__ import annotations

import uuid
from pathlib import Path

import boto3
import pytest

from dmarckit.demo.server import S3Server
from tests.support.chaos import bad_day

pytestmark = pytest.mark.s3


def test_a_bad_day_leaves_what_a_good_one_leaves(
    bucket: str, server: S3Server, tmp_path: Path
) -> None:
    def another() -> str:
        name = f"chaos-{uuid.uuid4().hex[:12]}"
        boto3.session.Session().client("s3").create_bucket(Bucket=name)
        return f"s3://{name}"

    result = bad_day(
        another, server.environment(), server.endpoint, tmp_path / "log", seed=1, mails=20, rounds=3
    )
    assert (result.different, result.never) == ([], [])
    assert result.kills > 0
    assert result.faults > 5
    assert result.again <= result.kills  # between posting and recording
