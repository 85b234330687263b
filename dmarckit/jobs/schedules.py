"""Jobs as files: `schedules/NAME.yaml` says when what runs, with which parameters, for whom."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dmarckit.core.errors import SettingsError, one_line
from dmarckit.jobs.schedule_check import check_notebook, checked, nearest, read_yaml
from dmarckit.jobs.schedule_cron import Cron, newest_slot, next_slots, parse_cron
from dmarckit.jobs.schedule_dates import resolve

_DURATION = re.compile(r"(\d+)\s*(s|sec|seconds?|min|minutes?|h|hours?)?", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
LONGEST = 24 * 3600


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SlackRules(_Part):
    """Where a schedule speaks, and when."""

    channel: str | None = Field(default=None, description="Slack channel; none: the setting's")
    when: Literal["always", "findings", "failing"] = Field(
        default="always",
        description="always: a summary of each run; findings: only with something new or worse; "
        "failing: only when new reports have failing messages; failed runs are always told",
    )


class Schedule(_Part):
    """One job, as its file describes it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    cron: str | None = Field(default=None, description="as in a crontab; none: only by hand")
    timezone: str = Field(default="UTC", description="IANA name, such as Europe/Berlin")
    before: tuple[Literal["postmaster", "dns"], ...] = Field(
        default=(), description="who is asked before the page: postmaster, dns"
    )
    notebook: str | None = Field(default=None, description="its page; none: no page is made")
    parameters: dict[str, Any] = Field(default_factory=dict)
    fleet: bool = Field(
        default=False, description="first one page a domain, for the page to link to"
    )
    maintain: bool = Field(
        default=False, description="at its end the upkeep of the tables (dmarckit maintain)"
    )
    slack: SlackRules = SlackRules()
    alerts: int = Field(
        default=5, ge=0, le=50, description="failing reports told one by one; more make one digest"
    )
    timeout: int = Field(default=3600, ge=10, le=LONGEST, description="seconds, or a text: 30 min")
    owner: str | None = Field(default=None, description="who is asked when it fails")

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
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"no time zone {value!r}; write a name such as UTC or Europe/Berlin{_like(value)}"
            ) from None
        return value

    @field_validator("timeout", mode="before")
    @classmethod
    def _timeout_in_words(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = _DURATION.fullmatch(value.strip().lower())
        if match is None:
            raise ValueError(f"{value!r}: write seconds, or such as 90 s, 30 min, 2 h")
        return int(match[1]) * _SECONDS[(match[2] or "")[:1]]

    @cached_property
    def zone(self) -> ZoneInfo:
        """Its time zone."""
        return ZoneInfo(self.timezone)

    @cached_property
    def times(self) -> Cron | None:
        """Its cron line, read; None: it runs by hand only."""
        return None if self.cron is None else parse_cron(self.cron)

    def newest_slot(self, now: datetime) -> datetime | None:
        """The last time at or before `now` at which it was due (UTC); None: never."""
        return None if self.times is None else newest_slot(self.times, self.zone, now)

    def next_slots(self, after: datetime, count: int = 1) -> list[datetime]:
        """The next times after a moment at which it is due (UTC)."""
        return [] if self.times is None else next_slots(self.times, self.zone, after, count)

    def parameters_at(self, moment: datetime) -> dict[str, Any]:
        """The notebook's parameters, relative dates resolved at `moment` in the time zone."""
        return resolve(self.parameters, moment.astimezone(self.zone).date())


def _like(value: str) -> str:
    from zoneinfo import available_timezones

    return nearest(value, available_timezones())


def find_schedules() -> dict[str, Path]:
    """Name → file, by name: the user's ``./schedules`` come before those of dmarckit."""
    package = Path(__file__).parent.parent
    folders = [Path("schedules"), package / "_shipped/schedules", package.parent / "schedules"]
    found = {path.stem: path for folder in reversed(folders) for path in folder.glob("*.yaml")}
    return dict(sorted(found.items()))


def load_schedule(name: str) -> Schedule:
    """The schedule of that name, checked against its notebook.

    Raises SettingsError: file, line, what is wrong and what is right, in one line.
    """
    files = find_schedules()
    if name not in files:
        raise SettingsError(
            f"no schedule {one_line(name)!r}{nearest(name, files)}; "
            f"there are: {', '.join(files) or 'none'}"
        )
    source = read_yaml(files[name])
    content = {"name": name, **source.content}
    schedule = checked(Schedule, source, content)
    if schedule.name != name:
        raise source.error(f"name {schedule.name!r} is not the file's name; write {name}", "name")
    if schedule.notebook is not None:
        try:
            parameters = schedule.parameters_at(datetime.now(UTC))
        except ValueError as error:
            raise source.error(str(error), "parameters", "days") from None
        check_notebook(source, schedule.notebook, parameters)
    elif schedule.parameters or schedule.fleet:
        key = "parameters" if schedule.parameters else "fleet"
        raise source.error(f"{key} belongs to a notebook, and none is named; add notebook", key)
    return schedule


def load_schedules() -> list[Schedule]:
    """Every schedule, by name. Raises SettingsError for the first that is wrong."""
    return [load_schedule(name) for name in find_schedules()]
