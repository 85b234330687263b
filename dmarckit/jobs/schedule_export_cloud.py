"""The schedules for Amazon EventBridge Scheduler and for GitHub Actions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from dmarckit.jobs.schedule_cron import WEEKDAYS, Cron
from dmarckit.jobs.schedule_place import Place
from dmarckit.jobs.schedule_shift import cron_lines, words
from dmarckit.jobs.schedules import Schedule

SLOT = "<aws.scheduler.scheduled-time>"  # EventBridge Scheduler puts the time in its place
DOCUMENT = "AWS-RunShellScript"


def eventbridge(schedules: Sequence[Schedule], place: Place) -> dict[str, str]:
    """A CloudFormation template: schedules in their time zones that run this machine's dmarckit.

    Commands reach the machine through Systems Manager, so it is an EC2 instance (or another
    machine) that Systems Manager knows. Tasks without a machine: `dmarckit aws deploy`.
    """
    resources: dict[str, Any] = {
        "Group": {"Type": "AWS::Scheduler::ScheduleGroup", "Properties": {"Name": "dmarckit"}},
        "Role": _role(),
    }
    for schedule in schedules:
        name = "".join(part.capitalize() for part in schedule.name.replace("_", "-").split("-"))
        resources[f"Run{name}"] = _schedule(schedule, place)
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "dmarckit: its schedules, run on a machine that Systems Manager knows",
        "Parameters": {
            "InstanceId": {
                "Type": "String",
                "AllowedPattern": "^(i|mi)-[0-9a-f]+$",
                "Description": "The machine where dmarckit is, such as i-0123456789abcdef0",
            }
        },
        "Resources": resources,
    }
    head = (
        "# aws cloudformation deploy --stack-name dmarckit-schedules --capabilities CAPABILITY_IAM "
        "\\\n#   --template-file dmarckit-schedules.yaml --parameter-overrides InstanceId=i-…\n"
    )
    return {"dmarckit-schedules.yaml": head + _yaml(template)}


def _role() -> dict[str, Any]:
    sub = "arn:${AWS::Partition}:"
    statement = {
        "Effect": "Allow",
        "Action": "ssm:SendCommand",
        "Resource": [
            {"Fn::Sub": f"{sub}ssm:${{AWS::Region}}::document/{DOCUMENT}"},
            {"Fn::Sub": f"{sub}ec2:${{AWS::Region}}:${{AWS::AccountId}}:instance/${{InstanceId}}"},
            {
                "Fn::Sub": f"{sub}ssm:${{AWS::Region}}:${{AWS::AccountId}}:"
                "managed-instance/${InstanceId}"
            },
        ],
    }
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
    }
    version = "2012-10-17"
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": version, "Statement": [trust]},
            "Policies": [
                {
                    "PolicyName": "send-commands",
                    "PolicyDocument": {"Version": version, "Statement": [statement]},
                }
            ],
        },
    }


def _schedule(schedule: Schedule, place: Place) -> dict[str, Any]:
    variables = [f'export {name}="{value}"' for name, value in place.variables.items()]
    request = {
        "DocumentName": DOCUMENT,
        "InstanceIds": ["${InstanceId}"],
        "Parameters": {
            "commands": [*variables, place.shell_line(schedule.name, SLOT)],
            "executionTimeout": [str(schedule.timeout + 90)],
        },
    }
    text = json.dumps(request).replace("${", "${!").replace("${!InstanceId}", "${InstanceId}")
    target = {
        "Arn": "arn:aws:scheduler:::aws-sdk:ssm:sendCommand",
        "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
        "Input": {"Fn::Sub": text},
    }
    return scheduler_resource(schedule, f"dmarckit-{schedule.name}", {"Ref": "Group"}, target)


def scheduler_resource(schedule: Schedule, name: Any, group: Any, target: Any) -> dict[str, Any]:
    """A schedule as CloudFormation has it, at its times in its zone; `target` is what it starts."""
    retry = {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 900}
    return {
        "Type": "AWS::Scheduler::Schedule",
        "Properties": {
            "Name": name,
            "GroupName": group,
            "ScheduleExpression": eventbridge_cron(times_of(schedule)),
            "ScheduleExpressionTimezone": schedule.timezone,
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {**target, "RetryPolicy": retry},
        },
    }


def eventbridge_cron(cron: Cron) -> str:
    """``cron(…)`` as EventBridge writes it: a year, and ``?`` for the day that is not named."""
    minutes, hours = (
        word if "/" not in word else ",".join(map(str, numbers))
        for word, numbers in (
            (words(cron.minutes, "minute"), cron.minutes),
            (words(cron.hours, "hour"), cron.hours),
        )
    )
    months = "*" if len(cron.months) == 12 else ",".join(map(str, cron.months))
    if len(cron.weekdays) < 7:
        days = "?", months, ",".join(WEEKDAYS[day].upper() for day in cron.weekdays)
    else:
        every = "*" if len(cron.days) == 31 else ",".join(map(str, cron.days))
        days = every, months, "?"
    return f"cron({minutes} {hours} {' '.join(days)} *)"


def github(schedules: Sequence[Schedule], place: Place) -> dict[str, str]:
    """A workflow for each schedule, on a self-hosted runner of this machine, by UTC."""
    return {f"dmarckit-{s.name}.yml": _workflow(s, place) for s in schedules}


def _workflow(schedule: Schedule, place: Place) -> str:
    lines = cron_lines(times_of(schedule), schedule.zone, UTC, datetime.now(UTC))
    named = {name: f"${{{{ secrets.{name} }}}}" for name in place.secrets}
    workflow = {
        "name": f"dmarckit {schedule.name}",
        "on": {"schedule": [{"cron": line} for line in lines], "workflow_dispatch": {}},
        "permissions": {},
        "concurrency": {"group": f"dmarckit-{schedule.name}", "cancel-in-progress": False},
        "jobs": {
            "run": {
                "runs-on": "self-hosted",
                "timeout-minutes": -(-(schedule.timeout + 90) // 60),
                "env": {**place.variables, **named},
                "steps": [{"name": "Run", "run": place.shell_line(schedule.name)}],
            }
        },
    }
    head = [
        f"# {schedule.cron}, {schedule.timezone}. Save as .github/workflows/dmarckit-"
        f"{schedule.name}.yml; it runs on a self-hosted runner on this machine.",
        "# GitHub goes by UTC and may start late; a slot is run once, whenever that is.",
    ]
    if len(lines) > 1 or schedule.timezone != "UTC":
        head.append(
            "# It fires at each time that the slot may have in UTC (daylight saving, days that "
            "shift): only one run does something."
        )
    # "on" is quoted, or YAML 1.1 takes it for true
    return "\n".join(head) + "\n" + _yaml(workflow)


def times_of(schedule: Schedule) -> Cron:
    """Its cron line, read; schedules that run by hand are not exported."""
    if schedule.times is None:
        raise ValueError(f"{schedule.name} has no cron")
    return schedule.times


def _yaml(content: Any) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)
    return text
