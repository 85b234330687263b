"""`dmarckit postmaster`: ask Google Postmaster Tools, and show what it said."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from dmarckit.checks.postmaster_pull import Pulled

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What Google Postmaster Tools says about mail to Gmail.",
    epilog="Example: dmarckit postmaster pull",
)
SHOWN_DAYS = 30


@app.command(epilog="Example: dmarckit postmaster pull --days 30")
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

    from dmarckit.checks.postmaster_pull import pull as ask
    from dmarckit.core.settings import load_settings

    result = ask(load_settings(), now=datetime.now(UTC), days=days)
    typer.echo(told(result))
    for problem in result.problems:
        typer.echo(f"dmarckit: {problem}", err=True)
    raise typer.Exit(1 if result.problems else 0)


@app.command(epilog="Example: dmarckit postmaster show --format json --days 7")
def show(
    format_: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
    days: Annotated[int, typer.Option(min=1, help="The last so many days.")] = SHOWN_DAYS,
    domain: Annotated[
        list[str] | None, typer.Option("--domain", "-d", help="Only this; may be repeated.")
    ] = None,
) -> None:
    """The newest values in the lake; json has every metric of every day. Google is not asked."""
    import sys

    from dmarckit.checks.postmaster import latest
    from dmarckit.core.errors import SettingsError
    from dmarckit.core.settings import load_settings
    from dmarckit.core.window import last_days
    from dmarckit.lake.lake import open_lake

    if format_ not in ("table", "json"):
        raise SettingsError(f"--format {format_}: formats are table, json")
    settings = load_settings()
    metrics = latest(open_lake(settings), domain or (), last_days(days).start)
    if format_ == "json":
        _print_json(metrics, sys.stdout)
    else:
        _print_table(metrics, settings.google_credentials is not None, sys.stdout)


def told(result: Pulled) -> str:
    """What a pull did, in one line."""
    from dmarckit.core.words import plural

    values = plural(result.rows, "new or revised value")
    return f"Asked Google about {plural(len(result.domains), 'domain')}: {values}."


def _print_json(metrics: pd.DataFrame, out: IO[str]) -> None:
    """A list of {domain, day, metric, detail, share [0-1], number, text, pulled}."""
    from dmarckit.cli.analysis_print import print_json
    from dmarckit.core.words import is_missing

    rows = []
    for row in metrics.to_dict("records"):
        known = {name: None if is_missing(value) else value for name, value in row.items()}
        number = known["number"]
        known["number"] = None if number is None else int(number)
        times = {"day": f"{row['day']:%Y-%m-%d}", "pulled": row["pulled"].isoformat()}
        rows.append(known | times)
    print_json(rows, out)


def _print_table(metrics: pd.DataFrame, is_connected: bool, out: IO[str]) -> None:
    from rich.table import Table

    from dmarckit.checks.postmaster_credentials import NOT_CONNECTED
    from dmarckit.cli.progress import console
    from dmarckit.core.errors import one_line
    from dmarckit.core.rates import rate_text
    from dmarckit.core.words import count, day
    from dmarckit.pages.sections.postmaster_summary import by_domain

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
