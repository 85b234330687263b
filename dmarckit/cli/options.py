"""What commands share: options, exit statuses, and values as they are typed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from dmarckit import core, facts, findings, lake
from dmarckit.core import SettingsError, one_line

OK, PROBLEMS, COULD_NOT_RUN = 0, 1, 2
"""exit statuses of every command: nothing to do, somebody should look, it could not run"""
INTERRUPTED = 130  # by Ctrl-C, as shells have it

Format = Annotated[str, typer.Option("--format", "-f", help="table or json.")]
FORMATS = ("table", "json", "csv")
FormatCsv = Annotated[str, typer.Option("--format", "-f", help="table, json or csv.")]
Now = Annotated[
    str | None, typer.Option(help="Look as of this time (ISO 8601, UTC); default: the present.")
]
Days = Annotated[int, typer.Option(help="Days before that to look at.")]
Domains = Annotated[
    list[str] | None, typer.Option("--domain", "-d", help="Only this domain; may be repeated.")
]
Dask = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Work on the Dask cluster of this scheduler.")
]


def check_options(
    format_: str = "table", formats: Sequence[str] = ("table", "json"), days: int = 1
) -> None:
    """Raise SettingsError for a `--format` that is none of `formats`, or less than one day."""
    if format_ not in formats:
        raise SettingsError(f"--format {one_line(format_)}: formats are {', '.join(formats)}")
    if days < 1:
        raise SettingsError(f"--days {days}: it must be at least 1")


def parse_time(text: str, option: str, or_else: str = "a day") -> datetime:
    """Return the time that an option gives: ISO 8601, UTC unless it says otherwise.

    Raises SettingsError when the text is no time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{option} {one_line(text)}: write a time as 2026-11-24T09:00:00Z, or {or_else}"
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


@dataclass(frozen=True)
class Question:
    """What a command asks of the lake: as of when, over how many days, about which domains."""

    settings: core.Settings
    lake: lake.Lake
    now: datetime
    days: int
    domains: tuple[str, ...]

    def facts(self) -> facts.Facts:
        """Read the facts that it is about."""
        return findings.read_facts(self.settings, self.lake, self.now, self.days, self.domains)


def ask(now: str | None, days: int, domains: Sequence[str] | None) -> Question:
    """Return the question that the options `--now`, `--days` and `--domain` put.

    Raises SettingsError for what is no time, no number of days, or a domain that nothing knows.
    """
    check_options(days=days)
    settings = core.load_settings()
    at = parse_time(now, "--now") if now else datetime.now(UTC)
    question = Question(settings, lake.Lake(settings.lake_url), at, days, tuple(domains or ()))
    findings.check_domains(settings, question.lake, question.domains)
    return question


def join_parameters(arguments: Iterable[str]) -> list[str]:
    """Join ``-p name value`` to one option, since Typer has no options of two values.

    >>> join_parameters(["page", "overview", "-p", "days", "7"])
    ['page', 'overview', '-p', 'days=7']
    """
    result: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        result.append(argument)
        if argument == "-p":
            name = next(rest, None)
            value = None if name is None or "=" in name else next(rest, None)
            result += [name if value is None else f"{name}={value}"] if name else []
    return result


def parameter_values(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the values of ``name=value`` as YAML has them: 7 is a number, [a, b] a list."""
    import yaml

    found: dict[str, Any] = {}
    for name, sign, text in (pair.partition("=") for pair in pairs):
        if not sign:
            raise SettingsError(f"-p {one_line(name)}: write -p NAME VALUE")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        # a date would reach the notebook as an object that papermill cannot write
        found[name] = text if not isinstance(value, int | float | bool | list | dict) else value
    return found
