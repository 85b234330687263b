"""What is there beside the stack: buckets of before, and the receipt rule sets of SES.

The policy and the notifications of a mail bucket that was there before belong to somebody else,
and S3 only takes them whole. So they are read, ours is put in (or taken out), and the rest is
written back as it was. Where AWS refuses, every function raises AwsError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from dmarckit.cli.aws.stack import Aws, explained
from dmarckit.core import AwsError, error_code, one_line

KINDS = ("TopicConfigurations", "QueueConfigurations", "LambdaFunctionConfigurations")


@dataclass(frozen=True)
class MailBucket:
    """An existing mail bucket, and what a stack needs to have in it."""

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
        """Name of the stack's statement in the bucket's policy."""
        return "SesOf" + re.sub(r"[^A-Za-z0-9]", "", self.stack_prefix.title())

    @property
    def notification_id(self) -> str:
        """Name of the stack's notification."""
        return f"{self.stack_prefix}-arrivals"

    def statement(self) -> dict[str, Any]:
        """Return a statement that lets SES write mails, for this account and rule only."""
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
        """Return a notification to the queue for each object below the prefix."""
        rules = [{"Name": "prefix", "Value": self.prefix}]
        queue = f"arn:{self.partition}:sqs:{self.region}:{self.account}:{self.notification_id}"
        return {
            "Id": self.notification_id,
            "QueueArn": queue,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": rules}},
        }


def merged_policy(policy: Mapping[str, Any] | None, ours: MailBucket) -> dict[str, Any]:
    """Return the bucket's policy with our statement, in the place of an older one of ours."""
    rest = policy_without(policy, ours) or {"Version": "2012-10-17", "Statement": []}
    return {**rest, "Statement": [*rest["Statement"], ours.statement()]}


def policy_without(policy: Mapping[str, Any] | None, ours: MailBucket) -> dict[str, Any] | None:
    """Return the bucket's policy without our statement; None when nothing else is in it."""
    if policy is None:
        return None
    statements = policy.get("Statement", [])
    statements = [statements] if isinstance(statements, Mapping) else statements
    others = [s for s in statements if s.get("Sid") != ours.sid]
    return {**policy, "Statement": others} if others else None


def merged_notifications(config: Mapping[str, Any], ours: MailBucket) -> dict[str, Any]:
    """Return the bucket's notifications with ours.

    Raises:
        AwsError: One of them is for the same arrivals: S3 refuses two that overlap.
    """
    rest = notifications_without(config, ours)
    for kind in KINDS:
        for other in rest.get(kind, ()):
            keys = other.get("Filter", {}).get("Key", {}).get("FilterRules", ())
            theirs = next((r["Value"] for r in keys if r["Name"].lower() == "prefix"), "")
            overlaps = theirs.startswith(ours.prefix) or ours.prefix.startswith(theirs)
            if overlaps and any(e.startswith("s3:ObjectCreated:") for e in other["Events"]):
                names = ("TopicArn", "QueueArn", "LambdaFunctionArn")
                target = next((other[n] for n in names if n in other), "somebody")
                raise AwsError(
                    f"bucket {ours.bucket} tells {one_line(target, 200)} of objects below "
                    f"{theirs or 'every prefix'!r} already, and S3 allows one for each; "
                    "let that be a topic that the queue subscribes to, or choose another MailPrefix"
                )
    queues = [*rest.get("QueueConfigurations", ()), ours.notification()]
    return {**rest, "QueueConfigurations": queues}


def notifications_without(config: Mapping[str, Any], ours: MailBucket) -> dict[str, Any]:
    """Return the bucket's notifications without ours, as S3 takes them."""
    kept = {k: v for k, v in config.items() if k in (*KINDS, "EventBridgeConfiguration")}
    queues = kept.pop("QueueConfigurations", ())
    queues = [q for q in queues if q["Id"] != ours.notification_id]
    return kept | ({"QueueConfigurations": queues} if queues else {})


def read_policy(aws: Aws, bucket: str) -> dict[str, Any] | None:
    """Return the bucket's policy; None when it has none."""
    with explained(f"read the policy of bucket {bucket}", "s3:GetBucketPolicy"):
        try:
            found: dict[str, Any] = json.loads(aws.s3.get_bucket_policy(Bucket=bucket)["Policy"])
            return found
        except ClientError as error:
            if error_code(error) == "NoSuchBucketPolicy":
                return None
            raise


def read_notifications(aws: Aws, bucket: str) -> dict[str, Any]:
    """Return the bucket's notifications."""
    with explained(f"read the notifications of bucket {bucket}", "s3:GetBucketNotification"):
        found: dict[str, Any] = aws.s3.get_bucket_notification_configuration(Bucket=bucket)
        return found


def allow_ses(aws: Aws, ours: MailBucket) -> None:
    """Put our statement into the bucket's policy, read anew."""
    now = read_policy(aws, ours.bucket)
    new = merged_policy(now, ours)
    if new != now:
        _write_policy(aws, ours.bucket, new)


def notify_queue(aws: Aws, ours: MailBucket) -> None:
    """Put our notification among those of the bucket, read anew."""
    config = read_notifications(aws, ours.bucket)
    _write_notifications(aws, ours.bucket, merged_notifications(config, ours))


def release_bucket(aws: Aws, ours: MailBucket) -> None:
    """Take our statement and our notification out of the bucket again."""
    config = read_notifications(aws, ours.bucket)
    _write_notifications(aws, ours.bucket, notifications_without(config, ours))
    now = read_policy(aws, ours.bucket)
    new = policy_without(now, ours)
    if new is None and now is not None:
        with explained(f"remove the policy of bucket {ours.bucket}", "s3:DeleteBucketPolicy"):
            aws.s3.delete_bucket_policy(Bucket=ours.bucket)
    elif new is not None and new != now:
        _write_policy(aws, ours.bucket, new)


def _write_policy(aws: Aws, bucket: str, policy: Mapping[str, Any]) -> None:
    with explained(f"change the policy of bucket {bucket}", "s3:PutBucketPolicy"):
        aws.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def _write_notifications(aws: Aws, bucket: str, config: Mapping[str, Any]) -> None:
    with explained(f"change the notifications of bucket {bucket}", "s3:PutBucketNotification"):
        aws.s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=config
        )


def require_bucket(aws: Aws, bucket: str, parameter: str) -> None:
    """Raise AwsError unless a bucket that a parameter names is in the stack's region."""
    answer = _head(aws, bucket)
    if answer is None:
        raise AwsError(f"{parameter} {bucket}: there is no such bucket; leave it empty to make one")
    region = _region(answer)
    if region not in ("", aws.region):
        raise AwsError(
            f"{parameter} {bucket} is in {region}, and the stack in {aws.region}: S3 tells only "
            f"queues of its own region; set AWS_REGION={region}, or leave {parameter} empty"
        )


def require_no_bucket(aws: Aws, bucket: str, parameter: str) -> None:
    """Raise AwsError when a bucket that the stack would make is there already."""
    if _head(aws, bucket) is not None:
        raise AwsError(
            f"bucket {bucket} is there already, as an earlier stack leaves it; use it with "
            f"-p {parameter} {bucket}, give another NamePrefix, or delete it first"
        )


def active_rule_set(aws: Aws) -> str | None:
    """Return the receipt rule set that SES uses now; None: SES takes no mail."""
    with explained("ask SES which rule set is active", "ses:DescribeActiveReceiptRuleSet"):
        answer = aws.ses.describe_active_receipt_rule_set()
    name = answer.get("Metadata", {}).get("Name")
    return str(name) if name else None


def require_rule_set(aws: Aws, name: str) -> None:
    """Raise AwsError when SES has no rule set of that name."""
    with explained(f"look at the rule set {name}", "ses:DescribeReceiptRuleSet"):
        try:
            aws.ses.describe_receipt_rule_set(RuleSetName=name)
        except ClientError as error:
            if error_code(error) != "RuleSetDoesNotExist":
                raise
            raise AwsError(
                f"RuleSetName {one_line(name)}: SES has no such rule set in {aws.region}; leave "
                "it empty to make one"
            ) from error


def foreign_rules(aws: Aws, rule_set: str, rule: str) -> list[str]:
    """Return the rules in a set beside our own."""
    with explained(f"look at the rule set {rule_set}", "ses:DescribeReceiptRuleSet"):
        rules = aws.ses.describe_receipt_rule_set(RuleSetName=rule_set).get("Rules", [])
    return [r["Name"] for r in rules if r["Name"] != rule]


def activate(aws: Aws, rule_set: str | None) -> None:
    """Let SES use a rule set in place of the one it uses now; None: none."""
    given = {} if rule_set is None else {"RuleSetName": rule_set}
    with explained("activate the rule set", "ses:SetActiveReceiptRuleSet"):
        aws.ses.set_active_receipt_rule_set(**given)


def unverified_hosts(aws: Aws, hosts: Sequence[str]) -> list[str]:
    """Return hosts for which SES takes no mail: neither they nor a domain above are verified."""
    labels = {host: host.split(".") for host in hosts}
    above = {h: [".".join(part[i:]) for i in range(len(part) - 1)] for h, part in labels.items()}
    names = sorted({name for names in above.values() for name in names})
    with explained("ask SES for verified domains", "ses:GetIdentityVerificationAttributes"):
        found = aws.ses.get_identity_verification_attributes(Identities=names)
    states = found["VerificationAttributes"]
    verified = {n for n, s in states.items() if s["VerificationStatus"] == "Success"}
    return [host for host, names in above.items() if not verified & set(names)]


def _head(aws: Aws, bucket: str) -> Any | None:
    """Return S3's answer about a bucket; None when there is none of that name."""
    with explained(f"look at bucket {bucket}", "s3:ListBucket"):
        try:
            return aws.s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchBucket"):
                return None
            moved = ("301", "PermanentRedirect", "IllegalLocationConstraintException", "400")
            if error_code(error) in moved and _region(error.response):
                return error.response
            raise


def _region(answer: Any) -> str:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return one_line(headers.get("x-amz-bucket-region") or "", 40)
