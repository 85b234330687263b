"""`dmarckit senders`: who sends in the name of the domains, and what was decided about them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from dmarckit import core, facts, findings, lake
from dmarckit.cli.options import (
    FORMATS,
    Days,
    Domains,
    Format,
    FormatCsv,
    Now,
    ask,
    check_options,
)  # fmt: skip
from dmarckit.cli.output import print_json, print_rows, print_table
from dmarckit.core import count, one_line, percent, plural, show_domain

senders_app = typer.Typer(
    rich_markup_mode=None,
    epilog="Example: dmarckit senders --days 30 --resolve",
)

Name = Annotated[str, typer.Argument(help="The sender's name, as findings and senders write it.")]
At = Annotated[
    list[str] | None,
    typer.Option("--domain", "-d", help="The domain that it sends for; may be repeated."),
]


@senders_app.callback(invoke_without_command=True)
def print_senders(
    context: typer.Context,
    format_: FormatCsv = "table",
    now: Now = None,
    days: Days = 7,
    domain: Domains = None,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Look up host names in DNS first, and keep them.")
    ] = False,
) -> None:
    """Print who sent as which domain, and what became of it.

    What is yours and what is not is decided with declare and deny.
    """
    if context.invoked_subcommand:
        return
    check_options(format_, FORMATS)
    asked = ask(now, days, domain)
    seen = asked.facts()
    if resolve:
        by_messages = seen.sources.sort_values("messages", ascending=False)["source_ip"]
        ips = [str(ip) for ip in by_messages]
        result = facts.resolve(asked.lake, ips, lookup=facts.dns_lookup(), now=asked.now)
        text = f"{plural(result.named, 'address', 'addresses')} with a host name"
        text += f", {count(result.nameless)} without, {count(result.left)} left for next time"
        text += "" if result.answered else "; the resolver does not answer"
        print(text, file=sys.stderr)
        if result.named:
            seen = asked.facts()
    rows = sender_rows(seen, asked.now, days)
    if print_rows(rows, SENDER_FIELDS, format_):
        return
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


SENDER_FIELDS = (
    "domain", "sender", "kind", "in_inventory", "messages", "aligned_messages", "ips", "classes",
    "first_day", "last_day",
)  # fmt: skip


def sender_rows(seen: facts.Facts, now: datetime, days: int) -> list[dict[str, Any]]:
    """Return one row per domain and sender of the last `days` days, the most messages first.

    domain, sender, kind, in_inventory, messages, aligned_messages (DKIM or SPF aligned), ips
    (number of addresses seen), classes (class → messages), first_day, last_day (in these days).
    """
    import pandas as pd

    start = pd.Timestamp(now).floor("D") - pd.Timedelta(days=days)
    rows = seen.messages[seen.messages["day"] >= start]
    recent = seen.addresses[seen.addresses["last_day"] >= start]
    who = ["domain", "sender"]
    ips = recent.groupby(who, observed=True)["addresses"].sum()
    sums = rows.groupby([*who, "class"], observed=True)["messages"].sum()
    by_class = sums.sort_values(ascending=False, kind="stable").reset_index()
    classes: dict[tuple[Any, Any], dict[str, int]] = {}
    for domain, sender, name, n in by_class.itertuples(index=False):
        classes.setdefault((domain, sender), {})[str(name)] = round(float(n))
    aligned = rows["messages"].where(rows["da"] | rows["sa"], 0)
    table = (
        rows.assign(aligned=aligned)
        .groupby(who, observed=True, as_index=False)
        .agg(
            kind=("sender_kind", "first"),
            in_inventory=("in_inventory", "max"),
            messages=("messages", "sum"),
            aligned=("aligned", "sum"),
            first_day=("day", "min"),
            last_day=("day", "max"),
        )
    )
    found = [
        {
            "domain": str(row["domain"]),
            "sender": str(row["sender"]),
            "kind": str(row["kind"]),
            "in_inventory": bool(row["in_inventory"]),
            "messages": round(float(row["messages"])),
            "aligned_messages": round(float(row["aligned"])),
            "ips": int(ips.get((row["domain"], row["sender"]), 0)),
            "classes": classes[row["domain"], row["sender"]],
            "first_day": row["first_day"].date().isoformat(),
            "last_day": row["last_day"].date().isoformat(),
        }
        for row in table.to_dict("records")
    ]
    return sorted(found, key=lambda r: (r["domain"], -r["messages"], r["sender"]))


@senders_app.command(
    epilog="Example: dmarckit senders declare Postwagon -d example.com --spf postwagon.example"
)
def declare(
    name: Name,
    domain: At = None,
    kind: Annotated[str | None, typer.Option(help=f"One of: {', '.join(core.KINDS)}.")] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="It sends from here (192.0.2.0/24); may be repeated.")
    ] = None,
    dkim: Annotated[
        list[str] | None, typer.Option(help="It signs with this d=; may be repeated.")
    ] = None,
    spf: Annotated[
        list[str] | None, typer.Option(help="Domain of its return path; may be repeated.")
    ] = None,
) -> None:
    """Decide that a sender is yours."""
    _decide(
        "declared",
        name,
        domain,
        kind=kind,
        networks=network or (),
        dkim_domains=dkim or (),
        spf_domains=spf or (),
    )


@senders_app.command(epilog="Example: dmarckit senders deny Postwagon --domain example.com")
def deny(name: Name, domain: At = None) -> None:
    """Decide that a sender is not yours: what it sends in your name is forged."""
    _decide("denied", name, domain)


@senders_app.command(epilog="Example: dmarckit senders forget Postwagon --domain example.com")
def forget(name: Name, domain: At = None) -> None:
    """Take a decision back."""
    _decide("forgotten", name, domain)


def _decide(
    decision: Literal["declared", "denied", "forgotten"],
    name: str,
    domains: list[str] | None,
    **about: Any,
) -> None:
    settings = core.load_settings()
    tables = lake.Lake(settings.lake_url)
    if not domains:
        raise core.SettingsError("name the domain that the sender sends for: --domain example.com")
    findings.check_domains(settings, tables, domains)
    now = datetime.now(UTC)
    for domain in map(core.normalize_domain, domains):
        facts.decide(tables, decision, name, domain, now=now, **about)
        holds = next(
            (
                found
                for found in facts.decisions(settings, tables)
                if found.at is None
                and found.sender.name == name.strip()
                and found.sender.domain in ("", domain)
            ),
            None,
        )
        typer.echo(f"{one_line(name)} is {decision} at {one_line(show_domain(domain))}.")
        if holds is not None:
            typer.echo("The settings say something about it too, and win: see [[senders]] there.")


@senders_app.command("list", epilog="Example: dmarckit senders list --format json")
def list_(format_: Format = "table", domain: Domains = None) -> None:
    """Print what was decided: in the settings, and by declare and deny."""
    settings = core.load_settings()
    check_options(format_)
    wanted = {core.normalize_domain(name) for name in domain or ()}
    rows: list[dict[str, Any]] = [
        {
            "domain": found.sender.domain,
            "sender": found.sender.name,
            "decision": "denied" if found.sender.denied else "declared",
            "kind": found.sender.kind,
            "networks": list(found.sender.networks),
            "dkim_domains": list(found.sender.dkim_domains),
            "spf_domains": list(found.sender.spf_domains),
            "by": found.by,
            "at": found.at.isoformat() if found.at else None,
        }
        for found in facts.decisions(settings, lake.Lake(settings.lake_url))
        if not wanted or found.sender.domain in {"", *wanted}
    ]
    if format_ == "json":
        print_json(rows)
    elif not rows:
        typer.echo("Nothing was decided about any sender. Who sends: dmarckit senders")
    else:
        print_table(
            ("domain", "sender", "decision", "kind", "networks and domains", "by", "when"),
            (
                (
                    one_line(show_domain(row["domain"]) or "all", 60),
                    one_line(row["sender"], 60),
                    row["decision"],
                    row["kind"],
                    one_line(
                        ", ".join(row["networks"] + row["dkim_domains"] + row["spf_domains"]), 120
                    ),
                    one_line(row["by"], 40),
                    (row["at"] or "")[:10],
                )
                for row in rows
            ),
        )
