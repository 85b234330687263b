"""A CloudFormation stack: how it is, what a change would do, and the change being made.

With the clients of AWS that this takes. Where AWS refuses, every function raises AwsError.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from typing import Any

from botocore.exceptions import ClientError

from dmarckit.core import AwsError, aws_client, aws_errors, aws_session, error_code, one_line

PAUSE = 3.0  # seconds between two looks; CloudFormation's own limit is about two a second
NOTHING = ("didn't contain changes", "No updates are to be performed")
_STUCK = {
    "ROLLBACK_COMPLETE": "its first creation failed and was undone; remove what is left with "
    "`dmarckit aws destroy`, then deploy again",
    "CREATE_FAILED": "its creation failed; remove it with `dmarckit aws destroy`, then deploy "
    "again",
    "ROLLBACK_FAILED": "its creation failed, and so did undoing it; remove it with "
    "`dmarckit aws destroy`, then deploy again",
    "UPDATE_ROLLBACK_FAILED": "an update failed, and so did undoing it; mend what its events "
    "name, then run: aws cloudformation continue-update-rollback --stack-name {name}",
    "DELETE_FAILED": "its removal failed; mend what its events name, then run "
    "`dmarckit aws destroy` again",
}
"""status → what to do before anything can be changed"""

Say = Callable[[str], None]


class Aws:
    """Clients of one session, made on first use."""

    def __init__(self, session: Any = None) -> None:
        self._given = session

    @property
    def region(self) -> str:
        """Region of the stack. Raises AwsError when none is set."""
        if not self._session.region_name:
            raise AwsError("no AWS region; set AWS_REGION to one where SES receives mail")
        return str(self._session.region_name)

    @cached_property
    def account(self) -> str:
        """Number of the account. Raises AwsError when AWS does not know the credentials."""
        with explained("ask who we are", "sts:GetCallerIdentity"):
            return str(self.client("sts").get_caller_identity()["Account"])

    @property
    def partition(self) -> str:
        """Partition, as it stands in ARNs: ``aws``, ``aws-cn``, …."""
        return str(self._session.get_partition_for_region(self.region))

    cloudformation: Any = cached_property(lambda self: self.client("cloudformation"))
    s3: Any = cached_property(lambda self: self.client("s3"))
    ses: Any = cached_property(lambda self: self.client("ses"))
    route53: Any = cached_property(lambda self: self.client("route53"))

    def client(self, service: str) -> Any:
        """Return a client with retries and timeouts, or raise AwsError."""
        region = self.region
        with explained(f"use {service}", ""):
            return aws_client(service, self._session, region_name=region)

    @cached_property
    def _session(self) -> Any:
        with explained("use AWS", ""):
            return self._given or aws_session()


def explained(doing: str, action: str) -> AbstractContextManager[None]:
    """Raise what botocore raises within as an AwsError; `action` is the permission needed."""
    return aws_errors(f"cannot {doing}", AwsError, action)


@dataclass(frozen=True)
class Stack:
    """A stack as CloudFormation describes it."""

    name: str
    id: str
    status: str
    reason: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """A change of one resource, because of properties that change."""

    action: str
    """create, change, replace, may replace, or delete"""
    name: str
    kind: str
    physical: str
    """its name in AWS; empty for a new one"""
    because: tuple[str, ...]


@dataclass(frozen=True)
class ChangeSet:
    """Changes that CloudFormation has planned."""

    id: str
    changes: tuple[Change, ...]
    creates: bool
    """the stack is made by it"""
    empty: bool = False
    """CloudFormation says that nothing changes; else even without a resource something may"""


def find_stack(aws: Aws, name: str) -> Stack | None:
    """Return the stack of that name; None when there is none (or one that was never made)."""
    with explained(f"look at the stack {name}", "cloudformation:DescribeStacks"):
        try:
            found = aws.cloudformation.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if error_code(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
    if not found or found[0]["StackStatus"] in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE"):
        return None
    stack = found[0]
    return Stack(
        name,
        stack["StackId"],
        stack["StackStatus"],
        one_line(stack.get("StackStatusReason", ""), 300),
        {p["ParameterKey"]: p.get("ParameterValue", "") for p in stack.get("Parameters", ())},
        {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", ())},
    )


def require_changeable(stack: Stack) -> None:
    """Raise AwsError when the stack's state allows no change, with what to do first."""
    if stack.status.endswith("_IN_PROGRESS"):
        raise AwsError(f"the stack {stack.name} is being changed ({stack.status}); wait for it")
    if stack.status in _STUCK:
        why = f" ({stack.reason})" if stack.reason else ""
        todo = _STUCK[stack.status].format(name=stack.name)
        raise AwsError(f"the stack {stack.name} is in state {stack.status}{why}: {todo}")


@contextlib.contextmanager
def change_set(
    aws: Aws, name: str, template: str, parameters: Sequence[Mapping[str, Any]], stack: Stack | None
) -> Iterator[ChangeSet]:
    """Yield a change set; nothing is left of one that is not executed within the block."""
    with explained("plan the change", "cloudformation:CreateChangeSet"):
        try:
            made = aws.cloudformation.create_change_set(
                StackName=name,
                ChangeSetName=f"dmarckit-{datetime.now(UTC):%Y%m%d%H%M%S}",
                ChangeSetType="UPDATE" if stack else "CREATE",
                TemplateBody=template,
                Parameters=list(parameters),
                Capabilities=["CAPABILITY_NAMED_IAM"],
            )
        except ClientError as error:
            if not any(text in str(error) for text in NOTHING):
                raise
            made = None
    if made is None:
        yield ChangeSet("", (), creates=False, empty=True)
        return
    try:
        changes = _changes(aws, name, made["Id"])
        yield ChangeSet(made["Id"], changes or (), stack is None, empty=changes is None)
    finally:
        with contextlib.suppress(ClientError):  # one that was executed is gone already
            aws.cloudformation.delete_change_set(StackName=name, ChangeSetName=made["Id"])
        with contextlib.suppress(ClientError):
            left = aws.cloudformation.describe_stacks(StackName=made["StackId"])["Stacks"]
            if left and left[0]["StackStatus"] == "REVIEW_IN_PROGRESS":  # it was for a new stack
                aws.cloudformation.delete_stack(StackName=made["StackId"])


def _changes(aws: Aws, name: str, id_: str) -> tuple[Change, ...] | None:
    """Return the changes, once they are known; None when nothing changes at all."""
    # boto3's waiter returns no answer, and wraps a refusal into an error without its code
    pages = aws.cloudformation.get_paginator("describe_change_set")
    while True:
        with explained("read the plan", "cloudformation:DescribeChangeSet"):
            found = list(pages.paginate(StackName=name, ChangeSetName=id_))
        status, reason = found[-1]["Status"], str(found[-1].get("StatusReason", ""))
        if status == "FAILED":
            if any(text in reason for text in NOTHING):
                return None
            raise AwsError(f"CloudFormation cannot plan the change: {one_line(reason, 300)}")
        if status == "CREATE_COMPLETE":
            changes = [change for page in found for change in page.get("Changes", ())]
            return tuple(_change(c["ResourceChange"]) for c in changes if "ResourceChange" in c)
        time.sleep(PAUSE)


def _change(change: Mapping[str, Any]) -> Change:
    action = {"Add": "create", "Remove": "delete"}.get(change["Action"], "change")
    if action == "change":
        replaced = {"True": "replace", "Conditional": "may replace"}
        action = replaced.get(change.get("Replacement", "False"), "change")
    targets = (detail.get("Target", {}) for detail in change.get("Details", ()))
    names = (str(target.get("Name") or target.get("Attribute") or "") for target in targets)
    return Change(
        action,
        change["LogicalResourceId"],
        change["ResourceType"],
        one_line(change.get("PhysicalResourceId") or "", 200),
        tuple(sorted({name for name in names if name})),
    )


def resources(aws: Aws, name: str) -> dict[str, str]:
    """Return logical name → name in AWS, of all that the stack made."""
    pages = aws.cloudformation.get_paginator("list_stack_resources")
    with explained("list the stack's resources", "cloudformation:ListStackResources"):
        return {
            r["LogicalResourceId"]: r.get("PhysicalResourceId", "")
            for page in pages.paginate(StackName=name)
            for r in page["StackResourceSummaries"]
        }


def execute_change_set(aws: Aws, name: str, change: ChangeSet, say: Say) -> Stack:
    """Make the change, print each step, and return the stack as it is then.

    Raises AwsError with what failed first, and what that may mean.
    """
    seen = set() if change.creates else {event["EventId"] for event in _events(aws, name)}
    with explained("make the change", "cloudformation:ExecuteChangeSet"):
        aws.cloudformation.execute_change_set(StackName=name, ChangeSetName=change.id)
    return _follow(aws, name, name, seen, say)


def remove_stack(aws: Aws, stack: Stack, say: Say) -> None:
    """Remove the stack; what its template says is kept stays. Raises as a change does."""
    seen = {event["EventId"] for event in _events(aws, stack.id)}
    with explained(f"remove the stack {stack.name}", "cloudformation:DeleteStack"):
        aws.cloudformation.delete_stack(StackName=stack.name)
    _follow(aws, stack.name, stack.id, seen, say)


def _follow(aws: Aws, name: str, id_: str, seen: set[str], say: Say) -> Stack:
    """Print the events of a change until it has ended; return the stack as it is then."""
    # boto3's waiters print nothing for the minutes that a change takes, and take the state of
    # an earlier update for the end of this one
    first_failure, moved = "", False
    for looks in count(1):
        for event in _events(aws, id_):
            if event["EventId"] in seen:
                continue
            seen.add(event["EventId"])
            moved = True
            status = event["ResourceStatus"]
            text = f"{status.lower().replace('_', ' '):<20} {event['LogicalResourceId']}"
            reason = event.get("ResourceStatusReason", "")
            reason = f": {one_line(reason, 300)}" if reason else ""
            say(f"{text} ({event['ResourceType']}){reason}")
            if status.endswith("_FAILED") and not first_failure:
                first_failure = _failure(event)
        with explained(f"look at the stack {name}", "cloudformation:DescribeStacks"):
            stack = aws.cloudformation.describe_stacks(StackName=id_)["Stacks"][0]
        status = stack["StackStatus"]
        # one that does not move at all has ended before we looked
        if not status.endswith("_IN_PROGRESS") and (moved or looks >= 5):
            break
        time.sleep(PAUSE)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"):
        why = first_failure or one_line(stack.get("StackStatusReason", ""), 300)
        raise AwsError(f"the stack {name} ended as {status}: {why or 'see its events'}")
    return find_stack(aws, id_) or Stack(name, id_, status, "", {}, {})


def _events(aws: Aws, id_: str) -> list[dict[str, Any]]:
    pages = aws.cloudformation.get_paginator("describe_stack_events")
    with explained("read what happens", "cloudformation:DescribeStackEvents"):
        found = [e for page in pages.paginate(StackName=id_) for e in page["StackEvents"]]
    return found[::-1]


_HINTS = (
    ("already exists", "a thing of this name is there already; give another NamePrefix, or the "
     "name of the bucket as MailBucket or HomeBucket"),
    ("Could not write to bucket", "SES may not write into the bucket; its policy must let it"),
    ("Unable to validate the following destination", "S3 may not send to the queue yet"),
    ("Rule set does not exist", "there is no such rule set; leave RuleSetName empty to make one"),
    ("but it already exists", "the zone has this record already; take it out there first"),
    ("UnreservedConcurrentExecution", "the account has too few calls at once to reserve "
     "some; give -p Concurrency 0, or ask AWS for more"),
    ("does not have permission to access the ECR image", "the repository's policy must let "
     "lambda.amazonaws.com take the image"),
    ("is not authorized to perform", "these credentials may not do that"),
    ("not available in", "this region lacks it; choose one where SES receives mail"),
)  # fmt: skip


def _failure(event: Mapping[str, Any]) -> str:
    did = event["ResourceStatus"].split("_")[0].lower()
    done = {"create": "made", "update": "changed", "delete": "removed"}.get(did, "handled")
    reason = one_line(event.get("ResourceStatusReason", "no reason was given"), 400)
    hint = next((hint for text, hint in _HINTS if text.lower() in reason.lower()), "")
    what = f"{event['LogicalResourceId']} ({event['ResourceType']}) could not be {done}: {reason}"
    return f"{what} → {hint}" if hint else what
