"""`dmarckit senders`, `findings` and `whatif`: the analysis on the terminal, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import IO, Any

import pandas as pd

from dmarckit.errors import SettingsError, one_line
from dmarckit.facts import Facts, load
from dmarckit.findings import Finding, find
from dmarckit.findings_ledger import Judged, record
from dmarckit.lake import Lake
from dmarckit.progress import console
from dmarckit.ptr import dns_lookup, host_names, resolve
from dmarckit.settings import Settings
from dmarckit.words import count, percent, plural

FORMATS = ("table", "json")
COMMAND_LINE = ""  # the ledger's job of runs by hand


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


def read_facts(
    settings: Settings, lake: Lake, now: datetime, days: int, domains: Sequence[str] = ()
) -> Facts:
    """Facts of the asked domains, else of those in the settings, else of all."""
    chosen = [name.lower().rstrip(".") for name in domains] or list(settings.domain_names)
    return load(
        lake,
        now,
        max(90, days + 28),  # a longer window still needs what came before it
        chosen or None,
        settings=settings,
        hosts=host_names(lake),
    )


def run_findings(
    settings: Settings,
    lake: Lake,
    *,
    now: datetime,
    days: int = 7,
    domains: Sequence[str] = (),
    job: str = COMMAND_LINE,
    run: str | None = None,
) -> tuple[list[Judged], Facts]:
    """The findings with their status, recorded in the lake; and the facts behind them.

    Runs are compared with runs of the same job, days and domains only, or a look at one
    domain would resolve the findings of all others. `run` names the run (a schedule's id);
    without it, the same look at the same moment is the same run.
    """
    facts = read_facts(settings, lake, now, days, domains)
    scope = job
    if domains or days != 7:
        scope = f"{job} days={days} domains={','.join(sorted(domains))}".strip()
    found = find(facts, now=now, days=days, mute=settings.mute)
    return record(lake, found, run=run or f"{scope}@{now.isoformat()}", job=scope, now=now), facts


def findings_command(
    settings: Settings,
    *,
    format_: str = "table",
    now: str | None = None,
    days: int = 7,
    domains: Sequence[str] = (),
    out: IO[str] | None = None,
) -> int:
    """Print the findings; exit status 0, whatever they say.

    Raises SettingsError for a wrong option, LakeError for a lake that cannot be used.
    """
    _check(format_, days)
    out = out or sys.stdout
    at = moment(now)
    judged, facts = run_findings(
        settings, Lake(settings.lake_url), now=at, days=days, domains=domains
    )
    if format_ == "json":
        _print_json([finding_json(item) for item in judged], out)
    else:
        _print_findings(judged, facts, out)
    return 0


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


def _print_json(rows: Sequence[dict[str, Any]], out: IO[str]) -> None:
    json.dump(rows, out, indent=1, ensure_ascii=True)
    out.write("\n")


def _print_findings(judged: Sequence[Judged], facts: Facts, out: IO[str]) -> None:
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


def senders_command(
    settings: Settings,
    *,
    format_: str = "table",
    now: str | None = None,
    days: int = 7,
    domains: Sequence[str] = (),
    resolve_names: bool = False,
    out: IO[str] | None = None,
) -> int:
    """Print who sent in the name of which domain; exit status 0.

    `resolve_names` asks DNS for the host names of addresses first (bounded, cached in the
    lake). Raises SettingsError for a wrong option, LakeError for a lake that cannot be used.
    """
    _check(format_, days)
    out = out or sys.stdout
    at = moment(now)
    lake = Lake(settings.lake_url)
    facts = read_facts(settings, lake, at, days, domains)
    if resolve_names and _resolve(lake, facts, at):
        facts = read_facts(settings, lake, at, days, domains)
    rows = senders_rows(facts, at, days)
    if format_ == "json":
        _print_json(rows, out)
    else:
        _print_senders(rows, days, out)
    return 0


def _resolve(lake: Lake, facts: Facts, now: datetime) -> bool:
    """Host names into the cache; True when the facts may name senders better now."""
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
                "first_day": _iso(part["day"].min().date()),
                "last_day": _iso(part["day"].max().date()),
            }
        )
    return sorted(found, key=lambda r: (r["domain"], -r["messages"], r["sender"]))


def _print_senders(rows: Sequence[dict[str, Any]], days: int, out: IO[str]) -> None:
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
