"""`dmarckit aws`: the AWS side planned, made, taken away, and what to publish then."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dmarckit import core, jobs
from dmarckit.cli import aws
from dmarckit.cli.options import check_options
from dmarckit.cli.output import print_json
from dmarckit.core import AwsError, DmarckitError, SettingsError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The AWS side: SES, buckets, queue and schedules as one stack.",
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
    with _planned(stack, parameters, parameter, save) as (_, made):
        typer.echo("\n".join(aws.plan.plan_lines(made, activate=activate)))


@app.command(epilog="Example: dmarckit aws deploy --parameters parameters.yaml --activate")
def deploy(
    stack: Name = "dmarckit",
    parameters: File = None,
    parameter: Given = None,
    activate: Activate = False,
    domain: Domains = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    rotate_key: Annotated[
        bool,
        typer.Option("--rotate-key", help="A new key signs links; those that are out end."),
    ] = False,
) -> None:
    """Make the stack, or change it; then print the DNS records and settings that are left to do."""
    given = [*(parameter or ()), *([f"Domains={','.join(domain)}"] if domain else [])]
    with _planned(stack, parameters, given, rotate_key=rotate_key) as (clients, made):
        typer.echo("\n".join(aws.plan.plan_lines(made, activate=activate)))
        _confirm("Make this?", yes)
        found = aws.plan.deploy_stack(clients, made, typer.echo, activate_set=activate)
    typer.echo()
    _print_outputs(clients, found, ())


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
    if yes_delete and not delete_mails:
        raise SettingsError("--yes-delete: mails are only deleted with --delete-mails as well")
    clients = aws.stack.Aws()
    found = aws.plan.require_stack(clients, stack)
    parts = aws.stack.resources(clients, stack)
    made = {name: parts[name] for name in ("Mails", "Home") if parts.get(name)}
    doomed = made.get("Mails") if delete_mails else None
    if delete_mails and doomed is None:
        given = found.parameters.get("MailBucket", "")
        raise AwsError(
            f"--delete-mails: the stack {stack} made no mail bucket"
            + (f"; {given} was there before, and is never deleted" if given else "")
        )
    kept = [bucket for bucket in made.values() if bucket != doomed]
    typer.echo(f"Stack {stack} ({found.status}) would be removed: its schedules, queue and roles.")
    typer.echo(f"Kept: {', '.join(kept) or 'no bucket'}")
    if doomed:
        typer.echo(f"DELETES the bucket {doomed} with every mail in it. It cannot be undone.")
    _confirm("Remove it?", yes)
    if doomed:
        if yes_delete is None and sys.stdin.isatty():
            yes_delete = typer.prompt(f"Type the bucket's name to delete its mails ({doomed})")
        if yes_delete != doomed:
            raise SettingsError(
                f"nothing is removed: to delete the mails, write --yes-delete {doomed}"
            )
    aws.plan.destroy_stack(clients, found, typer.echo)
    if doomed:
        aws.plan.delete_bucket(clients, doomed, typer.echo)
    for parameter, name in (("MailBucket", "Mails"), ("HomeBucket", "Home")):
        if made.get(name) in kept:
            typer.echo(f"Use {made[name]} in a new stack with: -p {parameter} {made[name]}")


@app.command(epilog="Example: dmarckit aws outputs --format json")
def outputs(
    stack: Name = "dmarckit",
    domain: Domains = None,
    format_: Annotated[str, typer.Option("--format", "-f", help="text or json.")] = "text",
) -> None:
    """Print the DNS records to publish, the settings for dmarckit.toml, and the stack's outputs."""
    check_options(format_, ("text", "json"))
    clients = aws.stack.Aws()
    found = aws.plan.require_stack(clients, stack)
    if format_ == "json":
        print_json(dict(found.outputs))
    else:
        _print_outputs(clients, found, domain or ())


@contextlib.contextmanager
def _planned(
    stack: str,
    file: Path | None,
    options: list[str] | None,
    save: Path | None = None,
    *,
    rotate_key: bool = False,
) -> Iterator[tuple[aws.stack.Aws, aws.plan.Plan]]:
    """Yield the plan of a stack, its template also written to `save`."""
    parts = aws.template
    template = parts.read_template()
    typed = parts.read_parameter_options(options or (), parts.secret_parameters(template))
    given = parts.read_parameter_file(file) | typed
    clients, schedules = aws.stack.Aws(), jobs.load_schedules()
    with aws.plan.prepare(
        clients, stack, template, given, schedules, rotate_key=rotate_key
    ) as made:
        if save is not None:
            text = json.dumps(json.loads(made.template), indent=2)
            save.write_text(f"{text}\n", "utf-8")
        yield clients, made


def _print_outputs(clients: aws.stack.Aws, stack: aws.stack.Stack, domains: Sequence[str]) -> None:
    domains = domains or aws.template.split_list(stack.parameters.get("Domains", ""))
    if not domains:
        with contextlib.suppress(DmarckitError):  # a stack can be made before there are settings
            domains = core.load_settings().domain_names
    zone = stack.parameters.get("HostedZone", "")
    recipients = aws.template.split_list(stack.parameters.get("Recipients", ""))
    if recipients:
        records = aws.template.dns_records(recipients, clients.region, domains)
        typer.echo(
            f"Publish in DNS (the rest is in the zone {zone}):" if zone else "Publish in DNS:"
        )
        for record in (r for r in records if r.is_policy or not zone):
            typer.echo(f"  {record.name}. {record.kind} {record.value}    ; {record.why}")
        typer.echo()
    typer.echo("Settings (dmarckit.toml) of another machine that works with this stack:")
    for line in aws.template.settings_text(stack.outputs, stack.parameters).splitlines():
        typer.echo(f"  {line}")
    typer.echo("\nOutputs:")
    for name, value in sorted(stack.outputs.items()):
        typer.echo(f"  {name:<18} {value}")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError("nobody is there to ask: write --yes to go on without asking")
    if not typer.confirm(question):
        raise typer.Exit(1)
