"""`dmarckit dns check` and `dmarckit postmaster`: what others say about the domains, asked now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from dmarckit import checks, core, lake, pages
from dmarckit.cli.options import COULD_NOT_RUN, OK, PROBLEMS, Domains, Format, check_options
from dmarckit.cli.output import print_json, print_table
from dmarckit.core import count, day, one_line, plural, rate_text, show_domain

dns_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What DNS says about the domains."
)


@dns_app.callback()
def _group() -> None:
    """Keep `check` a command of its own name while it is the only one."""


@dns_app.command("check", epilog="Example: dmarckit dns check --domain example.com")
def dns_check(
    domain: Domains = None,
    format_: Format = "table",
    https: Annotated[
        bool, typer.Option("--https", help="Get MTA-STS policy files over HTTPS as well.")
    ] = False,
) -> None:
    """Ask DNS about the domains now, and keep the first answers of the day.

    DMARC, SPF, the DKIM keys and own addresses that reports show, MX, MTA-STS, TLS-RPT,
    BIMI, and whether others agreed to take reports. Exit status 0 when all is well, 1 when
    something is to be done, 2 when it could not run.
    """
    check_options(format_)
    checked = checks.check_dns(
        core.load_settings(),
        now=datetime.now(UTC),
        domains=domain or (),
        fetch=checks.fetch_policy if https else None,
    )
    if format_ == "json":
        keys = ("domain", "record", "name", "state", "problem")  # the others follow them
        listed = []
        for name, row in ((name, row) for name, rows in checked.rows.items() for row in rows):
            own = {"domain": name, "problem": checks.is_problem(row.record, row.state)}
            listed.append(dict.fromkeys(keys) | vars(row) | own)
        print_json(listed)
    else:
        _print_dns_table(checked)
    if checked.silent and not checked.rows:
        raise typer.Exit(COULD_NOT_RUN)
    raise typer.Exit(PROBLEMS if checked.problems else OK)


def _print_dns_table(checked: checks.DnsCheckResult) -> None:
    for domain, rows in checked.rows.items():
        typer.echo(show_domain(domain))
        for row in rows:
            problem = checks.is_problem(row.record, row.state)
            label = row.state.upper() if problem else row.state
            typer.echo(f"  {label:<8} {row.record:<20} {row.name}")
            for text in row.problems:
                typer.echo(f"           {text}")
            if row.proposal:
                typer.echo(f"           publish: {row.proposal}")
        typer.echo()
    if checked.silent:
        names = ", ".join(one_line(name) for name in checked.silent[:10])
        more = f" and {len(checked.silent) - 10} more" if len(checked.silent) > 10 else ""
        typer.echo(f"DNS did not answer for {names}{more}; check the setting resolvers.")
    if not checked.rows and not checked.silent:
        typer.echo("There is no domain to check: name some in the setting domains, or ingest.")
        return
    typer.echo(
        f"{plural(len(checked.rows), 'domain')} checked, "
        f"{plural(checked.problems, 'record')} to look after, {plural(checked.kept, 'row')} kept."
    )


postmaster_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What Google Postmaster Tools says about mail to Gmail.",
    epilog="Example: dmarckit postmaster pull",
)


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
    result = checks.pull_metrics(core.load_settings(), now=datetime.now(UTC), days=days)
    values = plural(result.rows, "new or revised value")
    typer.echo(f"Asked Google about {plural(len(result.domains), 'domain')}: {values}.")
    for problem in result.problems:
        typer.echo(f"dmarckit: {problem}", err=True)
    raise typer.Exit(PROBLEMS if result.problems else OK)


@postmaster_app.command(epilog="Example: dmarckit postmaster show --format json --days 7")
def show(
    format_: Format = "table",
    days: Annotated[int, typer.Option(min=1, help="The last so many days.")] = 30,
    domain: Domains = None,
) -> None:
    """Print the newest values in the lake, without asking Google; json has all of every day."""
    check_options(format_)
    settings = core.load_settings()
    start = core.last_days(days).start
    metrics = checks.latest_metrics(lake.open_lake(settings), domain or (), start)
    if format_ != "json" and metrics.empty:
        no_data = "There is no data of these days: run dmarckit postmaster pull."
        typer.echo(no_data if settings.google_credentials else f"{checks.NOT_CONNECTED}.")
        return
    if format_ != "json":
        rates = ("spam_worst", "spam_rate", "spf", "dkim", "dmarc", "tls", "errors")
        numbers = (
            "highest spam rate", "newest", "SPF", "DKIM", "DMARC", "TLS", "not taken", "need work",
        )  # fmt: skip
        cells = (
            (
                one_line(show_domain(row["domain"]), 60),
                *(rate_text(row[name]) for name in rates),
                count(row["needs_work"]),
                day(row["last_day"]),
            )
            for row in pages.newest_rates(metrics).to_dict("records")
        )
        print_table(("domain", *numbers, "newest day"), cells, right=numbers)
        return
    rows = []  # {domain, day, metric, detail, share [0-1], number, text, pulled}
    for row in metrics.to_dict("records"):
        known = {name: None if core.is_missing(value) else value for name, value in row.items()}
        number = known["number"]
        known["number"] = None if number is None else int(number)
        times = {"day": f"{row['day']:%Y-%m-%d}", "pulled": row["pulled"].isoformat()}
        rows.append(known | times)
    print_json(rows)
