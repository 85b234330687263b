"""`dmarckit doctor`: every check on the terminal or as JSON, and an exit status for monitoring."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dmarckit import core
from dmarckit.cli.output import print_json

if TYPE_CHECKING:
    from dmarckit.cli.doctor.check import Check


def all_checks() -> tuple[Check, ...]:
    """Return every check in order.

    A check's name is its key in ``--json``. One that is skipped since another failed counts as
    failed for those that need it.
    """
    from dmarckit.cli.doctor import machine, places, services
    from dmarckit.cli.doctor.check import Check

    settings, buckets, lake = ("settings",), ("buckets",), ("lake",)
    return (
        Check("settings", machine.readable),
        Check("setting values", machine.consistent, settings),
        Check("versions", machine.versions),
        Check("disk", machine.disk, settings),
        Check("memory", machine.memory),
        Check("fonts", machine.fonts, settings),
        Check("credentials", places.credentials, settings),
        Check("buckets", places.reachable, ("credentials",)),
        Check("region", places.region, buckets),
        # without the buckets: a wrong clock is a reason why they refuse us
        Check("clock", places.clock, ("credentials",)),
        Check("mails", places.mails, buckets, 60),
        Check("results header", places.verdicts, ("mails",), 60),
        Check("home", places.writable, buckets, 45),
        Check("conditional writes", places.conditional, ("home",), 45),
        Check("links", places.links, ("home",), 45),
        Check("page address", places.page_address, settings),
        Check("lake", machine.tables, buckets, 60),
        Check("newest report", machine.newest_report, lake, 60),
        Check("kernel", machine.kernel, seconds=110),
        Check("notebooks", machine.notebooks),
        Check("schedules", machine.schedules),
        Check("runs", machine.runs, ("lake", "schedules"), 60),
        Check("outbox", machine.outbox, lake, 60),
        Check("queue", services.queue, ("credentials",), 45),
        Check("Slack token", services.slack_token, settings),
        Check("Slack channels", services.slack_channels, ("Slack token",), 45),
        Check("Slack message", services.slack_message, ("Slack token",), 150),
        Check("Google", services.google, settings),
        Check("DNS", services.dns, settings, 60),
        Check("Dask", services.cluster, ("mails", "lake"), 90),
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
    from dmarckit.cli.doctor.check import CheckContext, exit_status, run_checks

    loaded: core.Settings | core.SettingsError
    try:
        loaded = core.load_settings()
    except core.SettingsError as error:
        loaded = error
    lines = []
    for line in run_checks(all_checks(), CheckContext(loaded, send=send)):
        lines.append(line)
        if not json_:
            fix = f" → {line.fix}" if line.fix else ""
            typer.echo(f"{line.status:<5} {line.check:<18} {line.message}{fix}")
    if json_:
        print_json([asdict(line) for line in lines])
    raise typer.Exit(exit_status(lines, strict=strict))
