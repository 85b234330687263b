"""The command line: its commands, and how it ends.

The rooms load what is asked of them, inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dmarckit import __version__, core
from dmarckit.cli import analysis, demo, export, jobs, lab, lake, pages, parse
from dmarckit.cli.aws.command import app as aws_app
from dmarckit.cli.checks import dns_app, postmaster_app
from dmarckit.cli.doctor.command import doctor
from dmarckit.cli.init import init
from dmarckit.cli.options import COULD_NOT_RUN, INTERRUPTED, join_parameters
from dmarckit.cli.output import console
from dmarckit.cli.senders import senders_app
from dmarckit.core import DmarckitError, SettingsError

GROUPS = {
    "Every day": ("run", "open", "findings", "senders", "requirements"),
    "Look closer": (
        "page", "export", "whatif", "parse", "lab", "notebook", "dns", "postmaster", "help",
    ),
    "Set up": ("demo", "init", "doctor", "schedules", "watch", "aws"),
    "Upkeep": ("ingest", "maintain", "schema"),
}  # fmt: skip


class _Grouped(TyperGroup):
    """The commands, listed in groups; how they end does not depend on Typer's version."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, EOFError, typer.Abort):
            typer.echo("\ndmarckit: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # the reader (head, less) has gone; nothing is left to say to it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(COULD_NOT_RUN) from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, names in GROUPS.items():
            with formatter.section(title):
                shown = {name: self.commands[name].get_short_help_str(64) for name in names}
                formatter.write_dl([(f"{name:<12}", text) for name, text in shown.items()])


app = typer.Typer(
    cls=_Grouped,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="DMARC reports from S3 to one page a morning: what is wrong, what changed, what to do.",
    epilog="Start with: dmarckit demo",
)
notebook_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The notebooks: copy one, to change it."
)
for name, group in (
    ("aws", aws_app),
    ("dns", dns_app),
    ("notebook", notebook_app),
    ("postmaster", postmaster_app),
    ("schedules", jobs.app),
    ("senders", senders_app),
):
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command line; an expected failure is one line on stderr, and any has status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal cannot show ends nothing
            stream.reconfigure(errors="replace")
    try:
        app(join_parameters(sys.argv[1:]))
    except DmarckitError as error:
        _say(error)
    except OSError as error:
        where = core.one_line(error.filename or os.environ.get("TMPDIR") or "/tmp")  # noqa: S108
        unusable = isinstance(error, FileNotFoundError) and "temporary directory" in str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or unusable:
            text = f"no room for {where} ({error.strerror or error}); free some space, or "
            _say(core.StorageError(f"{text}set TMPDIR to a folder on another disk"))
        elif error.filename is None:
            traceback.print_exc()
        else:
            _say(core.StorageError(f"cannot use {where}: {error.strerror}"))
    except Exception:
        traceback.print_exc()
    else:
        return
    sys.exit(COULD_NOT_RUN)


def _say(error: DmarckitError) -> None:
    if not core.log_failure(error):
        typer.echo(f"dmarckit: {core.one_line(error, 4000)}", err=True)


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
        raise SettingsError(f"the topic {core.unknown_name(topic, list(known))}")
    text = known[topic].read_text("utf-8")
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        screen = console()
        with screen.pager(styles=True):
            screen.print(Markdown(text))
    else:
        sys.stdout.write(text)


for name, command, example in (
    ("demo", demo.demo, "--mails ~/dmarc-mails"),
    ("doctor", doctor, "--json --strict"),
    ("export", export.export, "findings --to findings.xlsx"),
    ("findings", analysis.print_findings, "--domain example.com"),
    ("ingest", lake.ingest, "--since 2026-11-01 --retry unreadable"),
    ("init", init, "--home s3://example-dmarc/kit --mail s3://example-dmarc/rua"),
    ("maintain", lake.maintain, "--dry-run"),
    ("open", pages.open_, "overview"),
    ("page", pages.page, "overview --days 7"),
    ("parse", parse.parse, "reports/ --format table"),
    ("requirements", analysis.print_requirements, "--domain example.com"),
    ("run", jobs.run, "daily"),
    ("schema", lake.schema, "records"),
    ("watch", jobs.watch, "--once"),
    ("whatif", analysis.print_whatif, "example.com 'p=reject; sp=quarantine'"),
):
    app.command(name, epilog=f"Example: dmarckit {name} {example}")(command)
app.command(
    "lab",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: dmarckit lab --no-browser",
)(lab.lab)
notebook_app.command("copy", epilog="Example: dmarckit notebook copy domain")(lab.copy_notebook)


@notebook_app.callback()
def _group() -> None:
    """Keep `copy` a command of its own name while it is the only one."""
