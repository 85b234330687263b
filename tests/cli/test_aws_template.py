"""The template of the AWS side: in every combination of its conditions, and nobody may too much."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import boto3
import cfnlint.api
import pytest
from cfnlint.config import ManualArgs

from dmarckit.cli.aws.template import (
    LONGEST,
    dns_records,
    left_to_reader,
    read_template,
    template_body,
    with_records,
    with_schedules,
)
from dmarckit.core.errors import SettingsError
from dmarckit.jobs.export import eventbridge_cron, times_of
from dmarckit.jobs.record import Result, Run, record_end
from dmarckit.jobs.schedule import Schedule, load_schedules
from tests.support.cloudformation import ACCOUNT, REGION, Resolved

NOW = datetime(2026, 11, 24, 7, tzinfo=UTC)
FUNCTION = {
    "Image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/dmarckit:1",
    "ImageRepository": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/dmarckit",
}
NETWORK = {"VpcId": "vpc-0123456789abcdef0", "Subnets": "subnet-0123456789abcdef0"}
TASK = FUNCTION | NETWORK | {"Tasks": "daily"}
CHOICES: tuple[dict[str, dict[str, str]], ...] = (
    {"new mails": {}, "old mails": {"MailBucket": "example-mails"}},
    {"new home": {}, "old home": {"HomeBucket": "example-home", "HomePrefix": "kit/"}},
    {"new set": {}, "old set": {"RuleSetName": "default-rule-set"}},
    {
        "no image": {},
        "function": FUNCTION,
        "tasks alone": TASK | {"Tasks": "all"},
        "function and a task": TASK,
        "watch": TASK | {"Watch": "true"},
    },
    {"no Slack": {}, "Slack": {"SlackToken": "xoxb-1", "SlackChannel": "C1"}},
    {"no Google": {}, "Google": {"GoogleCredentials": "{}"}},
    {"links": {}, "no links": {"PresignUser": "false"}},
    {
        "no webhook": {},
        "webhook": {"WebhookUrl": "https://chat.example.com/", "WebhookSecret": "key"},
    },
    {"no mail of alarms": {}, "alarms": {"AlarmEmail": "team@example.com"}},
)
MOST = {k: v for choice in CHOICES for k, v in list(choice.values())[-1].items()} | {
    "PresignUser": "true"
}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return with_schedules(read_template(), load_schedules())


@pytest.fixture(scope="module")
def combinations(template: dict[str, Any]) -> list[Resolved]:
    """The template with every combination of what may be there or not: 1,280."""
    made = []
    for parts in product(*(choice.values() for choice in CHOICES)):
        parameters = {k: v for part in parts for k, v in part.items()}
        made.append(Resolved(template, Recipients="dmarc@rua.example.com", **parameters))
    return made


@pytest.fixture(scope="module")
def most(template: dict[str, Any]) -> Resolved:
    """With everything that there can be, in existing buckets."""
    return Resolved(template, Recipients="dmarc@rua.example.com", **MOST)


def lint(text: str, parameters: dict[str, Any] | None = None) -> list[str]:
    given = {"parameters": [parameters]} if parameters else {}
    config = ManualArgs(regions=[REGION], **given)  # type: ignore[typeddict-item]
    return [str(match) for match in cfnlint.api.lint(text, config=config)]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_cfn_lint_has_nothing_to_say(template: dict[str, Any]) -> None:
    text = template_body(template)
    assert lint(text) == []  # it follows the conditions itself, with the parameters' defaults
    lists = {"Recipients": ["dmarc@rua.example.com"], "Subnets": [TASK["Subnets"]]}
    assert lint(text, MOST | lists) == []
    by_task = template_body(with_schedules(read_template(), load_schedules(), "all"))
    assert lint(by_task, MOST | lists | {"Tasks": "all"}) == []


def test_records_are_published_with_the_keys_of_identities() -> None:
    records = dns_records(["rua.example.com"], REGION, ["example.com", "example.net"])
    public = [record for record in records if not record.is_policy]
    template = with_records(read_template(), public, ["rua.example.com"])
    zone = {"HostedZone": "Z0123456789ABCDEFGHIJ"}
    lists = {"Recipients": ["rua.example.com"], "Domains": ["example.com", "example.net"]}
    given = MOST | lists | {"Subnets": [TASK["Subnets"]]} | zone
    assert lint(template_body(template), given) == []
    resolved = Resolved(template, Recipients="rua.example.com", **zone)
    made = resolved.of("AWS::Route53::RecordSetGroup")
    assert {group["HostedZoneId"] for group in made.values()} == set(zone.values())
    found = [
        (record["Name"], record["Type"], record["ResourceRecords"])
        for group in made.values()
        for record in group["RecordSets"]
    ]
    name, value = "<Identity1>.DkimDNSTokenName", "<Identity1>.DkimDNSTokenValue"
    assert found == [
        ("rua.example.com", "MX", [f"10 inbound-smtp.{REGION}.amazonaws.com"]),
        ("example.net._report._dmarc.rua.example.com", "TXT", ['"v=DMARC1"']),
        *((f"{name}{n}", "CNAME", [f"{value}{n}"]) for n in (1, 2, 3)),
    ]


def test_in_every_combination_nothing_refers_to_what_is_not_made(
    template: dict[str, Any], combinations: list[Resolved]
) -> None:
    assert len(combinations) == 1280  # resolving one that does raises
    sizes = {len(c.names) for c in combinations}
    # of the two who read mails as they arrive one is there
    assert (min(sizes), max(sizes)) == (8, len(template["Resources"]) - 2)  # none sends mail
    assert not any({"Arrivals", "WatchService"} <= c.names for c in combinations)


def test_by_default_there_is_a_function_and_neither_network_nor_cluster(
    template: dict[str, Any],
) -> None:
    made = Resolved(template, Recipients="a@example.com", **FUNCTION)
    kinds = {resource["Type"] for resource in made.resources.values()}
    assert not [kind for kind in kinds if kind.startswith(("AWS::EC2", "AWS::ECS"))]
    (called,) = made.of("AWS::Lambda::Function").values()
    assert called["Code"] == {"ImageUri": FUNCTION["Image"]}
    module, _, name = called["ImageConfig"]["Command"][0].rpartition(".")
    assert callable(getattr(import_module(module), name))
    assert "VpcConfig" not in called
    (source,) = made.of("AWS::Lambda::EventSourceMapping").values()
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["EventSourceArn"] == "<dmarckit-arrivals>.Arn"
    assert source["ScalingConfig"]["MaximumConcurrency"] < int(
        called["ReservedConcurrentExecutions"]
    )
    assert made.of("AWS::SQS::Queue")["Queue"]["VisibilityTimeout"] >= called["Timeout"] == 900
    few = Resolved(template, Recipients="a@example.com", Concurrency="0", **FUNCTION)
    assert "ReservedConcurrentExecutions" not in few.of("AWS::Lambda::Function")["Function"]
    arm = Resolved(template, Recipients="a@example.com", Architecture="ARM64", **FUNCTION)
    assert arm.of("AWS::Lambda::Function")["Function"]["Architectures"] == ["arm64"]


def test_a_mail_that_is_too_large_goes_to_a_task_where_the_stack_has_one(most: Resolved) -> None:
    variables = most.of("AWS::Lambda::Function")["Function"]["Environment"]["Variables"]
    given = json.loads(variables["DMARCKIT_TASK"])
    parameters = boto3.session.Session(region_name=REGION).client("ecs").meta.service_model
    known = parameters.operation_model("RunTask").input_shape.members
    assert set(given) <= set(known)
    assert given["networkConfiguration"]["awsvpcConfiguration"]["subnets"] == [TASK["Subnets"]]
    (task,) = most.of("AWS::ECS::TaskDefinition").values()
    assert given["taskDefinition"] == task["Family"]


def test_the_function_knows_what_the_task_knows(most: Resolved) -> None:
    (task,) = most.of("AWS::ECS::TaskDefinition").values()
    (container,) = task["ContainerDefinitions"]
    variables = dict(most.of("AWS::Lambda::Function")["Function"]["Environment"]["Variables"])
    del variables["DMARCKIT_TASK"]
    secrets = {f"{s['Name']}_ARN": s["ValueFrom"] for s in container["Secrets"]}
    plain = {v["Name"]: v["Value"] for v in container["Environment"]}
    del plain["AWS_REGION"]  # Lambda sets it
    assert variables == plain | secrets


def test_buckets_are_closed_encrypted_versioned_and_kept(
    template: dict[str, Any], combinations: list[Resolved]
) -> None:
    for bucket in combinations[0].of("AWS::S3::Bucket").values():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        rules = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rules[0]["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert bucket["VersioningConfiguration"]["Status"] == "Enabled"
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    for name in ("Mails", "Home"):
        resource = template["Resources"][name]
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["UpdateReplacePolicy"] == "Retain"


def test_s3_tells_the_queue_and_nobody_else_can(
    template: dict[str, Any], combinations: list[Resolved]
) -> None:
    made = combinations[0]
    configuration = made.of("AWS::S3::Bucket")["Mails"]["NotificationConfiguration"]
    assert configuration["QueueConfigurations"] == [
        {
            "Event": "s3:ObjectCreated:*",
            "Queue": "<dmarckit-arrivals>.Arn",
            "Filter": {"S3Key": {"Rules": [{"Name": "prefix", "Value": "rua/"}]}},
        }
    ]
    assert template["Resources"]["Mails"]["DependsOn"] == "QueuePolicy"  # S3 tries it at once
    old = next(c for c in combinations if "Mails" not in c.names)
    for resolved, bucket in ((made, f"dmarckit-mail-{ACCOUNT}-{REGION}"), (old, "example-mails")):
        senders = [s for n, s in resolved.statements() if s["Action"] == "sqs:SendMessage"]
        (statement,) = senders
        assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
        assert statement["Condition"] == {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"},
        }
    queues = made.of("AWS::SQS::Queue")
    assert all(queue["SqsManagedSseEnabled"] is True for queue in queues.values())
    assert queues["Queue"]["RedrivePolicy"]["maxReceiveCount"] == 5


def test_connections_must_be_encrypted(combinations: list[Resolved]) -> None:
    refused = {
        resource
        for name, statement in combinations[0].statements()
        if statement["Effect"] == "Deny"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for resource in as_list(statement["Resource"])
    }
    mails, home = f"dmarckit-mail-{ACCOUNT}-{REGION}", f"dmarckit-home-{ACCOUNT}-{REGION}"
    wanted = {f"<{b}>.Arn{end}" for b in (mails, home) for end in ("", "/*")}
    queues = {"<dmarckit-arrivals>.Arn", "<dmarckit-arrivals-dead>.Arn"}
    assert refused == wanted | queues


def test_the_life_cycle_ages_mails_pages_and_files_but_never_the_tables(
    template: dict[str, Any],
) -> None:
    resolved = Resolved(template, Recipients="a@example.com", HomePrefix="kit/", DaysToExpire="400")
    for bucket, prefixes in (("Mails", {"rua/"}), ("Home", {"kit/pages/", "kit/exports/"})):
        rules = resolved.of("AWS::S3::Bucket")[bucket]["LifecycleConfiguration"]["Rules"]
        ageing = [r for r in rules if "Transitions" in r or "ExpirationInDays" in r]
        assert {rule["Prefix"] for rule in ageing} == prefixes
        for rule in ageing:
            assert [(t["StorageClass"], t["TransitionInDays"]) for t in rule["Transitions"]] == [
                ("STANDARD_IA", "90"),
                ("GLACIER", "180"),
            ]
            assert rule["ExpirationInDays"] == "400"


def test_ses_writes_only_for_this_account_and_rule(combinations: list[Resolved]) -> None:
    (statement,) = (s for _, s in combinations[0].statements() if "SesOf" in s.get("Sid", "") or
                    s.get("Principal") == {"Service": "ses.amazonaws.com"})  # fmt: skip
    assert statement["Action"] == "s3:PutObject"
    assert statement["Resource"].endswith(".Arn/rua/*")
    assert statement["Condition"] == {
        "StringEquals": {
            "aws:SourceAccount": ACCOUNT,
            "aws:SourceArn": f"arn:aws:ses:{REGION}:{ACCOUNT}:receipt-rule-set/dmarckit-rules"
            ":receipt-rule/dmarckit-reports",
        }
    }
    (rule,) = combinations[0].of("AWS::SES::ReceiptRule").values()
    assert rule["Rule"]["ScanEnabled"] is True
    assert rule["Rule"]["Name"] == "dmarckit-reports"


def test_no_policy_allows_every_action_or_everything(combinations: list[Resolved]) -> None:
    for resolved in combinations:
        for name, statement in resolved.statements():
            if statement["Effect"] == "Deny":
                continue
            actions, resources = as_list(statement["Action"]), as_list(statement["Resource"])
            assert all("*" not in action for action in actions), name
            assert "NotAction" not in statement
            if "*" in resources:
                assert actions == ["ecr:GetAuthorizationToken"], name
            assert resources, name
            principal = statement.get("Principal")
            assert principal is None or set(principal) == {"Service"}, name


def allowed(resolved: Resolved, *names: str) -> set[tuple[str, str]]:
    """Action and resource, as these policies allow them."""
    return {
        (action, resource)
        for name, statement in resolved.statements()
        if name in names and statement["Effect"] == "Allow"
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def test_the_task_may_use_its_prefixes_queue_logs_and_secrets_and_nothing_else(
    most: Resolved,
) -> None:
    s3, mails, home = "arn:aws:s3:::", "example-mails", "example-home"
    queue, dead = "<dmarckit-arrivals>.Arn", "<dmarckit-arrivals-dead>.Arn"
    for role in ("TaskRole", "FunctionRole"):
        assert "<Access>" in most.of("AWS::IAM::Role")[role]["ManagedPolicyArns"]
    assert allowed(most, "Access", "TaskRole") == {
        ("s3:ListBucket", f"{s3}{mails}"),
        ("s3:GetObject", f"{s3}{mails}/rua/*"),
        ("s3:ListBucket", f"{s3}{home}"),
        ("s3:GetObject", f"{s3}{home}/kit/*"),
        ("s3:PutObject", f"{s3}{home}/kit/*"),
        ("s3:DeleteObject", f"{s3}{home}/kit/*"),
        ("s3:AbortMultipartUpload", f"{s3}{home}/kit/*"),
        ("sqs:ReceiveMessage", queue),
        ("sqs:DeleteMessage", queue),
        ("sqs:ChangeMessageVisibility", queue),
        ("sqs:GetQueueAttributes", queue),
        ("sqs:GetQueueUrl", queue),
        ("sqs:GetQueueAttributes", dead),
        ("sqs:GetQueueUrl", dead),
    }
    prefixes = {
        as_list(statement["Resource"])[0]: statement["Condition"]["StringLike"]["s3:prefix"]
        for name, statement in most.statements()
        if name == "Access" and statement["Action"] == "s3:ListBucket"
    }
    assert prefixes == {f"{s3}{mails}": "rua/*", f"{s3}{home}": "kit/*"}
    logs = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/dmarckit/runs:*"
    assert allowed(most, "ExecutionRole") == {
        ("ecr:GetAuthorizationToken", "*"),
        ("ecr:BatchCheckLayerAvailability", TASK["ImageRepository"]),
        ("ecr:GetDownloadUrlForLayer", TASK["ImageRepository"]),
        ("ecr:BatchGetImage", TASK["ImageRepository"]),
        ("logs:CreateLogStream", logs),
        ("logs:PutLogEvents", logs),
        ("secretsmanager:GetSecretValue", "<SlackSecret>"),
        ("secretsmanager:GetSecretValue", "<WebhookUrlSecret>"),
        ("secretsmanager:GetSecretValue", "<WebhookKeySecret>"),
        ("secretsmanager:GetSecretValue", "<GoogleSecret>"),
        ("secretsmanager:GetSecretValue", "<LinkSignerSecret>"),
    }


def test_the_function_may_besides_log_and_read_its_secrets(
    most: Resolved, template: dict[str, Any]
) -> None:
    logs = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/dmarckit/runs:*"
    log = {("logs:CreateLogStream", logs), ("logs:PutLogEvents", logs)}
    read = "secretsmanager:GetSecretValue"
    assert allowed(most, "FunctionRole") == log | {
        (read, f"<{name}Secret>")
        for name in ("Slack", "WebhookUrl", "WebhookKey", "Google", "LinkSigner")
    }
    unsigned = Resolved(
        template, Recipients="a@example.com", SlackToken="xoxb-1", PresignUser="false", **FUNCTION
    )
    assert allowed(unsigned, "FunctionRole") == log | {(read, "<SlackSecret>")}
    assert unsigned.of("AWS::IAM::Role")["FunctionRole"]["ManagedPolicyArns"] == ["<Access>"]
    quiet = Resolved(template, Recipients="a@example.com", PresignUser="false", **FUNCTION)
    assert allowed(quiet, "FunctionRole") == log


def test_mail_is_sent_only_where_it_is_configured_and_from_one_address(
    most: Resolved, template: dict[str, Any]
) -> None:
    mail = {"MailTo": "team@example.com", "MailFrom": "dmarc@example.com"}
    made = Resolved(template, Recipients="a@example.com", **FUNCTION, **mail)
    (statement,) = (s for name, s in made.statements() if name == "SendMail")
    assert made.of("AWS::IAM::ManagedPolicy")["SendMail"]["Roles"] == ["<FunctionRole>"]
    assert statement["Action"] == ["ses:SendEmail", "ses:SendRawEmail"]
    assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": "dmarc@example.com"}}
    variables = made.of("AWS::Lambda::Function")["Function"]["Environment"]["Variables"]
    assert variables["DMARCKIT_MAIL_TO"] == "team@example.com"
    assert not any("ses:" in str(statement["Action"]) for _, statement in most.statements())


def test_who_starts_runs_may_start_those_of_this_stack(
    most: Resolved, template: dict[str, Any]
) -> None:
    family = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/dmarckit:*"
    pass_ = {("iam:PassRole", "<TaskRole>.Arn"), ("iam:PassRole", "<ExecutionRole>.Arn")}
    assert allowed(most, "StartTasks") == {("ecs:RunTask", family)} | pass_
    assert allowed(most, "ScheduleRole") == {("lambda:InvokeFunction", "<Function>.Arn")}
    roles = most.of("AWS::IAM::Role")
    assert [n for n, r in roles.items() if "<StartTasks>" in r.get("ManagedPolicyArns", ())] == [
        "FunctionRole",
        "ScheduleRole",
    ]
    alone = Resolved(template, Recipients="a@example.com", **FUNCTION)
    assert "ManagedPolicyArns" not in alone.of("AWS::IAM::Role")["ScheduleRole"]


def test_who_signs_links_may_only_read_what_links_show(most: Resolved) -> None:
    assert allowed(most, "LinkSignerPolicy") == {
        ("s3:GetObject", "arn:aws:s3:::example-home/kit/pages/*"),
        ("s3:GetObject", "arn:aws:s3:::example-home/kit/exports/*"),
    }


def test_a_higher_number_makes_the_key_that_signs_links_anew(template: dict[str, Any]) -> None:
    made = Resolved(template, Recipients="a@example.com", PresignKeySerial="2")
    assert made.of("AWS::IAM::AccessKey")["LinkSignerKey"]["Serial"] == "2"


def test_roles_are_for_one_service_of_this_account(most: Resolved) -> None:
    roles = most.of("AWS::IAM::Role")
    assert set(roles) == {"TaskRole", "ExecutionRole", "ScheduleRole", "FunctionRole"}
    for name, role in roles.items():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert set(statement["Principal"]) == {"Service"}
        if name == "FunctionRole":  # Lambda takes no role of another account
            assert "Condition" not in statement
            continue
        assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == ACCOUNT


def test_nothing_comes_in_and_secrets_come_from_secrets_manager(most: Resolved) -> None:
    (network,) = most.of("AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in network
    (task,) = most.of("AWS::ECS::TaskDefinition").values()
    (container,) = task["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"] is True
    secrets = {s["Name"]: s["ValueFrom"] for s in container["Secrets"]}
    assert secrets == {
        "DMARCKIT_SLACK_TOKEN": "<SlackSecret>",
        "DMARCKIT_WEBHOOK_URL": "<WebhookUrlSecret>",
        "DMARCKIT_WEBHOOK_SECRET": "<WebhookKeySecret>",
        "DMARCKIT_GOOGLE_CREDENTIALS": "<GoogleSecret>",
        "DMARCKIT_PRESIGN_SECRET": "<LinkSignerSecret>",
    }
    assert not {e["Name"] for e in container["Environment"]} & set(secrets)


def test_each_schedule_runs_its_job_at_its_times(template: dict[str, Any]) -> None:
    in_part = with_schedules(read_template(), load_schedules(), TASK["Tasks"])
    most = Resolved(in_part, Recipients="a@example.com", **MOST)
    found = most.of("AWS::Scheduler::Schedule")
    assert len(found) == len(load_schedules())
    for schedule in load_schedules():
        made = found[f"Run{schedule.name.capitalize()}"]
        assert made["Name"] == f"dmarckit-{schedule.name}"
        assert made["ScheduleExpression"] == eventbridge_cron(times_of(schedule))
        assert made["ScheduleExpressionTimezone"] == schedule.timezone
        given = json.loads(made["Target"]["Input"])
        if schedule.name != TASK["Tasks"]:
            assert made["Target"]["Arn"] == "<Function>.Arn"
            assert given == {"run": schedule.name, "slot": "<aws.scheduler.scheduled-time>"}
            continue
        assert given == {
            "containerOverrides": [
                {
                    "name": "dmarckit",
                    "command": ["run", schedule.name, "--slot", "<aws.scheduler.scheduled-time>"],
                }
            ]
        }
        network = made["Target"]["EcsParameters"]["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["Subnets"] == [TASK["Subnets"]]
    (group,) = most.of("AWS::Scheduler::ScheduleGroup").values()
    assert group["Name"] == "dmarckit"
    trust = most.of("AWS::IAM::Role")["ScheduleRole"]["AssumeRolePolicyDocument"]["Statement"][0]
    assert trust["Condition"]["StringEquals"]["aws:SourceArn"].endswith(":schedule-group/dmarckit")


@pytest.mark.parametrize(
    ("tasks", "watch", "left"),
    [("", "false", ["alerts"]), ("daily", "true", ["alerts"]), ("all", "true", ["alerts"]),
     ("all", "false", []), ("alerts", "false", []), ("alerts", "true", [])],
)  # fmt: skip
def test_what_a_reader_of_arrivals_does_needs_no_times(
    tasks: str, watch: str, left: list[str]
) -> None:
    found = left_to_reader(load_schedules(), {"Tasks": tasks, "Watch": watch})
    assert [schedule.name for schedule in found] == left


def test_a_schedule_by_hand_has_no_times_and_two_of_one_name_are_refused() -> None:
    by_hand = Schedule(name="by-hand")
    assert with_schedules(read_template(), [by_hand])["Resources"] == read_template()["Resources"]
    twice = [Schedule(name=name, cron="0 7 * * *") for name in ("a-b", "a_b")]
    with pytest.raises(SettingsError, match="rename a_b"):
        with_schedules(read_template(), twice)
    with pytest.raises(SettingsError, match="Tasks: no schedule 'dayly'; there are: by-hand"):
        with_schedules(read_template(), [by_hand], "dayly")


def test_what_is_too_long_for_cloudformation_is_said() -> None:
    many = [Schedule(name=f"job-{i}", cron="0 7 * * *") for i in range(80)]
    with pytest.raises(SettingsError, match="takes 51,200"):
        template_body(with_schedules(read_template(), many))


def test_there_is_room_for_ten_schedules_of_ones_own() -> None:
    many = [Schedule(name=f"job-{i}", cron="*/15 * * * *") for i in range(10)]
    assert len(template_body(with_schedules(read_template(), [*load_schedules(), *many]))) < LONGEST


def test_a_template_of_ones_own_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "schedules/aws"
    folder.mkdir(parents=True)
    (folder / "template.yaml").write_text("Resources: {Own: {Type: AWS::SNS::Topic}}")
    assert set(read_template()["Resources"]) == {"Own"}
    (folder / "template.yaml").write_text("Resources: [")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_template()
    (folder / "template.yaml").write_text("nothing")
    with pytest.raises(SettingsError, match="no template"):
        read_template()


@pytest.mark.parametrize(
    ("result", "metric"),
    [
        ("ok", "RunsEnded"),
        ("problems", "RunsEnded"),
        ("failed", "RunsFailed"),
        ("interrupted", "RunsFailed"),
    ],
)
def test_alarms_about_jobs_count_what_the_log_says_of_each(
    most: Resolved, caplog: pytest.LogCaptureFixture, result: Result, metric: str
) -> None:
    caplog.set_level(logging.INFO, logger="dmarckit")
    record_end(Mock(), Run("r1", "daily", None, NOW, NOW, result))
    (line,) = (vars(record) for record in caplog.records)
    counted = set()
    for filter_ in most.of("AWS::Logs::MetricFilter").values():
        pattern = filter_["FilterPattern"]
        assert re.fullmatch(r'\{ \$\.event = "run ended" && .*\}', pattern)
        named = re.findall(r'\$\.result (!?=) "(\w+)"', pattern)
        matches = [(line["result"] == word) is (sign == "=") for sign, word in named]
        (change,) = filter_["MetricTransformations"]
        assert change["MetricNamespace"] == "dmarckit"
        assert change["Dimensions"] == [{"Key": "Job", "Value": "$.job"}]  # start_command(name)
        if line["event"] == "run ended" and (any if "||" in pattern else all)(matches):
            counted.add(change["MetricName"])
    assert counted == {metric}


def test_each_schedule_has_an_alarm_that_looks_back_as_far_as_its_slots_lie_apart(
    template: dict[str, Any],
) -> None:
    def alarm(cron: str, **more: Any) -> tuple[str, int, str]:
        one = Schedule(name="job", cron=cron, timeout="30 min", **more)
        made = with_schedules(read_template(), [one])["Resources"]["NoJob"]["Properties"]
        assert made["Dimensions"] == [{"Name": "Job", "Value": "job"}]
        assert made["Period"] * made["EvaluationPeriods"] <= 7 * 24 * 3600  # what CloudWatch takes
        return made["MetricName"], made["EvaluationPeriods"], made["TreatMissingData"]

    assert alarm("*/15 * * * *") == ("RunsEnded", 2, "breaching")
    assert alarm("0 7 * * *") == ("RunsEnded", 26, "breaching")
    assert alarm("0 7 * * *", timezone="Europe/Berlin")[1] in (26, 27)
    assert alarm("0 7 * * 1-5") == ("RunsEnded", 74, "breaching")
    assert alarm("0 7 * * 1") == ("RunsFailed", 1, "notBreaching")
    assert alarm("0 7 1 * *") == ("RunsFailed", 1, "notBreaching")
    assert alarm("0 7 1 1 *") == ("RunsFailed", 1, "notBreaching")
    names = {n for n, r in template["Resources"].items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    jobs = {f"No{s.name.capitalize()}" for s in load_schedules() if s.cron}
    assert names == {"DeadLetterAlarm", "ArrivalAlarm", "StartAlarm"} | jobs


def test_alarms_reach_their_topic(most: Resolved) -> None:
    (topic,) = most.of("AWS::SNS::Topic").values()
    assert "KmsMasterKeyId" not in topic  # CloudWatch may not use the service's own key
    ((_, statement),) = ((n, s) for n, s in most.statements() if n == "AlarmTopicPolicy")
    for alarm in most.of("AWS::CloudWatch::Alarm").values():
        arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{alarm['AlarmName']}"
        assert fnmatchcase(arn, statement["Condition"]["ArnLike"]["aws:SourceArn"])
        assert alarm["AlarmActions"] == ["<AlarmTopic>"]
