"""One sender or address of one domain, followed down to the single records of the lake."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pandas as pd

from dmarckit.core.settings import Settings
from dmarckit.core.window import Window
from dmarckit.facts import trace_sql
from dmarckit.facts.class_summary import in_window
from dmarckit.facts.completeness import complete_days
from dmarckit.facts.facts import reduced
from dmarckit.facts.facts_frames import Facts
from dmarckit.facts.facts_reduce import Reduction
from dmarckit.facts.networks import countries, inside, network_key, network_names
from dmarckit.facts.ptr import host_names
from dmarckit.lake.lake import Lake

SHOWN = 100
"""single records of a page; the rest is only counted"""
HISTORY = 90
"""days that say who a sender is, as everywhere (`analysis.HISTORY`)"""


@dataclass(frozen=True)
class Trace:
    """What the records of one sender or address of one domain say.

    Counts are messages, fractions where a long report was spread over its days. Without
    records all frames have their columns and no rows.
    """

    domain: str
    name: str
    """the sender as the other pages name it, or the address or network; empty: there is none"""
    is_address: bool
    kinds: tuple[str, ...]
    """kinds of the sender, or the senders of the address, most messages first"""
    in_inventory: bool
    complete: pd.DataFrame
    """`complete_days` of the domain"""
    daily: pd.DataFrame
    """one row a day, class and result, in the window and the one before it: `day`, `class`,
    `da`, `sa`, `disposition`, `messages`"""
    addresses: pd.DataFrame
    """one row an address: `source_ip`, `sender` (one of its), `messages`, `dkim`, `spf`,
    `passing` (aligned), `first_day`, `last_day`; of the busiest also `host` (confirmed name),
    `country` and `network` (its name, else its range)"""
    signatures: pd.DataFrame
    """`dkim_domain`, `selector`, `result` (raw), `header_from`, `messages`"""
    spf: pd.DataFrame
    """`spf_domain`, `scope`, `result` (raw), `header_from`, `messages`"""
    reporters: pd.DataFrame
    """`reporter`, `reports`, `messages`, `failing`, `blocked`, `first_day`, `last_day`"""
    reasons: pd.DataFrame
    """`type`, `comment`, `messages`, `reporters` (number), `reporter` (one of them)"""
    records: pd.DataFrame
    """up to `SHOWN` rows of `records` with `report_id` and `class`, the failing ones first"""
    number: int
    """how many records there are in the window"""


def trace(
    settings: Settings,
    lake: Lake,
    domain: str,
    sender: str,
    window: Window,
    now: datetime | None = None,
) -> Trace:
    """Follow a sender (by the name that the other pages give it), an address or a network.

    A sender of that name goes before an address: senders that nothing names are called by
    their network. Without `sender` it is the one with the most failing messages, else the
    one with the most messages. Raises LakeError when the lake cannot be read.
    """
    name = domain.lower().rstrip(".")
    moment = now or datetime.now(UTC)
    days = max(HISTORY, 2 * window.days + 28)
    hosts = host_names(lake)
    with reduced(lake, moment, days, [name], settings=settings, hosts=hosts) as (facts, reduction):
        known = reduction.senders["sender"].astype(str)
        chosen = sender.strip() or _worst(facts, window)
        same = known.str.casefold() == chosen.casefold()
        is_address = not same.any() and _is_address(chosen)
        if is_address:
            found = reduction.table("SELECT DISTINCT ip FROM chosen WHERE ip <> ''")
            wanted = found["ip"][inside(found["ip"], [chosen])]
            reduction.put("wanted_ips", pd.DataFrame({"ip": wanted.astype(str)}))
            who = "chosen.ip IN (SELECT ip FROM wanted_ips)"
        else:
            numbers = [str(int(n)) for n in same[same].index]
            who = f"sender_id IN ({', '.join(numbers)})" if numbers else "false"
            chosen = str(known[same].iloc[0]) if numbers else chosen
        _follow(reduction, who, window)
        result = _trace(reduction, facts, window, name, chosen, is_address)
    return replace(result, addresses=_named(result.addresses, hosts, settings))


def _worst(facts: Facts, window: Window) -> str:
    rows = in_window(facts.messages, window)
    failing = rows["messages"].where(~rows["da"] & ~rows["sa"], 0)
    sums = rows.assign(failing=failing).groupby("sender", observed=True)[["failing", "messages"]]
    table = sums.sum().sort_values(["failing", "messages"], ascending=False, kind="stable")
    return str(table.index[0]) if len(table) else ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _follow(reduction: Reduction, who: str, window: Window) -> None:
    bounds = {"first": _day(window.start), "end": _day(window.end)}
    reduction.execute(trace_sql.TRACED.format(who=who, **bounds))


def _trace(
    reduction: Reduction,
    facts: Facts,
    window: Window,
    domain: str,
    chosen: str,
    is_address: bool,
) -> Trace:
    classes, senders = reduction.names["class"], reduction.senders

    def named(query: str, **values: object) -> pd.DataFrame:
        rows = reduction.table(query.format(**values) if values else query)
        if "class_id" in rows:
            rows["class"] = classes.take(rows.pop("class_id").to_numpy("int64"))
        if "sender_id" in rows:
            rows["sender"] = senders["sender"].take(rows.pop("sender_id").to_numpy()).to_numpy()
        return rows

    before, end = _day(window.before.start), _day(window.end)
    daily = named(trace_sql.DAILY, first=before, end=end)
    day = pd.to_datetime(daily["day"].astype("int64"), unit="D", utc=True).dt.as_unit("us")
    addresses = named(trace_sql.ADDRESSES)
    number = int(reduction.table("SELECT count(*) AS n FROM traced")["n"].iloc[0])
    mine = facts.inventory["sender"].astype(str) == chosen
    return Trace(
        domain=domain,
        name=chosen,
        is_address=is_address,
        kinds=_kinds(addresses, senders, chosen, is_address),
        in_inventory=bool(mine.any()),
        complete=complete_days(facts),
        daily=daily.assign(day=day),
        addresses=addresses,
        signatures=named(trace_sql.SIGNATURES),
        spf=named(trace_sql.SPF),
        reporters=named(trace_sql.REPORTS),
        reasons=named(trace_sql.REASONS),
        records=named(trace_sql.RECORDS, limit=SHOWN),
        number=number,
    )


def _named(
    addresses: pd.DataFrame, hosts: Mapping[str, str | None], settings: Settings
) -> pd.DataFrame:
    """What an address says by itself; looked up only for those that can be shown."""
    busiest = addresses["source_ip"].head(SHOWN)
    names = network_names(busiest, settings.mmdb)
    networks = [names[ip].name if ip in names else network_key(ip) for ip in busiest]
    return addresses.assign(
        host=busiest.map(hosts),
        country=countries(busiest),
        network=pd.Series(networks, index=busiest.index, dtype=object),
    )


def _kinds(
    addresses: pd.DataFrame, senders: pd.DataFrame, chosen: str, is_address: bool
) -> tuple[str, ...]:
    if is_address:
        sums = addresses.groupby("sender")["messages"].sum().sort_values(ascending=False)
        return tuple(map(str, sums.index))
    return _unique(senders.loc[senders["sender"].astype(str) == chosen, "sender_kind"].tolist())


def _unique(names: Sequence[object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, names)))


def _day(moment: datetime) -> int:
    return int(moment.timestamp()) // 86_400
