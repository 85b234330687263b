"""`dmarckit dns check`: what is wrong in DNS, and what to publish."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Annotated

import typer

from dmarckit.core.errors import SettingsError, one_line

if TYPE_CHECKING:
    from dmarckit.checks.dns import Checked
    from dmarckit.core.settings import Settings

FORMATS = ("table", "json")
OK, PROBLEMS, COULD_NOT_RUN = 0, 1, 2

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What DNS says about the domains.",
)


@app.callback()
def _group() -> None:
    """Keeps `check` a command of its own name while it is the only one."""


@app.command("check", epilog="Example: dmarckit dns check --domain example.com")
def _check(
    domain: Annotated[
        list[str] | None, typer.Option("--domain", "-d", help="Only this domain; may be repeated.")
    ] = None,
    format_: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
    https: Annotated[
        bool, typer.Option("--https", help="Get MTA-STS policy files over HTTPS as well.")
    ] = False,
) -> None:
    """Ask DNS about the domains now, and keep the first answers of the day.

    DMARC, SPF, the DKIM keys and own addresses that reports show, MX, MTA-STS, TLS-RPT,
    BIMI, and whether others agreed to take reports. Exit status 0 when all is well, 1 when
    something is to be done, 2 when it could not run.
    """
    from dmarckit.core.settings import load_settings

    raise typer.Exit(
        check_command(load_settings(), domains=domain or (), format_=format_, https=https)
    )


def check_command(
    settings: Settings,
    *,
    domains: Sequence[str] = (),
    format_: str = "table",
    https: bool = False,
    now: datetime | None = None,
    out: IO[str] | None = None,
) -> int:
    """Check, print, and give the exit status: 0 well, 1 problems, 2 DNS did not answer.

    Raises SettingsError for a wrong option, MissingExtra without checkdmarc and dnspython,
    LakeError for a lake that cannot be used.
    """
    if format_ not in FORMATS:
        raise SettingsError(f"--format {one_line(format_)}: formats are {', '.join(FORMATS)}")
    out = out or sys.stdout
    done = _checked(settings, domains, now or datetime.now(UTC), https=https)
    if format_ == "json":
        _print_json(done, out)
    else:
        _print_table(done, out)
    if not done.rows:
        return COULD_NOT_RUN if done.silent else OK
    return PROBLEMS if done.problems else OK


def _checked(settings: Settings, domains: Sequence[str], now: datetime, *, https: bool) -> Checked:
    from dmarckit.checks.dns import check

    fetch = None
    if https:
        from dmarckit.checks.dns_policy_file import fetch_policy

        fetch = fetch_policy
    return check(settings, now=now, domains=domains or None, fetch=fetch)


def _print_json(done: Checked, out: IO[str]) -> None:
    from dmarckit.checks.dns import is_problem
    from dmarckit.cli.analysis_print import print_json

    rows = [
        {
            "domain": domain,
            "record": row.record,
            "name": row.name,
            "state": row.state,
            "problem": is_problem(row.record, row.state),
            "found": row.found,
            "problems": row.problems,
            "proposal": row.proposal,
            "values": row.values,
        }
        for domain, rows in done.rows.items()
        for row in rows
    ]
    print_json(rows, out)


def _print_table(done: Checked, out: IO[str]) -> None:
    from dmarckit.checks.dns import is_problem
    from dmarckit.core.words import plural

    for domain, rows in done.rows.items():
        out.write(f"{domain}\n")
        for row in rows:
            label = row.state.upper() if is_problem(row.record, row.state) else row.state
            out.write(f"  {label:<8} {row.record:<20} {row.name}\n")
            for problem in row.problems:
                out.write(f"           {problem}\n")
            if row.proposal:
                out.write(f"           publish: {row.proposal}\n")
        out.write("\n")
    if done.silent:
        names = ", ".join(one_line(name) for name in done.silent[:10])
        more = f" and {len(done.silent) - 10} more" if len(done.silent) > 10 else ""
        out.write(f"DNS did not answer for {names}{more}; check the setting resolvers.\n")
    if not done.rows and not done.silent:
        out.write("There is no domain to check: name some in the setting domains, or ingest.\n")
        return
    out.write(
        f"{plural(len(done.rows), 'domain')} checked, "
        f"{plural(done.problems, 'record')} to look after, {plural(done.kept, 'row')} kept.\n"
    )
