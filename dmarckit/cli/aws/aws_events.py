"""A stack's change being made: each event as a line, and the first failure in plain words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from dmarckit.cli.aws.aws_client import Aws, explained
from dmarckit.cli.aws.aws_stack import PAUSE, ChangeSet, Sleep, Stack, find_stack
from dmarckit.core.errors import AwsError, one_line

LOOKS = 5  # looks at a stack that does not move before its state counts as the end

Say = Callable[[str], None]


def execute(aws: Aws, name: str, change: ChangeSet, say: Say, sleep: Sleep = time.sleep) -> Stack:
    """Make the change, and say each step; the stack as it is then.

    Raises AwsError with the first thing that failed, in plain words.
    """
    seen = set() if change.creates else {event["EventId"] for event in _events(aws, name)}
    with explained("make the change", "cloudformation:ExecuteChangeSet"):
        aws.cloudformation.execute_change_set(StackName=name, ChangeSetName=change.id)
    return _followed(aws, name, name, seen, say, sleep)


def remove(aws: Aws, stack: Stack, say: Say, sleep: Sleep = time.sleep) -> None:
    """Remove the stack; what its template says is kept stays. Raises AwsError as `execute`."""
    seen = {event["EventId"] for event in _events(aws, stack.id)}
    with explained(f"remove the stack {stack.name}", "cloudformation:DeleteStack"):
        aws.cloudformation.delete_stack(StackName=stack.name)
    _followed(aws, stack.name, stack.id, seen, say, sleep)


def _followed(aws: Aws, name: str, id_: str, seen: set[str], say: Say, sleep: Sleep) -> Stack:
    """Say the events of a change until it has ended."""
    first_failure, moved, looks = "", False, 0
    while True:
        looks += 1
        for event in _events(aws, id_):
            if event["EventId"] in seen:
                continue
            seen.add(event["EventId"])
            moved = True
            say(_line(event))
            if event["ResourceStatus"].endswith("_FAILED") and not first_failure:
                first_failure = _failure(event)
        with explained(f"look at the stack {name}", "cloudformation:DescribeStacks"):
            stack = aws.cloudformation.describe_stacks(StackName=id_)["Stacks"][0]
        status = stack["StackStatus"]
        if not status.endswith("_IN_PROGRESS") and (moved or looks >= LOOKS):
            break
        sleep(PAUSE)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"):
        why = first_failure or one_line(stack.get("StackStatusReason", ""), 300)
        raise AwsError(f"the stack {name} ended as {status}: {why or 'see its events'}")
    done = find_stack(aws, id_)
    return done or Stack(name, id_, status, "", {}, {})


def _events(aws: Aws, id_: str) -> list[dict[str, Any]]:
    """All events of a stack, the oldest first."""
    pages = aws.cloudformation.get_paginator("describe_stack_events")
    with explained("read what happens", "cloudformation:DescribeStackEvents"):
        found = [e for page in pages.paginate(StackName=id_) for e in page["StackEvents"]]
    return found[::-1]


def _line(event: Mapping[str, Any]) -> str:
    words = event["ResourceStatus"].lower().replace("_", " ")
    reason = event.get("ResourceStatusReason", "")
    text = f"{words:<20} {event['LogicalResourceId']} ({event['ResourceType']})"
    return f"{text}: {one_line(reason, 300)}" if reason else text


_HINTS = (
    ("already exists", "a thing of this name is there already; give another NamePrefix, or the "
     "name of the bucket as MailBucket or HomeBucket"),
    ("Could not write to bucket", "SES may not write into the bucket; its policy must let it"),
    ("Unable to validate the following destination", "S3 may not send to the queue yet"),
    ("Rule set does not exist", "there is no such rule set; leave RuleSetName empty to make one"),
    ("is not authorized to perform", "these credentials may not do that"),
    ("not available in", "this region lacks it; choose one where SES receives mail"),
)  # fmt: skip


def _failure(event: Mapping[str, Any]) -> str:
    """What failed, why, and what that may mean."""
    did = event["ResourceStatus"].split("_")[0].lower()
    done = {"create": "made", "update": "changed", "delete": "removed"}.get(did, "handled")
    reason = one_line(event.get("ResourceStatusReason", "no reason was given"), 400)
    hint = next((hint for text, hint in _HINTS if text.lower() in reason.lower()), "")
    what = f"{event['LogicalResourceId']} ({event['ResourceType']}) could not be {done}: {reason}"
    return f"{what} → {hint}" if hint else what
