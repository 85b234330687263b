"""What is there beside the stack: buckets, and the receipt rule sets of SES."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dmarckit.cli.aws.aws_client import Aws, code_of, explained
from dmarckit.core.errors import AwsError, one_line

_ABSENT = ("404", "NoSuchBucket")
_MOVED = ("301", "PermanentRedirect", "IllegalLocationConstraintException", "400")


def require_bucket(aws: Aws, bucket: str, parameter: str) -> None:
    """Raises AwsError when a bucket that a parameter names is not here, in the stack's region."""
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
    """Raises AwsError when a bucket that the stack would make is there already."""
    if _head(aws, bucket) is not None:
        raise AwsError(
            f"bucket {bucket} is there already, as an earlier stack leaves it; use it with "
            f"-p {parameter} {bucket}, give another NamePrefix, or delete it first"
        )


def active_rule_set(aws: Aws) -> str | None:
    """The receipt rule set that SES uses now; None: SES takes no mail. Raises AwsError."""
    with explained("ask SES which rule set is active", "ses:DescribeActiveReceiptRuleSet"):
        answer = aws.ses.describe_active_receipt_rule_set()
    name = answer.get("Metadata", {}).get("Name")
    return str(name) if name else None


def require_rule_set(aws: Aws, name: str) -> None:
    """Raises AwsError when SES has no rule set of that name."""
    from botocore.exceptions import ClientError

    with explained(f"look at the rule set {name}", "ses:DescribeReceiptRuleSet"):
        try:
            aws.ses.describe_receipt_rule_set(RuleSetName=name)
        except ClientError as error:
            if code_of(error) != "RuleSetDoesNotExist":
                raise
            raise AwsError(
                f"RuleSetName {one_line(name)}: SES has no such rule set in {aws.region}; leave "
                "it empty to make one"
            ) from error


def foreign_rules(aws: Aws, rule_set: str, rule: str) -> list[str]:
    """The rules in a set beside our own. Raises AwsError."""
    with explained(f"look at the rule set {rule_set}", "ses:DescribeReceiptRuleSet"):
        rules = aws.ses.describe_receipt_rule_set(RuleSetName=rule_set).get("Rules", [])
    return [r["Name"] for r in rules if r["Name"] != rule]


def activate(aws: Aws, rule_set: str | None) -> None:
    """Let SES use a rule set in place of the one it uses now; None: none. Raises AwsError."""
    given = {} if rule_set is None else {"RuleSetName": rule_set}
    with explained("activate the rule set", "ses:SetActiveReceiptRuleSet"):
        aws.ses.set_active_receipt_rule_set(**given)


def unverified(aws: Aws, hosts: Sequence[str]) -> list[str]:
    """Hosts for which SES takes no mail: neither they nor a domain above are verified."""
    above = {host: _with_parents(host) for host in hosts}
    names = sorted({name for names in above.values() for name in names})
    with explained("ask SES for verified domains", "ses:GetIdentityVerificationAttributes"):
        found = aws.ses.get_identity_verification_attributes(Identities=names)
    states = found["VerificationAttributes"]
    verified = {n for n, s in states.items() if s["VerificationStatus"] == "Success"}
    return [host for host, names in above.items() if not verified & set(names)]


def _with_parents(host: str) -> list[str]:
    labels = host.split(".")
    return [".".join(labels[i:]) for i in range(len(labels) - 1)]


def _head(aws: Aws, bucket: str) -> Any | None:
    """What S3 says of a bucket; None when there is none of that name."""
    from botocore.exceptions import ClientError

    with explained(f"look at bucket {bucket}", "s3:ListBucket"):
        try:
            return aws.s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            if code_of(error) in _ABSENT:
                return None
            if code_of(error) in _MOVED and _region(error.response):
                return error.response
            raise


def _region(answer: Any) -> str:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return one_line(headers.get("x-amz-bucket-region") or "", 40)
