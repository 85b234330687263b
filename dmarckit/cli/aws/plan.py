"""A deployment planned without doing any of it, made, and taken away again.

Each step comes where it finds what it needs. The policy and the notifications of a bucket that was
there before belong to somebody else, and S3 only takes them whole: they are read, ours is put in
(or taken out), and the rest is written back as it was. Where AWS refuses, every function raises
AwsError.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from dmarckit.cli.aws import stack as stacks, template as templates
from dmarckit.cli.aws.stack import Aws, ChangeSet, Say, Stack, explained
from dmarckit.core import AwsError, error_code, one_line, plural
from dmarckit.jobs import Schedule

_ORDER = ("delete", "replace", "may replace", "change", "create")
_KINDS = ("TopicConfigurations", "QueueConfigurations", "LambdaFunctionConfigurations")


@dataclass(frozen=True)
class OldBucket:
    """A bucket that was there before, and what a stack needs to have in it."""

    aws: Aws
    name: str
    stack_prefix: str
    """`NamePrefix`, by which the stack's parts are known again"""
    prefix: str = ""
    """where SES stores mails, with ``/`` at its end; empty: it stores none here"""
    rule_set: str = ""

    @property
    def notification_id(self) -> str:
        """Name of the stack's notification."""
        return f"{self.stack_prefix}-arrivals"

    def statements(self) -> dict[str, dict[str, Any]]:
        """Return what the policy needs, by what it means for people.

        SES may write mails, for this account and rule only; nobody connects without TLS.
        """
        aws, arn = self.aws, f"arn:{self.aws.partition}"
        stack = re.sub(r"[^A-Za-z0-9]", "", self.stack_prefix.title())
        bucket = f"{arn}:s3:::{self.name}"
        rule = f"{self.rule_set}:receipt-rule/{self.stack_prefix}-reports"
        rule = f"{arn}:ses:{aws.region}:{aws.account}:receipt-rule-set/{rule}"
        ses = {
            "Sid": f"SesOf{stack}",
            "Effect": "Allow",
            "Principal": {"Service": "ses.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": f"{bucket}/{self.prefix}*",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": aws.account, "aws:SourceArn": rule}
            },
        }
        tls = {
            "Sid": f"TlsOf{stack}",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket, f"{bucket}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        found = {f"SES may write {self.prefix}*": ses} if self.prefix else {}
        return found | {"connections without TLS are refused, everybody's": tls}

    def merged_policy(self, policy: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the bucket's policy with our statements, in the place of older ones of ours.

        What another statement says already is not said again.
        """
        rest = self.policy_without(policy) or {"Version": "2012-10-17", "Statement": []}
        said = [{k: v for k, v in other.items() if k != "Sid"} for other in rest["Statement"]]
        ours = self.statements().values()
        new = [one for one in ours if {k: v for k, v in one.items() if k != "Sid"} not in said]
        return {**rest, "Statement": [*rest["Statement"], *new]}

    def policy_without(self, policy: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the bucket's policy without our statements; None when nothing else is in it."""
        if policy is None:
            return None
        ours = {statement["Sid"] for statement in self.statements().values()}
        others = [s for s in _statements(policy) if s.get("Sid") not in ours]
        return {**policy, "Statement": others} if others else None

    def merged_notifications(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the bucket's notifications with ours; S3 refuses two that overlap (AwsError)."""
        rest = self.notifications_without(config)
        for other in (other for kind in _KINDS for other in rest.get(kind, ())):
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
        kept = {k: v for k, v in config.items() if k in (*_KINDS, "EventBridgeConfiguration")}
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


@dataclass(frozen=True)
class Plan:
    """A deployment that could be made."""

    name: str
    stack: Stack | None
    """as it is now; None: it would be new"""
    chosen: templates.Parameters
    template: str
    """as CloudFormation takes it, with its schedules"""
    change: ChangeSet
    buckets: tuple[OldBucket, ...]
    """those that were there before, that of the mails first"""
    lines: tuple[str, ...]
    """about them, and about a hosted zone"""
    rule_set: str
    """the rule set that the rule is in"""
    active: str | None
    """the one that SES uses now"""
    not_verified: tuple[str, ...]
    """hosts of recipients that SES does not know"""


@contextlib.contextmanager
def prepare(
    aws: Aws,
    name: str,
    template: dict[str, Any],
    given: Mapping[str, str],
    schedules: Sequence[Schedule] = (),
    *,
    rotate_key: bool = False,
) -> Iterator[Plan]:
    """Yield the plan of a stack with these parameters; nothing is left of one not made.

    With `rotate_key` the user that signs links gets a new key, and loses the one it has.

    Raises SettingsError when a parameter is missing or wrong.
    """
    stack = stacks.find_stack(aws, name)
    if stack is not None:
        stacks.require_changeable(stack)
    if rotate_key:
        serial = int((stack.parameters if stack else {}).get("PresignKeySerial", 0)) + 1
        given = {**given, "PresignKeySerial": str(serial)}
    chosen = templates.choose_parameters(template, given, stack.parameters if stack else None)
    values = chosen.effective
    left = templates.left_to_reader(schedules, values)
    timed = [schedule for schedule in schedules if schedule not in left]
    template = templates.with_schedules(template, timed, values["Tasks"])
    hosts = templates.hosts_of(templates.split_list(values["Recipients"]))
    missing, known = _unverified(aws, hosts)
    buckets, lines = _buckets(aws, values, new=stack is None)
    if left and values["Image"]:
        names = ", ".join(schedule.name for schedule in left)
        lines = *lines, f"No times of their own, since what reads arrivals does it all: {names}"
    if values["HostedZone"]:
        template, said = _published(aws, template, values, stack, set(hosts) - known)
        lines, missing = (*lines, *said), tuple(h for h in missing if h in known)
    text = templates.template_body(template)
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
    active = active_rule_set(aws)
    with stacks.change_set(aws, name, text, chosen.for_change_set(), stack) as change:
        yield Plan(
            name, stack, chosen, text, change, buckets, lines, rule_set_of(values), active, missing
        )


def _published(
    aws: Aws,
    template: dict[str, Any],
    values: Mapping[str, str],
    stack: Stack | None,
    unknown: Set[str],
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the template with the records of its zone, and what they are for people.

    SES's identities are made for hosts that are `unknown` to it, and stay when the stack made them.
    """
    id_, before = values["HostedZone"], stack.parameters if stack else {}
    with explained(f"look at the hosted zone {id_}", "route53:GetHostedZone"):
        zone = aws.route53.get_hosted_zone(Id=id_)["HostedZone"]
    name = zone["Name"].rstrip(".")
    if zone.get("Config", {}).get("PrivateZone"):
        raise AwsError(f"HostedZone {id_} ({name}) is private: nobody outside would find the MX")
    recipients, domains = (templates.split_list(values[n]) for n in ("Recipients", "Domains"))
    records = templates.dns_records(recipients, aws.region, domains)
    records = [record for record in records if not record.is_policy]
    for record in records:
        if not f".{record.name}".endswith(f".{name}"):
            raise AwsError(f"HostedZone {id_} is of {name}, and {record.name} lies outside of it")
        if before.get("HostedZone") != id_ and (there := _in_zone(aws, id_, record)):
            raise AwsError(
                f"the zone {name} has an {record.kind} of {record.name} already: {there}; take it "
                "out, or leave HostedZone empty and publish what `dmarckit aws outputs` prints"
            )
    made = stacks.resources(aws, stack.name) if stack else {}
    own = {physical for logical, physical in made.items() if logical.startswith("Identity")}
    identities = sorted(own & set(templates.hosts_of(recipients)) | unknown)
    lines = [f"Hosted zone {name} ({id_}) has then, beside what is in it:"]
    lines += [f"  {r.name}. {r.kind} {r.value}    ; {r.why}" for r in records]
    lines += [f"  DKIM keys of {host}, by which SES verifies it" for host in identities]
    return templates.with_records(template, records, identities), tuple(lines)


def _in_zone(aws: Aws, zone: str, record: templates.DnsRecord) -> str:
    """Return the values of the record's name and kind in a zone; empty: there is none."""
    with explained("look into the hosted zone", "route53:ListResourceRecordSets"):
        found = aws.route53.list_resource_record_sets(
            HostedZoneId=zone,
            StartRecordName=record.name,
            StartRecordType=record.kind,
            MaxItems="1",
        )["ResourceRecordSets"]
    for one in found:
        if one["Name"].rstrip(".").lower() == record.name and one["Type"] == record.kind:
            return one_line(", ".join(r["Value"] for r in one.get("ResourceRecords", ())), 200)
    return ""


def _unverified(aws: Aws, hosts: Sequence[str]) -> tuple[tuple[str, ...], set[str]]:
    """Return hosts for which SES takes no mail, and the names that it knows at all.

    Neither the former nor a domain above them is verified.
    """
    labels = {host: host.split(".") for host in hosts}
    above = {h: [".".join(part[i:]) for i in range(len(part) - 1)] for h, part in labels.items()}
    names = sorted({name for names in above.values() for name in names})
    with explained("ask SES for verified domains", "ses:GetIdentityVerificationAttributes"):
        found = aws.ses.get_identity_verification_attributes(Identities=names)
    states = found["VerificationAttributes"]
    verified = {n for n, s in states.items() if s["VerificationStatus"] == "Success"}
    return tuple(h for h, names in above.items() if not verified & set(names)), set(states)


def rule_set_of(values: Mapping[str, str]) -> str:
    """Return the rule set that a stack with these parameters puts its rule into."""
    return values["RuleSetName"] or f"{values['NamePrefix']}-rules"


def old_buckets(aws: Aws, values: Mapping[str, str]) -> tuple[OldBucket, ...]:
    """Return the buckets that were there before, that of the mails first."""
    mail, home, stack = values["MailBucket"], values["HomeBucket"], values["NamePrefix"]
    found = []
    if mail:
        found.append(OldBucket(aws, mail, stack, values["MailPrefix"], rule_set_of(values)))
    if home and home != mail:
        found.append(OldBucket(aws, home, stack))
    return tuple(found)


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
    if plan.lines:
        text += ["", *plan.lines]
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
) -> tuple[tuple[OldBucket, ...], tuple[str, ...]]:
    for parameter, kind in (("MailBucket", "mail"), ("HomeBucket", "home")):
        if given := values[parameter]:
            region, what = bucket_region(aws, given), f"{parameter} {given}"
            if region is None:
                raise AwsError(f"{what}: there is no such bucket; leave it empty to make one")
            if region not in ("", aws.region):
                raise AwsError(
                    f"{what} is in {region}, and the stack in {aws.region}: S3 tells only queues "
                    f"of its own region; set AWS_REGION={region}, or leave {parameter} empty"
                )
        elif new:
            name = f"{values['NamePrefix']}-{kind}-{aws.account}-{aws.region}"
            if bucket_region(aws, name) is not None:
                raise AwsError(
                    f"bucket {name} is there already, as an earlier stack leaves it; use it with "
                    f"-p {parameter} {name}, give another NamePrefix, or delete it first"
                )
    buckets, lines = old_buckets(aws, values), list[str]()
    for bucket in buckets:
        lines.append(f"Bucket {bucket.name} is there; it keeps what it has, life cycle included:")
        policy = bucket.read_policy()
        others = plural(len(_statements(bucket.policy_without(policy))), "other statement")
        before, after = _statements(policy), _statements(bucket.merged_policy(policy))
        for meaning, statement in bucket.statements().items():
            added = statement in after and statement not in before
            does = "add          to" if added else "keep         in"
            lines.append(f"  {does} its policy ({others}): {statement['Sid']}, {meaning}")
        if bucket.prefix:
            merged = bucket.merged_notifications(bucket.read_notifications())  # S3 may refuse it
            count = sum(len(merged.get(kind, ())) for kind in _KINDS) - 1
            lines.append(
                f"  add          to its notifications ({plural(count, 'other')}): "
                f"{bucket.notification_id}, the queue hears of {bucket.prefix}*"
            )
    return buckets, tuple(lines)


def deploy_stack(aws: Aws, plan: Plan, say: Say, *, activate_set: bool) -> Stack:
    """Make what was planned; return the stack as it is then. Made again, it goes on from there.

    SES tries to write when its rule is made, so an existing bucket lets it in before; S3
    tries the queue when it is told of it, so that comes after.
    """
    for bucket in plan.buckets:
        policy = bucket.read_policy()
        if (merged := bucket.merged_policy(policy)) != policy:
            bucket.write_policy(merged)
        say(f"Bucket {bucket.name}: its policy has {', '.join(bucket.statements())}")
    stack = plan.stack
    if not plan.change.empty:
        stack = stacks.execute_change_set(aws, plan.name, plan.change, say)
    for bucket in plan.buckets:
        if bucket.prefix:
            bucket.write_notifications(bucket.merged_notifications(bucket.read_notifications()))
            say(f"Bucket {bucket.name}: the queue hears of new mails")
    if activate_set and plan.active != plan.rule_set:
        activate(aws, plan.rule_set)
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
        if active_rule_set(aws) == ours:
            with explained(f"look at the rule set {ours}", "ses:DescribeReceiptRuleSet"):
                found = aws.ses.describe_receipt_rule_set(RuleSetName=ours)
            names = (rule["Name"] for rule in found.get("Rules", []))
            if foreign := [n for n in names if n != f"{values['NamePrefix']}-reports"]:
                raise AwsError(
                    f"the active rule set {ours} also holds {', '.join(foreign)}; move them to "
                    "another set and activate that, then destroy"
                )
            activate(aws, None)
            say(f"SES uses no rule set now: {ours} is out of use")
    for bucket in old_buckets(aws, values) if {"MailBucket", "HomeBucket"} <= set(values) else ():
        if bucket.prefix:
            bucket.write_notifications(bucket.notifications_without(bucket.read_notifications()))
        policy = bucket.read_policy()
        if (left := bucket.policy_without(policy)) != policy:
            bucket.write_policy(left)
        say(f"Bucket {bucket.name}: what was added is taken out; the rest stays")
    stacks.remove_stack(aws, stack, say)


def _statements(policy: Mapping[str, Any] | None) -> list[Any]:
    found = (policy or {}).get("Statement", [])
    return [found] if isinstance(found, Mapping) else list(found)  # one may stand without a list


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
