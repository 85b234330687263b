"""Records of the lake → the small frames (`Facts`) that classes and findings are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from dmarckit.core import (
    DeclaredSender,
    LakeError,
    Settings,
    normalize_domain,
    one_line,
)
from dmarckit.facts import sql
from dmarckit.facts.decisions import decisions
from dmarckit.facts.frames import COLUMNS, Facts, empty_facts, typed
from dmarckit.facts.networks import knows_networks, network_names
from dmarckit.facts.ptr import host_names
from dmarckit.facts.reduce import Reduction
from dmarckit.facts.reporters import Reporters, find_reporters
from dmarckit.facts.senders import attribute, load_table
from dmarckit.reports import own_reporters

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from dmarckit.lake import Lake, Snapshot


LONGEST = timedelta(days=366)
"""reports that claim more are cut to their last 366 days; what begins that long before the
window is not looked for"""

MOST_DOMAINS = 5_000
"""domains that are looked at where nobody names some: reports may be about any number"""

HISTORY = 90
"""days that say who a sender is: the inventory and every comparison look back that far"""


def history_of(days: int) -> int:
    """Return how many days of facts a look at `days` days needs: `HISTORY`, or four weeks more."""
    return max(HISTORY, days + 28)


def load_facts(
    lake: Lake,
    now: datetime,
    days: int = HISTORY,
    domains: Sequence[str] | None = None,
    *,
    settings: Settings,
    hosts: Mapping[str, str | None] | None = None,
) -> Facts:
    """Reduce the reports of the last `days` days, as seen at `now`.

    The window is the `days` UTC days before that of `now`, and the part of that day that has
    passed. Reports count that overlap it and begin before `now`; of a report that reaches
    over the window, only its days in it. `domains` are policy domains (all without it);
    `settings` declare senders and name an MMDB file; `hosts` are confirmed host names of
    addresses (the PTR cache). When a mail arrived does not matter: a lake that was filled
    yesterday tells what could be known at any `now`.

    Empty frames when there is nothing. Raises LakeError for a lake that cannot be read, and
    for a `now` without time zone.
    """
    with reduced(lake, now, days, domains, settings=settings, hosts=hosts) as (facts, _):
        return facts


def load_lists(
    lake: Lake,
    now: datetime,
    days: int = HISTORY,
    domains: Sequence[str] | None = None,
    *,
    settings: Settings,
) -> Facts:
    """Return the facts without what is made of records: `sql.LISTS`."""
    tables = ("reports", "mails", "tls", "dead_letters")
    opened = _opened(lake, now, days, domains, tables, settings)
    with opened as (_, _, frames, (start, until)):
        return empty_facts(until, start, **frames)


@contextmanager
def reduced(
    lake: Lake,
    now: datetime,
    days: int = HISTORY,
    domains: Sequence[str] | None = None,
    *,
    settings: Settings,
    hosts: Mapping[str, str | None] | None = None,
    frames: bool = True,
) -> Iterator[tuple[Facts, Reduction]]:
    """Open the facts with the reduction that made them, for more questions to the same records.

    Without `frames` those that are made of records are empty: only the questions matter.
    """
    tables = ("records", "reports", "mails", "tls", "dead_letters")
    opened = _opened(lake, now, days, domains, tables, settings)
    with opened as (snapshot, chosen, lists, (start, until)):
        declared = [decision.sender for decision in decisions(settings, lake)]
        reduction = _reduction(snapshot, declared, settings.mmdb, hosts or {})
        period = microseconds(start), microseconds(until)
        made = reduction.run(chosen, *period, lists["policies"], frames=frames)
        made |= lists | {"beyond": pd.concat([lists["beyond"], made["beyond"]])}
        yield (Facts if frames else empty_facts)(now=until, start=start, **made), reduction


@contextmanager
def _opened(
    lake: Lake,
    now: datetime,
    days: int,
    domains: Sequence[str] | None,
    tables: Sequence[str],
    settings: Settings,
) -> Iterator[tuple[Snapshot, str, dict[str, pd.DataFrame], tuple[datetime, datetime]]]:
    """Open the tables; yield them, which reports count, the lists, and the window."""
    import duckdb

    if now.tzinfo is None:
        raise LakeError(f"now {now} has no time zone; use UTC")
    now = now.astimezone(UTC)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    overlap = f'"end" > {_literal(start)} AND begin < {_literal(now)}'
    names = None if domains is None else [normalize_domain(d) for d in domains]
    beyond = typed("beyond", pd.DataFrame(columns=list(COLUMNS["beyond"])))
    try:
        with lake.snapshot(sql.MEMORY) as snapshot:
            snapshot.connection.execute(sql.NAME)
            first = _first_month(snapshot, overlap, start)
            if names is None:
                names, beyond = _busiest(snapshot, overlap, first)
            own = own_reporters(settings.reporters)
            known = find_reporters(snapshot, overlap, first, now, own)
            stored = names and [*names, *known.below(names)]
            connection = snapshot.see(*tables, first_month=first, domains=stored)
            _name_reporters(connection, known, overlap, counted="records" in tables)
            connection.register("wanted", pd.DataFrame({"domain": names or []}, dtype="str"))
            mine = "true" if names is None else "domain IN (SELECT domain FROM wanted)"
            chosen = f"{overlap} AND {mine}"
            frames = _lists(connection, chosen, mine, start, now) | {"beyond": beyond}
            yield snapshot, chosen, frames, (start, now)
    except duckdb.Error as error:
        raise LakeError(f"cannot reduce the records: {one_line(error, 300)}") from error


def _name_reporters(
    connection: duckdb.DuckDBPyConnection, known: Reporters, overlap: str, *, counted: bool
) -> None:
    """Make the views `reported` and, if `counted`, `counted`, which reports and records are."""
    connection.register("spellings", known.names)
    connection.register("reporter_names", known.by_spelling)
    connection.register("misplaced", known.misplaced)
    connection.register("repeated", pd.DataFrame({"report_uid": known.repeated}, dtype="str"))
    connection.execute(sql.REPORTERS.format(overlap=overlap))
    if counted:
        plain = connection.execute("SELECT count(*) = 0 FROM exceptions").fetchall() == [(True,)]
        connection.execute(sql.COUNTED if plain else sql.COUNTED_WITH_EXCEPTIONS)


def _first_month(snapshot: Snapshot, overlap: str, start: datetime) -> str:
    """Return the month of the oldest report that reaches into the window."""
    earliest = f"{start - LONGEST:%Y-%m}"
    connection = snapshot.see("reports", first_month=earliest)
    found = connection.execute(f"SELECT min(month) FROM reports WHERE {overlap}").fetchall()  # noqa: S608
    usual = f"{start - timedelta(days=1):%Y-%m}"
    return min(usual, found[0][0] or usual)


def _busiest(
    snapshot: Snapshot, overlap: str, first_month: str
) -> tuple[list[str] | None, pd.DataFrame]:
    """Return the `MOST_DOMAINS` domains with the most messages, and how much the others are.

    None stands for all, if they are not more.
    """
    query = f"""SELECT domain, sum(messages)::BIGINT AS messages FROM (
            SELECT domain, messages, begin, "end" FROM reports
            UNION ALL SELECT policy_domain, 0, begin, "end" FROM tls)
        WHERE {overlap} AND domain <> '' GROUP BY domain ORDER BY messages DESC, domain"""  # noqa: S608
    connection = snapshot.see("reports", "tls", first_month=first_month)
    rows = connection.sql(query).to_arrow_table().to_pandas()
    rest = rows.iloc[MOST_DOMAINS:]
    said = {"what": "domain", "names": len(rest), "messages": rest["messages"].sum()}
    beyond = pd.DataFrame([said] if len(rest) else [], columns=list(COLUMNS["beyond"]))
    return list(rows["domain"].iloc[:MOST_DOMAINS]) if len(rest) else None, typed("beyond", beyond)


def name_sources(settings: Settings, lake: Lake, sources: pd.DataFrame) -> pd.DataFrame:
    """Return `sources`, as `attribute` takes them, with senders by all that is known now."""
    passing = [tuple(tuple(pair) for pair in each) for each in sources["dkim_pass"]]
    return attribute(
        sources.assign(dkim_pass=pd.Series(passing, index=sources.index, dtype=object)),
        declared=[decision.sender for decision in decisions(settings, lake)],
        table=load_table(),
        ptr=host_names(lake),
        networks=network_names(sources["source_ip"].dropna().unique(), settings.mmdb),
    )


def _reduction(
    snapshot: Snapshot,
    declared: Sequence[DeclaredSender],
    mmdb: Path | None,
    hosts: Mapping[str, str | None],
) -> Reduction:
    def deliverers(sources: pd.DataFrame) -> pd.DataFrame:
        known = {}
        if knows_networks(mmdb):
            by_address = sources.groupby("source_ip", observed=True)["messages"].sum()
            known = network_names(by_address.sort_values(ascending=False).index, mmdb)
        return attribute(sources, declared=declared, table=load_table(), ptr=hosts, networks=known)

    return Reduction(
        snapshot.connection,
        deliverers,
        declared,
        few=snapshot.keeps("records"),
        every_address=any(sender.networks for sender in declared),
        own_addresses=bool(hosts) or knows_networks(mmdb),
    )


def _lists(
    connection: duckdb.DuckDBPyConnection, where: str, mine: str, start: datetime, now: datetime
) -> dict[str, pd.DataFrame]:
    values = {
        "where": where,
        "start": _literal(start),
        "now": _literal(now),
        # failures of a policy that names no domain may be ours
        "tls_domains": f"({mine.replace('domain', 'lower(policy_domain)', 1)}"
        " OR coalesce(policy_domain, '') = '')",
    }
    return {
        name: typed(name, connection.sql(query.format(**values)).to_arrow_table().to_pandas())
        for name, query in sql.LISTS.items()
    }


def _literal(time: datetime) -> str:
    return f"TIMESTAMPTZ '{time:%Y-%m-%d %H:%M:%S.%f}+00'"


def microseconds(time: datetime) -> int:
    """Return the microseconds since 1970."""
    return int((time - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
