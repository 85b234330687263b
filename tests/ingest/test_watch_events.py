"""What messages say, in each form in which S3's events come, and what is none of ours."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from dmarckit.ingest.queue import Arrival, NotAnEvent, keys_within, read_event
from tests.support.arrivals import BUCKET, TEST_EVENT, eventbridge, record, s3_event, sns

KEYS = ["rua/abc", "rua/a b+c.eml", "rua/100%.eml", "rua/報告 ü/レポート.eml", "rua/a%20b"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("wrapped", [str, sns, lambda body: sns(sns(body))])
def test_a_key_is_decoded_whatever_is_in_it(key: str, wrapped: Callable[[str], str]) -> None:
    assert read_event(wrapped(s3_event(record(key)))).arrivals == (Arrival(BUCKET, key),)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("wrapped", [str, sns])
def test_eventbridge_tells_the_plain_key(key: str, wrapped: Callable[[str], str]) -> None:
    assert Arrival(BUCKET, key) in read_event(wrapped(eventbridge(key))).arrivals


def test_a_key_that_eventbridge_encodes_is_found_as_well() -> None:
    arrivals = read_event(eventbridge("rua/a+b%2Bc.eml")).arrivals
    assert Arrival(BUCKET, "rua/a b+c.eml") in arrivals


def test_a_message_may_tell_of_several_objects_and_of_one_twice() -> None:
    event = read_event(s3_event(record("rua/1"), record("rua/2"), record("rua/1")))
    assert [a.key for a in event.arrivals] == ["rua/1", "rua/2"]


@pytest.mark.parametrize(
    ("body", "others"),
    [
        (TEST_EVENT, ("s3:TestEvent",)),
        (sns(TEST_EVENT), ("s3:TestEvent",)),
        (s3_event(record("rua/1", name="ObjectRemoved:Delete")), ("ObjectRemoved:Delete",)),
        (eventbridge("rua/1", kind="Object Deleted"), ("Object Deleted",)),
    ],
)
def test_what_is_no_arrival_is_named(body: str, others: tuple[str, ...]) -> None:
    event = read_event(body)
    assert (event.arrivals, event.others) == ((), others)


def test_keys_are_relative_to_the_mails_and_other_places_are_told_apart() -> None:
    event = read_event(
        s3_event(
            record("rua/1"),
            record("rua/"),
            record("rua/folder/"),
            record("rua2/3"),
            record("rua/4", bucket="example-other"),
        )
    )
    keys, elsewhere = keys_within(event, BUCKET, "rua/")
    assert keys == ["1"]
    assert [a.key for a in elsewhere] == ["rua/", "rua/folder/", "rua2/3", "rua/4"]
    assert keys_within(event, BUCKET, "")[0] == ["rua/1", "rua2/3"]


NOT_UTF8 = record("rua/x")
NOT_UTF8["s3"]["object"]["key"] = "rua/%ff"
HALF = record("rua/x")
HALF["s3"]["object"]["key"] = "rua/\ud800"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"Records": []}',
        '{"Records": [1]}',
        '{"Records": {"a": 1}}',
        '{"Records": [{"eventName": "ObjectCreated:Put"}]}',
        '{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": [], "object": 1}}]}',
        '{"Type": "Notification", "Message": 5}',
        '{"detail-type": "Object Created", "source": "aws.s3", "detail": null}',
        "[" * 100_000,
        s3_event(NOT_UTF8),
        s3_event(HALF),
    ],
)
def test_what_is_no_event_says_why_in_one_clean_line(body: str) -> None:
    with pytest.raises(NotAnEvent) as raised:
        read_event(body)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 300


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["Records", "Type", "Message", "s3", "detail", "eventName", "key"])
                | st.text(),
                inner,
            )
        ),
        max_leaves=15,
    )
)
def test_nothing_else_is_ever_raised(content: object) -> None:
    with contextlib.suppress(NotAnEvent):
        read_event(json.dumps(content))
