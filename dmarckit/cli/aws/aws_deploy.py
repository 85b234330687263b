"""A deployment made, and one taken away: in the order in which each step finds what it needs."""

from __future__ import annotations

from typing import Any

from dmarckit.cli.aws.aws_bucket import let_go, let_ses_write, tell_the_queue
from dmarckit.cli.aws.aws_client import Aws, explained
from dmarckit.cli.aws.aws_events import Say, execute, remove
from dmarckit.cli.aws.aws_look import activate, active_rule_set, foreign_rules
from dmarckit.cli.aws.aws_plan import Ready, rule_set_of, wanted_of
from dmarckit.cli.aws.aws_stack import Sleep, Stack, find_stack, resources
from dmarckit.core.errors import AwsError

MAIL_BUCKET, HOME_BUCKET = "Mails", "Home"
"""logical names of the buckets that a stack makes"""


def deploy(aws: Aws, ready: Ready, say: Say, sleep: Sleep, *, activate_set: bool) -> Stack:
    """Make what was planned; the stack as it is then.

    SES tries to write when its rule is made, so an existing bucket lets it in before; S3
    tries the queue when it is told of it, so that comes after.

    Raises AwsError with the first thing that failed. Made again, it goes on from there.
    """
    if ready.bucket:
        let_ses_write(aws, ready.bucket)
        say(f"Bucket {ready.bucket.bucket}: SES may write")
    stack = ready.stack
    if not ready.change.empty:
        stack = execute(aws, ready.name, ready.change, say, sleep)
    if ready.bucket:
        tell_the_queue(aws, ready.bucket)
        say(f"Bucket {ready.bucket.bucket}: the queue hears of new mails")
    if activate_set and ready.active != ready.rule_set:
        activate(aws, ready.rule_set)
        say(f"SES uses the rule set {ready.rule_set} now")
    if stack is None:
        raise AwsError(f"the stack {ready.name} was not made: its template makes nothing")
    return stack


def made_buckets(aws: Aws, stack: Stack) -> dict[str, str]:
    """Logical name → bucket, of those that the stack made. Raises AwsError."""
    made = resources(aws, stack.name)
    return {name: made[name] for name in (MAIL_BUCKET, HOME_BUCKET) if made.get(name)}


def destroy(aws: Aws, stack: Stack, say: Say, sleep: Sleep) -> None:
    """Remove the stack, and what was put into an existing bucket. Buckets stay, full or empty.

    Raises AwsError when other rules are in its rule set, and for what AWS refuses.
    """
    values = stack.parameters
    if "NamePrefix" in values and "RuleSetName" in values:
        _stop_receiving(aws, values["NamePrefix"], values["RuleSetName"], say)
    wanted = wanted_of(aws, values) if "MailBucket" in values else None
    if wanted is not None:
        let_go(aws, wanted)
        say(f"Bucket {wanted.bucket}: what was added is taken out; the rest stays")
    remove(aws, stack, say, sleep)


def _stop_receiving(aws: Aws, prefix: str, rule_set: str, say: Say) -> None:
    """SES removes no active rule set: one that the stack made is put out of use first."""
    ours = rule_set_of({"NamePrefix": prefix, "RuleSetName": rule_set})
    if rule_set or active_rule_set(aws) != ours:
        return
    if foreign := foreign_rules(aws, ours, f"{prefix}-reports"):
        raise AwsError(
            f"the active rule set {ours} also holds {', '.join(foreign)}; move them to another "
            "set and activate that, then destroy"
        )
    activate(aws, None)
    say(f"SES uses no rule set now: {ours} is out of use")


def delete_bucket(aws: Aws, bucket: str, say: Say) -> None:
    """Delete a bucket with every version of what is in it. It cannot be undone.

    Raises AwsError.
    """
    pages = aws.s3.get_paginator("list_object_versions")
    count = 0
    with explained(f"empty bucket {bucket}", "s3:DeleteObjectVersion"):
        for page in pages.paginate(Bucket=bucket):
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            for start in range(0, len(found), 1000):  # S3 takes no more at once
                _delete(aws, bucket, found[start : start + 1000])
            count += len(found)
    with explained(f"delete bucket {bucket}", "s3:DeleteBucket"):
        aws.s3.delete_bucket(Bucket=bucket)
    say(f"Bucket {bucket} is deleted, with {count:,} versions of objects")


def _delete(aws: Aws, bucket: str, versions: list[dict[str, Any]]) -> None:
    keys = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in versions]
    answer = aws.s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    if errors := answer.get("Errors"):
        raise AwsError(f"bucket {bucket}: {errors[0]['Key']} was not deleted: {errors[0]['Code']}")


def require_stack(aws: Aws, name: str) -> Stack:
    """The stack. Raises AwsError when there is none."""
    stack = find_stack(aws, name)
    if stack is None:
        raise AwsError(
            f"there is no stack {name} in {aws.region}; check --stack and AWS_REGION, or make it "
            "with `dmarckit aws deploy`"
        )
    return stack
