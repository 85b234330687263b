"""`dmarckit findings`, `senders`, `whatif` and `requirements`: what the reports add up to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmarckit.cli.options import Dask, Days, Domains, Format, Now, check_options, parse_now
from dmarckit.cli.output import print_json, print_table
from dmarckit.core import one_line

if TYPE_CHECKING:
    import pandas as pd

    from dmarckit.core import Settings
    from dmarckit.facts import Facts
    from dmarckit.findings import Finding, LedgerEntry, WhatIf
    from dmarckit.lake import Lake

POLICY_TAGS = ("p", "sp", "np", "adkim", "aspf")
COUNTS = ("messages", "passing", "quarantined", "rejected", "legitimate", "indirect", "unwanted")
"""columns of a what-if, in messages"""
SHOWN = 50  # senders of a what-if on the terminal
REQUIREMENT_FIELDS = (
    "domain", "provider", "rule", "applies", "bulk", "verdict", "why", "disagree",
    "reports", "postmaster", "dns",
)  # fmt: skip


def findings(
    format_: Format = "table",
    now: Now = None,
    days: Days = 7,
    domain: Domains = None,
    dask: Dask = None,
) -> None:
    """Print what is wrong, what changed, what to do next."""
    from dmarckit.core import load_settings
    from dmarckit.findings import analyse
    from dmarckit.ingest import cluster_of

    settings = load_settings()
    check_options(format_, days=days)
    at = parse_now(now)
    with cluster_of(settings, "lake", dask) as cluster:
        seen = analyse(
            settings, now=at, days=days, domains=domain or (), recorded=True, cluster=cluster
        )
    if format_ == "json":
        print_json([finding_json(item) for item in seen.findings])
    else:
        _print_findings(seen.findings, seen.facts)


def finding_json(entry: LedgerEntry) -> dict[str, Any]:
    """Return the fields of a finding, its fingerprint, its status, and whether it is muted."""
    finding = entry.finding
    return {
        "kind": finding.kind,
        "domain": finding.domain,
        "subject": finding.subject,
        "severity": finding.severity,
        "status": entry.status,
        "messages": finding.messages,
        "first_day": _iso(finding.first_day),
        "last_day": _iso(finding.last_day),
        "reporters": finding.reporters,
        "summary": finding.summary,
        "action": finding.action,
        "evidence": finding.evidence,
        "fingerprint": finding.fingerprint,
        "muted": finding.muted,
        "mute_reason": finding.mute_reason,
    }


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _print_findings(entries: Sequence[LedgerEntry], facts: Facts) -> None:
    """Print open findings in full, muted and resolved ones in a line each."""
    from dmarckit.core import plural

    if facts.reports.empty and not entries:
        typer.echo("There is no data: no report covers these days. Run dmarckit ingest first.")
        return
    shown = [item for item in entries if not item.finding.muted and item.status != "RESOLVED"]
    if not shown:
        typer.echo(f"No findings ({plural(len(facts.reports), 'report')} looked at).")
    for item in shown:
        _print_finding(item.finding, item.status)
    for finding in (item.finding for item in entries if item.finding.muted):
        typer.echo(f"MUTED ({one_line(finding.mute_reason)}) {one_line(finding.fingerprint)}")
    for item in entries:
        if item.status == "RESOLVED":
            typer.echo(f"RESOLVED {one_line(item.finding.fingerprint)}")


def _print_finding(finding: Finding, status: str) -> None:
    where = one_line(finding.domain) or "all domains"
    typer.echo(f"{finding.severity.upper()} {status}  {where}  {finding.kind}")
    typer.echo(f"  {finding.summary}\n  → {finding.action}\n")


def senders(
    format_: Format = "table",
    now: Now = None,
    days: Days = 7,
    domain: Domains = None,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Look up host names in DNS first, and keep them.")
    ] = False,
) -> None:
    """Print who sent in the name of which domain, and what became of it."""
    from dmarckit.core import load_settings
    from dmarckit.findings import read_facts
    from dmarckit.lake import open_lake

    settings = load_settings()
    check_options(format_, days=days)
    at = parse_now(now)
    lake = open_lake(settings)
    facts = read_facts(settings, lake, at, days, domain or ())
    if resolve and _resolve_names(lake, facts, at):
        facts = read_facts(settings, lake, at, days, domain or ())
    rows = _senders(facts, at, days)
    if format_ == "json":
        print_json(rows)
    else:
        _print_senders(rows, days)


def _resolve_names(lake: Lake, facts: Facts, now: datetime) -> bool:
    """Resolve host names into the lake; return True when the facts may name senders better now."""
    from dmarckit.core import count, plural
    from dmarckit.facts import dns_lookup, resolve

    by_messages = facts.sources.sort_values("messages", ascending=False)["source_ip"]
    result = resolve(lake, [str(ip) for ip in by_messages], lookup=dns_lookup(), now=now)
    text = f"{plural(result.named, 'address', 'addresses')} with a host name"
    text += f", {count(result.nameless)} without, {count(result.left)} left for next time"
    if not result.answered:
        text += "; the resolver does not answer"
    print(text, file=sys.stderr)
    return result.named > 0


def _senders(facts: Facts, now: datetime, days: int) -> list[dict[str, Any]]:
    """Return one row per domain and sender of the last `days` days, the most messages first.

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
        aligned = part.loc[part["da"] | part["sa"], "messages"]
        found.append(
            {
                "domain": str(domain),
                "sender": str(sender),
                "kind": str(part["sender_kind"].iloc[0]),
                "in_inventory": bool(part["in_inventory"].any()),
                "messages": round(float(part["messages"].sum())),
                "aligned_messages": round(float(aligned.sum())),
                "ips": int(ips.get((domain, sender), 0)),
                "classes": {str(name): round(float(n)) for name, n in ordered.items()},
                "first_day": _iso(part["day"].min().date()),
                "last_day": _iso(part["day"].max().date()),
            }
        )
    return sorted(found, key=lambda r: (r["domain"], -r["messages"], r["sender"]))


def _print_senders(rows: Sequence[dict[str, Any]], days: int) -> None:
    from dmarckit.core import count, percent, plural

    if not rows:
        typer.echo(f"There is no data: nobody sent anything in the last {plural(days, 'day')}.")
        return
    print_table(
        ("domain", "sender", "kind", "messages", "aligned", "addresses", "classes", "last seen"),
        (
            (
                one_line(row["domain"], 60),
                one_line(row["sender"], 60)
                + ("" if row["in_inventory"] else " (not in the inventory)"),
                one_line(row["kind"]),
                count(row["messages"]),
                percent(row["aligned_messages"] / row["messages"] if row["messages"] else None),
                count(row["ips"]),
                ", ".join(f"{name} {count(n)}" for name, n in row["classes"].items()),
                row["last_day"],
            )
            for row in rows
        ),
        right=("messages", "aligned", "addresses"),
    )


def whatif(
    domain: Annotated[str, typer.Argument(help="The domain that would publish the policy.")],
    policy: Annotated[str, typer.Argument(help="Tags p, sp, np, adkim, aspf.")],
    format_: Format = "table",
    now: Now = None,
    days: Days = 30,
) -> None:
    """Print what a policy would have quarantined or rejected, wanted mail and not."""
    from dmarckit.core import load_settings
    from dmarckit.findings import parse_policy, read_facts, what_if
    from dmarckit.lake import open_lake

    settings = load_settings()
    check_options(format_, days=days)
    wanted = parse_policy(domain, policy)
    facts = read_facts(settings, open_lake(settings), parse_now(now), days, [domain])
    result = what_if(facts, domain.rstrip("."), wanted, days)
    if format_ == "json":
        tags = {name: getattr(result.policy, name) for name in POLICY_TAGS}
        print_json(
            {
                "domain": result.domain,
                "policy": {name: value for name, value in tags.items() if value},
                **{name: getattr(result, name) for name in COUNTS},
                "senders": result.senders.to_dict("records"),
            }
        )
    else:
        _print_whatif(result, days)


def _print_whatif(result: WhatIf, days: int) -> None:
    """Print a sentence, and what would be stopped, by sender."""
    from dmarckit.core import count, plural

    name = one_line(result.domain)
    if not result.messages:
        typer.echo(f"There is no data: nobody sent as {name} in the last {days} days.")
        return
    typer.echo(
        f"Of {plural(result.messages, 'message')} as {name} in {plural(days, 'day')}, "
        f"{result.quarantined:,} would be quarantined and {result.rejected:,} rejected: "
        f"{result.legitimate:,} that may be legitimate, {result.indirect:,} forwarded or changed "
        f"on the way, {result.unwanted:,} unwanted."
    )
    if not result.quarantined + result.rejected:
        return
    cells = ("sender", "header_from", "class", "action", "nature")
    print_table(
        ("sender", "From", "today", "would be", "nature", "messages"),
        (
            (*(one_line(row[cell], 60) for cell in cells), count(row["messages"]))
            for row in result.senders.head(SHOWN).to_dict("records")
        ),
        right=("messages",),
    )
    if len(result.senders) > SHOWN:
        typer.echo(f"… and {plural(len(result.senders) - SHOWN, 'more row')} (--format json)")


def requirements(format_: Format = "table", domain: Domains = None, now: Now = None) -> None:
    """Print what Google, Yahoo and Microsoft ask of senders, rule by rule, and whether it is so.

    From the reports of 30 days, and what `dmarckit postmaster pull` and `dmarckit dns check`
    have kept; nobody is asked. Exit status 0, whatever it says.
    """
    from dmarckit.checks import requirement_matrix
    from dmarckit.core import load_settings
    from dmarckit.findings import USUAL_DAYS, read_facts, read_outside
    from dmarckit.lake import open_lake

    settings = load_settings()
    check_options(format_)
    at, lake, domains = parse_now(now), open_lake(settings), domain or ()
    facts = read_facts(settings, lake, at, USUAL_DAYS, domains)
    outside = read_outside(settings, lake, at, USUAL_DAYS, domains)
    table = requirement_matrix(facts, outside)
    if format_ == "json":
        # bulk and the three views are null where nothing is known
        rows = table.to_dict("records")
        print_json([{name: row[name] for name in REQUIREMENT_FIELDS} for row in rows])
    else:
        _print_requirements(table)
        _print_missing(settings, outside.postmaster.empty, outside.dns.empty)


def _print_requirements(table: pd.DataFrame) -> None:
    """Print a line a domain and rule; what is not met, with the reason below it."""
    from dmarckit.core import plural

    if table.empty:
        typer.echo("There is no domain: name some in the setting domains, or ingest.")
        return
    for domain, rows in table.groupby("domain", sort=False):
        typer.echo(one_line(domain))
        for rule, cells in rows.groupby("rule", sort=False):
            verdicts = ", ".join(f"{c.provider} {c.verdict}" for c in cells.itertuples())
            mark = " (views disagree)" if cells["disagree"].any() else ""
            typer.echo(f"  {rule:<22} {verdicts}{mark}")
            for why in cells.loc[cells["verdict"] == "not met", "why"].unique():
                typer.echo(f"  {'':<22} {one_line(why, 600)}")
        typer.echo()
    broken = table[table["verdict"] == "not met"].groupby(["domain", "rule"]).ngroups
    typer.echo(f"{plural(table['domain'].nunique(), 'domain')}, {broken} rules not met.")


def _print_missing(settings: Settings, no_google: bool, no_dns: bool) -> None:
    from dmarckit.checks import NOT_CONNECTED

    if no_google and settings.google_credentials is None:
        typer.echo(f"{NOT_CONNECTED}.")
    elif no_google:
        typer.echo("Postmaster Tools said nothing yet: run dmarckit postmaster pull.")
    if no_dns:
        typer.echo("DNS was not asked in the last 30 days: run dmarckit dns check.")
