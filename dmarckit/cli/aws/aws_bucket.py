"""A mail bucket that was there before: what SES and S3 need is added to what it has.

Its policy and its notifications belong to somebody else, and S3 only takes them whole. So
they are read, ours is put in (or taken out), and the rest is written back as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dmarckit.cli.aws.aws_client import Aws, code_of, explained
from dmarckit.core.errors import AwsError, one_line

CREATED = "s3:ObjectCreated:*"
_KINDS = ("TopicConfigurations", "QueueConfigurations", "LambdaFunctionConfigurations")


@dataclass(frozen=True)
class Wanted:
    """What a stack needs of its mail bucket."""

    bucket: str
    prefix: str
    """where the mails are stored, with ``/`` at its end"""
    stack_prefix: str
    """`NamePrefix`, by which its parts are known again"""
    rule_set: str
    partition: str
    region: str
    account: str

    @property
    def sid(self) -> str:
        """The name of its statement in the bucket's policy."""
        return "SesOf" + re.sub(r"[^A-Za-z0-9]", "", self.stack_prefix.title())

    @property
    def notification_id(self) -> str:
        """The name of its notification."""
        return f"{self.stack_prefix}-arrivals"

    @property
    def queue_arn(self) -> str:
        """The queue that hears of arrivals."""
        return f"arn:{self.partition}:sqs:{self.region}:{self.account}:{self.notification_id}"

    def statement(self) -> dict[str, Any]:
        """SES may write mails there, for this account and this rule only."""
        rule = (
            f"arn:{self.partition}:ses:{self.region}:{self.account}:receipt-rule-set/"
            f"{self.rule_set}:receipt-rule/{self.stack_prefix}-reports"
        )
        return {
            "Sid": self.sid,
            "Effect": "Allow",
            "Principal": {"Service": "ses.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": f"arn:{self.partition}:s3:::{self.bucket}/{self.prefix}*",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": self.account, "aws:SourceArn": rule}
            },
        }

    def notification(self) -> dict[str, Any]:
        """S3 tells the queue of each object below the prefix."""
        rules = [{"Name": "prefix", "Value": self.prefix}]
        return {
            "Id": self.notification_id,
            "QueueArn": self.queue_arn,
            "Events": [CREATED],
            "Filter": {"Key": {"FilterRules": rules}},
        }


def merged_policy(policy: Mapping[str, Any] | None, wanted: Wanted) -> dict[str, Any]:
    """The bucket's policy with our statement, in the place of an older one of ours."""
    rest = policy_without(policy, wanted) or {"Version": "2012-10-17", "Statement": []}
    return {**rest, "Statement": [*rest["Statement"], wanted.statement()]}


def policy_without(policy: Mapping[str, Any] | None, wanted: Wanted) -> dict[str, Any] | None:
    """The bucket's policy without our statement; None when nothing else is in it."""
    if policy is None:
        return None
    statements = policy.get("Statement", [])
    statements = [statements] if isinstance(statements, Mapping) else statements
    others = [s for s in statements if s.get("Sid") != wanted.sid]
    return {**policy, "Statement": others} if others else None


def merged_notifications(config: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """The bucket's notifications with ours.

    Raises AwsError when one of them hears of the same arrivals: S3 refuses two that overlap.
    """
    rest = notifications_without(config, wanted)
    for kind in _KINDS:
        for other in rest.get(kind, ()):
            if _overlaps(other, wanted.prefix):
                raise AwsError(
                    f"bucket {wanted.bucket} tells {_target(other)} of objects below "
                    f"{_prefix(other) or 'every prefix'!r} already, and S3 allows one for each; "
                    "let that be a topic that the queue subscribes to, or choose another MailPrefix"
                )
    queues = [*rest.get("QueueConfigurations", ()), wanted.notification()]
    return {**rest, "QueueConfigurations": queues}


def notifications_without(config: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """The bucket's notifications without ours, as S3 takes them."""
    kept = {k: v for k, v in config.items() if k in (*_KINDS, "EventBridgeConfiguration")}
    queues = [q for q in kept.get("QueueConfigurations", ()) if q["Id"] != wanted.notification_id]
    kept.pop("QueueConfigurations", None)
    return {**kept, **({"QueueConfigurations": queues} if queues else {})}


def others(config: Mapping[str, Any], wanted: Wanted) -> int:
    """How many notifications of the bucket are not ours."""
    rest = notifications_without(config, wanted)
    return sum(len(rest.get(kind, ())) for kind in _KINDS)


def read_policy(aws: Aws, bucket: str) -> dict[str, Any] | None:
    """The bucket's policy; None when it has none. Raises AwsError."""
    from botocore.exceptions import ClientError

    with explained(f"read the policy of bucket {bucket}", "s3:GetBucketPolicy"):
        try:
            found: dict[str, Any] = json.loads(aws.s3.get_bucket_policy(Bucket=bucket)["Policy"])
            return found
        except ClientError as error:
            if code_of(error) == "NoSuchBucketPolicy":
                return None
            raise


def read_notifications(aws: Aws, bucket: str) -> dict[str, Any]:
    """The bucket's notifications. Raises AwsError."""
    with explained(f"read the notifications of bucket {bucket}", "s3:GetBucketNotification"):
        found: dict[str, Any] = aws.s3.get_bucket_notification_configuration(Bucket=bucket)
        return found


def let_ses_write(aws: Aws, wanted: Wanted) -> None:
    """Put our statement into the bucket's policy, read anew. Raises AwsError."""
    now = read_policy(aws, wanted.bucket)
    new = merged_policy(now, wanted)
    if new != now:
        _write_policy(aws, wanted.bucket, new)


def tell_the_queue(aws: Aws, wanted: Wanted) -> None:
    """Put our notification among those of the bucket, read anew. Raises AwsError."""
    new = merged_notifications(read_notifications(aws, wanted.bucket), wanted)
    _write_notifications(aws, wanted.bucket, new)


def let_go(aws: Aws, wanted: Wanted) -> None:
    """Take our statement and our notification out of the bucket again. Raises AwsError."""
    config = read_notifications(aws, wanted.bucket)
    _write_notifications(aws, wanted.bucket, notifications_without(config, wanted))
    now = read_policy(aws, wanted.bucket)
    new = policy_without(now, wanted)
    if new is None and now is not None:
        with explained(f"remove the policy of bucket {wanted.bucket}", "s3:DeleteBucketPolicy"):
            aws.s3.delete_bucket_policy(Bucket=wanted.bucket)
    elif new is not None and new != now:
        _write_policy(aws, wanted.bucket, new)


def _write_policy(aws: Aws, bucket: str, policy: Mapping[str, Any]) -> None:
    with explained(f"change the policy of bucket {bucket}", "s3:PutBucketPolicy"):
        aws.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def _write_notifications(aws: Aws, bucket: str, config: Mapping[str, Any]) -> None:
    with explained(f"change the notifications of bucket {bucket}", "s3:PutBucketNotification"):
        aws.s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=config
        )


def _overlaps(other: Mapping[str, Any], prefix: str) -> bool:
    if not any(event.startswith("s3:ObjectCreated:") for event in other["Events"]):
        return False
    theirs = _prefix(other)
    return theirs.startswith(prefix) or prefix.startswith(theirs)


def _prefix(other: Mapping[str, Any]) -> str:
    rules = other.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    return next((r["Value"] for r in rules if r["Name"].lower() == "prefix"), "")


def _target(other: Mapping[str, Any]) -> str:
    names = ("TopicArn", "QueueArn", "LambdaFunctionArn")
    return one_line(next((other[n] for n in names if n in other), "somebody"), 200)
