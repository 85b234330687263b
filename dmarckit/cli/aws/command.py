"""`dmarckit aws`: the AWS side planned, made, taken away, and what to publish then."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmarckit import core, jobs
from dmarckit.cli.options import check_options
from dmarckit.cli.output import print_json
from dmarckit.core import AwsError, DmarckitError, SettingsError

if TYPE_CHECKING:
    from dmarckit.cli.aws.client import Aws
    from dmarckit.cli.aws.plan import Plan
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
    from dmarckit.cli.aws.plan import plan_lines

    with _planned(stack, parameters, parameter, save) as (_, made):
        typer.echo("\n".join(plan_lines(made, activate=activate)))


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
    from dmarckit.cli.aws.plan import deploy as make, plan_lines

    with _planned(stack, parameters, parameter) as (aws, made):
        typer.echo("\n".join(plan_lines(made, activate=activate)))
        _confirm("Make this?", yes)
        found = make(aws, made, typer.echo, activate_set=activate)
    typer.echo()
    _print_outputs(aws, found, domain or ())


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
    from dmarckit.cli.aws import plan as plans
    from dmarckit.cli.aws.client import Aws
    from dmarckit.cli.aws.stack import resources

    if yes_delete and not delete_mails:
        raise SettingsError("--yes-delete: mails are only deleted with --delete-mails as well")
    aws = Aws()
    found = plans.require_stack(aws, stack)
    parts = resources(aws, stack)
    made = {name: parts[name] for name in (plans.MAIL_BUCKET, plans.HOME_BUCKET) if parts.get(name)}
    doomed = made.get(plans.MAIL_BUCKET) if delete_mails else None
    if delete_mails and doomed is None:
        given = found.parameters.get("MailBucket", "")
        raise AwsError(
            f"--delete-mails: the stack {stack} made no mail bucket"
            + (f"; {given} was there before, and is never deleted" if given else "")
        )
    kept = [bucket for bucket in made.values() if bucket != doomed]
    typer.echo(f"Stack {stack} ({found.status}) would be removed: its tasks, queue and schedules.")
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
    plans.destroy(aws, found, typer.echo)
    if doomed:
        plans.delete_bucket(aws, doomed, typer.echo)
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
    from dmarckit.cli.aws.client import Aws
    from dmarckit.cli.aws.plan import require_stack

    check_options(format_, ("text", "json"))
    aws = Aws()
    found = require_stack(aws, stack)
    if format_ == "json":
        print_json(dict(found.outputs))
    else:
        _print_outputs(aws, found, domain or ())


@contextlib.contextmanager
def _planned(
    stack: str, file: Path | None, options: list[str] | None, save: Path | None = None
) -> Iterator[tuple[Aws, Plan]]:
    """Yield the plan of a stack, its template also written to `save`."""
    from dmarckit.cli.aws import template as templates
    from dmarckit.cli.aws.client import Aws
    from dmarckit.cli.aws.plan import prepare

    template = templates.with_schedules(templates.read_template(), jobs.load_schedules())
    if save is not None:
        text = json.dumps(json.loads(templates.template_body(template)), indent=2)
        save.write_text(f"{text}\n", "utf-8")
    typed = templates.read_parameter_options(options or (), templates.secret_parameters(template))
    given = templates.read_parameter_file(file) | typed
    aws = Aws()
    with prepare(aws, stack, template, given) as made:
        yield aws, made


def _print_outputs(aws: Aws, stack: Stack, domains: Sequence[str]) -> None:
    from dmarckit.cli.aws.template import dns_records, settings_text, split_list

    if not domains:
        with contextlib.suppress(DmarckitError):  # a stack can be made before there are settings
            domains = core.load_settings().domain_names
    recipients = split_list(stack.parameters.get("Recipients", ""))
    if recipients:
        typer.echo("Publish in DNS:")
        for record in dns_records(recipients, aws.region, domains):
            typer.echo(f"  {record.name}. {record.kind} {record.value}    ; {record.why}")
        typer.echo()
    typer.echo("Settings (dmarckit.toml) of another machine that works with this stack:")
    for line in settings_text(stack.outputs, stack.parameters).splitlines():
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
