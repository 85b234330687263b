"""Jobs as files: `schedules/NAME.yaml` says when what runs, with which parameters, for whom.

Relative dates in parameters are resolved when the schedule runs, in its time zone. A *day*
(``today``, ``yesterday``, ``3 days ago``) may be the value of any parameter and becomes that
day, ``YYYY-MM-DD``. A *period* (``last 7 days``, ``last week``, ``this week``, ``last month``,
``this month``) is the value of ``days`` only; it becomes the number of its days, and sets ``end``
to its last day, so that ``end`` is not given beside it. No period holds the day of the run
itself: its reports cannot be here yet. Weeks begin on Monday.

A *slot* is a moment at which a schedule is due, by a cron line as crontab(5) means it. Where the
hour is a ``*``, every matching minute that really passes is a slot; else a time of day that a
clock change skips is due as if the clock had not changed (02:30 becomes 03:30), and one that comes
twice is due once.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import yaml
from cronsim import CronSim, CronSimError
from pydantic import Field, ValidationError, field_validator

from dmarckit import pages
from dmarckit.core import (
    PageError,
    SettingsError,
    Strict,
    did_you_mean,
    one_line,
    shipped_files,
)


def resolve_dates(parameters: Mapping[str, Any], today: date) -> dict[str, Any]:
    """Return the parameters with every relative date as the notebook takes it.

    ValueError is raised if `end` stands beside a period.

    >>> resolve_dates({"days": "last month"}, date(2026, 3, 10))
    {'days': 28, 'end': '2026-02-28'}
    """
    resolved = dict(parameters)
    for name, value in parameters.items():
        text = value.strip().lower() if isinstance(value, str) else ""
        back = {"today": 0, "yesterday": 1}.get(text)
        if match := re.fullmatch(r"([0-9]{1,4}) days? ago", text):
            back = int(match[1])
        if back is not None:
            resolved[name] = (today - timedelta(days=back)).isoformat()
    days = parameters.get("days")
    found = _relative_period(days, today) if isinstance(days, str) else None
    if found is None:
        return resolved
    if "end" in parameters:
        raise ValueError(f"days: {days} sets end as well; leave end out")
    first, last = found
    return resolved | {"days": (last - first).days + 1, "end": last.isoformat()}


def _relative_period(value: str, today: date) -> tuple[date, date] | None:
    """Return first and last day of the period that a text means; None for other texts.

    On the first day of a week or month, ``this week`` and ``this month`` are those before.
    """
    text = " ".join(value.lower().split())
    yesterday = today - timedelta(days=1)
    if match := re.fullmatch(r"last ([0-9]{1,4}) days", text):
        return (yesterday - timedelta(days=max(int(match[1]), 1) - 1), yesterday)
    monday = today - timedelta(days=today.weekday())
    month_end = today.replace(day=1) - timedelta(days=1)
    return {
        "last week": (monday - timedelta(days=7), monday - timedelta(days=1)),
        "this week": (yesterday - timedelta(days=yesterday.weekday()), yesterday),
        "last month": (month_end.replace(day=1), month_end),
        "this month": (yesterday.replace(day=1), yesterday),
    }.get(text)


_TYPES = {kind.__name__: kind for kind in (int, str, bool, list, dict)} | {"float": int | float}


@dataclass(frozen=True)
class ScheduleFile:
    """A YAML file: what it says, and on which line each key stands."""

    path: Path
    content: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def error(self, text: str, *where: str) -> SettingsError:
        """Return ``FILE:LINE: text`` with the line of the key, or of what holds it."""
        place = where
        while place and place not in self.lines:
            place = place[:-1]
        return SettingsError(f"{self.path}:{self.lines.get(place, 1)}: {one_line(text, 400)}")


def read_yaml(path: Path) -> ScheduleFile:
    """Read the file; SettingsError if that fails, or it holds no mapping."""
    try:
        text = path.read_text("utf-8")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        content = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or error
        if re.match(r"[^#'\"]*:\s+[*@]", "".join(text.splitlines()[line - 1 : line])):
            problem = 'quote it, since it begins with * or @: cron: "*/15 * * * *"'
        raise SettingsError(f"{path}:{line}: this is not YAML: {one_line(problem, 300)}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot read {path}: {reason}") from error
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise SettingsError(f"{path}:1: write keys and values, such as `notebook: overview`")
    lines: dict[tuple[str, ...], int] = {}
    _note_lines(node, (), lines)
    return ScheduleFile(path, {str(key): value for key, value in content.items()}, lines)


def _note_lines(node: yaml.Node, above: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*above, str(key.value))
            lines[place] = key.start_mark.line + 1
            _note_lines(value, place, lines)


def check_notebook(source: ScheduleFile, notebook: str, parameters: Mapping[str, Any]) -> None:
    """Check that the notebook is there and takes the parameters, by their names and types."""
    try:
        known = pages.known_parameters(pages.find_notebook(notebook))
    except PageError as error:
        raise source.error(f"notebook: {error}", "notebook") from None
    for name, value in parameters.items():
        if name not in known:
            near = did_you_mean(name, known)
            has = f"it has {', '.join(known) or 'none'}"
            text = f"notebook {notebook} has no parameter {name}{near}; {has}"
            raise source.error(text, "parameters", name)
        kind = _kind(known[name])
        if kind in _TYPES and (
            not isinstance(value, _TYPES[kind]) or isinstance(value, bool) > (kind == "bool")
        ):
            written = source.content.get("parameters", {}).get(name, value)
            text = (
                f"{name}: {written!r} is no {kind} as notebook {notebook} takes it "
                f"({known[name]['help'] or 'no help'}); relative dates are today, yesterday, "
                "3 days ago; for days: last 7 days, last week, last month"
            )
            raise source.error(text, "parameters", name)


def _kind(about: Mapping[str, str]) -> str:
    """Return the type that the notebook declares, else that of the default."""
    if about["kind"] in _TYPES:
        return about["kind"]
    try:
        return type(ast.literal_eval(about["default"])).__name__
    except (ValueError, SyntaxError):  # an expression: anything may be meant
        return ""


_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # where only the fields are asked for
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # cron's 0 is Sunday
MACROS = {
    "@hourly": "0 * * * *",
    **dict.fromkeys(("@daily", "@midnight"), "0 0 * * *"),
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    **dict.fromkeys(("@yearly", "@annually"), "0 0 1 1 *"),
}
_FIELDS = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31"),
    ("month", "1 to 12 or jan to dec"),
    ("day of the week", "0 to 7 or sun to sat"),
)


@dataclass(frozen=True)
class Cron:
    """A cron line, and its fields as the numbers that match, in order."""

    line: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]  # 0 is Sunday

    def slots_by_day(
        self, zone: ZoneInfo, start: date, *, reverse: bool = False
    ) -> Iterator[list[datetime]]:
        """Yield the slots (UTC) of each day that has some, from `start` on or, in reverse, before.

        cronsim gives the times of day. What a clock change makes of them is our own: cronsim
        lets 02:30 happen at 03:00 where that hour is skipped.
        """
        first = datetime.combine(start, time())
        times = CronSim(self.line, first if reverse else first - timedelta(seconds=1), reverse)
        for _, of_day in groupby(times, datetime.date):
            yield sorted({m for wall in of_day for m in self._moments(wall.replace(tzinfo=zone))})

    def _moments(self, wall: datetime) -> set[datetime]:
        """Return when a time of day is due: always once, unless the hour is a ``*``."""
        moment = wall.astimezone(UTC)
        if not self.line.split()[1].startswith("*"):
            return {moment}
        both = {moment, wall.replace(fold=1).astimezone(UTC)}
        shown = wall.replace(tzinfo=None)
        return {m for m in both if m.astimezone(wall.tzinfo).replace(tzinfo=None, fold=0) == shown}


def parse_cron(line: str) -> Cron:
    """Return the five fields of a cron line, or of a word such as ``@daily``, as numbers.

    A ValueError names the field, what it says and what it may say.

    >>> parse_cron("0 7 * * 1-5").weekdays
    (1, 2, 3, 4, 5)
    """
    words = MACROS.get(line.strip().lower(), line).split()
    if len(words) != 5:
        raise ValueError(
            f"{line!r} has {len(words)} fields; write five: minute, hour, day of the month, "
            "month, day of the week, such as '0 7 * * *'"
        )
    minutes, hours, days, months, weekdays = map(_numbers, range(5), words)
    weekdays = tuple(sorted({number % 7 for number in weekdays}))
    if len(days) < 31 and len(weekdays) < 7:
        raise ValueError(
            f"{line!r} names a day of the month and a day of the week, and cron would take "
            "either; write two schedules, each with one of them"
        )
    try:
        CronSim(" ".join(words), _ANY_TIME)
    except CronSimError:
        raise ValueError(f"{line!r} is never due: no such day is in those months") from None
    return Cron(" ".join(words), minutes, hours, days, months, weekdays)


def _numbers(place: int, word: str) -> tuple[int, ...]:
    """Return the numbers that the field at `place` matches, in order."""
    name, known = _FIELDS[place]
    try:
        if not re.fullmatch(r"[\w*/,-]+", word, re.ASCII):
            raise CronSimError
        fields = ["*"] * 5
        fields[place] = word
        cron = CronSim(" ".join(fields), _ANY_TIME)
        found = (cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays)[place]
        numbers = sorted(n for n in found if isinstance(n, int) and n >= 0)
        if len(numbers) < len(found):  # what cronsim knows beyond crontab: L, LW, 1#2
            raise CronSimError
        return tuple(numbers)
    except CronSimError:
        text = f"{name} {word!r}: it is {known}; write *, 5, 1-5, */15 or a list such as 1,15"
        raise ValueError(text) from None


class SlackRules(Strict):
    """Slack channel of a schedule, and when it sends a summary."""

    channel: str | None = None  # none: the setting's
    when: Literal["always", "findings", "failing"] = "always"
    """always: a summary of each run; findings: only with something new or worse; failing: only
    when new reports have failing messages; failed runs are always told"""


class Schedule(Strict):
    """One job, as its file describes it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    cron: str | None = None  # as in a crontab; none: only by hand
    timezone: str = "UTC"  # IANA name, such as Europe/Berlin
    before: tuple[Literal["postmaster", "dns"], ...] = ()  # who is asked before the page
    notebook: str | None = None  # its page; none: no page is made
    parameters: dict[str, Any] = Field({})
    # the pages that the page links to: ``linked``: those where something changed; true: first one
    # a domain; false: only those that are there
    fleet: bool | Literal["linked"] = False
    maintain: bool = False  # at its end the upkeep of the tables (dmarckit maintain)
    slack: SlackRules = SlackRules()
    alerts: int = Field(5, ge=0, le=50)  # domains with an alert of their own; more make one digest
    timeout: int = Field(3600, ge=10, le=24 * 3600)  # seconds, or a text: 30 min
    owner: str | None = None  # who is asked when it fails

    @field_validator("cron")
    @classmethod
    def _cron_is_one(cls, value: str | None) -> str | None:
        if value is not None:
            parse_cron(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            like = did_you_mean(value, available_timezones())
            text = f"no time zone {value!r}; write a name such as UTC or Europe/Berlin{like}"
            raise ValueError(text) from None

    @field_validator("timeout", mode="before")
    @classmethod
    def _timeout_in_words(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        units = r"([0-9]+)\s*(s|sec|seconds?|min|minutes?|h|hours?)?"
        match = re.fullmatch(units, value.strip().lower(), re.ASCII)
        if match is None:
            raise ValueError(f"{value!r}: write seconds, or such as 90 s, 30 min, 2 h")
        return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[(match[2] or "")[:1]]

    @property
    def zone(self) -> ZoneInfo:
        """Return its time zone."""
        return ZoneInfo(self.timezone)

    @cached_property
    def times(self) -> Cron | None:
        """Return its cron line; None: it runs by hand only."""
        return None if self.cron is None else parse_cron(self.cron)

    def newest_slot(self, now: datetime) -> datetime | None:
        """Return the last time at or before `now` at which it was due (UTC); None: never."""
        if self.times is None:
            return None
        last = now.astimezone(self.zone).date() + timedelta(days=2)
        for slots in self.times.slots_by_day(self.zone, last, reverse=True):
            if passed := [slot for slot in slots if slot <= now]:
                return passed[-1]
        return None

    def next_slots(self, after: datetime, count: int = 1) -> list[datetime]:
        """Return the next times after a moment at which it is due (UTC)."""
        if self.times is None:
            return []
        first = after.astimezone(self.zone).date() - timedelta(days=1)
        days = self.times.slots_by_day(self.zone, first)
        return list(islice((slot for slots in days for slot in slots if slot > after), count))

    def parameters_at(self, moment: datetime) -> dict[str, Any]:
        """Return the parameters, relative dates resolved at `moment` in the time zone."""
        return resolve_dates(self.parameters, moment.astimezone(self.zone).date())


def find_schedules() -> dict[str, Path]:
    """Return the files by name: the user's ``./schedules`` come before those of dmarckit."""
    return shipped_files("schedules", "*.y*ml")


def load_schedule(name: str, *, with_notebook: bool = True) -> Schedule:
    """Return the schedule of that name, checked against its notebook if `with_notebook`.

    A SettingsError has file, line, what is wrong and what is right, in one line.
    """
    files = find_schedules()
    if name not in files:
        there = f"there are: {', '.join(files) or 'none'}"
        raise SettingsError(f"no schedule {one_line(name)!r}{did_you_mean(name, files)}; {there}")
    source = read_yaml(files[name])
    schedule = _checked(source, {"name": name, **source.content})
    if schedule.name != name:
        raise source.error(f"name {schedule.name!r} is not the file's name; write {name}", "name")
    if schedule.notebook is not None:
        try:
            parameters = schedule.parameters_at(datetime.now(UTC))
        except ValueError as error:
            raise source.error(str(error), "parameters", "days") from None
        if with_notebook:
            check_notebook(source, schedule.notebook, parameters)
    elif schedule.parameters or schedule.fleet:
        key = "parameters" if schedule.parameters else "fleet"
        raise source.error(f"{key} belongs to a notebook, and none is named; add notebook", key)
    return schedule


def _checked(source: ScheduleFile, content: Mapping[str, Any]) -> Schedule:
    try:
        return Schedule.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    where = tuple(map(str, problem["loc"]))
    name = ".".join(where)
    if problem["type"] == "extra_forbidden":
        keys = list((Schedule if len(where) == 1 else SlackRules).model_fields)
        near = did_you_mean(where[-1], keys)
        raise source.error(f"unknown key {name}{near}; keys are {', '.join(keys)}", *where)
    value = repr(problem.get("input"))
    text = str(problem["msg"]).removeprefix("Value error, ")
    shown = "" if value in text or problem["type"] == "missing" else f": {one_line(value, 80)}"
    raise source.error(f"{name}{shown}: {text}", *where)


def load_schedules(*, with_notebook: bool = True) -> list[Schedule]:
    """Return every schedule, by name, as `load_schedule` does."""
    return [load_schedule(name, with_notebook=with_notebook) for name in find_schedules()]
