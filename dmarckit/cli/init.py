"""`dmarckit init`: the settings file of a new installation, tried at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dmarckit import core
from dmarckit.cli.doctor.command import print_checks
from dmarckit.cli.options import OK, PROBLEMS
from dmarckit.core import SettingsError, one_line

SETTINGS = """\
# Settings of dmarckit. All of them, with their defaults: dmarckit help settings

# Where tables, pages and exports lie: s3://bucket/prefix, or a folder.
{home}
# Where the report mails are: the place in which SES stores them, or a folder of mails.
{mail}
# Domains to report on; without it all that reports speak of.
{domains}
# Channel (its ID) for summaries and alerts. The token comes from the environment: set
# DMARCKIT_SLACK_TOKEN=xoxb-…, or DMARCKIT_SLACK_TOKEN_FILE. Without any channel messages are shown.
{slack_channel}
# Addresses that get the messages by mail, through Amazon SES or smtp_url (dmarckit help slack).
{mail_to}
# Stable address of the pages, where you have one; without it links are presigned.
# page_base_url = "https://dmarc.example.com"

# Language of pages and Slack: en or ja.
# language = "en"

# A service that sends for you, if the findings ask about it (or: dmarckit senders declare).
# [[senders]]
# name = "Example Mail"
# spf_domains = ["bounce.example.net"]
"""
NEXT = """\
  dmarckit run daily         # new mails → lake → pages → Slack
  dmarckit open              # the newest page, in the browser
  dmarckit schedules start   # all schedules at their times (or: dmarckit schedules export)"""
EXAMPLES: dict[str, str | list[str]] = {
    "home": "s3://example-dmarc/kit",
    "mail": "s3://example-dmarc/rua",
    "domains": ["example.com"],
    "slack_channel": "C0123456789",
    "mail_to": ["ops@example.com"],
}
ASKED = {
    "home": "Place of tables and pages (s3://bucket/prefix or a folder)",
    "mail": "Place of the report mails (s3://bucket/prefix or a folder; empty: HOME/mail)",
    "domains": "Domains to report on, with commas between (empty: all that reports speak of)",
    "slack_channel": "ID of the Slack channel (empty: no Slack)",
    "mail_to": "Addresses for messages by mail, with commas between (empty: no mail)",
}


def init(
    home: Annotated[str | None, typer.Option(help="Of lake, pages, exports.")] = None,
    mail: Annotated[str | None, typer.Option(help="Where the report mails are.")] = None,
    domain: Annotated[
        list[str] | None, typer.Option("--domain", "-d", help="To report on; may be repeated.")
    ] = None,
    slack_channel: Annotated[str | None, typer.Option(help="ID of the channel.")] = None,
    mail_to: Annotated[
        list[str] | None, typer.Option(help="Address for messages by mail; may be repeated.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a settings file that is there.")
    ] = False,
) -> None:
    """Write dmarckit.toml with comments, and try every setting.

    On a terminal it asks for what no option gives. Exit status 1 when something is to be mended.
    """
    file = Path(os.environ.get(core.CONFIG_VARIABLE) or core.DEFAULT_FILE)
    if file.exists() and not force:
        raise SettingsError(f"{one_line(file)} is there already: change it, or write --force")
    given = {"home": home, "mail": mail, "domains": domain}
    given |= {"slack_channel": slack_channel, "mail_to": mail_to}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value}
    _check(chosen)
    if sys.stdin.isatty() and sys.stdout.isatty():
        for name in [name for name in given if name not in chosen]:
            _ask(name, chosen)
    values = {**EXAMPLES, **chosen}  # a JSON string or list of strings is the same in TOML
    lines = {
        name: f"{'' if name in chosen else '# '}{name} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in values.items()
    }
    file.write_text(SETTINGS.format(**lines), "utf-8")
    settings = core.load_settings()
    typer.echo(f"Written: {one_line(file)}")
    folder = Path(settings.mail_url.removeprefix("file://"))
    if not settings.mail_url.startswith("s3://") and not folder.exists():
        folder.mkdir(parents=True)
        typer.echo(f"Made: {one_line(folder)}, a folder for report mails")
    typer.echo()
    failed = print_checks(settings) != OK
    again = "First mend what fails above, and try it again with dmarckit doctor. Then:"
    typer.echo(f"\n{again if failed else 'Next:'}\n{NEXT}")
    raise typer.Exit(PROBLEMS if failed else OK)


def _ask(name: str, chosen: dict[str, Any]) -> None:
    """Ask on the terminal for a setting, until the answer is one that it can have."""
    usual = "./dmarckit-data" if name == "home" else ""
    while said := typer.prompt(ASKED[name], default=usual, show_default=bool(usual)).strip():
        names = [one.strip() for one in said.split(",") if one.strip()]
        answer = {name: names if isinstance(EXAMPLES[name], list) else said}
        try:
            _check(chosen | answer)
        except SettingsError as error:
            typer.echo(str(error), err=True)
        else:
            chosen |= answer
            return


def _check(chosen: dict[str, Any]) -> None:
    """Raise SettingsError for what a setting cannot be; a settings file is not looked at."""
    from unittest import mock  # it loads asyncio

    with mock.patch.dict(os.environ, {core.CONFIG_VARIABLE: os.devnull}):
        core.load_settings(**chosen)
