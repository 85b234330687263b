"""Where dmarckit runs on this machine, for those who write down how to start it there."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from dmarckit.core.redact import secret_names, secrets_in
from dmarckit.core.settings import CONFIG_VARIABLE, PREFIX

ENV_FILE = "dmarckit.env"
_PLAIN = re.compile(r"[\w@%+=:,./~ -]*", re.ASCII)
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True)
class Place:
    """What a scheduler on this machine needs to know."""

    program: tuple[str, ...]
    """absolute, with the settings file when it is not the one of the folder"""
    folder: Path
    """working directory: ./dmarckit.toml, ./notebooks and ./schedules are read there"""
    variables: Mapping[str, str]
    """settings from the environment that are no secrets"""
    secrets: tuple[str, ...]
    """names of those that are, or whose value cannot be written plainly"""
    user: str
    zone: tzinfo
    """of the machine's clock, by which cron goes"""

    @property
    def env_file(self) -> Path:
        """Where secrets may stand; it is read when it is there."""
        return self.folder / ENV_FILE

    def command(self, job: str, slot: str = "newest") -> list[str]:
        """The words of the command that runs a job's slot, once."""
        return [*self.program, "run", job, "--slot", slot]

    def shell_line(self, job: str, slot: str = "newest") -> str:
        """The same as one line for a shell, in the folder, with the secrets' file."""
        read = f"if [ -r {ENV_FILE} ]; then set -a; . ./{ENV_FILE}; set +a; fi"
        # a time that is filled in later stands as it is
        words = [word if word == slot else shlex.quote(word) for word in self.command(job, slot)]
        return f"cd {shlex.quote(str(self.folder))} && {read} && {' '.join(words)}"


def here(environment: Mapping[str, str] | None = None) -> Place:
    """This process's program, folder, user and environment (or the one given)."""
    from tzlocal import get_localzone

    found = os.environ if environment is None else environment
    script = Path(sys.executable).absolute().parent / "dmarckit"
    program = (
        [str(script)]
        if script.is_file()
        else [str(script.parent / Path(sys.executable).name), "-m", "dmarckit"]
    )
    if config := found.get(CONFIG_VARIABLE):
        program += ["--config", str(Path(config).absolute())]
    settings = {
        name: value
        for name, value in sorted(found.items())
        if name.startswith((PREFIX, "AWS_")) and name != CONFIG_VARIABLE
    }
    secret = {f"{PREFIX}{name.upper()}" for name in secret_names()} | set(_KEYS)
    hidden = tuple(
        name
        for name, value in settings.items()
        if name in secret or secrets_in({name: value}) or not _PLAIN.fullmatch(value)
    )
    return Place(
        tuple(program),
        Path.cwd(),
        {name: value for name, value in settings.items() if name not in hidden},
        hidden,
        getpass.getuser(),
        get_localzone(),
    )
