"""`dmarckit requirements`: what mailbox providers ask of senders, and whether it is so."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from dmarckit.core.settings import Settings

FORMATS = ("table", "json")
FIELDS = (
    "domain", "provider", "rule", "applies", "bulk", "verdict", "why", "disagree",
    "reports", "postmaster", "dns",
)  # fmt: skip


def requirements(
    format_: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
    domain: Annotated[
        list[str] | None, typer.Option("--domain", "-d", help="Only this; may be repeated.")
    ] = None,
    now: Annotated[
        str | None,
        typer.Option(help="Look as of this time (ISO 8601, UTC); default: the present."),
    ] = None,
) -> None:
    """What Google, Yahoo and Microsoft ask of senders, rule by rule, and whether it is so.

    From the reports of 30 days, and what `dmarckit postmaster pull` and `dmarckit dns check`
    have kept; nobody is asked. Exit status 0, whatever it says.
    """
    from dmarckit.core.settings import load_settings

    raise typer.Exit(
        requirements_command(load_settings(), format_=format_, domains=domain or (), now=now)
    )


def requirements_command(
    settings: Settings,
    *,
    format_: str = "table",
    domains: Sequence[str] = (),
    now: str | None = None,
    out: IO[str] | None = None,
) -> int:
    """Print the matrix; exit status 0.

    Raises SettingsError for a wrong option, LakeError for a lake that cannot be used.
    """
    from dmarckit.checks.requirements import matrix
    from dmarckit.cli.analysis_command import moment
    from dmarckit.cli.analysis_print import print_json
    from dmarckit.core.errors import SettingsError, one_line
    from dmarckit.findings.analysis import USUAL_DAYS, read_facts, read_outside
    from dmarckit.lake.lake import Lake

    if format_ not in FORMATS:
        raise SettingsError(f"--format {one_line(format_)}: formats are {', '.join(FORMATS)}")
    out, at, lake = out or sys.stdout, moment(now), Lake(settings.lake_url)
    facts = read_facts(settings, lake, at, USUAL_DAYS, domains)
    outside = read_outside(settings, lake, at, USUAL_DAYS, domains)
    table = matrix(facts, outside)
    if format_ == "json":
        print_json([_json(row) for row in table.to_dict("records")], out)
    else:
        _print_table(table, out)
        _print_missing(settings, outside.postmaster.empty, outside.dns.empty, out)
    return 0


def _json(row: dict[Any, Any]) -> dict[str, Any]:
    """A row of the matrix; `bulk` and the three views are null where nothing is known."""
    return {name: row[name] for name in FIELDS}


def _print_table(table: pd.DataFrame, out: IO[str]) -> None:
    """A line a domain and rule; what is not met, with the reason below it."""
    from dmarckit.core.errors import one_line
    from dmarckit.core.words import plural

    if table.empty:
        out.write("There is no domain: name some in the setting domains, or ingest.\n")
        return
    for domain, rows in table.groupby("domain", sort=False):
        out.write(f"{one_line(domain)}\n")
        for rule, cells in rows.groupby("rule", sort=False):
            said = ", ".join(f"{c.provider} {c.verdict}" for c in cells.itertuples())
            mark = " (views disagree)" if cells["disagree"].any() else ""
            out.write(f"  {rule:<22} {said}{mark}\n")
            for why in cells.loc[cells["verdict"] == "not met", "why"].unique():
                out.write(f"  {'':<22} {one_line(why, 600)}\n")
        out.write("\n")
    broken = table[table["verdict"] == "not met"].groupby(["domain", "rule"]).ngroups
    out.write(f"{plural(table['domain'].nunique(), 'domain')}, {broken} rules not met.\n")


def _print_missing(settings: Settings, no_google: bool, no_dns: bool, out: IO[str]) -> None:
    from dmarckit.checks.postmaster_credentials import NOT_CONNECTED

    if no_google and settings.google_credentials is None:
        out.write(f"{NOT_CONNECTED}.\n")
    elif no_google:
        out.write("Postmaster Tools said nothing yet: run dmarckit postmaster pull.\n")
    if no_dns:
        out.write("DNS was not asked in the last 30 days: run dmarckit dns check.\n")
