"""The watcher: from events in a queue (a local SQS) to lake (a local S3 server) and Slack."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dmarckit.cli.doctor import command, services
from dmarckit.core.errors import LakeError, QueueError, SettingsError, StorageError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import S3Storage, open_storage
from dmarckit.facts import load
from dmarckit.findings.find import find
from dmarckit.ingest import arrivals, queue as watch_queue
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.ingest.queue import Queue
from dmarckit.jobs.schedule import load_schedule
from dmarckit.jobs.watch import Watcher, WatchTotals
from dmarckit.lake.lake import Lake
from tests.support.arrivals import (
    TEST_EVENT,
    TestQueue,
    eventbridge,
    make_queue,
    record,
    s3_event,
    sns,
    sqs_server,
)
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, slack_server
from tests.support.sqs_server import fast_sqs_server

pytestmark = [pytest.mark.s3, pytest.mark.usefixtures("undrawn_charts")]


@pytest.fixture(scope="module")
def sqs() -> Iterator[str]:
    with sqs_server() as address:
        yield address


@pytest.fixture
def fast_sqs() -> Iterator[str]:
    with fast_sqs_server() as address:
        yield address


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as running:
        yield running


class World:
    """A bucket with mails below rua/, a queue that is told of them, and a Slack."""

    def __init__(self, bucket: str, queue: TestQueue, slack: SlackServer) -> None:
        self.name = bucket.removeprefix("s3://")
        self.queue, self.slack = queue, slack
        self.settings: Settings = load_settings(
            home=f"{bucket}/kit",
            mail=f"{bucket}/rua",
            trust="any",
            exports="none",
            slack_token=TOKEN,
            slack_channel=CHANNEL,
            slack_url=slack.url,
            watch_queue=queue.url,
        )
        self.mails = open_storage(self.settings.mail_url)
        self.lake = Lake(self.settings.lake_url)

    def put(self, key: str, number: int, failing: int = 0) -> None:
        """A mail with a report comes into the bucket."""
        records = [make_record(messages=10)]
        if failing:
            records.append(make_failing("198.51.100.7", failing))
        begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        report = make_report(
            *records,
            report_id=f"w-{number}",
            begin=begin - timedelta(days=1),
            end=begin,
        )
        self.mails.put(key, make_mail(gz(report_xml(report))), content_type="message/rfc822")

    def event(self, *keys: str) -> str:
        return s3_event(*(record(f"rua/{key}", self.name) for key in keys))

    def arrive(self, *keys: str, failing: int = 0) -> None:
        """Mails come in, and S3 tells of each."""
        for number, key in enumerate(keys):
            self.put(key, number, failing)
        self.queue.send([self.event(key) for key in keys])

    def watch(self, **more: Any) -> WatchTotals:
        """A watcher works until the queue is empty."""
        return self.watcher(once=True, **more).run()

    def watcher(self, **more: Any) -> Watcher:
        stop = more.pop("stop", threading.Event())
        queue = Queue(self.queue.url)
        return Watcher(self.settings, load_schedule("alerts"), queue, stop=stop, **more)

    @property
    def outcomes(self) -> dict[str, str]:
        """key → outcome, as the ledger has it; a key with two rows fails the test."""
        rows = self.lake.mails(columns=["key", "outcome"])
        assert not rows["key"].duplicated().any()
        return dict(zip(rows["key"], rows["outcome"], strict=True))

    @property
    def dead(self) -> list[dict[str, Any]]:
        return self.lake.sql("SELECT * FROM dead_letters ORDER BY reason").to_dict("records")  # type: ignore[return-value]

    def nothing_is_new(self) -> bool:
        """Whether a listing finds what the events told, and no more."""
        return ingest_mails(self.settings).outcomes.total() == 0


@pytest.fixture
def world(bucket: str, sqs: str, slack: SlackServer, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", sqs)
    monkeypatch.setattr(watch_queue, "WAIT", 0)  # what a test sends is there before it watches
    return World(bucket, make_queue(sqs), slack)


def test_a_failing_report_that_arrives_is_in_slack_and_off_the_queue(world: World) -> None:
    world.arrive("one", failing=4)
    watched = world.watch()
    assert watched.outcomes == {"stored": 1}
    assert "example.com: 4 of 14 messages fail DMARC" in world.slack.texts()[0]
    assert world.queue.left() == 0
    assert world.nothing_is_new()


def test_whatever_form_the_events_have_each_mail_is_read_once(world: World) -> None:
    keys = ["a", "b c+d.eml", "100%", "folder/報告.eml"]
    for number, key in enumerate(keys):
        world.put(key, number)
    a, b, c, d = keys
    world.queue.send(
        [
            TEST_EVENT,
            world.event(a, b),
            world.event(b),
            sns(world.event(c)),
            eventbridge(f"rua/{d}", world.name),
            eventbridge(f"rua/{a}", world.name),
            s3_event(record(f"rua/{c}", world.name, name="ObjectRemoved:Delete")),
        ]
    )
    world.watch()
    assert world.outcomes == dict.fromkeys(keys, "stored")
    assert world.queue.left() == world.queue.dead() == 0
    assert not world.dead
    assert world.nothing_is_new()


def test_what_is_gone_or_lies_elsewhere_leaves_the_queue_and_no_row(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="dmarckit")
    world.queue.send(
        [
            world.event("gone"),
            s3_event(record("kit/lake/x", world.name)),
            s3_event(record("rua/x", "example-other")),
        ]
    )
    world.watch()
    assert world.outcomes == {}
    assert world.queue.left() == world.queue.dead() == 0
    assert "gone before it was read: gone" in caplog.text
    assert "s3://example-other/rua/x" in caplog.text
    assert "rua: s3://" in caplog.text


def test_an_object_that_was_replaced_is_read_as_it_is_now(world: World) -> None:
    world.put("one", 1)
    world.queue.send([world.event("one")])
    world.put("one", 2)
    world.queue.send([world.event("one")])
    assert world.watch().outcomes == {"stored": 1}
    assert list(world.lake.reports()["report_id"]) == ["w-2"]
    assert world.nothing_is_new()


def test_a_listing_beside_it_and_events_that_come_again_change_nothing(world: World) -> None:
    world.arrive("one", "two", failing=1)
    assert ingest_mails(world.settings).outcomes == {"stored": 2}
    watched = world.watch()
    world.queue.send([world.event("one", "two")])
    world.watch()
    assert (watched.messages, watched.outcomes) == (2, {})
    (alert,) = world.slack.texts()
    assert "2 of 22 messages fail DMARC" in alert, "of both reports, once"
    assert world.queue.left() == 0


def test_a_message_that_is_no_event_ends_in_the_dead_letters_and_is_noted_once(
    world: World, sqs: str
) -> None:
    world.queue = make_queue(sqs, tries=2)
    world.queue.send(["no event\x1b[2J", '{"Records": [1]}'])
    world.arrive("good")
    for _ in range(3):
        world.watch()
        world.queue.show()
    assert world.outcomes == {"good": "stored"}
    assert world.queue.dead() == 2
    assert world.queue.left() == 0
    first, second = world.dead
    assert first["reason"] == "eventName is missing in the event"
    assert second["reason"] == "not JSON: no event\\x1b[2J"
    assert first["queue"] == world.queue.url.rpartition("/")[2]
    known = load.load_facts(world.lake, datetime.now(UTC), settings=world.settings)
    (finding,) = (f for f in find(known, now=known.now) if f.kind == "dead_letters")
    assert (finding.subject, finding.evidence["number"]) == (first["queue"], 2)
    assert world.lake.sql(finding.evidence["query"]).iloc[0, 0] == 2


def test_a_mail_whose_reading_raises_stays_in_the_queue_and_the_others_go_in(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(settings: Settings, *, objects: Any, **more: Any) -> Any:
        if any(item.key == "m3" for item in objects):
            raise MemoryError("too much")
        return ingest_mails(settings, objects=objects, **more)

    monkeypatch.setattr(arrivals, "ingest_mails", faulty)
    world.arrive(*(f"m{n}" for n in range(6)))
    watched = world.watch()
    assert world.outcomes == dict.fromkeys(("m0", "m1", "m2", "m4", "m5"), "stored")
    assert (watched.dead, world.queue.left()) == (1, 1)
    assert [row["reason"] for row in world.dead] == ["m3: MemoryError: too much"]
    assert "too much" in caplog.text


def test_an_object_that_may_not_be_read_stays_in_the_queue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = S3Storage.head

    def refused(self: S3Storage, key: str) -> Any:
        if key == "secret":
            raise StorageError("cannot read rua/secret: access denied")
        return head(self, key)

    monkeypatch.setattr(S3Storage, "head", refused)
    world.arrive("secret", "open")
    world.watch()
    assert world.outcomes == {"open": "stored"}
    assert (world.queue.left(), world.dead[0]["reason"][:16]) == (1, "cannot read rua/")


@pytest.mark.parametrize("error", [LakeError("the lake is away"), StorageError("S3 is away")])
def test_an_outage_holds_the_batch_until_it_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch, sqs: str, error: Exception
) -> None:
    world.queue = make_queue(sqs, hidden=1, tries=2)
    world.arrive("one")
    left = [3]
    listing = S3Storage.list

    def away(*arguments: Any, **more: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return ingest_mails(*arguments, **more)

    def silent(self: S3Storage, prefix: str = "") -> Any:
        if left[0] and self.url.endswith("/rua"):
            raise error
        return listing(self, prefix)

    monkeypatch.setattr(arrivals, "ingest_mails", away)
    monkeypatch.setattr(S3Storage, "list", silent)
    monkeypatch.setattr("dmarckit.core.PAUSES", (0.8, 0.8, 0.8))
    assert world.watch().outcomes == {"stored": 1}
    assert world.queue.left() == world.queue.dead() == 0


def test_an_outage_that_lasts_ends_a_watcher_of_cron_and_keeps_the_message(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise LakeError("the lake is away")

    monkeypatch.setattr(arrivals, "ingest_mails", away)
    monkeypatch.setattr("dmarckit.core.PAUSES", (0.01,))
    world.arrive("one")
    with pytest.raises(LakeError, match="away"):
        world.watch()
    assert world.queue.left() == 1
    assert not world.dead


def test_slack_keeps_no_message_in_the_queue_and_hears_of_it_later(world: World) -> None:
    world.slack.down = {CHANNEL}
    world.arrive("one", failing=3)
    watched = world.watch()
    assert (world.outcomes, world.queue.left()) == ({"one": "stored"}, 0)
    assert (watched.troubles, world.slack.posted) == (2, [])
    world.slack.down = set()
    assert world.watch().troubles == 0
    assert len(world.slack.posted) == 1


def test_a_fault_in_alerts_does_not_end_the_reading_of_mails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("dmarckit.jobs.watch.publish_and_notify", faulty)
    world.arrive("one", failing=3)
    assert world.watch().outcomes == {"stored": 1}
    assert world.queue.left() == 0


def test_a_watcher_that_cannot_write_down_what_it_told_says_so_once_a_day(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise LakeError("cannot write table alerts: it may only be read")

    with monkeypatch.context() as patch:
        patch.setattr("dmarckit.lake.write.Writer.probe", refuse)
        patch.setattr("dmarckit.jobs.watch.ALERT_PAUSE", 0.0)
        for key in ("one", "two"):
            world.arrive(key, failing=7)
            world.watch()
    (said,) = world.slack.texts()
    assert "watch" in said
    assert "cannot write table alerts" in str(world.slack.posted)
    assert "not posted to Slack: cannot write table alerts" in caplog.text
    world.watch()
    assert [t for t in world.slack.texts() if "fail DMARC" in t]
    assert len(world.slack.texts()) == len(set(world.slack.texts()))


def test_what_a_watcher_left_untold_is_told_by_the_next(world: World) -> None:
    world.arrive("one", failing=3)
    ingest_mails(world.settings)
    world.queue.client.purge_queue(QueueUrl=world.queue.url)
    world.watch()
    assert len(world.slack.posted) == 1


def test_a_message_is_kept_from_others_while_it_is_worked_on(
    world: World, sqs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = 3  # it is hidden anew each second: on a busy machine a second or two may be lost
    world.queue = make_queue(sqs, hidden=hidden, tries=3)
    world.arrive("one")
    working_on_it, looked = threading.Event(), threading.Event()

    def slow(*arguments: Any, **more: Any) -> Any:
        working_on_it.set()
        assert looked.wait(60)
        return ingest_mails(*arguments, **more)

    monkeypatch.setattr(arrivals, "ingest_mails", slow)
    with ThreadPoolExecutor() as pool:
        working = pool.submit(world.watch)
        try:
            assert working_on_it.wait(60)
            time.sleep(hidden + 0.5)  # by now it would be visible, were it not hidden anew
            assert Queue(world.queue.url).receive_batch() == []
        finally:
            looked.set()
        assert working.result().messages == 1
    assert world.queue.left() == 0


def test_mails_in_a_folder_and_queues_that_are_not_there_are_said(
    world: World, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = load_settings(home=str(tmp_path))
    alerts = load_schedule("alerts")
    with pytest.raises(SettingsError, match=r"watch needs mails in s3://"):
        Watcher(folder, alerts, Queue(world.queue.url), stop=threading.Event())
    missing = Queue(f"{world.queue.url}-other")
    with pytest.raises(QueueError, match="there is no such queue") as raised:
        Watcher(world.settings, alerts, missing, stop=threading.Event()).run()
    assert "\n" not in str(raised.value)


def test_the_doctor_tells_of_the_queue(
    world: World, sqs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(**more: Any) -> command.CheckResult:
        settings = world.settings.model_copy(update=more)
        return services.queue(command.CheckContext(settings))

    assert told(watch_queue=None).status == "skip"
    world.queue.send([TEST_EVENT] * 3)
    found = told()
    assert (found.status, found.message[:17]) == ("ok", "3 messages wait i")
    with monkeypatch.context() as piled:
        piled.setattr("dmarckit.ingest.queue.Queue.waiting", lambda _: 1_001)
        assert (told().status, "dmarckit watch" in str(told().fix)) == ("warn", True)
    plain = world.queue.client.create_queue(QueueName="without-dead-letters")["QueueUrl"]
    assert "no queue of dead letters" in told(watch_queue=plain).message
    missing = told(watch_queue=f"{world.queue.url}-other")
    assert (missing.status, "there is no such queue" in missing.message) == ("fail", True)


# ---- whole processes -----------------------------------------------------------------------


def process(world: World, *arguments: str) -> subprocess.Popen[str]:
    """`dmarckit watch`, as it is started by people and services."""
    settings = world.settings
    variables = {
        "DMARCKIT_HOME": settings.home,
        "DMARCKIT_MAIL": settings.mail_url,
        "DMARCKIT_TRUST": "any",
        "DMARCKIT_EXPORTS": "none",
        "DMARCKIT_SLACK_TOKEN": TOKEN,
        "DMARCKIT_SLACK_CHANNEL": CHANNEL,
        "DMARCKIT_SLACK_URL": world.slack.url,
        "DMARCKIT_WATCH_QUEUE": world.queue.url,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "dmarckit", "watch", *arguments],
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.slow
def test_the_command_tells_at_once_and_ends_on_sigterm(world: World) -> None:
    running = process(world)
    world.arrive("one", failing=4)
    wait_for(lambda: bool(world.slack.posted))
    running.send_signal(signal.SIGTERM)
    _, log = running.communicate(timeout=120)
    assert running.returncode == 0
    assert '"messages": 1, "stored": 1' in log
    assert TOKEN not in log
    assert world.queue.left() == 0


@pytest.mark.slow
def test_two_watchers_a_listing_and_a_kill_leave_each_mail_ingested_once(
    world: World, monkeypatch: pytest.MonkeyPatch, fast_sqs: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", fast_sqs)
    world.queue = make_queue(fast_sqs, hidden=3, tries=20)
    count = int(os.environ.get("ARRIVALS", "1000"))  # 10,000 take 80 s
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: world.put(f"m{n:05}", n), range(count)))
    keys = [f"m{n:05}" for n in range(count)]
    twice = keys[::5]
    world.queue.send([world.event(key) for key in (*keys, *twice)])
    killed = process(world, "--once")
    wait_for(lambda: world.queue.left() < count)  # some are off the queue, most are not
    killed.kill()
    killed.wait()
    killed.stderr.close()  # type: ignore[union-attr]
    assert world.queue.left() > 0
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(ingest_mails, world.settings)
        watchers = [pool.submit(world.watch) for _ in range(2)]
        for watcher in watchers:
            watcher.result()
        beside.result()
    wait_for(lambda: not world.queue.received())  # nobody has what the killed one had any more
    world.watch()
    assert world.queue.left() == world.queue.dead() == 0
    assert Counter(world.outcomes.values()) == {"stored": count}
    reports = world.lake.sql("SELECT count(*) AS n, count(DISTINCT report_id) AS d FROM reports")
    assert (reports["n"][0], reports["d"][0]) == (count, count)
    assert world.lake.sql("SELECT sum(messages) AS n FROM records")["n"][0] == 10 * count
    assert world.nothing_is_new()
