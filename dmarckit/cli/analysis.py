"""`dmarckit findings`, `whatif` and `requirements`: what the reports add up to."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmarckit import checks, core, findings, ingest
from dmarckit.cli.options import (
    FORMATS,
    OK,
    PROBLEMS,
    Dask,
    Days,
    Domains,
    Format,
    FormatCsv,
    Now,
    Question,
    ask,
    check_options,
)  # fmt: skip
from dmarckit.cli.output import print_json, print_rows, print_table
from dmarckit.core import count, one_line, plural, show_domain

if TYPE_CHECKING:
    import pandas as pd

FINDING_FIELDS = (
    "kind", "domain", "subject", "severity", "status", "messages", "first_day", "last_day",
    "since", "reporters", "lost", "cause", "title", "summary", "action", "record", "evidence",
    "fingerprint", "muted", "mute_reason",
)  # fmt: skip
SHOWN = 50  # senders of a what-if on the terminal


def print_findings(
    format_: FormatCsv = "table",
    now: Now = None,
    days: Days = 7,
    domain: Domains = None,
    dask: Dask = None,
    record: Annotated[
        bool, typer.Option("--record", help="Compare the next ones with this one, as runs do.")
    ] = False,
) -> None:
    """Print what is wrong, what changed, what to do next.

    Exit status 1 while a finding is open that needs somebody (warning or critical, not muted).
    """
    check_options(format_, FORMATS)
    asked = ask(now, days, domain)
    with ingest.cluster_of(asked.settings, "lake", dask) as cluster:
        seen = analyse(asked, recorded=record, cluster=cluster)
    if not print_rows(map(finding_json, seen.findings), FINDING_FIELDS, format_):
        _print_as_text(asked, seen)
    raise typer.Exit(PROBLEMS if findings.urgent(seen.findings) else OK)


def analyse(asked: Question, **more: Any) -> findings.Analysis:
    """Return the analysis that the question asks for."""
    return findings.analyse(
        asked.settings, now=asked.now, days=asked.days, domains=asked.domains, **more
    )


def _print_as_text(asked: Question, seen: findings.Analysis) -> None:
    start = asked.now - timedelta(asked.days)
    if others := findings.left_out(asked.settings, asked.lake, seen.facts, start, asked.now):
        typer.echo(f"Without findings: {others}")
    if seen.facts.reports.empty and not seen.findings:
        typer.echo("There is no data: no report covers these days. Run dmarckit ingest first.")
        return
    shown = [item for item in seen.findings if not item.finding.muted and item.status != "RESOLVED"]
    if not shown:
        typer.echo(f"No findings ({plural(len(seen.facts.reports), 'report')} looked at).")
    for item in shown:
        finding = item.finding
        where = one_line(show_domain(finding.domain)) or "all domains"
        typer.echo(f"{finding.severity.upper()} {item.status}  {where}  {finding.kind}")
        typer.echo(f"  {finding.summary}\n  → {finding.action}")
        for record in finding.record:
            typer.echo(f"  {one_line(record.name, 300)} {record.type}: {record.value}")
        typer.echo("")
    for finding in (item.finding for item in seen.findings if item.finding.muted):
        typer.echo(f"MUTED ({one_line(finding.mute_reason)}) {one_line(finding.fingerprint)}")
    for item in seen.findings:
        if item.status == "RESOLVED":
            typer.echo(f"RESOLVED {one_line(item.finding.fingerprint)}")


def finding_json(entry: findings.LedgerEntry) -> dict[str, Any]:
    """Return the fields of a finding, its fingerprint, its status, and whether it is muted."""
    values = {
        name: getattr(entry if name == "status" else entry.finding, name) for name in FINDING_FIELDS
    }
    values["record"] = [asdict(record) for record in entry.finding.record]
    return {name: v.isoformat() if isinstance(v, date) else v for name, v in values.items()}


def print_whatif(
    domain: Annotated[str, typer.Argument(help="The domain that would publish the policy.")],
    policy: Annotated[str, typer.Argument(help="Tags p, sp, np, t, pct, adkim, aspf.")],
    format_: Format = "table",
    now: Now = None,
    days: Days = 30,
) -> None:
    """Print what a policy would have quarantined or rejected.

    t=y lowers the policy by one step (RFC 9989); pct is the share that older receivers
    (RFC 7489) apply it to, and they apply the one below to the rest.
    """
    check_options(format_)
    wanted = findings.parse_policy(domain, policy)
    facts = ask(now, days, [domain]).facts()
    result = findings.what_if(facts, wanted.domain or "", wanted, days)
    if format_ == "json":
        tags = {tag: getattr(wanted, name) for name, tag in findings.POLICY_TAGS.items()}
        policy_ = {tag: value for tag, value in tags.items() if value is not None}
        senders = result.senders.to_dict("records")
        print_json(vars(result) | {"policy": policy_, "senders": senders})
        return
    name = one_line(show_domain(result.domain))
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


def print_requirements(format_: Format = "table", domain: Domains = None, now: Now = None) -> None:
    """Print which rules of Google, Yahoo and Microsoft are met.

    From the reports of 30 days, and what `dmarckit postmaster pull` and `dmarckit dns check`
    have kept; nobody is asked. Exit status 1 when a rule is not met.
    """
    check_options(format_)
    asked = ask(now, findings.USUAL_DAYS, domain)
    settings, at, days = asked.settings, asked.now, asked.days
    outside = findings.read_outside(settings, asked.lake, at, days, asked.domains)
    matrix = checks.requirement_matrix(asked.facts(), outside)
    if format_ == "json":
        # bulk and the three views are null where nothing is known
        of_views = ["reports_why", "postmaster_why", "dns_why"]
        print_json(matrix.drop(columns=of_views).to_dict("records"))
    else:
        _print_matrix(settings, matrix, outside)
    raise typer.Exit(PROBLEMS if (matrix["verdict"] == "not met").any() else OK)


def _print_matrix(settings: core.Settings, matrix: pd.DataFrame, outside: checks.Outside) -> None:
    if matrix.empty:
        typer.echo("There is no domain: name some in the setting domains, or ingest.")
    for name, rows in matrix.groupby("domain", sort=False):
        typer.echo(one_line(show_domain(str(name))))
        for rule, cells in rows.groupby("rule", sort=False):
            verdicts = ", ".join(f"{c.provider} {c.verdict}" for c in cells.itertuples())
            mark = " (views disagree)" if cells["disagree"].any() else ""
            typer.echo(f"  {rule:<22} {verdicts}{mark}")
            for why in cells.loc[cells["verdict"] == "not met", "why"].unique():
                typer.echo(f"  {'':<22} {one_line(why, 600)}")
        typer.echo()
    if not matrix.empty:
        broken = matrix[matrix["verdict"] == "not met"].groupby(["domain", "rule"]).ngroups
        typer.echo(f"{plural(matrix['domain'].nunique(), 'domain')}, {broken} rules not met.")
    if outside.postmaster.empty and settings.google_credentials is None:
        typer.echo(f"{checks.NOT_CONNECTED}.")
    elif outside.postmaster.empty:
        typer.echo("Postmaster Tools said nothing yet: run dmarckit postmaster pull.")
    if outside.dns.empty:
        typer.echo("DNS was not asked in the last 30 days: run dmarckit dns check.")
