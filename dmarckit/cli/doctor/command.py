"""`dmarckit doctor`: every check on the terminal or as JSON, and an exit status for monitoring."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dmarckit import core
from dmarckit.cli import doctor as parts
from dmarckit.cli.output import print_json


def all_checks() -> tuple[parts.check.Check, ...]:
    """Return every check in order.

    A check's name is its key in ``--json``. One that is skipped since another failed counts as
    failed for those that need it.
    """
    check = parts.check.Check
    machine, places, services = parts.machine, parts.places, parts.services
    settings, buckets, lake = ("settings",), ("buckets",), ("lake",)
    return (
        check("settings", machine.readable),
        check("setting values", machine.consistent, settings),
        check("versions", machine.versions),
        check("disk", machine.disk, settings),
        check("memory", machine.memory),
        check("fonts", machine.fonts, settings),
        check("credentials", places.credentials, settings),
        check("buckets", places.reachable, ("credentials",)),
        check("region", places.region, buckets),
        # without the buckets: a wrong clock is a reason why they refuse us
        check("clock", places.clock, ("credentials",)),
        check("mails", places.mails, buckets, 60),
        check("results header", places.verdicts, ("mails",), 60),
        check("home", places.writable, buckets, 45),
        check("conditional writes", places.conditional, ("home",), 45),
        check("links", places.links, ("home",), 45),
        check("page address", places.page_address, settings),
        check("lake", machine.tables, buckets, 60),
        check("newest report", machine.newest_report, lake, 60),
        check("kernel", machine.kernel, seconds=110),
        check("notebooks", machine.notebooks),
        check("schedules", machine.schedules),
        check("runs", machine.runs, ("lake", "schedules"), 60),
        check("outbox", machine.outbox, lake, 60),
        check("queue", services.queue, ("credentials",), 45),
        check("Slack token", services.slack_token, settings),
        check("Slack channels", services.slack_channels, ("Slack token",), 45),
        check("Slack message", services.slack_message, ("Slack token",), 150),
        check("Google", services.google, settings),
        check("DNS", services.dns, settings, 60),
        check("Dask", services.cluster, ("mails", "lake"), 90),
    )


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="A JSON list, for monitoring.")] = False,
    send: Annotated[bool, typer.Option("--send", help="Post a line to the Slack channel.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 for a warning.")] = False,
) -> None:
    """Check every setting against the real thing, and say how to fix it.

    Exit status 0 when nothing failed, 1 for a warning with --strict, 2 when something failed.
    Below doctor/ in the home it writes small objects, and deletes them again.
    """
    loaded: core.Settings | core.SettingsError
    try:
        loaded = core.load_settings()
    except core.SettingsError as error:
        loaded = error
    lines = []
    for line in parts.check.run_checks(all_checks(), parts.check.CheckContext(loaded, send=send)):
        lines.append(line)
        if not json_:
            fix = f" → {line.fix}" if line.fix else ""
            typer.echo(f"{line.status:<5} {line.check:<18} {line.message}{fix}")
    if json_:
        print_json([asdict(line) for line in lines])
    raise typer.Exit(parts.check.exit_status(lines, strict=strict))
