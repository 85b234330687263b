"""The SQS queue that S3 tells of arrivals, and the events in its messages.

The only place for boto3's SQS. Messages are taken in batches and stay hidden from others
while a batch is worked on, however long that lasts; they are gone only when deleted.

S3 tells of new objects in three ways: directly, through an SNS topic (which wraps the event
in one of its own), or through EventBridge. The order in which events come does not matter,
and neither do version, size and etag in them: whoever reads an object asks S3 what is there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from dmarckit.core import DmarckitError, QueueError, aws_client, aws_errors, one_line, repeated

TEN = 10  # messages in one request, by SQS's rule
AT_ONCE = 8  # requests at the same time
WAIT = 5  # seconds that SQS waits for a message; a stop takes as long at the most
BATCH_SIZE = 1_000  # messages in a batch: 10,000 arrivals take ten lots of commits
GATHERING = 1.0  # seconds for which a batch is gathered once it has a message

log = logging.getLogger("dmarckit")


@dataclass(frozen=True)
class QueueMessage:
    """A message that was received."""

    id: str  # SQS's own id: the same at each delivery
    receipt: str  # by which this delivery of it is deleted
    body: str


class Queue:
    """A queue by its URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = url.rstrip("/").rpartition("/")[2]
        with self._explained("use", "sqs:ReceiveMessage"):
            self._client: Any = aws_client("sqs", max_pool_connections=2 * AT_ONCE)
        self.hidden = 30
        """seconds for which a message that was received is hidden, unless that is extended"""
        self.has_dead_letters = False  # what is received too often goes to a queue of dead letters

    def read_rules(self) -> None:
        """Read the queue's rules: `hidden` and `has_dead_letters`. Raises QueueError."""
        rules = self._attributes("VisibilityTimeout", "RedrivePolicy")
        self.hidden = max(int(rules.get("VisibilityTimeout", 30)), 1)
        self.has_dead_letters = "RedrivePolicy" in rules

    def waiting(self) -> int:
        """Return about how many messages nobody has received yet. Raises QueueError."""
        name = "ApproximateNumberOfMessages"
        return int(self._attributes(name).get(name, 0))

    def _attributes(self, *names: str) -> dict[str, str]:
        with self._explained("read", "sqs:GetQueueAttributes"):
            answer = self._client.get_queue_attributes(
                QueueUrl=self.url, AttributeNames=list(names)
            )
        attributes: dict[str, str] = answer.get("Attributes", {})
        return attributes

    def receive_batch(self) -> list[QueueMessage]:
        """Return the waiting messages: none after some seconds, else up to `BATCH_SIZE`.

        One alone is returned at once; while more come, they are waited for up to
        `GATHERING` seconds. Raises QueueError.
        """
        messages = self._receive(WAIT)
        if not messages:
            return []
        until = time.monotonic() + GATHERING
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while len(messages) < BATCH_SIZE and time.monotonic() < until:
                more = [m for part in pool.map(self._receive, [0] * AT_ONCE) for m in part]
                if not more:
                    break
                messages += more
        return messages

    def delete(self, messages: Sequence[QueueMessage]) -> None:
        """Delete messages; what cannot be deleted comes again. Raises QueueError."""
        with self._explained("delete from", "sqs:DeleteMessage"):
            self._in_tens("deleted", self._client.delete_message_batch, messages)

    @contextlib.contextmanager
    def keep_invisible(self, messages: Sequence[QueueMessage]) -> Iterator[None]:
        """Keep these messages from others while the block runs, except after an outage."""
        extend = self._client.change_message_visibility_batch

        def hide() -> bool:
            try:
                with self._explained("extend", "sqs:ChangeMessageVisibility"):
                    self._in_tens("kept", extend, messages, VisibilityTimeout=self.hidden)
            except QueueError as error:
                log.warning("the messages in work may come again: %s", error)
            return True

        with repeated(hide, self.hidden / 3, "queue"):
            yield

    def _receive(self, wait: int) -> list[QueueMessage]:
        with self._explained("receive from", "sqs:ReceiveMessage"):
            answer = self._client.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=TEN, WaitTimeSeconds=wait
            )
        return [
            QueueMessage(m["MessageId"], m["ReceiptHandle"], m["Body"])
            for m in answer.get("Messages", ())
        ]

    def _in_tens(
        self, done: str, request: Callable[..., Any], messages: Sequence[QueueMessage], **more: Any
    ) -> None:
        """Make a batch request about all messages; warn of those that are not `done`."""

        def send(first: int) -> None:
            part = messages[first : first + TEN]
            entries = [
                {"Id": str(i), "ReceiptHandle": m.receipt, **more} for i, m in enumerate(part)
            ]
            failed = request(QueueUrl=self.url, Entries=entries).get("Failed", ())
            if failed:
                reason = one_line(failed[0].get("Message") or failed[0].get("Code"), 100)
                log.warning(
                    "%d messages could not be %s, and may come again: %s", len(failed), done, reason
                )

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(send, range(0, len(messages), TEN)))

    @contextlib.contextmanager
    def _explained(self, doing: str, permission: str) -> Iterator[None]:
        what = f"cannot {doing} the queue {one_line(self.name, 80)}"
        with aws_errors(what, QueueError, permission, "SQS refused it"):
            yield


DEEPEST = 2  # envelopes around an event: SNS around EventBridge is one


class NotAnEvent(DmarckitError):
    """The body of a message is no event of S3; another try changes nothing."""


@dataclass(frozen=True)
class Arrival:
    """An object that has come into a bucket, by an event."""

    bucket: str
    key: str  # the whole key, decoded


@dataclass(frozen=True)
class Event:
    """The content of one message."""

    arrivals: tuple[Arrival, ...]
    others: tuple[str, ...]
    """names of what else is in it and nobody here acts on: deletions, S3's test event"""


def read_event(body: str) -> Event:
    """Return the event in a message's body.

    Raises:
        NotAnEvent: With the reason, which holds nothing but cleaned text.

    >>> read_event('{"Service": "Amazon S3", "Event": "s3:TestEvent"}').others
    ('s3:TestEvent',)
    """
    content = _json(body)
    for _envelope in range(DEEPEST):
        if content.get("Type") != "Notification":
            break
        content = _json(_text(content, "Message"))
    if content.get("Event") == "s3:TestEvent":
        return Event((), ("s3:TestEvent",))
    arrivals: dict[Arrival, None] = {}
    others: dict[str, None] = {}
    if "Records" in content:  # S3's own event
        records = content["Records"]
        if not isinstance(records, list) or not records:
            raise NotAnEvent("Records is no list of events, or an empty one")
        for record in records:
            name = _text(record, "eventName")
            if name.removeprefix("s3:").startswith("ObjectCreated:"):
                key = _decoded(_text(record, "s3", "object", "key"))
                arrivals[Arrival(_text(record, "s3", "bucket", "name"), key)] = None
            else:
                others[one_line(name, 60)] = None
    elif "detail-type" in content:  # EventBridge's
        name = _text(content, "detail-type")
        if name == "Object Created" and content.get("source") == "aws.s3":
            bucket = _text(content, "detail", "bucket", "name")
            key = _text(content, "detail", "object", "key")
            arrivals[Arrival(bucket, key)] = None
            # Its key is the plain one, but some that copy its form encode it: of both forms
            # the one that is not there counts as gone.
            with contextlib.suppress(NotAnEvent):
                arrivals[Arrival(bucket, _decoded(key))] = None
        else:
            others[one_line(name, 60)] = None
    else:
        names = ", ".join(one_line(name, 40) for name in list(content)[:5])
        raise NotAnEvent(f"no event of S3: it has {names or 'nothing'}, and no Records")
    return Event(tuple(arrivals), tuple(others))


def keys_within(event: Event, bucket: str, prefix: str) -> tuple[list[str], list[Arrival]]:
    """Return the keys of what has come in below `prefix`, each once, and the other arrivals.

    The keys are relative to `prefix`, which is empty or has a slash at its end. A key
    that ends in a slash is a folder that a console made, and belongs nowhere.
    """
    mine: dict[str, None] = {}
    elsewhere = []
    for arrival in event.arrivals:
        key = arrival.key.removeprefix(prefix)
        inside = arrival.bucket == bucket and arrival.key.startswith(prefix)
        if inside and key and not key.endswith("/"):
            mine[key] = None
        else:
            elsewhere.append(arrival)
    return list(mine), elsewhere


def _decoded(key: str) -> str:
    """Return a key that is encoded as in a form."""
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise NotAnEvent(f"the key {one_line(key, 80)} is not UTF-8, URL-encoded") from None


def _json(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAnEvent(f"not JSON: {one_line(text, 60)}") from error
    if not isinstance(content, dict):
        raise NotAnEvent(f"no JSON object: {one_line(text, 60)}")
    return content


def _text(content: Any, *path: str) -> str:
    """Return the text at the end of a path of names. Raises NotAnEvent when there is none."""
    value = content
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, str if name is path[-1] else dict) or value == "":
            raise NotAnEvent(f"{name} is missing in the event")
    text: str = value
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotAnEvent(f"{path[-1]} {one_line(text, 60)} is no text") from None
    return text
