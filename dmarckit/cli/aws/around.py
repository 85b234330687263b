"""What is there beside the stack: buckets of before, and the receipt rule sets of SES.

The policy and the notifications of a mail bucket that was there before belong to somebody else,
and S3 only takes them whole. So they are read, ours is put in (or taken out), and the rest is
written back as it was. Where AWS refuses, every function raises AwsError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from dmarckit.cli.aws.stack import Aws, explained
from dmarckit.core import AwsError, error_code, one_line

KINDS = ("TopicConfigurations", "QueueConfigurations", "LambdaFunctionConfigurations")


@dataclass(frozen=True)
class MailBucket:
    """An existing mail bucket, and what a stack needs to have in it."""

    aws: Aws
    name: str
    prefix: str
    """where the mails are stored, with ``/`` at its end"""
    stack_prefix: str
    """`NamePrefix`, by which its parts are known again"""
    rule_set: str

    @property
    def sid(self) -> str:
        """Name of the stack's statement in the bucket's policy."""
        return "SesOf" + re.sub(r"[^A-Za-z0-9]", "", self.stack_prefix.title())

    @property
    def notification_id(self) -> str:
        """Name of the stack's notification."""
        return f"{self.stack_prefix}-arrivals"

    def statement(self) -> dict[str, Any]:
        """Return a statement that lets SES write mails, for this account and rule only."""
        aws, arn = self.aws, f"arn:{self.aws.partition}"
        rule = f"{self.rule_set}:receipt-rule/{self.stack_prefix}-reports"
        rule = f"{arn}:ses:{aws.region}:{aws.account}:receipt-rule-set/{rule}"
        return {
            "Sid": self.sid,
            "Effect": "Allow",
            "Principal": {"Service": "ses.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": f"{arn}:s3:::{self.name}/{self.prefix}*",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": aws.account, "aws:SourceArn": rule}
            },
        }

    def merged_policy(self, policy: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the bucket's policy with our statement, in the place of an older one of ours."""
        rest = self.policy_without(policy) or {"Version": "2012-10-17", "Statement": []}
        return {**rest, "Statement": [*rest["Statement"], self.statement()]}

    def policy_without(self, policy: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the bucket's policy without our statement; None when nothing else is in it."""
        if policy is None:
            return None
        statements = policy.get("Statement", [])
        statements = [statements] if isinstance(statements, Mapping) else statements
        others = [s for s in statements if s.get("Sid") != self.sid]
        return {**policy, "Statement": others} if others else None

    def merged_notifications(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the bucket's notifications with ours; S3 refuses two that overlap (AwsError)."""
        rest = self.notifications_without(config)
        for other in (other for kind in KINDS for other in rest.get(kind, ())):
            keys = other.get("Filter", {}).get("Key", {}).get("FilterRules", ())
            theirs = next((r["Value"] for r in keys if r["Name"].lower() == "prefix"), "")
            overlaps = theirs.startswith(self.prefix) or self.prefix.startswith(theirs)
            if overlaps and any(e.startswith("s3:ObjectCreated:") for e in other["Events"]):
                names = ("TopicArn", "QueueArn", "LambdaFunctionArn")
                target = next((other[n] for n in names if n in other), "somebody")
                raise AwsError(
                    f"bucket {self.name} tells {one_line(target, 200)} of objects below "
                    f"{theirs or 'every prefix'!r} already, and S3 allows one for each; "
                    "let that be a topic that the queue subscribes to, or choose another MailPrefix"
                )
        arn = f"arn:{self.aws.partition}:sqs:{self.aws.region}:{self.aws.account}"
        queue = {
            "Id": self.notification_id,
            "QueueArn": f"{arn}:{self.notification_id}",
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": self.prefix}]}},
        }
        return {**rest, "QueueConfigurations": [*rest.get("QueueConfigurations", ()), queue]}

    def notifications_without(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the bucket's notifications without ours, as S3 takes them."""
        kept = {k: v for k, v in config.items() if k in (*KINDS, "EventBridgeConfiguration")}
        queues = kept.pop("QueueConfigurations", ())
        queues = [q for q in queues if q["Id"] != self.notification_id]
        return kept | ({"QueueConfigurations": queues} if queues else {})

    def read_policy(self) -> dict[str, Any] | None:
        """Return the bucket's policy; None when it has none."""
        with explained(f"read the policy of bucket {self.name}", "s3:GetBucketPolicy"):
            try:
                answer = self.aws.s3.get_bucket_policy(Bucket=self.name)
            except ClientError as error:
                if error_code(error) == "NoSuchBucketPolicy":
                    return None
                raise
            return dict(json.loads(answer["Policy"]))

    def write_policy(self, policy: Mapping[str, Any] | None) -> None:
        """Replace the bucket's policy; None: it has none then."""
        if policy is None:
            with explained(f"remove the policy of bucket {self.name}", "s3:DeleteBucketPolicy"):
                self.aws.s3.delete_bucket_policy(Bucket=self.name)
            return
        with explained(f"change the policy of bucket {self.name}", "s3:PutBucketPolicy"):
            self.aws.s3.put_bucket_policy(Bucket=self.name, Policy=json.dumps(policy))

    def read_notifications(self) -> dict[str, Any]:
        """Return the bucket's notifications."""
        what = f"read the notifications of bucket {self.name}"
        with explained(what, "s3:GetBucketNotification"):
            return dict(self.aws.s3.get_bucket_notification_configuration(Bucket=self.name))

    def write_notifications(self, config: Mapping[str, Any]) -> None:
        """Replace the bucket's notifications."""
        what = f"change the notifications of bucket {self.name}"
        with explained(what, "s3:PutBucketNotification"):
            self.aws.s3.put_bucket_notification_configuration(
                Bucket=self.name, NotificationConfiguration=config
            )


def active_rule_set(aws: Aws) -> str | None:
    """Return the receipt rule set that SES uses now; None: SES takes no mail."""
    with explained("ask SES which rule set is active", "ses:DescribeActiveReceiptRuleSet"):
        answer = aws.ses.describe_active_receipt_rule_set()
    name = answer.get("Metadata", {}).get("Name")
    return str(name) if name else None


def activate(aws: Aws, rule_set: str | None) -> None:
    """Let SES use a rule set in place of the one it uses now; None: none."""
    given = {} if rule_set is None else {"RuleSetName": rule_set}
    with explained("activate the rule set", "ses:SetActiveReceiptRuleSet"):
        aws.ses.set_active_receipt_rule_set(**given)


def bucket_region(aws: Aws, bucket: str) -> str | None:
    """Return the region of a bucket, empty when S3 does not say; None: there is no such bucket."""
    error: ClientError | None = None
    with explained(f"look at bucket {bucket}", "s3:ListBucket"):
        try:
            answer = aws.s3.head_bucket(Bucket=bucket)
        except ClientError as caught:
            error, answer = caught, caught.response
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = one_line(headers.get("x-amz-bucket-region") or "", 40)
        if error is None:
            return region
        if error_code(error) in ("404", "NoSuchBucket"):
            return None
        moved = ("301", "PermanentRedirect", "IllegalLocationConstraintException", "400")
        if error_code(error) in moved and region:
            return region
        raise error
