"""Jobs as files: `schedules/NAME.yaml` says which notebook runs with which parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dmarckit.errors import SettingsError, one_line


class Schedule(BaseModel):
    """One job, as its file describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    notebook: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    alerts: int = Field(5, ge=0, le=50, description="failing reports told one by one")


def find_schedules() -> dict[str, Path]:
    """Name → file: the user's ``./schedules`` first, then those that come with dmarckit."""
    package = Path(__file__).parent
    folders = [Path("schedules"), package / "_shipped/schedules", package.parent / "schedules"]
    return {path.stem: path for folder in reversed(folders) for path in folder.glob("*.yaml")}


def load_schedule(name: str) -> Schedule:
    """The schedule of that name.

    Raises SettingsError that names the file, the key and what is allowed.
    """
    files = find_schedules()
    if name not in files:
        known = ", ".join(sorted(files)) or "none"
        raise SettingsError(f"no schedule {one_line(name)!r}; there are: {known}")
    path = files[name]
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        return Schedule.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"cannot read {path}: {one_line(error, 300)}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        known = ", ".join(Schedule.model_fields)
        raise SettingsError(f"{path}: {key or 'file'}: {problem['msg']}; keys: {known}") from None
