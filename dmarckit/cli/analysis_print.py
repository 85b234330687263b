"""What the commands of the analysis print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import IO, Any

from dmarckit.cli.progress import console
from dmarckit.core.errors import one_line
from dmarckit.core.words import count, percent, plural
from dmarckit.facts.facts import Facts
from dmarckit.findings import Finding
from dmarckit.findings.findings_ledger import Judged
from dmarckit.findings.whatif import WhatIf

POLICY_TAGS = ("p", "sp", "np", "adkim", "aspf")
SHOWN = 50  # rows of a table on the terminal


def finding_json(judged: Judged) -> dict[str, Any]:
    """The fields of a finding, its fingerprint, its status, and whether it is muted."""
    finding = judged.finding
    return {
        "kind": finding.kind,
        "domain": finding.domain,
        "subject": finding.subject,
        "severity": finding.severity,
        "status": judged.status,
        "messages": finding.messages,
        "first_day": iso(finding.first_day),
        "last_day": iso(finding.last_day),
        "reporters": finding.reporters,
        "summary": finding.summary,
        "action": finding.action,
        "evidence": finding.evidence,
        "fingerprint": finding.fingerprint,
        "muted": finding.muted,
        "mute_reason": finding.mute_reason,
    }


def iso(day: date | None) -> str | None:
    """``YYYY-MM-DD``, or None."""
    return day.isoformat() if day else None


def print_json(rows: Any, out: IO[str]) -> None:
    """Indented, ASCII only, so that any terminal and any pipe takes it."""
    json.dump(rows, out, indent=1, ensure_ascii=True)
    out.write("\n")


def print_findings(judged: Sequence[Judged], facts: Facts, out: IO[str]) -> None:
    """Open findings in full, muted and resolved ones in a line each."""
    if facts.reports.empty and not judged:
        out.write("There is no data: no report covers these days. Run dmarckit ingest first.\n")
        return
    shown = [item for item in judged if not item.finding.muted and item.status != "RESOLVED"]
    muted = [item for item in judged if item.finding.muted]
    resolved = [item for item in judged if item.status == "RESOLVED"]
    if not shown:
        out.write(f"No findings ({plural(len(facts.reports), 'report')} looked at).\n")
    for item in shown:
        _print_one(item.finding, f"{item.finding.severity.upper()} {item.status}", out)
    for item in muted:
        why = one_line(item.finding.mute_reason)
        out.write(f"MUTED ({why}) {one_line(item.finding.fingerprint)}\n")
    for item in resolved:
        out.write(f"RESOLVED {one_line(item.finding.fingerprint)}\n")


def _print_one(finding: Finding, label: str, out: IO[str]) -> None:
    where = one_line(finding.domain) or "all domains"
    out.write(f"{label}  {where}  {finding.kind}\n")
    out.write(f"  {finding.summary}\n  → {finding.action}\n\n")


def print_senders(rows: Sequence[dict[str, Any]], days: int, out: IO[str]) -> None:
    """Takes the rows of `senders_rows`."""
    from rich.table import Table

    if not rows:
        out.write(f"There is no data: nobody sent anything in the last {plural(days, 'day')}.\n")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("domain", "sender", "kind"):
        table.add_column(title)
    for title in ("messages", "aligned", "addresses"):
        table.add_column(title, justify="right")
    table.add_column("classes")
    table.add_column("last seen")
    for row in rows:
        mark = "" if row["in_inventory"] else " (not in the inventory)"
        classes = ", ".join(f"{name} {count(n)}" for name, n in row["classes"].items())
        share = row["aligned_messages"] / row["messages"] if row["messages"] else None
        table.add_row(
            one_line(row["domain"], 60),
            one_line(row["sender"], 60) + mark,
            one_line(row["kind"]),
            count(row["messages"]),
            percent(share),
            count(row["ips"]),
            classes,
            row["last_day"],
        )
    screen = console()
    screen.file = out
    screen.print(table)


def whatif_json(result: WhatIf) -> dict[str, Any]:
    """The counts (messages) of a what-if, the policy's tags, and `senders` as a list."""
    tags = {name: getattr(result.policy, name) for name in POLICY_TAGS}
    names = ("messages", "passing", "quarantined", "rejected", "legitimate", "indirect", "unwanted")
    return {
        "domain": result.domain,
        "policy": {name: value for name, value in tags.items() if value},
        **{name: getattr(result, name) for name in names},
        "senders": result.senders.to_dict("records"),
    }


def print_whatif(result: WhatIf, days: int, out: IO[str]) -> None:
    """A sentence, and what would be stopped, by sender."""
    from rich.table import Table

    name = one_line(result.domain)
    if not result.messages:
        out.write(f"There is no data: nobody sent as {name} in the last {days} days.\n")
        return
    stopped = result.quarantined + result.rejected
    out.write(
        f"Of {plural(result.messages, 'message')} as {name} in {plural(days, 'day')}, "
        f"{result.quarantined:,} would be quarantined and {result.rejected:,} rejected: "
        f"{result.legitimate:,} that may be legitimate, {result.indirect:,} forwarded or changed "
        f"on the way, {result.unwanted:,} unwanted.\n"
    )
    if not stopped:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("sender", "From", "today", "would be", "nature"):
        table.add_column(title)
    table.add_column("messages", justify="right")
    for row in result.senders.head(SHOWN).to_dict("records"):
        cells = (row[name] for name in ("sender", "header_from", "class", "action", "nature"))
        table.add_row(*(one_line(cell, 60) for cell in cells), count(row["messages"]))
    screen = console()
    screen.file = out
    screen.print(table)
    if len(result.senders) > SHOWN:
        out.write(f"… and {plural(len(result.senders) - SHOWN, 'more row')} (--format json)\n")
