"""`dmarckit senders`, `findings` and `whatif`: the analysis on the terminal, or as JSON.

`dmarckit requirements`: what mailbox providers ask of senders, and whether it is so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from dmarckit.cli.output import (
    finding_json,
    iso,
    print_findings,
    print_json,
    print_senders,
    print_whatif,
    whatif_json,
)
from dmarckit.core import SettingsError, one_line

if TYPE_CHECKING:
    import pandas as pd

    from dmarckit.core import Settings
    from dmarckit.facts import Facts
    from dmarckit.lake import Lake

USUAL_DAYS = 7
FORMATS = ("table", "json")


def moment(text: str | None) -> datetime:
    """The `--now` of a command: ISO 8601, UTC unless it says otherwise; the present without.

    Raises SettingsError for a text that is no time.
    """
    if not text:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"--now {one_line(text)}: write a time as 2026-11-24T09:00:00Z, or a day"
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _check(format_: str, days: int) -> None:
    if format_ not in FORMATS:
        raise SettingsError(f"--format {one_line(format_)}: formats are {', '.join(FORMATS)}")
    if days < 1:
        raise SettingsError(f"--days {days}: it must be at least 1")


def findings_command(
    settings: Settings,
    *,
    format_: str = "table",
    now: str | None = None,
    days: int = USUAL_DAYS,
    domains: Sequence[str] = (),
    out: IO[str] | None = None,
    dask: str | None = None,
) -> int:
    """Print the findings; exit status 0, whatever they say.

    `dask` is the address of a scheduler whose workers read the records (else that of the
    settings, if there is one). Raises SettingsError for a wrong option, LakeError for a lake
    that cannot be used, and what `cluster_of` raises.
    """
    from dmarckit.findings import analyse
    from dmarckit.ingest import cluster_of

    _check(format_, days)
    out = out or sys.stdout
    at = moment(now)
    with cluster_of(settings, "lake", dask) as cluster:
        seen = analyse(settings, now=at, days=days, domains=domains, recorded=True, cluster=cluster)
    if format_ == "json":
        print_json([finding_json(item) for item in seen.findings], out)
    else:
        print_findings(seen.findings, seen.facts, out)
    return 0


def senders_command(
    settings: Settings,
    *,
    format_: str = "table",
    now: str | None = None,
    days: int = USUAL_DAYS,
    domains: Sequence[str] = (),
    resolve_names: bool = False,
    out: IO[str] | None = None,
) -> int:
    """Print who sent in the name of which domain; exit status 0.

    `resolve_names` asks DNS for the host names of addresses first (bounded, cached in the
    lake). Raises SettingsError for a wrong option, LakeError for a lake that cannot be used.
    """
    from dmarckit.findings import read_facts
    from dmarckit.lake import Lake

    _check(format_, days)
    out = out or sys.stdout
    at = moment(now)
    lake = Lake(settings.lake_url)
    facts = read_facts(settings, lake, at, days, domains)
    if resolve_names and _resolve(lake, facts, at):
        facts = read_facts(settings, lake, at, days, domains)
    rows = senders_rows(facts, at, days)
    if format_ == "json":
        print_json(rows, out)
    else:
        print_senders(rows, days, out)
    return 0


def _resolve(lake: Lake, facts: Facts, now: datetime) -> bool:
    """Host names into the cache; True when the facts may name senders better now."""
    from dmarckit.core import count, plural
    from dmarckit.facts import dns_lookup, resolve

    wanted = facts.sources.sort_values("messages", ascending=False)["source_ip"]
    result = resolve(lake, [str(ip) for ip in wanted], lookup=dns_lookup(), now=now)
    said = f"{plural(result.named, 'address', 'addresses')} with a host name"
    said += f", {count(result.nameless)} without, {count(result.left)} left for next time"
    if not result.answered:
        said += "; the resolver does not answer"
    print(said, file=sys.stderr)
    return result.named > 0


def senders_rows(facts: Facts, now: datetime, days: int) -> list[dict[str, Any]]:
    """One row per domain and sender of the last `days` days, the most messages first.

    domain, sender, kind, in_inventory, messages, aligned_messages (DKIM or SPF aligned), ips
    (number of addresses seen), classes (class → messages), first_day, last_day (in these days).
    """
    import pandas as pd

    start = pd.Timestamp(now).floor("D") - pd.Timedelta(days=days)
    rows = facts.messages[facts.messages["day"] >= start]
    seen = facts.addresses[facts.addresses["last_day"] >= start]
    ips = seen.groupby(["domain", "sender"], observed=True)["addresses"].sum()
    found = []
    for (domain, sender), part in rows.groupby(["domain", "sender"], observed=True):
        classes = part.groupby("class", observed=True)["messages"].sum()
        ordered = classes.sort_values(ascending=False, kind="stable")
        found.append(
            {
                "domain": str(domain),
                "sender": str(sender),
                "kind": str(part["sender_kind"].iloc[0]),
                "in_inventory": bool(part["in_inventory"].any()),
                "messages": round(float(part["messages"].sum())),
                "aligned_messages": round(
                    float(part.loc[part["da"] | part["sa"], "messages"].sum())
                ),
                "ips": int(ips.get((domain, sender), 0)),
                "classes": {str(name): round(float(n)) for name, n in ordered.items()},
                "first_day": iso(part["day"].min().date()),
                "last_day": iso(part["day"].max().date()),
            }
        )
    return sorted(found, key=lambda r: (r["domain"], -r["messages"], r["sender"]))


def whatif_command(
    settings: Settings,
    domain: str,
    policy: str,
    *,
    format_: str = "table",
    now: str | None = None,
    days: int = 30,
    out: IO[str] | None = None,
) -> int:
    """Print what a policy (``p=reject; sp=none``) would have stopped; exit status 0.

    Raises SettingsError for a wrong option or policy, LakeError for a lake that cannot be used.
    """
    from dmarckit.findings import parse_policy, read_facts, what_if
    from dmarckit.lake import Lake

    _check(format_, days)
    out = out or sys.stdout
    wanted = parse_policy(domain, policy)
    facts = read_facts(settings, Lake(settings.lake_url), moment(now), days, [domain])
    result = what_if(facts, domain.rstrip("."), wanted, days)
    if format_ == "json":
        print_json(whatif_json(result), out)
    else:
        print_whatif(result, days, out)
    return 0


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
    from dmarckit.core import load_settings

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
    from dmarckit.checks import matrix
    from dmarckit.findings import read_facts, read_outside
    from dmarckit.lake import Lake

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
    from dmarckit.core import plural

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
    from dmarckit.checks import NOT_CONNECTED

    if no_google and settings.google_credentials is None:
        out.write(f"{NOT_CONNECTED}.\n")
    elif no_google:
        out.write("Postmaster Tools said nothing yet: run dmarckit postmaster pull.\n")
    if no_dns:
        out.write("DNS was not asked in the last 30 days: run dmarckit dns check.\n")
