"""The schedules as files for a scheduler of this machine, or one that reaches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from dmarckit.jobs.schedule_cron import WEEKDAYS
from dmarckit.jobs.schedule_export_cloud import eventbridge, github, times_of
from dmarckit.jobs.schedule_place import Place
from dmarckit.jobs.schedule_shift import cron_lines, words
from dmarckit.jobs.schedules import Schedule

BEYOND = 90  # seconds that a run gets, after its own timeout, to write how it ended


def crontab(schedules: Sequence[Schedule], place: Place) -> dict[str, str]:
    """One crontab, by the machine's own clock: few crons can be told another time zone."""
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
    """A service and a timer for each schedule; the timer knows the time zone."""
    files = {}
    for schedule in schedules:
        name = f"dmarckit-{schedule.name}"
        files[f"{name}.service"] = _service(schedule, place)
        files[f"{name}.timer"] = (
            f"# Start with: systemctl enable --now {name}.timer\n"
            f"[Unit]\nDescription=Times of {name}\n\n"
            f"[Timer]\nOnCalendar={calendar(schedule)}\n"
            "# a slot that was missed while the machine was off is run when it is on again\n"
            "Persistent=true\n\n[Install]\nWantedBy=timers.target\n"
        )
    return files


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
        f"TimeoutStartSec={schedule.timeout + BEYOND}",
        "# 1: it ran, and something needs a person; Slack and the page say what",
        "SuccessExitStatus=1",
    ]
    return "\n".join(lines) + "\n"


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _word(word: str) -> str:
    text = _specifiers(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"' if any(c in word for c in " \"'\\;") else text


def calendar(schedule: Schedule) -> str:
    """The cron line as systemd's OnCalendar, with the time zone."""
    cron = times_of(schedule)
    month, day, hour, minute = (
        "*" if words(numbers, field) == "*" else ",".join(f"{n:02d}" for n in numbers)
        for numbers, field in (
            (cron.months, "month"),
            (cron.days, "day"),
            (cron.hours, "hour"),
            (cron.minutes, "minute"),
        )
    )
    days = "" if len(cron.weekdays) == 7 else _weekdays(cron.weekdays) + " "
    return f"{days}*-{month}-{day} {hour}:{minute}:00 {schedule.timezone}"


def _weekdays(numbers: Sequence[int]) -> str:
    return ",".join(WEEKDAYS[number].capitalize() for number in numbers)


def about(schedule: Schedule) -> str:
    """A schedule in a few words, for a comment."""
    owner = f", {schedule.owner}" if schedule.owner else ""
    text = f"dmarckit {schedule.name}: {schedule.cron}, {schedule.timezone}{owner}"
    return "".join(c if c.isprintable() else "?" for c in text)


TARGETS: dict[str, Callable[[Sequence[Schedule], Place], dict[str, str]]] = {
    "crontab": crontab,
    "systemd": systemd,
    "eventbridge": eventbridge,
    "github": github,
}


def export_files(target: str, schedules: Sequence[Schedule], place: Place) -> dict[str, str]:
    """File name → content, for one of `TARGETS`; schedules that run by hand are left out."""
    return TARGETS[target]([s for s in schedules if s.cron], place)
