"""`dmarckit dns check`: what is wrong in DNS, and what to publish.

`dmarckit postmaster`: ask Google Postmaster Tools, and show what it said.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Annotated

import typer

from dmarckit.core import SettingsError, one_line

if TYPE_CHECKING:
    import pandas as pd

    from dmarckit.checks import Checked, Pulled
    from dmarckit.core import Settings


FORMATS = ("table", "json")
OK, PROBLEMS, COULD_NOT_RUN = 0, 1, 2

dns_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What DNS says about the domains.",
)


@dns_app.callback()
def _group() -> None:
    """Keeps `check` a command of its own name while it is the only one."""


@dns_app.command("check", epilog="Example: dmarckit dns check --domain example.com")
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
    from dmarckit.core import load_settings

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
        _print_dns_json(done, out)
    else:
        _print_dns_table(done, out)
    if not done.rows:
        return COULD_NOT_RUN if done.silent else OK
    return PROBLEMS if done.problems else OK


def _checked(settings: Settings, domains: Sequence[str], now: datetime, *, https: bool) -> Checked:
    from dmarckit.checks import check

    fetch = None
    if https:
        from dmarckit.checks import fetch_policy

        fetch = fetch_policy
    return check(settings, now=now, domains=domains or None, fetch=fetch)


def _print_dns_json(done: Checked, out: IO[str]) -> None:
    from dmarckit.checks import is_problem
    from dmarckit.cli.output import print_json

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


def _print_dns_table(done: Checked, out: IO[str]) -> None:
    from dmarckit.checks import is_problem
    from dmarckit.core import plural

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


postmaster_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What Google Postmaster Tools says about mail to Gmail.",
    epilog="Example: dmarckit postmaster pull",
)
SHOWN_DAYS = 30


@postmaster_app.command(epilog="Example: dmarckit postmaster pull --days 30")
def pull(
    days: Annotated[
        int | None,
        typer.Option(min=1, help="Ask for the last so many days; default: for what is missing."),
    ] = None,
) -> None:
    """New and revised values from Google into the lake.

    Exit status 1 when Google refused something (the rest is kept), 2 when it could not run.
    """
    from datetime import UTC, datetime

    from dmarckit.checks import pull as ask
    from dmarckit.core import load_settings

    result = ask(load_settings(), now=datetime.now(UTC), days=days)
    typer.echo(told(result))
    for problem in result.problems:
        typer.echo(f"dmarckit: {problem}", err=True)
    raise typer.Exit(1 if result.problems else 0)


@postmaster_app.command(epilog="Example: dmarckit postmaster show --format json --days 7")
def show(
    format_: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
    days: Annotated[int, typer.Option(min=1, help="The last so many days.")] = SHOWN_DAYS,
    domain: Annotated[
        list[str] | None, typer.Option("--domain", "-d", help="Only this; may be repeated.")
    ] = None,
) -> None:
    """The newest values in the lake; json has every metric of every day. Google is not asked."""
    import sys

    from dmarckit.checks import latest
    from dmarckit.core import SettingsError, last_days, load_settings
    from dmarckit.lake import open_lake

    if format_ not in ("table", "json"):
        raise SettingsError(f"--format {format_}: formats are table, json")
    settings = load_settings()
    metrics = latest(open_lake(settings), domain or (), last_days(days).start)
    if format_ == "json":
        _print_postmaster_json(metrics, sys.stdout)
    else:
        _print_postmaster_table(metrics, settings.google_credentials is not None, sys.stdout)


def told(result: Pulled) -> str:
    """What a pull did, in one line."""
    from dmarckit.core import plural

    values = plural(result.rows, "new or revised value")
    return f"Asked Google about {plural(len(result.domains), 'domain')}: {values}."


def _print_postmaster_json(metrics: pd.DataFrame, out: IO[str]) -> None:
    """A list of {domain, day, metric, detail, share [0-1], number, text, pulled}."""
    from dmarckit.cli.output import print_json
    from dmarckit.core import is_missing

    rows = []
    for row in metrics.to_dict("records"):
        known = {name: None if is_missing(value) else value for name, value in row.items()}
        number = known["number"]
        known["number"] = None if number is None else int(number)
        times = {"day": f"{row['day']:%Y-%m-%d}", "pulled": row["pulled"].isoformat()}
        rows.append(known | times)
    print_json(rows, out)


def _print_postmaster_table(metrics: pd.DataFrame, is_connected: bool, out: IO[str]) -> None:
    from rich.table import Table

    from dmarckit.checks import NOT_CONNECTED
    from dmarckit.cli.output import console
    from dmarckit.core import count, day, one_line, rate_text
    from dmarckit.pages.sections.postmaster import by_domain

    if metrics.empty:
        asked = "There is no data of these days: run dmarckit postmaster pull."
        out.write(f"{asked if is_connected else NOT_CONNECTED + '.'}\n")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("domain")
    for title in ("highest spam rate", "newest", "SPF", "DKIM", "DMARC", "TLS", "not taken"):
        table.add_column(title, justify="right")
    table.add_column("need work", justify="right")
    table.add_column("newest day")
    shares = ("spam_worst", "spam_rate", "spf", "dkim", "dmarc", "tls", "errors")
    for row in by_domain(metrics).to_dict("records"):
        table.add_row(
            one_line(row["domain"], 60),
            *(rate_text(row[name]) for name in shares),
            count(row["needs_work"]),
            day(row["last_day"]),
        )
    screen = console()
    screen.file = out
    screen.print(table)
