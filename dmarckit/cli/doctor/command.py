"""Everything that the doctor checks, in the order in which it is told.

`dmarckit doctor`: the checks on the terminal or as JSON, and an exit status for monitoring.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dmarckit.cli.doctor import (
    machine,
    machine as lake,
    machine as parts,
    machine as settings,
    places,
    places as s3,
    services,
)
from dmarckit.cli.doctor.check import Check

if TYPE_CHECKING:
    from dmarckit.cli.doctor.check import Context


S = ("settings",)

CHECKS = (
    Check("settings", settings.readable),
    Check("setting values", settings.consistent, S),
    Check("versions", machine.versions),
    Check("disk", machine.disk, S),
    Check("memory", machine.memory),
    Check("fonts", machine.fonts, S),
    Check("credentials", s3.credentials, S),
    Check("buckets", s3.reachable, (*S, "credentials")),
    Check("region", s3.region, (*S, "buckets")),
    # without the buckets: a wrong clock is a reason why they refuse us
    Check("clock", s3.clock, (*S, "credentials")),
    Check("mails", places.mails, (*S, "buckets"), 60),
    Check("results header", places.verdicts, (*S, "buckets", "mails"), 60),
    Check("home", places.writable, (*S, "buckets"), 45),
    Check("conditional writes", places.conditional, (*S, "buckets", "home"), 45),
    Check("links", places.links, (*S, "buckets", "home"), 45),
    Check("page address", places.page_address, S),
    Check("lake", lake.tables, (*S, "buckets"), 60),
    Check("newest report", lake.newest_report, (*S, "buckets", "lake"), 60),
    Check("kernel", parts.kernel, (), 110),
    Check("notebooks", parts.notebooks),
    Check("schedules", parts.schedules),
    Check("runs", lake.runs, (*S, "buckets", "lake", "schedules"), 60),
    Check("outbox", lake.outbox, (*S, "buckets", "lake"), 60),
    Check("queue", services.queue, (*S, "credentials"), 45),
    Check("Slack token", services.slack_token, S),
    Check("Slack channels", services.slack_channels, (*S, "Slack token"), 45),
    Check("Slack message", services.slack_message, (*S, "Slack token"), 150),
    Check("Google", services.google, S),
    Check("DNS", services.dns, S, 60),
    Check("Dask", services.cluster, (*S, "buckets", "mails", "lake"), 90),
)
"""(a check's name is its key in ``--json``, and in `needs` of others)"""


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

    pass

    lines = []
    for line in run_checks(CHECKS, _context(send)):
        lines.append(line)
        if not json_:
            fix = f" → {line.fix}" if line.fix else ""
            typer.echo(f"{line.status:<5} {line.check:<18} {line.message}{fix}")
    if json_:
        typer.echo(json.dumps([asdict(line) for line in lines], ensure_ascii=False, indent=1))
    raise typer.Exit(exit_status(lines, strict=strict))


def _context(send: bool) -> Context:
    from dmarckit.cli.doctor.check import Context
    from dmarckit.core import SettingsError, load_settings

    try:
        return Context(load_settings(), send=send)
    except SettingsError as error:
        return Context(error, send=send)
