"""A deployment planned without doing any of it, made, and taken away again.

Each step comes where it finds what it needs. Where AWS refuses, every function raises AwsError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from dmarckit.cli.aws import around, stack as stacks, template as templates
from dmarckit.cli.aws.around import MailBucket
from dmarckit.cli.aws.stack import Aws, ChangeSet, Say, Stack, explained
from dmarckit.core import AwsError, error_code, one_line, plural

_ORDER = ("delete", "replace", "may replace", "change", "create")


@dataclass(frozen=True)
class Plan:
    """A deployment that could be made."""

    name: str
    stack: Stack | None
    """as it is now; None: it would be new"""
    chosen: templates.Parameters
    change: ChangeSet
    bucket: MailBucket | None
    """what an existing mail bucket needs; None: the stack makes the bucket"""
    bucket_lines: tuple[str, ...]
    rule_set: str
    """the rule set that the rule is in"""
    active: str | None
    """the one that SES uses now"""
    not_verified: tuple[str, ...]
    """hosts of recipients that SES does not know"""


@contextlib.contextmanager
def prepare(
    aws: Aws, name: str, template: Mapping[str, Any], given: Mapping[str, str]
) -> Iterator[Plan]:
    """Yield the plan of a stack with these parameters; nothing is left of one not made.

    Raises SettingsError when a parameter is missing or wrong.
    """
    text = templates.template_body(dict(template))
    stack = stacks.find_stack(aws, name)
    if stack is not None:
        stacks.require_changeable(stack)
    chosen = templates.choose_parameters(template, given, stack.parameters if stack else None)
    values = chosen.effective
    wanted, lines = _buckets(aws, values, new=stack is None)
    if own_set := values["RuleSetName"]:
        with explained(f"look at the rule set {own_set}", "ses:DescribeReceiptRuleSet"):
            try:
                aws.ses.describe_receipt_rule_set(RuleSetName=own_set)
            except ClientError as error:
                if error_code(error) != "RuleSetDoesNotExist":
                    raise
                raise AwsError(
                    f"RuleSetName {one_line(own_set)}: SES has no such rule set in {aws.region}; "
                    "leave it empty to make one"
                ) from error
    active = around.active_rule_set(aws)
    hosts = templates.hosts_of(templates.split_list(values["Recipients"]))
    missing = _unverified(aws, hosts)
    with stacks.change_set(aws, name, text, chosen.for_change_set(), stack) as change:
        yield Plan(name, stack, chosen, change, wanted, lines, rule_set_of(values), active, missing)


def _unverified(aws: Aws, hosts: Sequence[str]) -> tuple[str, ...]:
    """Return hosts for which SES takes no mail: neither they nor a domain above are verified."""
    labels = {host: host.split(".") for host in hosts}
    above = {h: [".".join(part[i:]) for i in range(len(part) - 1)] for h, part in labels.items()}
    names = sorted({name for names in above.values() for name in names})
    with explained("ask SES for verified domains", "ses:GetIdentityVerificationAttributes"):
        found = aws.ses.get_identity_verification_attributes(Identities=names)
    states = found["VerificationAttributes"]
    verified = {n for n, s in states.items() if s["VerificationStatus"] == "Success"}
    return tuple(host for host, names in above.items() if not verified & set(names))


def rule_set_of(values: Mapping[str, str]) -> str:
    """Return the rule set that a stack with these parameters puts its rule into."""
    return values["RuleSetName"] or f"{values['NamePrefix']}-rules"


def mail_bucket_of(aws: Aws, values: Mapping[str, str]) -> MailBucket | None:
    """Return the mail bucket that was there before; None when the stack makes it."""
    if not values["MailBucket"]:
        return None
    return MailBucket(
        aws, values["MailBucket"], values["MailPrefix"], values["NamePrefix"], rule_set_of(values)
    )


def plan_lines(plan: Plan, *, activate: bool) -> list[str]:
    """Return the plan for people; what takes away or replaces something is loud."""
    where = f"Stack {plan.name}: " + (
        f"is there ({plan.stack.status})" if plan.stack else "would be new"
    )
    shown = [f"  {name} = {value!r}" for name, value in sorted(plan.chosen.shown().items())]
    text = [where, "", "Parameters set now:" if shown else "No parameter is set now.", *shown]
    if plan.chosen.kept:
        text.append(f"Kept as they are: {', '.join(plan.chosen.kept)}")
    text += ["", *_changes(plan.change)]
    if plan.bucket_lines:
        text += ["", *plan.bucket_lines]
    text += ["", *_rule_set(plan, activate)]
    for host in plan.not_verified:
        text.append(f"SES does not know {host}: verify it (SES, identities), or it takes no mail")
    return text


def _changes(change: ChangeSet) -> list[str]:
    if change.empty:
        return ["Nothing in the stack changes."]
    if not (changes := change.changes):
        return ["No resource changes; outputs or values that none of them uses do."]
    ordered = sorted(changes, key=lambda c: (_ORDER.index(c.action), c.name))
    loud = {"replace": "REPLACES", "may replace": "MAY REPLACE", "delete": "DELETES"}
    text = []
    for c in ordered:
        label = loud.get(c.action, c.action)
        physical = f" {c.physical}" if c.physical else ""
        because = f" (because of {', '.join(c.because)})" if c.because else ""
        text.append(f"  {label:<12} {c.name} ({c.kind}){physical}{because}")
    counts = {a: sum(c.action == a for c in changes) for a in reversed(_ORDER)}
    summary = ", ".join(f"{n} to {action}" for action, n in counts.items() if n)
    text.append(f"{plural(len(changes), 'resource')}: {summary}")
    if counts["replace"] or counts["may replace"]:
        text.append(
            "A replaced resource is made anew under another name, and the old one is taken away "
            "(buckets stay, with what is in them)."
        )
    return text


def _rule_set(plan: Plan, activate: bool) -> list[str]:
    ours, active = plan.rule_set, plan.active
    now = f"SES uses the rule set {active} now" if active else "SES uses no rule set now"
    if active == ours:
        return [f"SES uses the rule set {ours}, which the rule is in."]
    if not activate:
        either = f"Either give -p RuleSetName {active}, or deploy" if active else "Deploy"
        return [
            f"{now}, and the rule would be in {ours}: no mail reaches it until that is active. "
            f"{either} with --activate."
        ]
    if active:
        return [f"  REPLACES     the active rule set {active} by {ours}: its rules stop working"]
    return [f"  activate     the rule set {ours} ({now})"]


def _buckets(
    aws: Aws, values: Mapping[str, str], *, new: bool
) -> tuple[MailBucket | None, tuple[str, ...]]:
    for parameter, kind in (("MailBucket", "mail"), ("HomeBucket", "home")):
        if given := values[parameter]:
            region, what = around.bucket_region(aws, given), f"{parameter} {given}"
            if region is None:
                raise AwsError(f"{what}: there is no such bucket; leave it empty to make one")
            if region not in ("", aws.region):
                raise AwsError(
                    f"{what} is in {region}, and the stack in {aws.region}: S3 tells only queues "
                    f"of its own region; set AWS_REGION={region}, or leave {parameter} empty"
                )
        elif new:
            name = f"{values['NamePrefix']}-{kind}-{aws.account}-{aws.region}"
            if around.bucket_region(aws, name) is not None:
                raise AwsError(
                    f"bucket {name} is there already, as an earlier stack leaves it; use it with "
                    f"-p {parameter} {name}, give another NamePrefix, or delete it first"
                )
    wanted = mail_bucket_of(aws, values)
    if wanted is None:
        return None, ()
    policy = wanted.read_policy()
    merged = wanted.merged_notifications(wanted.read_notifications())  # S3 may refuse it
    there = plural(len((policy or {}).get("Statement", ())), "statement")
    allowed = (
        f"  add          to its policy ({there}): {wanted.sid}, SES may write {wanted.prefix}*"
    )
    if wanted.merged_policy(policy) == policy:
        allowed = f"  keep         its policy, {wanted.sid} included"
    others = sum(len(merged.get(kind, ())) for kind in around.KINDS) - 1
    return wanted, (
        f"Bucket {wanted.name} is there; it keeps what it has, life cycle included:",
        allowed,
        f"  add          to its notifications ({others} others): "
        f"{wanted.notification_id}, the queue hears of {wanted.prefix}*",
    )


def deploy_stack(aws: Aws, plan: Plan, say: Say, *, activate_set: bool) -> Stack:
    """Make what was planned; return the stack as it is then. Made again, it goes on from there.

    SES tries to write when its rule is made, so an existing bucket lets it in before; S3
    tries the queue when it is told of it, so that comes after.
    """
    bucket = plan.bucket
    if bucket:
        policy = bucket.read_policy()
        if (merged := bucket.merged_policy(policy)) != policy:
            bucket.write_policy(merged)
        say(f"Bucket {bucket.name}: SES may write")
    stack = plan.stack
    if not plan.change.empty:
        stack = stacks.execute_change_set(aws, plan.name, plan.change, say)
    if bucket:
        bucket.write_notifications(bucket.merged_notifications(bucket.read_notifications()))
        say(f"Bucket {bucket.name}: the queue hears of new mails")
    if activate_set and plan.active != plan.rule_set:
        around.activate(aws, plan.rule_set)
        say(f"SES uses the rule set {plan.rule_set} now")
    if stack is None:
        raise AwsError(f"the stack {plan.name} was not made: its template makes nothing")
    return stack


def destroy_stack(aws: Aws, stack: Stack, say: Say) -> None:
    """Remove the stack, and what was put into an existing bucket. Buckets stay, full or empty.

    Raises AwsError when other rules are in its rule set.
    """
    values = stack.parameters
    # SES removes no active rule set: one that the stack made is put out of use
    if "NamePrefix" in values and values.get("RuleSetName") == "":
        ours = rule_set_of(values)
        if around.active_rule_set(aws) == ours:
            with explained(f"look at the rule set {ours}", "ses:DescribeReceiptRuleSet"):
                found = aws.ses.describe_receipt_rule_set(RuleSetName=ours)
            names = (rule["Name"] for rule in found.get("Rules", []))
            if foreign := [n for n in names if n != f"{values['NamePrefix']}-reports"]:
                raise AwsError(
                    f"the active rule set {ours} also holds {', '.join(foreign)}; move them to "
                    "another set and activate that, then destroy"
                )
            around.activate(aws, None)
            say(f"SES uses no rule set now: {ours} is out of use")
    wanted = mail_bucket_of(aws, values) if "MailBucket" in values else None
    if wanted is not None:
        wanted.write_notifications(wanted.notifications_without(wanted.read_notifications()))
        policy = wanted.read_policy()
        if (left := wanted.policy_without(policy)) != policy:
            wanted.write_policy(left)
        say(f"Bucket {wanted.name}: what was added is taken out; the rest stays")
    stacks.remove_stack(aws, stack, say)


def delete_bucket(aws: Aws, bucket: str, say: Say) -> None:
    """Delete a bucket with every version of what is in it. It cannot be undone."""
    pages = aws.s3.get_paginator("list_object_versions")
    count = 0
    with explained(f"empty bucket {bucket}", "s3:DeleteObjectVersion"):
        for page in pages.paginate(Bucket=bucket):
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            for start in range(0, len(found), 1000):  # S3 takes no more at once
                part = found[start : start + 1000]
                keys = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in part]
                answer = aws.s3.delete_objects(
                    Bucket=bucket, Delete={"Objects": keys, "Quiet": True}
                )
                if errors := answer.get("Errors"):
                    key, code = errors[0]["Key"], errors[0]["Code"]
                    raise AwsError(f"bucket {bucket}: {key} was not deleted: {code}")
            count += len(found)
    with explained(f"delete bucket {bucket}", "s3:DeleteBucket"):
        aws.s3.delete_bucket(Bucket=bucket)
    say(f"Bucket {bucket} is deleted, with {count:,} versions of objects")


def require_stack(aws: Aws, name: str) -> Stack:
    """Return the stack, or raise AwsError when there is none."""
    if stack := stacks.find_stack(aws, name):
        return stack
    raise AwsError(
        f"there is no stack {name} in {aws.region}; check --stack and AWS_REGION, or make it "
        "with `dmarckit aws deploy`"
    )
