"""The commands. Each reads settings, calls one function, and prints what a person asks.

Libraries are imported inside the commands, so that ``--help`` answers at once.

Parameters of a notebook as they are typed on the command line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dmarckit import __version__
from dmarckit.cli.analysis import requirements
from dmarckit.cli.aws.command import app as aws_app
from dmarckit.cli.checks import dns_app as dns_app, postmaster_app as postmaster_app
from dmarckit.cli.doctor.command import doctor
from dmarckit.cli.jobs import app as schedules_app, watch
from dmarckit.cli.lake import maintain, schema
from dmarckit.core import DmarckitError, SettingsError


def joined(arguments: list[str]) -> list[str]:
    """``-p name value`` as one option, since Typer has no options of two values.

    >>> joined(["page", "overview", "-p", "days", "7"])
    ['page', 'overview', '-p', 'days=7']
    """
    result: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        result.append(argument)
        if argument == "-p":
            name = next(rest, None)
            if name is not None:
                result.append(name if "=" in name else f"{name}={next(rest, '')}")
    return result


def values(pairs: list[str]) -> dict[str, Any]:
    """Values as YAML has them: 7 is a number, [a, b] a list, the rest text."""
    import yaml

    found: dict[str, Any] = {}
    for name, _, text in (pair.partition("=") for pair in pairs):
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        # a date would reach the notebook as an object that papermill cannot write
        found[name] = text if not isinstance(value, int | float | bool | list | dict) else value
    return found


OK, PROBLEMS, COULD_NOT_RUN = 0, 1, 2
Dask = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Work on the Dask cluster of this scheduler."),
]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="DMARC reports from S3 to one page a morning: what is wrong, what changed, what to do.",
    epilog="Start with: dmarckit demo",
)
app.add_typer(aws_app, name="aws")
app.add_typer(dns_app, name="dns")
app.add_typer(postmaster_app, name="postmaster")
app.add_typer(schedules_app, name="schedules")


def main() -> None:
    """Run the command line; an expected failure is one line on stderr and status 2."""
    try:
        app(joined(sys.argv[1:]))
    except DmarckitError as error:
        from dmarckit.core import failure

        if not failure(error):
            typer.echo(f"dmarckit: {error}", err=True)
        sys.exit(COULD_NOT_RUN)
    except KeyboardInterrupt:
        typer.echo("dmarckit: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # the reader (head, less) has gone; nothing is left to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(COULD_NOT_RUN)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dmarckit {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Settings file (default: ./dmarckit.toml)."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    if config is not None:
        from dmarckit.core import CONFIG_VARIABLE

        os.environ[CONFIG_VARIABLE] = str(config.absolute())  # notebooks' kernels read it too


@app.command(epilog="Example: dmarckit demo --mails ~/dmarc-mails")
def demo(
    mails: Annotated[
        Path | None,
        typer.Option(help="Use these mails or report files (a file or folder), not made-up ones."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the server up and the page open; Ctrl-C ends it.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the page and the message go.")] = Path(
        "dmarckit-demo"
    ),
) -> None:
    """The whole system on this machine, from mails to page."""
    from dmarckit.cli.demo import run_demo

    raise typer.Exit(run_demo(mails=mails, keep=keep, out=out))


@app.command(epilog="Example: dmarckit parse reports/ --format table")
def parse(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders.", metavar="PATH…")],
    format_: Annotated[str, typer.Option("--format", "-f", help="jsonl, csv or table.")] = "jsonl",
) -> None:
    """Print what report files or mails say.

    Exit status 1 if one is unreadable; the rest is printed all the same.
    """
    from dmarckit.cli.parse import parse_paths

    raise typer.Exit(parse_paths(paths, format_))


@app.command(epilog="Example: dmarckit ingest --retry unreadable")
def ingest(
    retry: Annotated[
        list[str] | None,
        typer.Option(help="Take mails of this outcome again (unreadable, untrusted, …)."),
    ] = None,
    dask: Dask = None,
) -> None:
    """New mails into the lake.

    Exit status 0 when all is well, 1 when a mail could not be read, 2 when it could not run.
    """
    from dmarckit.cli.output import ingest_progress, print_outcomes
    from dmarckit.core import about, begin, step
    from dmarckit.ingest import OUTCOMES, cluster_of, ingest_mails as run_ingest

    settings = begin()
    for outcome in retry or ():
        if outcome not in OUTCOMES:
            raise SettingsError(f"--retry {outcome}: outcomes are {', '.join(OUTCOMES)}")
    step(f"Reading new mails in {settings.mail_url}")
    with cluster_of(settings, "mail", dask) as cluster, ingest_progress() as progress:
        result = run_ingest(
            settings, executor=cluster, retry=retry or (), progress=progress, run=about().run
        )
    step("Mails are read", **result.outcomes, reports=result.reports)
    print_outcomes(result)
    raise typer.Exit(PROBLEMS if result.outcomes["unreadable"] else OK)


@app.command(epilog="Example: dmarckit page overview -p days 7")
def page(
    notebook: Annotated[str, typer.Argument(help="Name of a notebook, such as overview.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="A parameter of the notebook."),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="One page for each domain, where something changed.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --all: build unchanged pages as well.")
    ] = False,
    dask: Dask = None,
) -> None:
    """Run one notebook and publish its page."""
    from dmarckit.core import begin, step
    from dmarckit.pages import publish_notebook

    if dask and not all_:
        raise SettingsError(f"--dask {dask}: only the pages of --all are built on a cluster")
    settings = begin()
    step(f"Building the page {notebook}")
    parameters = values(parameter or [])
    if all_:
        from dmarckit.cli.pages import fleet_command

        raise typer.Exit(fleet_command(settings, notebook, parameters, force=force, dask=dask))
    typer.echo(publish_notebook(settings, notebook, parameters).link)


@app.command(epilog="Example: dmarckit run daily")
def run(
    name: Annotated[str, typer.Argument(help="Name of a file in schedules/, without .yaml.")],
    slot: Annotated[
        str | None,
        typer.Option(help="Only if the slot at or before this time (or: newest) is not done."),
    ] = None,
) -> None:
    """One schedule now: ingest, page, alerts, Slack message.

    Exit status 0 when all is well (or the slot is done), 1 when a person should look at it,
    2 when it failed or runs already.
    """
    from dmarckit.cli.jobs import run_command

    raise typer.Exit(run_command(name, slot))


Format = Annotated[str, typer.Option("--format", "-f", help="table or json.")]
Now = Annotated[
    str | None, typer.Option(help="Look as of this time (ISO 8601, UTC); default: the present.")
]
Days = Annotated[int, typer.Option(help="Days before that to look at.")]
Domains = Annotated[
    list[str] | None, typer.Option("--domain", "-d", help="Only this domain; may be repeated.")
]


@app.command(epilog="Example: dmarckit findings --domain example.com")
def findings(
    format_: Format = "table",
    now: Now = None,
    days: Days = 7,
    domain: Domains = None,
    dask: Dask = None,
) -> None:
    """What is wrong, what changed, what to do next."""
    from dmarckit.cli.analysis import findings_command
    from dmarckit.core import load_settings

    settings = load_settings()
    raise typer.Exit(
        findings_command(
            settings, format_=format_, now=now, days=days, domains=domain or (), dask=dask
        )
    )


@app.command(epilog="Example: dmarckit senders --days 30 --resolve")
def senders(
    format_: Format = "table",
    now: Now = None,
    days: Days = 7,
    domain: Domains = None,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Look up host names in DNS first, and keep them.")
    ] = False,
) -> None:
    """Who sent in the name of which domain, and what became of it."""
    from dmarckit.cli.analysis import senders_command
    from dmarckit.core import load_settings

    settings = load_settings()
    raise typer.Exit(
        senders_command(
            settings,
            format_=format_,
            now=now,
            days=days,
            domains=domain or (),
            resolve_names=resolve,
        )
    )


@app.command(epilog="Example: dmarckit whatif example.com 'p=reject; sp=quarantine'")
def whatif(
    domain: Annotated[str, typer.Argument(help="The domain that would publish the policy.")],
    policy: Annotated[str, typer.Argument(help="Tags p, sp, np, adkim, aspf.")],
    format_: Format = "table",
    now: Now = None,
    days: Days = 30,
) -> None:
    """What a policy would have quarantined or rejected, wanted mail and not."""
    from dmarckit.cli.analysis import whatif_command
    from dmarckit.core import load_settings

    settings = load_settings()
    raise typer.Exit(whatif_command(settings, domain, policy, format_=format_, now=now, days=days))


app.command(epilog="Example: dmarckit requirements --domain example.com")(requirements)
app.command(epilog="Example: dmarckit doctor --json --strict")(doctor)
app.command(epilog="Example: dmarckit watch --once")(watch)
app.command(epilog="Example: dmarckit schema records")(schema)
app.command(epilog="Example: dmarckit maintain --dry-run")(maintain)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: dmarckit lab --no-browser",
)
def lab(context: typer.Context) -> None:
    """JupyterLab on the notebooks.

    Further options go to JupyterLab itself. While there is no report in the lake, a
    temporary one with the demo's mails is shown.
    """
    from dmarckit.cli.pages import run_lab

    raise typer.Exit(run_lab(context.args))
