"""`dmarckit aws`: the AWS side planned, made, taken away, and what to publish then."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmarckit.core import AwsError, DmarckitError, SettingsError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dmarckit.cli.aws.client import Aws
    from dmarckit.cli.aws.plan import Ready
    from dmarckit.cli.aws.stack import Stack


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The AWS side: SES, buckets, queue, tasks and schedules in one CloudFormation stack.",
)

Name = Annotated[str, typer.Option("--stack", help="Name of the stack.")]
File = Annotated[
    Path | None,
    typer.Option(
        "--parameters", help="YAML file of parameters; default: ./schedules/aws/parameters.yaml."
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option("-p", metavar="NAME VALUE", help="A parameter; @FILE takes a file's content."),
]
Activate = Annotated[
    bool, typer.Option("--activate", help="Let SES use the rule set, in place of the active one.")
]
Domains = Annotated[
    list[str] | None,
    typer.Option("--domain", "-d", help="A domain that will ask for reports; may be repeated."),
]


@app.command(epilog="Example: dmarckit aws plan -p Recipients dmarc@reports.example.com")
def plan(
    stack: Name = "dmarckit",
    parameters: File = None,
    parameter: Given = None,
    activate: Activate = False,
    save: Annotated[
        Path | None, typer.Option(help="Also write the template with its schedules there.")
    ] = None,
) -> None:
    """Print what would be made, changed, replaced or deleted. Nothing is done."""
    from dmarckit.cli.aws.plan import lines

    with _prepared(stack, parameters, parameter, save)[1] as ready:
        typer.echo("\n".join(lines(ready, activate=activate)))


@app.command(epilog="Example: dmarckit aws deploy --parameters parameters.yaml --activate")
def deploy(
    stack: Name = "dmarckit",
    parameters: File = None,
    parameter: Given = None,
    activate: Activate = False,
    domain: Domains = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make the stack, or change it; then print the DNS records and settings that are left to do."""
    from dmarckit.cli.aws.plan import deploy as make, lines

    aws, preparing = _prepared(stack, parameters, parameter, None)
    with preparing as ready:
        typer.echo("\n".join(lines(ready, activate=activate)))
        _confirm("Make this?", yes)
        done = make(aws, ready, typer.echo, activate_set=activate)
    typer.echo()
    _print_outputs(aws, done, domain or ())


@app.command(epilog="Example: dmarckit aws destroy --stack dmarckit")
def destroy(
    stack: Name = "dmarckit",
    delete_mails: Annotated[
        bool, typer.Option("--delete-mails", help="Delete the mail bucket that the stack made.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the stack goes.")] = False,
    yes_delete: Annotated[
        str | None,
        typer.Option(metavar="BUCKET", help="With --delete-mails: its name, instead of typing it."),
    ] = None,
) -> None:
    """Remove the stack. Buckets stay with all that is in them, unless told twice."""
    from dmarckit.cli.aws import plan as aws_deploy
    from dmarckit.cli.aws.client import Aws

    if yes_delete and not delete_mails:
        raise SettingsError("--yes-delete: mails are only deleted with --delete-mails as well")
    aws = Aws()
    found = aws_deploy.require_stack(aws, stack)
    made = aws_deploy.made_buckets(aws, found)
    doomed = _doomed(made.get(aws_deploy.MAIL_BUCKET), found) if delete_mails else None
    kept = [bucket for bucket in made.values() if bucket != doomed]
    typer.echo(f"Stack {stack} ({found.status}) would be removed: its tasks, queue and schedules.")
    typer.echo(f"Kept: {', '.join(kept) or 'no bucket'}")
    if doomed:
        typer.echo(f"DELETES the bucket {doomed} with every mail in it. It cannot be undone.")
    _confirm("Remove it?", yes)
    if doomed:
        _confirm_name(doomed, yes_delete)
    aws_deploy.destroy(aws, found, typer.echo)
    if doomed:
        aws_deploy.delete_bucket(aws, doomed, typer.echo)
    for parameter, name in (("MailBucket", "Mails"), ("HomeBucket", "Home")):
        if made.get(name) in kept:
            typer.echo(f"Use {made[name]} in a new stack with: -p {parameter} {made[name]}")


@app.command(epilog="Example: dmarckit aws outputs --format json")
def outputs(
    stack: Name = "dmarckit",
    domain: Domains = None,
    format_: Annotated[str, typer.Option("--format", "-f", help="text or json.")] = "text",
) -> None:
    """The DNS records to publish, the settings for dmarckit.toml, and the stack's outputs."""
    from dmarckit.cli.aws.client import Aws
    from dmarckit.cli.aws.plan import require_stack

    if format_ not in ("text", "json"):
        raise SettingsError(f"--format {format_}: text or json")
    aws = Aws()
    found = require_stack(aws, stack)
    if format_ == "json":
        typer.echo(json.dumps(dict(found.outputs), indent=2))
    else:
        _print_outputs(aws, found, domain or ())


def _prepared(
    stack: str, file: Path | None, options: list[str] | None, save: Path | None
) -> tuple[Aws, AbstractContextManager[Ready]]:
    from dmarckit.cli.aws.client import Aws
    from dmarckit.cli.aws.plan import prepared
    from dmarckit.cli.aws.template import (
        body,
        read_file,
        read_options,
        read_template,
        secret_parameters,
        with_schedules,
    )
    from dmarckit.jobs import load_schedules

    template = with_schedules(read_template(), load_schedules())
    if save is not None:
        save.write_text(json.dumps(json.loads(body(template)), indent=2) + "\n", "utf-8")
    given = read_file(file) | read_options(options or (), secret_parameters(template))
    aws = Aws()
    return aws, prepared(aws, stack, template, given)


def _print_outputs(aws: Aws, stack: Stack, domains: Any) -> None:
    from dmarckit.cli.aws.template import records, settings_text

    recipients = [r.strip() for r in stack.parameters.get("Recipients", "").split(",") if r.strip()]
    if recipients:
        typer.echo("Publish in DNS:")
        for record in records(recipients, aws.region, domains or _domains()):
            typer.echo(f"  {record.name}. {record.kind} {record.value}    ; {record.why}")
        typer.echo()
    typer.echo("Settings (dmarckit.toml) of another machine that works with this stack:")
    for line in settings_text(stack.outputs, stack.parameters).splitlines():
        typer.echo(f"  {line}")
    typer.echo("\nOutputs:")
    for name, value in sorted(stack.outputs.items()):
        typer.echo(f"  {name:<18} {value}")


def _domains() -> tuple[str, ...]:
    """The domains of the settings, where there are any here."""
    from dmarckit.core import load_settings

    try:
        return load_settings().domain_names
    except DmarckitError:  # a stack can be made before there are settings
        return ()


def _doomed(bucket: str | None, stack: Stack) -> str:
    if bucket is None:
        given = stack.parameters.get("MailBucket", "")
        raise AwsError(
            f"--delete-mails: the stack {stack.name} made no mail bucket"
            + (f"; {given} was there before, and is never deleted" if given else "")
        )
    return bucket


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError("nobody is there to ask: write --yes to go on without asking")
    if not typer.confirm(question):
        raise typer.Exit(1)


def _confirm_name(bucket: str, given: str | None) -> None:
    if given is None and sys.stdin.isatty():
        given = typer.prompt(f"Type the bucket's name to delete its mails ({bucket})")
    if given != bucket:
        raise SettingsError(f"nothing is removed: to delete the mails, write --yes-delete {bucket}")
