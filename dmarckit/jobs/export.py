"""The schedules as files for another scheduler: crontab, systemd, EventBridge, GitHub Actions.

Each starts `dmarckit run JOB --slot newest`, which does nothing when the newest slot is done. So
a line may fire more often than its schedule. That makes it right where a scheduler cannot be told
the time zone: a slot at 07:00 in Berlin is at 05:00 UTC in summer and at 06:00 in winter, and one
on the 1st may be on the last of the month before; a line fires at all of these.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shlex
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from dmarckit.core import (
    CONFIG_VARIABLE,
    PREFIX,
    SettingsError,
    load_settings,
    secret_names,
    secrets_in,
)
from dmarckit.jobs.schedule import WEEKDAYS, Cron, Schedule

ENV_FILE = "dmarckit.env"
END_SECONDS = 90  # seconds that a run gets, after its own timeout, to write how it ended
CONTAINER = "dmarckit"  # name of the container in a task on AWS
SLOT = "<aws.scheduler.scheduled-time>"  # EventBridge Scheduler puts the time in its place


@dataclass(frozen=True)
class Place:
    """What a scheduler on this machine needs to know."""

    program: tuple[str, ...]  # absolute, with the settings file where it is not the folder's
    folder: Path  # working directory: ./dmarckit.toml, ./notebooks and ./schedules are read there
    variables: Mapping[str, str]  # settings from the environment that are no secrets
    secrets: tuple[str, ...]  # names of those that are, or whose value cannot be written plainly
    user: str
    zone: tzinfo  # of the machine's clock, by which cron goes
    stores: tuple[str, ...] = ()  # folders where settings say that something is written

    @property
    def env_file(self) -> Path:
        """Return where secrets may stand; it is read when it is there."""
        return self.folder / ENV_FILE

    def command(self, job: str, slot: str = "newest") -> list[str]:
        """Return the words of the command that runs a job's slot, once."""
        return [*self.program, "run", job, "--slot", slot]

    def shell_line(self, job: str, slot: str = "newest", *, found: bool = True) -> str:
        """Return the command as a line for a shell, in the folder, with the secrets' file.

        Without `found`, status 1 (there is something to look at) is a success of the line.
        """
        read = f"if [ -r {ENV_FILE} ]; then set -a; . ./{ENV_FILE}; set +a; fi"
        # a time that is filled in later stands as it is
        words = [word if word == slot else shlex.quote(word) for word in self.command(job, slot)]
        run = " ".join(words) if found else f"{{ {' '.join(words)} || test $? -eq 1; }}"
        return f"cd {shlex.quote(str(self.folder))} && {read} && {run}"


def local_place(environment: Mapping[str, str] | None = None) -> Place:
    """Return this process's program, folder, user and environment (or the one given)."""
    from tzlocal import get_localzone

    found = os.environ if environment is None else environment
    python = Path(sys.executable).absolute()
    script = python.with_name("dmarckit")
    program = [str(script)] if script.is_file() else [str(python), "-m", "dmarckit"]
    if config := found.get(CONFIG_VARIABLE):
        program += ["--config", str(Path(config).absolute())]
    settings = {
        name: value
        for name, value in sorted(found.items())
        if name.startswith((PREFIX, "AWS_")) and name != CONFIG_VARIABLE
    }
    secret = {f"{PREFIX}{name.upper()}" for name in secret_names()}
    secret |= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    hidden = tuple(
        name
        for name, value in settings.items()
        if name in secret
        or secrets_in({name: value})
        or not re.fullmatch(r"[A-Za-z0-9_@%+=:,./~ -]*", value)
    )
    plain = {name: value for name, value in settings.items() if name not in hidden}
    stores: set[str] = set()
    with contextlib.suppress(SettingsError):  # jobs can be exported before there are settings
        made = load_settings()
        places = (made.home, made.lake_url, made.pages_url, made.exports_url)
        stores = {str(Path(url).absolute()) for url in places if "://" not in url}
    user, zone = getpass.getuser(), get_localzone()
    return Place(tuple(program), Path.cwd(), plain, hidden, user, zone, tuple(sorted(stores)))


MINUTES, HOURS, DAYS, MONTHS = range(60), range(24), range(1, 32), range(1, 13)


def cron_lines(cron: Cron, zone: tzinfo, clock: tzinfo, now: datetime) -> list[str]:
    """Return the lines, as in a crontab, that fire at every slot by a clock in zone `clock`.

    Where the zones differ, they may fire at other times as well.
    """
    shifts = set()  # by how many minutes `clock` is ahead of `zone` in the next two years
    for day in range(731):
        moment = now + timedelta(days=day)
        ahead, behind = (moment.astimezone(z).replace(tzinfo=None) for z in (clock, zone))
        shifts.add(round((ahead - behind) / timedelta(minutes=1)))
    lines = set()
    for shift in shifts:
        hours: dict[tuple[int, int], set[int]] = defaultdict(set)
        for hour, minute in product(cron.hours, cron.minutes):
            days, rest = divmod(hour * 60 + minute + shift, 24 * 60)
            hours[rest % 60, days].add(rest // 60)
        # minutes with the same hours and days stand together
        minutes: dict[tuple[tuple[int, ...], tuple[str, ...]], list[int]] = defaultdict(list)
        for (minute, days), found in sorted(hours.items()):
            minutes[tuple(sorted(found)), _days(cron, days)].append(minute)
        for (at, named), same in minutes.items():
            lines.add(" ".join((words(same, MINUTES), words(at, HOURS), *named)))
    return sorted(lines, key=lambda line: [word.zfill(3) for word in line.split()])


def _days(cron: Cron, later: int) -> tuple[str, str, str]:
    """Return day, month and weekday some days later; what has no such line is every day."""
    weekdays = [WEEKDAYS[(day + later) % 7] for day in cron.weekdays]
    named = "*" if len(weekdays) == 7 else ",".join(weekdays)
    if later:
        return "*", "*", named
    return words(cron.days, DAYS), words(cron.months, MONTHS), named


def words(numbers: Collection[int], every: range) -> str:
    """Return numbers as crontab writes them: ``*``, ``*/15`` or ``1,15``."""
    wanted: Sequence[int] = sorted(numbers)
    for step in range(1, len(every) // 2 + 1):
        if wanted == list(every[::step]):
            return "*" if step == 1 else f"*/{step}"
    return ",".join(map(str, wanted))


def times_of(schedule: Schedule) -> Cron:
    """Return its cron line; schedules that run by hand are not exported."""
    if schedule.times is None:
        raise ValueError(f"{schedule.name} has no cron")
    return schedule.times


def _yaml(content: Any) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)
    return text


def about(schedule: Schedule) -> str:
    """Return a schedule in a few words, for a comment."""
    owner = f", {schedule.owner}" if schedule.owner else ""
    text = f"dmarckit {schedule.name}: {schedule.cron}, {schedule.timezone}{owner}"
    return "".join(c if c.isprintable() else "?" for c in text)


def crontab(schedules: Sequence[Schedule], place: Place) -> dict[str, str]:
    """Return a crontab by the machine's own clock: few crons can be told another time zone."""
    lines = [
        "# dmarckit's jobs. Install with: crontab FILE (it replaces the crontab that is there)",
        "# Lines that fire more often than their schedule are meant: a slot is run once.",
        "SHELL=/bin/sh",
    ]
    lines += [f'{name}="{value}"' for name, value in place.variables.items()]
    for schedule in schedules:
        lines += ["", f"# {about(schedule)}"]
        command = place.shell_line(schedule.name).replace("%", r"\%")
        times = cron_lines(times_of(schedule), schedule.zone, place.zone, datetime.now(UTC))
        lines += [f"{time} {command}" for time in times]
    return {"crontab": "\n".join(lines) + "\n"}


def systemd(schedules: Sequence[Schedule], place: Place) -> dict[str, str]:
    """Return a service and a timer for each schedule; the timer knows the time zone."""
    found = {}
    for schedule in schedules:
        name = f"dmarckit-{schedule.name}"
        found[f"{name}.service"] = _service(schedule, place)
        found[f"{name}.timer"] = (
            f"# Start with: systemctl enable --now {name}.timer\n"
            f"[Unit]\nDescription=Times of {name}\n\n"
            f"[Timer]\nOnCalendar={calendar(schedule)}\n"
            "# a slot that was missed while the machine was off is run when it is on again\n"
            "Persistent=true\n\n[Install]\nWantedBy=timers.target\n"
        )
    return found


_CONFINED = """\
# nothing but its folder, its stores and a /tmp of its own can be written, and no right be gained
UMask=0077
MemoryMax=4G
PrivateTmp=yes
StateDirectory=dmarckit
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
Environment=XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/matplotlib IPYTHONDIR=/tmp/ipython
Environment=JUPYTER_RUNTIME_DIR=/tmp/jupyter JUPYTER_DATA_DIR=/tmp/jupyter-data"""


def _service(schedule: Schedule, place: Place) -> str:
    lines = [
        "[Unit]",
        f"Description={_specifiers(about(schedule))}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=oneshot",
        f"WorkingDirectory={_specifiers(str(place.folder))}",
        *([f"User={place.user}"] if place.user != "root" else []),
        *(f'Environment="{n}={_specifiers(v)}"' for n, v in place.variables.items()),
        f"EnvironmentFile=-{_specifiers(str(place.env_file))}",
        f"ExecStart={' '.join(_word(word) for word in place.command(schedule.name))}",
        f"TimeoutStartSec={schedule.timeout + END_SECONDS}",
        "# 1: it ran, and something needs a person; Slack and the page say what",
        "SuccessExitStatus=1",
        _CONFINED,
        # one that is not there yet (-) cannot be made: make it before
        *(f"ReadWritePaths={_word(f'-{path}')}" for path in (str(place.folder), *place.stores)),
    ]
    return "\n".join(lines) + "\n"


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _word(word: str) -> str:
    text = _specifiers(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"' if any(c in word for c in " \"'\\;") else text


def calendar(schedule: Schedule) -> str:
    """Return the cron line as systemd's OnCalendar, with the time zone."""
    cron = times_of(schedule)
    minute, hour, day, month = _listed(cron, "02d")
    named = ",".join(WEEKDAYS[number].capitalize() for number in cron.weekdays)
    days = "" if len(cron.weekdays) == 7 else f"{named} "
    return f"{days}*-{month}-{day} {hour}:{minute}:00 {schedule.timezone}"


def _listed(cron: Cron, form: str) -> Iterator[str]:
    """Yield minutes, hours, days and months with commas between, or ``*`` for all."""
    fields = ((cron.minutes, MINUTES), (cron.hours, HOURS), (cron.days, DAYS))
    for numbers, every in (*fields, (cron.months, MONTHS)):
        yield "*" if len(numbers) == len(every) else ",".join(f"{n:{form}}" for n in numbers)


_DEPLOY = """\
# aws cloudformation deploy --stack-name dmarckit-schedules --capabilities CAPABILITY_IAM \\
#   --template-file dmarckit-schedules.yaml --parameter-overrides InstanceId=i-…
"""


def eventbridge(schedules: Sequence[Schedule], place: Place) -> dict[str, str]:
    """Return a CloudFormation template with schedules that run this machine's dmarckit.

    Commands reach the machine through Systems Manager, so it is an EC2 instance (or another
    machine) that Systems Manager knows. Tasks without a machine: `dmarckit aws deploy`.
    """
    text = files("dmarckit.jobs").joinpath("data/eventbridge.yaml").read_text("utf-8")
    template = yaml.safe_load(text)
    variables = [f'export {name}="{value}"' for name, value in place.variables.items()]
    for schedule in schedules:
        parameters = {
            "commands": [*variables, place.shell_line(schedule.name, SLOT)],
            "executionTimeout": [str(schedule.timeout + END_SECONDS)],
        }
        request = {
            "DocumentName": "AWS-RunShellScript",
            "InstanceIds": ["${InstanceId}"],
            "Parameters": parameters,
        }
        text = json.dumps(request).replace("${", "${!").replace("${!InstanceId}", "${InstanceId}")
        target = {
            "Arn": "arn:aws:scheduler:::aws-sdk:ssm:sendCommand",
            "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
            "Input": {"Fn::Sub": text},
        }
        made = scheduler_resource(schedule, f"dmarckit-{schedule.name}", {"Ref": "Group"}, target)
        name = "".join(part.capitalize() for part in schedule.name.replace("_", "-").split("-"))
        template["Resources"][f"Run{name}"] = made
    return {"dmarckit-schedules.yaml": _DEPLOY + _yaml(template)}


def scheduler_resource(schedule: Schedule, name: Any, group: Any, target: Any) -> dict[str, Any]:
    """Return a schedule as CloudFormation has it; `target` is what it starts."""
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
    """Return ``cron(…)`` as EventBridge has it: a year, and ``?`` for the day not named."""
    minutes, hours, days, months = _listed(cron, "d")
    weekdays = "?"
    if len(cron.weekdays) < 7:
        days, weekdays = "?", ",".join(WEEKDAYS[day].upper() for day in cron.weekdays)
    return f"cron({minutes} {hours} {days} {months} {weekdays} *)"


def github(schedules: Sequence[Schedule], place: Place) -> dict[str, str]:
    """Return a workflow for each schedule, on a self-hosted runner of this machine, by UTC."""
    named = {name: f"${{{{ secrets.{name} }}}}" for name in place.secrets}
    found = {}
    for schedule in schedules:
        name = f"dmarckit-{schedule.name}"
        lines = cron_lines(times_of(schedule), schedule.zone, UTC, datetime.now(UTC))
        command = place.shell_line(schedule.name, found=False)
        job = {
            "runs-on": "self-hosted",
            "timeout-minutes": -(-(schedule.timeout + END_SECONDS) // 60),
            "env": {**place.variables, **named},
            "steps": [{"name": "Run", "run": command}],
        }
        workflow = {
            "name": f"dmarckit {schedule.name}",
            "on": {"schedule": [{"cron": line} for line in lines], "workflow_dispatch": {}},
            "permissions": {},
            "concurrency": {"group": name, "cancel-in-progress": False},
            "jobs": {"run": job},
        }
        head = (
            f"# {schedule.cron}, {schedule.timezone}. Save as .github/workflows/{name}.yml; it "
            "runs on a self-hosted runner on this machine.\n"
            "# GitHub goes by UTC and may start late; a slot is run once, whenever that is.\n"
        )
        if len(lines) > 1 or schedule.timezone != "UTC":
            head += (
                "# It fires at each time that the slot may have in UTC (daylight saving, days that "
                "shift): only one run does something.\n"
            )
        # "on" is quoted, or YAML 1.1 takes it for true
        found[f"{name}.yml"] = head + _yaml(workflow)
    return found


TARGETS: dict[str, Callable[[Sequence[Schedule], Place], dict[str, str]]] = {
    "crontab": crontab,
    "systemd": systemd,
    "eventbridge": eventbridge,
    "github": github,
}


def export_files(target: str, schedules: Sequence[Schedule], place: Place) -> dict[str, str]:
    """Return the content of each file for one of `TARGETS`, without schedules by hand."""
    return TARGETS[target]([s for s in schedules if s.cron], place)
