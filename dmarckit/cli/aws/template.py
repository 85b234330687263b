"""What a stack is made of: the template with its schedules, and its parameters, all checked.

A schedule calls the function, or starts a task of the image where `Tasks` names it. A parameter
that is not given keeps the value that the stack has, or takes the template's default; nothing is
guessed. What cannot be read, or cannot be, is a SettingsError in every function.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain, islice, pairwise
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dmarckit.core import SettingsError, one_line, shipped_files
from dmarckit.facts import organisation
from dmarckit.jobs import CONTAINER, SLOT, Schedule, scheduler_resource

LOOKS_BACK = 7 * 24  # hours
LONGEST = 51_200  # bytes of a template that CloudFormation takes without a bucket for it
FILE = Path("schedules/aws/parameters.yaml")
_NETWORK = ("VpcId", "Subnets")  # parameters that tasks need
ALL = "all"  # value of `Tasks`: no schedule is for the function, and there is none
_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/([^:@]+)([:@].*)?")


def read_template() -> dict[str, Any]:
    """Return the template; ``./schedules/aws/template.yaml`` comes before dmarckit's own."""
    path = shipped_files("schedules/aws", "template.yaml")["template"]
    try:
        content = yaml.load(path.read_text("utf-8"), _Functions)  # noqa: S506 (a safe loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict) or not isinstance(content.get("Resources"), dict):
        raise SettingsError(f"{path} is no template: it has no Resources")
    return content


def left_to_reader(schedules: Sequence[Schedule], values: Mapping[str, str]) -> list[Schedule]:
    """Return those that do no more than the stack's reader of arrivals: ingest and alert.

    `values` are parameters. The function reads, or the task of `Watch`; with neither, and
    where `Tasks` names a schedule, it has its times.
    """
    tasks = split_list(values["Tasks"])
    if values["Watch"] != "true" and tasks == [ALL]:
        return []
    return [
        schedule
        for schedule in schedules
        if schedule.name not in tasks
        and not (schedule.notebook or schedule.before or schedule.maintain)
    ]


def with_schedules(
    template: dict[str, Any], schedules: Sequence[Schedule], tasks: str = ""
) -> dict[str, Any]:
    """Return a copy with a schedule and an alarm for each of these that has a cron line.

    Those that `tasks` names (the parameter `Tasks`) start a task, the others call the function.
    """
    names = [schedule.name for schedule in schedules]
    by_task = names if tasks == ALL else split_list(tasks)
    if unknown := [name for name in by_task if name not in names]:
        raise SettingsError(f"Tasks: no schedule {unknown[0]!r}; there are: {', '.join(names)}")
    made: dict[str, Any] = {}
    for schedule in schedules:
        if schedule.times is None:
            continue
        name = "".join(p.capitalize() for p in schedule.name.replace("_", "-").split("-"))
        if f"Run{name}" in made:
            raise SettingsError(
                f"two schedules would both be Run{name} in the template; rename {schedule.name}"
            )
        run = _task_run(schedule) if schedule.name in by_task else _function_run(schedule)
        made |= {f"Run{name}": run, f"No{name}": _alarm(schedule)}
    return {**template, "Resources": {**template["Resources"], **made}}


def with_records(
    template: dict[str, Any], records: Sequence[DnsRecord], identities: Sequence[str]
) -> dict[str, Any]:
    """Return a copy with these records in `HostedZone`, and SES's identities with their DKIM."""
    made = {"Records": _record_set([(r.name, r.kind, r.value) for r in records])}
    for number, host in enumerate(identities, 1):
        name = f"Identity{number}"
        made[name] = {"Type": "AWS::SES::EmailIdentity", "Properties": {"EmailIdentity": host}}
        keys = [[{"Fn::GetAtt": [name, f"DkimDNSToken{what}{n}"]} for what in ("Name", "Value")]
                for n in (1, 2, 3)]  # fmt: skip
        made[f"Dkim{number}"] = _record_set([(key, "CNAME", value) for key, value in keys])
    return {**template, "Resources": {**template["Resources"], **made}}


def _record_set(records: Sequence[tuple[Any, str, Any]]) -> dict[str, Any]:
    sets = [
        {"Name": name, "Type": kind, "TTL": "3600", "ResourceRecords": [value]}
        for name, kind, value in records
    ]
    properties = {"HostedZoneId": {"Ref": "HostedZone"}, "RecordSets": sets}
    return {"Type": "AWS::Route53::RecordSetGroup", "Properties": properties}


def template_body(template: dict[str, Any]) -> str:
    """Return the template as CloudFormation takes it: JSON without white space.

    `Metadata` is for those who look at the template itself (checkov), and left out.
    """
    made = template["Resources"].items()
    lean = {n: {k: v for k, v in r.items() if k != "Metadata"} for n, r in made}
    text = json.dumps({**template, "Resources": lean}, separators=(",", ":"), ensure_ascii=False)
    if (size := len(text.encode())) > LONGEST:
        raise SettingsError(
            f"the template has {size:,} bytes with its schedules, and CloudFormation takes "
            f"{LONGEST:,}; put some of ./schedules into a stack of their own (another folder, "
            "another NamePrefix)"
        )
    return text


def _function_run(schedule: Schedule) -> dict[str, Any]:
    target = {
        "Arn": {"Fn::GetAtt": ["Function", "Arn"]},
        "RoleArn": {"Fn::GetAtt": ["ScheduleRole", "Arn"]},
        "Input": json.dumps({"run": schedule.name, "slot": SLOT}),
    }
    return _resource(schedule, target, "HasFunction")


def _task_run(schedule: Schedule) -> dict[str, Any]:
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
    return _resource(schedule, target, "HasTask")


def _resource(schedule: Schedule, target: dict[str, Any], condition: str) -> dict[str, Any]:
    name = {"Fn::Sub": f"${{NamePrefix}}-{schedule.name}"}
    resource = scheduler_resource(schedule, name, {"Ref": "Schedules"}, target)
    return {**resource, "Condition": condition}


def _alarm(schedule: Schedule) -> dict[str, Any]:
    """Return an alarm for when no run ended well for longer than slots lie apart.

    CloudWatch looks back seven days at the most; beyond it the alarm is about a run that failed.
    """
    assert schedule.times is not None  # noqa: S101
    days = schedule.times.slots_by_day(schedule.zone, date(2026, 1, 1))
    slots = list(chain.from_iterable(islice(days, 40)))
    longest = max((b - a for a, b in pairwise(slots)), default=timedelta(days=366))
    hours = ceil((longest + timedelta(seconds=schedule.timeout)) / timedelta(hours=1)) + 1
    if hours <= LOOKS_BACK:
        what, metric, missing = f"no run ended well for {hours} hours", "RunsEnded", "breaching"
        compares = "LessThanThreshold"
    else:
        what, metric, missing, hours = "a run failed", "RunsFailed", "notBreaching", 1
        compares = "GreaterThanOrEqualToThreshold"
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Condition": "HasImage",
        "Properties": {
            "AlarmName": {"Fn::Sub": f"${{NamePrefix}}-run-{schedule.name}"},
            "AlarmDescription": f"{schedule.name}: {what}; look into the log group.",
            "Namespace": {"Ref": "NamePrefix"},
            "MetricName": metric,
            "Dimensions": [{"Name": "Job", "Value": schedule.name}],
            "Statistic": "Sum",
            "Period": 3600,
            "EvaluationPeriods": hours,
            "Threshold": 1,
            "ComparisonOperator": compares,
            "TreatMissingData": missing,
            "AlarmActions": {
                "Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]
            },
        },
    }


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


@dataclass(frozen=True)
class Parameters:
    """Parameters for a change set."""

    given: Mapping[str, str]
    """those that are set now"""
    kept: tuple[str, ...]
    """those whose values in the stack stay"""
    effective: Mapping[str, str]
    """all values as they will be; a secret that is kept shows as stars"""
    secret: frozenset[str]

    def for_change_set(self) -> list[dict[str, Any]]:
        """Return the parameters as CloudFormation's API takes them."""
        given = [{"ParameterKey": k, "ParameterValue": v} for k, v in self.given.items()]
        return [*given, *({"ParameterKey": k, "UsePreviousValue": True} for k in self.kept)]

    def shown(self) -> dict[str, str]:
        """Return what is set now, for people: secrets are not shown."""
        return {k: "•••" if k in self.secret and v else v for k, v in self.given.items()}


def split_list(text: str) -> list[str]:
    """Return the parts of a parameter that is a list, as its value is written."""
    return [part.strip() for part in text.split(",") if part.strip()]


def read_parameter_file(path: Path | None) -> dict[str, str]:
    """Return parameters by name from a YAML file; without a path from `FILE`, if there is one."""
    if path is None and not FILE.is_file():
        return {}
    path = path or FILE
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError as error:
        raise SettingsError(f"cannot read {one_line(path)}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{one_line(path)} is not YAML: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{one_line(path)}: write one parameter a line, as Name: value")
    return {str(name): _text(value) for name, value in content.items()}


def read_parameter_options(options: Sequence[str], secret: frozenset[str]) -> dict[str, str]:
    """Return parameters typed as ``Name=value``; ``Name=@FILE`` takes the file's content."""
    found = {}
    for option in options:
        name, _, value = option.partition("=")
        if value.startswith("@"):
            try:
                value = Path(value[1:]).read_text("utf-8").strip()
            except (OSError, ValueError) as error:
                raise SettingsError(f"-p {one_line(name)}: cannot read the file") from error
        elif name in secret and value:
            raise SettingsError(
                f"-p {name}: a secret on a command line can be seen by others; write {name} @FILE"
            )
        found[name] = value
    return found


def secret_parameters(template: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters that nobody may read again."""
    return frozenset(n for n, p in template["Parameters"].items() if p.get("NoEcho"))


def choose_parameters(
    template: Mapping[str, Any], given: Mapping[str, str], stack: Mapping[str, str] | None
) -> Parameters:
    """Return the parameters of a change set; `stack` has those of the stack, None for a new one."""
    known = template["Parameters"]
    if unknown := [name for name in given if name not in known]:
        there = ", ".join(sorted(known))
        raise SettingsError(f"no parameter {one_line(unknown[0])!r}; there are: {there}")
    values = dict(given)
    if "Image" in values and "ImageRepository" not in values:
        values["ImageRepository"] = repository_of(values["Image"])
    if stack and stack.get("Image") and "Tasks" not in stack:
        values.setdefault("Tasks", ALL)  # what has run as a task moves when somebody says so
    kept = tuple(n for n in known if n in (stack or {}) and n not in values)
    defaults = {n: str(p["Default"]) for n, p in known.items() if "Default" in p}
    effective = defaults | {n: (stack or {})[n] for n in kept} | values
    has_task = effective["Image"] and (effective["Watch"] == "true" or effective["Tasks"])
    for name in () if has_task else _NETWORK:
        if name not in effective:
            values[name] = effective[name] = ""
    missing = [n for n in known if n not in effective or (has_task and n in _NETWORK)]
    missing = [n for n in missing if not effective.get(n)]
    if not effective.get("Recipients", "x").strip():
        missing.append("Recipients")
    if missing:
        named = "; ".join(f"{n} ({known[n]['Description']})" for n in dict.fromkeys(missing))
        raise SettingsError(f"missing: {named}. Write them into {FILE}, or -p NAME VALUE")
    for name, value in values.items():
        _check(name, value, known[name])
    _check_together(effective)
    return Parameters(values, kept, effective, secret_parameters(template))


def repository_of(image: str) -> str:
    """Return the ARN of the ECR repository of an image; empty for one of another registry.

    >>> repository_of("111122223333.dkr.ecr.eu-west-1.amazonaws.com/dmarckit:0.1")
    'arn:aws:ecr:eu-west-1:111122223333:repository/dmarckit'
    """
    match = _ECR.fullmatch(image)
    if match is None:
        return ""
    partition = "aws-cn" if match[3] else "aws-us-gov" if "-gov-" in match[2] else "aws"
    return f"arn:{partition}:ecr:{match[2]}:{match[1]}:repository/{match[4]}"


def _check(name: str, value: str, rule: Mapping[str, Any]) -> None:
    allowed = [str(v) for v in rule.get("AllowedValues", ())]
    shown = "" if rule.get("NoEcho") else f" {one_line(repr(value), 80)}"
    if allowed and value not in allowed:
        raise SettingsError(f"{name}{shown}: write one of {', '.join(allowed)}")
    if (pattern := rule.get("AllowedPattern")) and not re.fullmatch(pattern, value):
        raise SettingsError(f"{name}{shown}: write {rule['ConstraintDescription']}")
    if rule["Type"] == "Number":
        least = int(rule.get("MinValue", 0))
        if not value.isdecimal() or int(value) < least:
            raise SettingsError(f"{name}{shown}: write a whole number, {least} or more")


def _check_together(values: Mapping[str, str]) -> None:
    for one in values["Recipients"].split(","):
        if not re.fullmatch(r"([^@\s,]+@)?([a-z0-9-]+\.)+[a-z0-9-]+", one.strip(), re.IGNORECASE):
            raise SettingsError(
                f"Recipients {one_line(repr(one), 80)}: write addresses such as "
                "dmarc@reports.example.com, with commas between"
            )
    if values["Image"] and values["Tasks"] != ALL and not values["ImageRepository"]:
        raise SettingsError(
            f"Image {one_line(repr(values['Image']), 80)}: a function takes its image from ECR in "
            f"its own region; push it there, or give -p Tasks {ALL} for tasks on Fargate"
        )
    if values["MailTo"] and "@" not in values["MailFrom"]:
        raise SettingsError("MailTo: give MailFrom as well, an address that SES may send from")
    names = ("DaysToInfrequentAccess", "DaysToArchive", "DaysToExpire")
    ages = [int(float(values[name])) for name in names]
    if not (ages[0] + 30 <= ages[1] < ages[2]):  # S3 keeps to 30 days in infrequent access
        raise SettingsError(
            f"{', '.join(names)} are {', '.join(map(str, ages))}: each must be later than the "
            "one before, the second by 30 days"
        )
    same = values["MailBucket"] and values["MailBucket"] == values["HomeBucket"]
    if same and (not values["HomePrefix"] or values["HomePrefix"].startswith(values["MailPrefix"])):
        raise SettingsError(
            f"HomePrefix {values['HomePrefix']!r}: mails and home share the bucket "
            f"{values['MailBucket']}, so write a prefix outside {values['MailPrefix']}"
        )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(_text(part) for part in value)
    return "" if value is None else str(value)


def address_of(recipient: str) -> str:
    """Return the address to publish for a recipient of the rule, which may be a whole domain.

    >>> address_of("rua.example.com")
    'dmarc@rua.example.com'
    """
    return recipient if "@" in recipient else f"dmarc@{recipient}"


def hosts_of(recipients: Sequence[str]) -> list[str]:
    """Return the domains that take the reports, each once."""
    return list(dict.fromkeys(address_of(r).rpartition("@")[2].lower() for r in recipients))


class DnsRecord(NamedTuple):
    """A record to publish, and what it is for."""

    name: str
    kind: str
    value: str
    why: str

    @property
    def is_policy(self) -> bool:
        """Return True for the DMARC record of a domain, which nobody but its owner writes."""
        return self.name.startswith("_dmarc.")


def dns_records(recipients: Sequence[str], region: str, domains: Sequence[str]) -> list[DnsRecord]:
    """Return the MX of the reports' address, the rua tag, and what other domains need.

    `domains` are those that will ask for reports. One that lies outside the organisation of the
    address needs the consent of that host (RFC 7489 section 7.1).
    """
    hosts, address = hosts_of(recipients), address_of(recipients[0])
    server, why = f"10 inbound-smtp.{region}.amazonaws.com", "so that SES gets the mails"
    found = [DnsRecord(host, "MX", server, why) for host in hosts]
    for domain in domains or ("example.com",):
        why = "as the rua tag of its record; the other tags stay"
        why += "" if domains else ", for each of your domains"
        found.append(DnsRecord(f"_dmarc.{domain}", "TXT", f"rua=mailto:{address}", why))
    for domain in domains:
        if organisation(domain) != organisation(hosts[0]):
            name = f"{domain}._report._dmarc.{hosts[0]}"
            why = f"{hosts[0]} agrees to take its reports"
            found.append(DnsRecord(name, "TXT", '"v=DMARC1"', why))
    return found


def settings_text(outputs: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """Return `dmarckit.toml` for a machine that works with the stack's buckets and queue."""
    values = {
        "home": outputs.get("HomeUrl", "").rstrip("/"),
        "mail": outputs.get("MailUrl", "").rstrip("/"),
        "watch_queue": outputs.get("QueueUrl", ""),
        "slack_channel": parameters.get("SlackChannel", ""),
        "presign_key_id": outputs.get("PresignKeyId", ""),
    }
    lines = [f'{name} = "{value}"' for name, value in values.items() if value]
    if values["presign_key_id"]:
        secret = f"{parameters.get('NamePrefix', 'dmarckit')}/link-signer"
        lines.append(f"# presign_secret is in Secrets Manager: {secret}")
    return "\n".join(lines) + "\n"
