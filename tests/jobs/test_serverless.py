"""The function of AWS Lambda, called by the real runtime client: queue and schedules, and faults.

Its process may write below its own `/tmp` alone and has no `/dev/shm`, where the machine lets a
test arrange that.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import boto3
import pytest

from dmarckit.core.errors import JobBusy
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.jobs import serverless
from dmarckit.jobs.record import runs_of_slot
from dmarckit.jobs.schedule import Schedule, load_schedule
from dmarckit.lake.lake import Lake
from tests.support.arrivals import record, s3_event
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.lambda_runtime import Function, function
from tests.support.model_builders import make_failing
from tests.support.moto_server import moto_server
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, slack_server

pytestmark = pytest.mark.s3
FAULTS = "tests.support.lambda_faults.handler"
NOW = datetime.now(UTC)
QUEUE = "arn:aws:sqs:eu-west-1:111122223333:dmarckit-arrivals"


class World:
    """A bucket with mails below rua/, a Slack, and what a function knows of them."""

    def __init__(self, bucket: str, slack: SlackServer) -> None:
        self.name, self.slack = bucket.removeprefix("s3://"), slack
        self.variables = {
            "DMARCKIT_HOME": f"{bucket}/kit",
            "DMARCKIT_MAIL": f"{bucket}/rua",
            "DMARCKIT_TRUST": "any",
            "DMARCKIT_EXPORTS": "none",
            "DMARCKIT_SLACK_TOKEN": TOKEN,
            "DMARCKIT_SLACK_CHANNEL": CHANNEL,
            "DMARCKIT_SLACK_URL": slack.url,
            "DMARCKIT_LOG_FORMAT": "json",
        }
        self.settings: Settings = load_settings(
            home=f"{bucket}/kit", mail=f"{bucket}/rua", trust="any", exports="none"
        )
        self.lake = Lake(self.settings.lake_url)

    def put(self, *keys: str, failing: int = 0) -> None:
        """A mail with a report of yesterday comes into the bucket under each key."""
        begin = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
        mails = open_storage(self.settings.mail_url)
        for key in keys:
            records = [make_record(messages=10)]
            records += [make_failing("198.51.100.7", failing)] if failing else []
            report = make_report(
                *records, report_id=f"r-{key}", begin=begin - timedelta(days=1), end=begin
            )
            mails.put(key, make_mail(gz(report_xml(report))), content_type="message/rfc822")

    def event(self, *keys: str) -> str:
        return s3_event(*(record(f"rua/{key}", self.name) for key in keys))

    def outcomes(self) -> dict[str, str]:
        """Key → outcome; a key that is there twice is none."""
        rows = self.lake.mails()
        assert not rows["key"].duplicated().any()
        return dict(zip(rows["key"], rows["outcome"], strict=True))


def batch(*bodies: str, **more: Any) -> dict[str, Any]:
    """An event as Lambda makes it of messages of a queue: m0, m1, …."""
    records = [
        {
            "messageId": f"m{number}",
            "receiptHandle": f"receipt-{number}",
            "body": body,
            "attributes": {"ApproximateReceiveCount": "1"},
            "eventSource": "aws:sqs",
            "eventSourceARN": QUEUE,
        }
        for number, body in enumerate(bodies)
    ]
    return {"Records": records, **more}


def failures(result: dict[str, Any]) -> list[str]:
    return [item["itemIdentifier"] for item in result["batchItemFailures"]]


@pytest.fixture
def world(bucket: str) -> Iterator[World]:
    with slack_server() as slack:
        yield World(bucket, slack)


@pytest.fixture
def called(world: World) -> Iterator[Function]:
    """A function of which an event may ask a fault."""
    with function(world.variables, handler=FAULTS) as made:
        yield made


def test_what_cannot_be_taken_returns_to_the_queue_and_the_rest_is_done(
    world: World, called: Function
) -> None:
    world.put("one", "two", failing=4)
    event = batch(world.event("one"), "no event\x1b[2J", world.event("two"), world.event("gone"))
    done = called.call(event)
    assert done.outcome == "result", called.lines()
    assert failures(done.result) == ["m1"]
    assert world.outcomes() == {"one": "stored", "two": "stored"}
    (alert,) = world.slack.texts()
    assert "8 of 28 messages fail DMARC" in alert
    again = called.call(event)
    assert failures(again.result) == ["m1"]
    (letter,) = world.lake.sql("SELECT * FROM dead_letters").to_dict("records")
    assert (letter["queue"], letter["message"]) == ("dmarckit-arrivals", "m1")
    assert letter["reason"] == "not JSON: no event\\x1b[2J"
    assert len(world.slack.posted) == 1, "each alert once"
    assert ingest_mails(world.settings).outcomes.total() == 0
    assert called.starts == 1, "a process is called again"
    lines = [json.loads(line) for line in called.lines().splitlines()]
    assert len([line for line in lines if line["message"] == "Arrivals are taken"]) == 2
    assert len({line["run"] for line in lines}) == 2, "each call is a run of its own"
    assert TOKEN not in called.lines()


def test_a_call_that_dies_leaves_the_batch_to_the_next(world: World, called: Function) -> None:
    world.put("one", "two", "three", failing=2)
    event = batch(*map(world.event, ("one", "two", "three")))
    assert called.call(event | {"fault": "die"}).outcome == "died"
    assert world.lake.mails().empty
    # what killed it is read in a process of its own, without semaphores
    again = called.call(event)
    assert again.outcome == "result", called.lines()
    assert failures(again.result) == []
    assert set(world.outcomes().values()) == {"stored"}
    assert len(world.slack.posted) == 1
    assert called.starts == 2


@pytest.mark.slow
def test_a_call_ends_before_it_is_killed_and_keeps_what_was_read(
    world: World, called: Function
) -> None:
    world.put("one", failing=2)
    event = batch(world.event("one"))
    called.call({})  # the start takes its time
    late = called.call(event | {"fault": "slow"}, seconds=40)
    assert late.outcome == "error", called.lines()
    assert late.left > 0
    assert late.error is not None
    assert late.error["errorType"] == "CallFailed"
    assert late.error["errorMessage"].startswith("watch took longer than its timeout of ")
    assert world.outcomes() == {"one": "stored"}
    assert called.call(event).outcome == "result"
    assert world.outcomes() == {"one": "stored"}
    assert len(world.slack.posted) == 1
    assert called.starts == 1


SLOT = NOW.replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.mark.slow
def test_a_slot_that_took_too_long_or_died_is_run_again_and_once(
    world: World, called: Function
) -> None:
    world.put("one", failing=2)
    event = {"run": "alerts", "slot": SLOT.isoformat()}
    called.call({})
    late = called.call(event | {"fault": "slow"}, seconds=40)
    assert late.outcome == "error", called.lines()
    assert late.error is not None
    hint = "; a task may take longer: dmarckit aws deploy -p Tasks alerts"
    assert late.error["errorMessage"].endswith(hint)
    assert [run.result for run in runs_of_slot(world.lake, "alerts", SLOT)] == ["failed"]
    world.put("two")
    assert called.call(event | {"fault": "die"}).outcome == "died"
    done = called.call(event)
    assert done.outcome == "result", called.lines()
    assert done.result == {"run": "alerts", "slot": SLOT.isoformat(), "result": "ok"}
    results = [run.result for run in runs_of_slot(world.lake, "alerts", SLOT)]
    assert results == ["failed", "interrupted", "ok"]
    assert called.call(event).result["result"] is None, "the slot is done"
    assert len([t for t in world.slack.texts() if "fail DMARC" in t]) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_page_is_made_where_only_tmp_can_be_written(world: World) -> None:
    world.put("one", failing=2)
    slot = load_schedule("daily").newest_slot(NOW)
    assert slot is not None
    with function(world.variables | {"DMARCKIT_EMF": "totals"}) as called:
        done = called.call({"run": "daily", "slot": slot.isoformat()}, seconds=800)
        assert done.outcome == "result", called.lines()
        (metrics,) = (json.loads(text) for text in called.lines().splitlines() if '"_aws"' in text)
    assert metrics["own_mail_messages"] == 10
    assert metrics["home"] == world.settings.home
    (run,) = runs_of_slot(world.lake, "daily", slot)
    assert (run.result, run.warnings) == ("ok", ())
    stored = [item.key for item in open_storage(world.settings.pages_url).list()]
    assert run.page in stored
    assert any(key.startswith("domain/") for key in stored), "and those that it links to"


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"source": "aws.s3"}, "no event for this function"),
        ({"run": "no-such"}, "no schedule 'no-such'"),
        ({"run": "daily", "slot": "soon"}, "ValueError: Invalid isoformat string: 'soon'"),
    ],
)
def test_what_it_cannot_do_is_one_line(
    event: dict[str, Any], says: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in world.variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(serverless.CallFailed) as failed:
        serverless.handler(event, context())
    assert str(failed.value).startswith(says)
    assert "\n" not in str(failed.value)
    assert failed.value.__cause__ is None


def context(seconds: float = 600, memory: int = 2048) -> Any:
    """What the runtime hands over beside an event."""
    return SimpleNamespace(
        memory_limit_in_mb=str(memory), get_remaining_time_in_millis=lambda: seconds * 1000
    )


# a mail that is too large for the function


@pytest.fixture
def small(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A function that takes mails of at most 2,500 bytes; `l a.rge` has more."""
    for name, value in {**world.variables, "DMARCKIT_LARGEST_MAIL": "2500"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(serverless, "_arrivals", None)
    world.put("small")
    records = [make_record(f"192.0.2.{i}") for i in range(250)]
    raw = make_mail(gz(report_xml(make_report(*records, report_id="large"))))
    open_storage(world.settings.mail_url).put("l a'rge", raw, content_type="message/rfc822")
    return world


def test_a_mail_that_is_too_large_is_noted_with_the_command_that_takes_it(small: World) -> None:
    event = batch(small.event("small"), small.event("l a'rge"))
    assert failures(serverless.handler(event, context())) == ["m1"]
    assert small.outcomes() == {"small": "stored"}
    (reason,) = small.lake.sql("SELECT reason FROM dead_letters")["reason"]
    assert reason.startswith("l a'rge: A report email of 0 MB is too large for this machine. ")
    serverless.handler({"run": "alerts", "slot": SLOT.isoformat()}, context())
    (run,) = runs_of_slot(small.lake, "alerts", SLOT)
    assert run.result == "problems"
    assert run.warnings[0].endswith("run: dmarckit ingest --prefix 'l a'\"'\"'rge'")
    assert ingest_mails(small.settings).outcomes == {"stored": 1}, "elsewhere it is taken"
    assert failures(serverless.handler(event, context())) == []


@pytest.mark.parametrize("refused", [False, True])
def test_a_mail_that_is_too_large_goes_to_a_task_where_there_is_one(
    refused: bool, small: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer = {"tasks": [], "failures": [{"reason": "RESOURCE:MEMORY"}] if refused else []}
    ecs = Mock(run_task=Mock(return_value=answer))
    monkeypatch.setattr("dmarckit.core.aws_client", lambda name: {"ecs": ecs}[name])
    monkeypatch.setenv("DMARCKIT_TASK", '{"cluster": "c", "taskDefinition": "t"}')
    event = batch(small.event("small"), small.event("l a'rge"))
    assert failures(serverless.handler(event, context())) == (["m1"] if refused else [])
    (asked,) = ecs.run_task.mock_calls
    assert (asked.kwargs["cluster"], asked.kwargs["taskDefinition"]) == ("c", "t")
    (override,) = asked.kwargs["overrides"]["containerOverrides"]
    assert override["command"] == ["ingest", "--prefix", "l a'rge"]


def test_the_memory_says_how_large_a_mail_may_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def take(settings: Settings, *_: Any) -> Any:
        taken.append(settings.largest_mail)
        return SimpleNamespace(dead={})

    monkeypatch.setattr(serverless, "_take", take)
    for memory in (1024, 2048):
        serverless.handler(batch("x"), context(memory=memory))
    assert taken == [20_480_000, 40_960_000]


# secrets, and a job that another holds


def test_secrets_are_fetched_and_never_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with moto_server() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
        client = boto3.session.Session().client("secretsmanager")
        arn = client.create_secret(Name="dmarckit/slack-token", SecretString=TOKEN)["ARN"]
        for name, value in world.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("DMARCKIT_SLACK_TOKEN")
        monkeypatch.setenv("DMARCKIT_SLACK_TOKEN_ARN", arn)
        monkeypatch.setenv("DMARCKIT_GOOGLE_CREDENTIALS_ARN", "")
        world.put("one", failing=1)

        def told(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"bad header {TOKEN}")

        with monkeypatch.context() as patch:
            patch.setattr(serverless, "load_schedule", told)
            with pytest.raises(serverless.CallFailed, match="RuntimeError: bad header •••"):
                serverless.handler({"run": "alerts"}, context())
        assert serverless.handler({"run": "alerts"}, context())["result"] == "ok"
        assert len(world.slack.posted) == 1
        monkeypatch.setenv("DMARCKIT_SLACK_TOKEN_ARN", "arn:aws:secretsmanager:x:1:secret:gone")
        with pytest.raises(serverless.CallFailed, match="cannot read a secret"):
            serverless.handler({"run": "alerts"}, context())
    logged = capfd.readouterr()
    assert "the call failed" in logged.err
    assert TOKEN not in logged.err + logged.out


def test_a_job_that_another_call_holds_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    answers: list[Any] = [JobBusy("alerts runs"), JobBusy("alerts runs"), None]

    def run(*_: Any, **__: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(serverless, "run_job", run)
    schedule = Schedule(name="alerts", cron="*/15 * * * *")

    def attempt() -> Any:
        return serverless.run_slot(world.settings, schedule, None, seconds=600, sleep=pauses.append)

    assert attempt() is None
    assert pauses == [serverless.BUSY] * 2
    answers += [JobBusy("alerts runs")] * serverless.BUSY_TRIES
    with pytest.raises(JobBusy):
        attempt()
    assert len(pauses) == 2 + serverless.BUSY_TRIES - 1


def test_the_runtimes_own_log_handler_is_taken_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logging.NullHandler()
    handler.log_sink = None  # type: ignore[attr-defined]
    logging.getLogger().addHandler(handler)
    with pytest.raises(serverless.CallFailed):
        serverless.handler({}, context())
    assert handler not in logging.getLogger().handlers
