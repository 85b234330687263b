"""`dmarckit doctor`: the checks on the terminal or as JSON, and an exit status for monitoring."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dmarckit.cli.doctor.check import CheckContext


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="A JSON list, for monitoring.")] = False,
    send: Annotated[bool, typer.Option("--send", help="Post a line to the Slack channel.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 for a warning.")] = False,
) -> None:
    """Check every setting against the real thing, and say how to fix it.

    Exit status 0 when nothing failed, 1 for a warning with --strict, 2 when something failed.
    Below doctor/ in the home it writes small objects, and deletes them again.
    """
    from dmarckit.cli.doctor.check import exit_status, run_checks
    from dmarckit.cli.doctor.checks import CHECKS

    lines = []
    for line in run_checks(CHECKS, _context(send)):
        lines.append(line)
        if not json_:
            fix = f" → {line.fix}" if line.fix else ""
            typer.echo(f"{line.status:<5} {line.check:<18} {line.message}{fix}")
    if json_:
        typer.echo(json.dumps([asdict(line) for line in lines], ensure_ascii=False, indent=1))
    raise typer.Exit(exit_status(lines, strict=strict))


def _context(send: bool) -> CheckContext:
    from dmarckit.cli.doctor.check import CheckContext
    from dmarckit.core import SettingsError, load_settings

    try:
        return CheckContext(load_settings(), send=send)
    except SettingsError as error:
        return CheckContext(error, send=send)
