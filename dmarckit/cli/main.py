"""The command line: its commands, and how it ends.

Libraries are imported inside the commands, so that ``--help`` answers at once. A command whose
module needs them at its top is declared here, the others beside what they do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from dmarckit import __version__, core, pages
from dmarckit.cli import analysis, jobs, lake, parse
from dmarckit.cli.aws.command import app as aws_app
from dmarckit.cli.checks import dns_app, postmaster_app
from dmarckit.cli.doctor.command import doctor
from dmarckit.cli.options import COULD_NOT_RUN, Dask, join_parameters, parameter_values
from dmarckit.cli.output import console
from dmarckit.cli.senders import senders_app
from dmarckit.core import DmarckitError, SettingsError

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
app.add_typer(jobs.app, name="schedules")
app.add_typer(senders_app, name="senders")


def main() -> None:
    """Run the command line; an expected failure is one line on stderr and status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal cannot show ends nothing
            stream.reconfigure(errors="replace")
    try:
        with _full_disk():
            app(join_parameters(sys.argv[1:]))
    except DmarckitError as error:
        if not core.log_failure(error):
            typer.echo(f"dmarckit: {core.one_line(error, 4000)}", err=True)
        sys.exit(COULD_NOT_RUN)
    except KeyboardInterrupt:
        typer.echo("dmarckit: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # the reader (head, less) has gone; nothing is left to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(COULD_NOT_RUN)


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
    """Raise a StorageError for what the system says of a disk without room."""
    try:
        yield
    except OSError as error:
        unusable = isinstance(error, FileNotFoundError) and "temporary directory" in str(error)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and not unusable:
            raise
        where = error.filename or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
        raise core.StorageError(
            f"no room for {core.one_line(where)} ({error.strerror or error}); free some space, or "
            "set TMPDIR to a folder on another disk"
        ) from error


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
        os.environ[core.CONFIG_VARIABLE] = str(config.absolute())  # notebooks' kernels read it too


@app.command("help", epilog="Example: dmarckit help findings")
def help_(
    topic: Annotated[str | None, typer.Argument(help="None: the list of topics.")] = None,
) -> None:
    """Show the documentation of a topic."""
    found = {path.stem: path for path in (Path(__file__).parent.parent / "docs").glob("*.md")}
    for folder in ("notebooks", "schedules", "schedules/aws"):  # beside what they explain
        found[Path(folder).name] = core.shipped_files(folder, "README.md")["README"]
    known = dict(sorted(found.items()))
    if topic is None:
        width = max(map(len, known))
        for name, path in known.items():
            title = path.read_text("utf-8").partition("\n")[0].removeprefix("# ").strip()
            typer.echo(f"{name:<{width}}  {title}")
        typer.echo("\nShow one with: dmarckit help TOPIC")
        return
    if topic not in known:
        raise SettingsError(f"help {topic}: topics are {', '.join(known)}")
    text = known[topic].read_text("utf-8")
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        screen = console()
        with screen.pager(styles=True):
            screen.print(Markdown(text))
    else:
        sys.stdout.write(text)


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
    """Show the whole system on this machine, from mails to page."""
    from dmarckit.cli.demo import run_demo

    raise typer.Exit(run_demo(mails=mails, keep=keep, out=out))


app.command(epilog="Example: dmarckit parse reports/ --format table")(parse.parse)
app.command(epilog="Example: dmarckit ingest --retry unreadable")(lake.ingest)


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
    if dask and not all_:
        raise SettingsError(f"--dask {dask}: only the pages of --all are built on a cluster")
    settings = core.start_command()
    core.log_step(f"Building the page {notebook}")
    parameters = parameter_values(parameter or ())
    if all_:
        from dmarckit.cli.pages import build_fleet

        raise typer.Exit(build_fleet(settings, notebook, parameters, force=force, dask=dask))
    typer.echo(pages.publish_notebook(settings, notebook, parameters).link)


app.command(epilog="Example: dmarckit run daily")(jobs.run)
for name, command, options in (
    ("findings", analysis.print_findings, "--domain example.com"),
    ("whatif", analysis.print_whatif, "example.com 'p=reject; sp=quarantine'"),
    ("requirements", analysis.print_requirements, "--domain example.com"),
    ("doctor", doctor, "--json --strict"),
    ("watch", jobs.watch, "--once"),
    ("schema", lake.schema, "records"),
    ("maintain", lake.maintain, "--dry-run"),
):
    app.command(name, epilog=f"Example: dmarckit {name} {options}")(command)


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
