"""What a message of the queue says: which objects have come into a bucket.

S3 tells of them in three ways: directly, through an SNS topic (which wraps the event in one
of its own), or through EventBridge. The order in which events come does not matter, and
neither do version, size and etag in them: whoever reads an object asks S3 what is there now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from dmarckit.core.errors import DmarckitError, one_line

DEEPEST = 2  # envelopes around an event: SNS around EventBridge is one


class NotAnEvent(DmarckitError):
    """The body of a message is no event of S3; another try changes nothing."""


@dataclass(frozen=True)
class Arrival:
    """An object that has come into a bucket, as an event tells it."""

    bucket: str
    key: str
    """the whole key, decoded"""


@dataclass(frozen=True)
class Event:
    """What one message says."""

    arrivals: tuple[Arrival, ...]
    others: tuple[str, ...]
    """names of what else it tells and nobody here acts on: deletions, S3's test event"""


def read_event(body: str) -> Event:
    """The event in a message's body.

    Raises NotAnEvent with the reason, which holds nothing but cleaned text.

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
    if "Records" in content:
        records = content["Records"]
        if not isinstance(records, list) or not records:
            raise NotAnEvent("Records is no list of events, or an empty one")
        return _event([_of_s3(record) for record in records])
    if "detail-type" in content:
        return _event([_of_eventbridge(content)])
    names = ", ".join(one_line(name, 40) for name in list(content)[:5])
    raise NotAnEvent(f"no event of S3: it has {names or 'nothing'}, and no Records")


def keys_within(event: Event, bucket: str, prefix: str) -> tuple[list[str], list[Arrival]]:
    """Keys relative to `prefix` (empty, or with a slash at its end) of what has come in
    below it, each once; and the arrivals elsewhere.

    A key that ends in a slash is a folder that a console made, and belongs nowhere.
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


def _event(parts: Sequence[tuple[str, Sequence[Arrival]]]) -> Event:
    arrivals = (arrival for _, found in parts for arrival in found)
    others = (name for name, found in parts if not found)
    return Event(tuple(dict.fromkeys(arrivals)), tuple(dict.fromkeys(others)))


def _of_s3(record: Any) -> tuple[str, list[Arrival]]:
    """S3's own record; its key is encoded as in a form."""
    name = _text(record, "eventName")
    if not name.removeprefix("s3:").startswith("ObjectCreated:"):
        return one_line(name, 60), []
    place = _part(record, "s3")
    key = _decoded(_text(_part(place, "object"), "key"))
    return name, [Arrival(_text(_part(place, "bucket"), "name"), key)]


def _of_eventbridge(content: Any) -> tuple[str, list[Arrival]]:
    """EventBridge's event. Its key is the plain one; some that copy its form encode it."""
    name = _text(content, "detail-type")
    if name != "Object Created" or content.get("source") != "aws.s3":
        return one_line(name, 60), []
    detail = _part(content, "detail")
    bucket, key = _text(_part(detail, "bucket"), "name"), _text(_part(detail, "object"), "key")
    return name, [Arrival(bucket, each) for each in _both(key)]


def _both(key: str) -> Iterator[str]:
    """The key as it stands and decoded: the one that is not there is gone, which is no harm."""
    yield key
    try:
        yield _decoded(key)
    except NotAnEvent:
        return


def _decoded(key: str) -> str:
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


def _part(content: Any, name: str) -> Any:
    if not isinstance(content, dict) or not isinstance(content.get(name), dict):
        raise NotAnEvent(f"{name} is missing in the event")
    return content[name]


def _text(content: Any, name: str) -> str:
    value = content.get(name) if isinstance(content, dict) else None
    if not isinstance(value, str) or not value:
        raise NotAnEvent(f"{name} is missing in the event")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotAnEvent(f"{name} {one_line(value, 60)} is no text") from None
    return value
