"""One sender or address of one domain, followed down to the single records of the lake.

The statements run on the connection of a `Reduction` and use its tables (`sql`), so that the
records are exactly those that the facts count for the sender.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pandas as pd

from dmarckit.core import Settings, Window, normalize_domain
from dmarckit.facts.completeness import complete_days
from dmarckit.facts.frames import Facts, in_window
from dmarckit.facts.load import history_of, reduced
from dmarckit.facts.networks import about_addresses, inside
from dmarckit.facts.ptr import host_names
from dmarckit.facts.reduce import Reduction
from dmarckit.facts.sql import JUDGED_RECORDS
from dmarckit.lake import Lake

TRACED = f"""
CREATE TEMP TABLE parts AS SELECT period, sum(share) AS part,
    to_timestamp(min(day) * 86400) AS first_day, to_timestamp(max(day) * 86400) AS last_day
FROM days WHERE day >= {{first}} AND day < {{end}} GROUP BY period;

CREATE TEMP TABLE followed AS
SELECT chosen.report_uid, chosen."position", pattern, period, chosen.reporter, chosen.ip,
    chosen.disposition, chosen.da, chosen.sa, chosen.header_from, sender_id, class_id,
    chosen.messages AS messages
FROM {JUDGED_RECORDS}
WHERE {{who}};

CREATE TEMP TABLE traced AS
SELECT followed.* REPLACE (messages * part AS messages), first_day, last_day
FROM followed JOIN parts USING (period)
"""  # noqa: S608
"""`followed`: the records in the whole history of the facts; `traced`: those of the window,
with the messages that fall into it (a long report's are spread over its days)."""

DAILY = """
SELECT day, class_id, da, sa, disposition, sum(messages * share) AS messages
FROM followed JOIN days USING (period) WHERE day >= {first} AND day < {end} GROUP BY ALL
"""

REPORTS = """
SELECT reporter, count(DISTINCT report_uid) AS reports, sum(messages) AS messages,
    coalesce(sum(messages) FILTER (NOT da AND NOT sa), 0) AS failing,
    coalesce(sum(messages) FILTER (disposition IN ('quarantine', 'reject')), 0) AS blocked,
    min(first_day) AS first_day, max(last_day) AS last_day
FROM traced GROUP BY ALL ORDER BY messages DESC, reporter
"""

ADDRESSES = """
SELECT ip AS source_ip, any_value(sender_id) AS sender_id,
    sum(messages) AS messages,
    coalesce(sum(messages) FILTER (da), 0) AS dkim,
    coalesce(sum(messages) FILTER (sa), 0) AS spf,
    coalesce(sum(messages) FILTER (da OR sa), 0) AS passing,
    min(first_day) AS first_day, max(last_day) AS last_day
FROM traced GROUP BY ALL ORDER BY messages DESC, source_ip
"""

SIGNATURES = """
SELECT name(x.domain) AS dkim_domain, coalesce(name(x.selector), '') AS selector,
    coalesce(lower(trim(x.result)), '') AS result, header_from, sum(messages) AS messages
FROM (SELECT pattern, header_from, messages, unnest(list_distinct(raw.dkim)) AS x
    FROM traced JOIN (SELECT pattern, dkim FROM raw) AS raw USING (pattern))
WHERE name(x.domain) IS NOT NULL GROUP BY ALL ORDER BY messages DESC, dkim_domain, selector, result
"""

SPF = """
SELECT name(x.domain) AS spf_domain, coalesce(lower(trim(x.scope)), '') AS scope,
    coalesce(lower(trim(x.result)), '') AS result, header_from, sum(messages) AS messages
FROM (SELECT pattern, header_from, messages, unnest(list_distinct(raw.spf)) AS x
    FROM traced JOIN (SELECT pattern, spf FROM raw) AS raw USING (pattern))
GROUP BY ALL ORDER BY messages DESC, spf_domain, scope, result
"""

REASONS = """
SELECT x.type AS type, x.comment AS comment, sum(messages) AS messages,
    count(DISTINCT reporter) AS reporters, any_value(reporter) AS reporter
FROM (SELECT pattern, reporter, messages, unnest(list_distinct(raw.reasons)) AS x
    FROM traced JOIN (SELECT pattern, reasons FROM raw) AS raw USING (pattern))
WHERE x.type IS NOT NULL OR x.comment IS NOT NULL
GROUP BY ALL ORDER BY messages DESC, type, comment
"""

RECORDS = """
WITH shown AS (
    SELECT report_uid, "position", class_id FROM traced
    ORDER BY da OR sa, last_day DESC, messages DESC, report_uid, "position" LIMIT {limit}
)
SELECT records.*, reports.report_id, class_id
FROM shown JOIN records USING (report_uid, "position")
LEFT JOIN (SELECT report_uid, report_id FROM reports) AS reports USING (report_uid)
ORDER BY coalesce(dkim_aligned, false) OR coalesce(spf_aligned, false), records.begin DESC,
    records.messages DESC, report_uid, "position"
"""
"""The failing ones first, then the newest."""


SHOWN = 1000
"""single records of a page; the rest is only counted"""
NAMED = 5000
"""addresses of a page whose networks and host names are looked up"""


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


def trace_sender(
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
    name = normalize_domain(domain)
    moment = now or datetime.now(UTC)
    days = history_of(2 * window.days)
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
    addresses = result.addresses  # only what can be shown is looked up
    about = about_addresses(addresses["source_ip"].head(NAMED), hosts, settings.mmdb)
    return replace(result, addresses=addresses.join(about))


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
    reduction.execute(TRACED.format(who=who, **bounds))


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
    daily = named(DAILY, first=before, end=end)
    day = pd.to_datetime(daily["day"].astype("int64"), unit="D", utc=True).dt.as_unit("us")
    addresses = named(ADDRESSES)
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
        signatures=named(SIGNATURES),
        spf=named(SPF),
        reporters=named(REPORTS),
        reasons=named(REASONS),
        records=named(RECORDS, limit=SHOWN),
        number=number,
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
