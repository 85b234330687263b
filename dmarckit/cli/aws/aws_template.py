"""The template of the AWS side: `schedules/aws/template.yaml`, and a schedule for each file.

The times come from the same place as those of `dmarckit schedules export --to eventbridge`;
what they start here is a task of the image, with the command ``run NAME --slot TIME``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dmarckit.core.errors import SettingsError, one_line
from dmarckit.jobs.schedule_export_cloud import SLOT, scheduler_resource
from dmarckit.jobs.schedules import Schedule

LONGEST = 51_200
"""bytes of a template that CloudFormation takes without a bucket for it"""
CONTAINER = "dmarckit"
_FILE = "schedules/aws/template.yaml"


def read_template() -> dict[str, Any]:
    """The template as it stands; ``./schedules/aws/template.yaml`` comes before dmarckit's own.

    Raises SettingsError when a template of the user's own cannot be read.
    """
    package = Path(__file__).parent.parent.parent
    places = [Path(_FILE), package.parent / _FILE, package / "_shipped" / _FILE]
    path = next(place for place in places if place.is_file())
    try:
        content = yaml.load(path.read_text("utf-8"), _Functions)  # noqa: S506 (a safe loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict) or not isinstance(content.get("Resources"), dict):
        raise SettingsError(f"{path} is no template: it has no Resources")
    return content


def with_schedules(template: dict[str, Any], schedules: Sequence[Schedule]) -> dict[str, Any]:
    """A copy with one AWS::Scheduler::Schedule for each that has a cron line.

    Raises SettingsError when two schedules cannot be told apart by their letters and digits.
    """
    made: dict[str, Any] = {}
    for schedule in schedules:
        if schedule.cron is None:
            continue
        name = "Run" + "".join(p.capitalize() for p in schedule.name.replace("_", "-").split("-"))
        if name in made:
            raise SettingsError(
                f"two schedules would both be {name} in the template; rename {schedule.name}"
            )
        made[name] = _run(schedule)
    return {**template, "Resources": {**template["Resources"], **made}}


def body(template: dict[str, Any]) -> str:
    """The template as CloudFormation takes it: JSON without white space.

    Raises SettingsError when it is too long.
    """
    text = json.dumps(template, separators=(",", ":"), ensure_ascii=False)
    if (size := len(text.encode())) > LONGEST:
        raise SettingsError(
            f"the template has {size:,} bytes with its schedules, and CloudFormation takes "
            f"{LONGEST:,}; put some of ./schedules into a stack of their own (another folder, "
            "another NamePrefix)"
        )
    return text


def _run(schedule: Schedule) -> dict[str, Any]:
    command = ["run", schedule.name, "--slot", SLOT]
    overrides = {"containerOverrides": [{"name": CONTAINER, "command": command}]}
    target = {
        "Arn": {"Fn::GetAtt": ["Cluster", "Arn"]},
        "RoleArn": {"Fn::GetAtt": ["ScheduleRole", "Arn"]},
        "Input": json.dumps(overrides),
        "EcsParameters": {
            "TaskDefinitionArn": {"Ref": "Task"},
            "LaunchType": "FARGATE",
            "NetworkConfiguration": {
                "AwsvpcConfiguration": {
                    "Subnets": {"Ref": "Subnets"},
                    "SecurityGroups": [{"Ref": "Network"}],
                    "AssignPublicIp": {"Ref": "AssignPublicIp"},
                }
            },
        },
    }
    name = {"Fn::Sub": f"${{NamePrefix}}-{schedule.name}"}
    resource = scheduler_resource(schedule, name, {"Ref": "Schedules"}, target)
    return {**resource, "Condition": "HasTask"}


class _Functions(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: ``!Ref X`` is ``{"Ref": "X"}``."""


def _function(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> Any:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Functions.add_multi_constructor("!", _function)
