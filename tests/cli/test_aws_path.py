"""The whole path on AWS: the stack, a mail that arrives, S3's event, the queue, `watch`, Slack.

Moto has the stack (CloudFormation, the notification, SQS) and sends S3's events; mails, tables
and pages are on the local S3 server, in buckets of the same names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from dmarckit.cli.aws import stack
from dmarckit.cli.main import app
from dmarckit.core.settings import load_settings
from dmarckit.demo.server import S3Server
from dmarckit.lake.lake import Lake
from tests.support.builders import gz, make_mail, make_report, report_xml
from tests.support.model_builders import make_failing
from tests.support.moto_server import IGNORED, environment, moto_server
from tests.support.slack_server import CHANNEL, TOKEN, slack_server

pytestmark = [pytest.mark.s3, pytest.mark.slow, pytest.mark.filterwarnings(IGNORED)]
MAILS, HOME = "example-mails", "example-kit"


@pytest.fixture
def moto(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with moto_server() as url:
        for name, value in environment(url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        monkeypatch.setattr(stack, "PAUSE", 0)
        client = boto3.session.Session().client("s3")
        here = {"LocationConstraint": "eu-west-1"}
        for bucket in (MAILS, HOME):
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration=here)
        yield url


def dmarckit(*words: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.output


def use_the_local_server(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    """From now on S3 is the local server; all else stays moto."""
    for name, value in server.environment().items():
        if name not in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3")
    for bucket in (MAILS, HOME):
        client.create_bucket(Bucket=bucket)
    return client


def test_a_mail_that_ses_stores_is_in_slack_by_what_deploy_printed(
    moto: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {
        "Recipients": "dmarc@rua.example.com",
        "MailBucket": MAILS,
        "HomeBucket": HOME,
        "SlackChannel": CHANNEL,
    }
    options = [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
    said = dmarckit("aws", "deploy", "--stack", "path", "-p", "NamePrefix=path", *options, "--yes")
    settings_said = re.findall(r"^ *(\w+ = \".*\")$", said, re.MULTILINE)
    Path("dmarckit.toml").write_text("\n".join(settings_said))
    events = boto3.session.Session().client("s3")
    with pytest.raises(ClientError, match="Forbidden"):  # moto is reached without TLS
        events.put_object(Bucket=MAILS, Key="rua/x", Body=b"")
    events.delete_bucket_policy(Bucket=MAILS)

    mails = use_the_local_server(server, monkeypatch)
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    report = make_report(make_failing(messages=7), begin=now - timedelta(days=1), end=now)
    for client in (mails, events):  # the mail, and the bucket that tells of it
        client.put_object(Bucket=MAILS, Key="rua/2a+b", Body=make_mail(gz(report_xml(report))))
        client.put_object(Bucket=MAILS, Key="elsewhere/c", Body=b"not a report")

    with slack_server() as slack:
        monkeypatch.setenv("DMARCKIT_SLACK_TOKEN", TOKEN)
        monkeypatch.setenv("DMARCKIT_SLACK_URL", slack.url)
        monkeypatch.setenv("DMARCKIT_TRUST", "any")  # the mail has no signature of its reporter
        dmarckit("watch", "--once")
        assert "7 of 7 messages fail DMARC" in slack.texts()[0]
    settings = load_settings()
    assert list(Lake(settings.lake_url).mails()["key"]) == ["2a+b"]
    count = (
        boto3.session.Session()
        .client("sqs")
        .get_queue_attributes(
            QueueUrl=str(settings.watch_queue), AttributeNames=["ApproximateNumberOfMessages"]
        )
    )
    assert count["Attributes"] == {"ApproximateNumberOfMessages": "0"}
