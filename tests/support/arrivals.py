"""S3's events as a queue delivers them, and a local SQS to put them in."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import boto3
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT_ID
from moto.server import ThreadedMotoServer
from moto.sqs.models import sqs_backends

BUCKET = "example-dmarc"
REGION = "us-east-1"
SENDING = 4  # requests at once


def record(key: str, bucket: str = BUCKET, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    """One record of an event; the key is encoded as S3 does."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": "2026-11-24T09:00:00.000Z",
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {
                "key": quote_plus(key, safe="/"),
                "size": 1,
                "eTag": "0" * 32,  # older than what is there
                "versionId": "v1",
                "sequencer": "0061",
            },
        },
    }


def s3_event(*records: dict[str, Any]) -> str:
    """What S3 writes into the queue itself."""
    return json.dumps({"Records": list(records)})


def sns(body: str) -> str:
    """The same through an SNS topic."""
    return json.dumps(
        {"Type": "Notification", "MessageId": "m", "TopicArn": "arn:x", "Message": body}
    )


def eventbridge(key: str, bucket: str = BUCKET, kind: str = "Object Created") -> str:
    """The same through EventBridge, where the key is plain."""
    detail = {"version": "0", "bucket": {"name": bucket}, "object": {"key": key, "etag": "0"}}
    event = {"version": "0", "source": "aws.s3", "detail-type": kind, "detail": detail}
    return json.dumps(event)


TEST_EVENT = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET})


@dataclass
class TestQueue:
    """A queue with a queue of dead letters behind it."""

    __test__ = False
    url: str
    dead_url: str
    client: Any

    def send(self, bodies: Sequence[str]) -> None:
        """Messages, ten in one request."""

        def some(first: int) -> None:
            entries = [
                {"Id": str(i), "MessageBody": body}
                for i, body in enumerate(bodies[first : first + 10])
            ]
            self.client.send_message_batch(QueueUrl=self.url, Entries=entries)

        with ThreadPoolExecutor(SENDING) as pool:
            list(pool.map(some, range(0, len(bodies), 10)))

    def show(self) -> None:
        """What was received and not deleted is visible at once: nobody waits for that."""
        for each in sqs_backends[ACCOUNT_ID][REGION].queues.values():
            if each.name == self.url.rpartition("/")[2]:
                for message in each._messages:
                    message.change_visibility(0)

    def left(self) -> int:
        """Messages in it, those that somebody has received included."""
        return self._count(self.url)

    def received(self) -> int:
        """Those of them that somebody has received, and that are hidden from others."""
        return self._count(self.url, "ApproximateNumberOfMessagesNotVisible")

    def dead(self) -> int:
        """Messages in the queue of dead letters."""
        return self._count(self.dead_url)

    def _count(self, url: str, *names: str) -> int:
        names = names or ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        answer = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=list(names))
        rules = answer["Attributes"]
        return sum(int(rules[name]) for name in names)


@contextmanager
def sqs_server() -> Iterator[str]:
    """The address of a local SQS; it ends with the block."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_queue(endpoint: str, hidden: int = 30, tries: int = 3) -> TestQueue:
    """A new queue: a message is hidden for some seconds, and given up after some tries."""
    client = boto3.client("sqs", endpoint_url=endpoint, region_name=REGION)
    name = f"arrivals-{uuid.uuid4().hex[:8]}"
    dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    rules = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": tries}
    url = client.create_queue(
        QueueName=name,
        Attributes={"VisibilityTimeout": str(hidden), "RedrivePolicy": json.dumps(rules)},
    )["QueueUrl"]
    return TestQueue(url, dead, client)
