"""Frames of the lake → small frames that answer one question each.

Counts are messages, never rows; shares are fractions [0-1], and NaN when there is nothing
to divide by (0 of 0 is no data, not 0 %). An empty frame gives an empty frame with the same
columns, or rows of zeros where the docstring says so. No function changes its input.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import cache
from typing import Any

import pandas as pd

from dmarckit.window import Window

RESULTS = ("both", "dkim_only", "spf_only", "fail")
"""what of a message is aligned and passes: both checks, one of them, neither"""

STATES = ("aligned", "other_domain", "fail", "none")
"""of DKIM or SPF: aligned and passes; passes for a domain that is not the author's; does not
pass; no signature or no SPF record at all"""

OUTCOMES = ("delivered", "quarantined", "rejected", "unstated")
"""what the receiver did with a message (``disposition``)"""

_OUTCOME = {"none": "delivered", "pass": "delivered", "quarantine": "quarantined"}
_OUTCOME |= {"reject": "rejected"}

SHARE_COLUMNS = ["domain", "messages", "disposition", "dkim_aligned", "spf_aligned"]
"""columns of `records` that the window before needs"""


def headline(
    records: pd.DataFrame,
    reports: pd.DataFrame,
    records_before: pd.DataFrame,
    reports_before: pd.DataFrame,
) -> pd.DataFrame:
    """One row a measure: `measure`, `value` in the window, and `before` it.

    Measures: messages, pass_share [0-1], failing (messages), reports, reporters, domains.
    """
    now, before = _totals(records, reports), _totals(records_before, reports_before)
    return pd.DataFrame(
        {"measure": list(now), "value": list(now.values()), "before": list(before.values())}
    ).astype({"value": float, "before": float})


def by_day(records: pd.DataFrame, window: Window) -> pd.DataFrame:
    """One row a day of the window, days without messages included.

    Columns: `day` (UTC), `messages`, then the messages by result (`RESULTS`), then the
    failing messages by what the receivers did (`OUTCOMES`). A record belongs to the day on
    which its report begins.
    """
    days = pd.date_range(window.start, periods=window.days, freq="D", name="day")
    rows = _with_results(records).assign(day=records["begin"].dt.floor("D"))
    failing = rows[rows["result"] == "fail"]
    parts = [
        rows.groupby("day")["messages"].sum().rename("messages").to_frame(),
        _spread(rows, "day", "result", RESULTS),
        _spread(failing.assign(outcome=_outcomes(failing)), "day", "outcome", OUTCOMES),
    ]
    table = pd.concat([part.reindex(days, fill_value=0) for part in parts], axis=1)
    return table.astype("int64").reset_index()


def by_check(records: pd.DataFrame) -> pd.DataFrame:
    """Three rows, DMARC, DKIM and SPF: `check`, `messages`, messages by state, `pass_share`.

    The states are `STATES`; DMARC knows only `aligned` (it passes) and `fail`. `pass_share`
    is the aligned share, which is what counts for DMARC (RFC 7489 section 3.1).
    """
    rows = _with_results(records)
    total = int(rows["messages"].sum())
    failing = int(rows.loc[rows["result"] == "fail", "messages"].sum())
    table = pd.DataFrame(0, index=["DMARC", "DKIM", "SPF"], columns=list(STATES))
    table.loc["DMARC", ["aligned", "fail"]] = [total - failing, failing]
    for check, column in (("DKIM", "dkim"), ("SPF", "spf")):
        sums = rows.groupby(_states(rows, column))["messages"].sum()
        table.loc[check] = sums.reindex(list(STATES), fill_value=0).astype("int64")
    table.insert(0, "messages", total)
    table["pass_share"] = table["aligned"] / total if total else float("nan")
    return table.rename_axis("check").reset_index()


def by_domain(
    records: pd.DataFrame, reports: pd.DataFrame, records_before: pd.DataFrame
) -> pd.DataFrame:
    """One row a domain with reports in the window, most failing messages first.

    Columns: `domain`, `messages`, `failing`, `delivered` (failing, and delivered all the
    same), `pass_share`, `before` (the pass share of the window before), `policy` (p of the
    newest report; None when it quotes none), `reporters`, `last_end` (of the newest report).
    """
    newest = reports.sort_values("end").groupby("domain")
    table = pd.DataFrame({"policy": newest["p"].last(), "last_end": newest["end"].last()})
    table["reporters"] = newest["reporter"].nunique()
    table = table.join(_shares(records, "domain"), how="left")
    counts = ["messages", "failing", "delivered"]
    table[counts] = table[counts].fillna(0).astype("int64")
    table["before"] = _shares(records_before, "domain")["pass_share"].reindex(table.index)
    table = table.rename_axis("domain").reset_index()
    columns = ["domain", *counts, "pass_share", "before", "policy", "reporters", "last_end"]
    order = ["failing", "messages", "domain"]
    return table[columns].sort_values(order, ascending=[False, False, True], ignore_index=True)


def failing_sources(records: pd.DataFrame) -> pd.DataFrame:
    """One row a network (IPv4 /24, IPv6 /48) and domain, most failing messages first.

    Columns: `source` (the address when there is only one), `domain`, `messages` (failing
    ones), the same by `OUTCOMES`, `dkim` and `spf` (the commonest state, see `STATES`),
    `addresses`, `reporters` (numbers), `first_day`, `last_day`.
    """
    rows = _with_results(records)
    rows = rows[(rows["result"] == "fail") & (rows["messages"] > 0)]
    rows = rows.assign(
        network=rows["source_ip"].map(_network),
        outcome=_outcomes(rows),
        dkim=_states(rows, "dkim"),
        spf=_states(rows, "spf"),
        day=rows["begin"].dt.floor("D"),
    )
    keys = ["network", "domain"]
    groups = rows.groupby(keys, dropna=False)
    table = groups.agg(
        address=("source_ip", "first"),
        messages=("messages", "sum"),
        addresses=("source_ip", "nunique"),
        reporters=("reporter", "nunique"),
        first_day=("day", "min"),
        last_day=("day", "max"),
    )
    table = table.join(_spread(rows, keys, "outcome", OUTCOMES))
    table = table.join(_commonest(rows, keys, "dkim")).join(_commonest(rows, keys, "spf"))
    table = table.reset_index()
    table["source"] = table["address"].where(table["addresses"] == 1, table["network"])
    columns = ["source", "domain", "messages", *OUTCOMES, "dkim", "spf", "addresses"]
    columns += ["reporters", "first_day", "last_day"]
    order = ["messages", "source", "domain"]
    table = table.sort_values(order, ascending=[False, True, True], ignore_index=True)
    return table[columns]


def newest_reports(reports: pd.DataFrame, limit: int = 15) -> pd.DataFrame:
    """One row a report, the latest period first; at most `limit` rows.

    Columns: `reporter`, `domain`, `begin`, `end`, `messages`, `failing`, `pass_share`,
    `report_id`, `report_uid`.
    """
    table = reports.sort_values(["end", "reporter", "domain"], ascending=[False, True, True])
    table = table.head(limit).reset_index(drop=True)
    passing = table["messages"] - table["failing"]
    table = table.assign(pass_share=(passing / table["messages"].where(table["messages"] > 0)))
    columns = ["reporter", "domain", "begin", "end", "messages", "failing", "pass_share"]
    return table[[*columns, "report_id", "report_uid"]]


def refused_mails(mails: pd.DataFrame) -> pd.DataFrame:
    """One row a kind of mail that gave no report: not trusted, not readable, or no report.

    Columns: `outcome`, `from_domain`, `reason`, `mails` (number), `first`, `last` (received),
    `key` (of the newest such mail). Untrusted first, then unreadable, then not_a_report.
    """
    rank = {"untrusted": 0, "unreadable": 1, "not_a_report": 2}
    rows = mails[mails["outcome"].isin(list(rank))].sort_values("received")
    table = (
        rows.assign(reason=rows["error"])
        .groupby(["outcome", "from_domain", "reason"], dropna=False)
        .agg(
            mails=("key", "size"),
            first=("received", "min"),
            last=("received", "max"),
            key=("key", "last"),
        )
        .reset_index()
    )
    table = table.assign(rank=table["outcome"].map(rank))
    order = ["rank", "mails", "last"]
    table = table.sort_values(order, ascending=[True, False, False], ignore_index=True)
    return table.drop(columns="rank")


def inputs(records: pd.DataFrame, reports: pd.DataFrame, mails: pd.DataFrame) -> pd.DataFrame:
    """What a page was made from, one row an input: `input`, `number`, `first`, `last`."""
    parts = {"mails": (mails, "received"), "reports": (reports, "begin")}
    parts |= {"records": (records, "begin")}
    return pd.DataFrame(
        [
            {"input": name, "number": len(f), "first": f[time].min(), "last": f[time].max()}
            for name, (f, time) in parts.items()
        ]
    )


def _totals(records: pd.DataFrame, reports: pd.DataFrame) -> dict[str, float]:
    messages = int(records["messages"].sum())
    passing = _aligned(records["dkim_aligned"]) | _aligned(records["spf_aligned"])
    failing = int(records.loc[~passing, "messages"].sum())
    return {
        "messages": messages,
        "pass_share": (messages - failing) / messages if messages else float("nan"),
        "failing": failing,
        "reports": len(reports),
        "reporters": reports["reporter"].nunique(),
        "domains": reports["domain"].nunique(),
    }


def _aligned(column: pd.Series[Any]) -> pd.Series[bool]:
    """True where the receiver said pass; a result it did not give does not pass."""
    return column.astype("boolean").fillna(False).astype(bool)


def _with_results(records: pd.DataFrame) -> pd.DataFrame:
    dkim, spf = _aligned(records["dkim_aligned"]), _aligned(records["spf_aligned"])
    result = pd.Series("fail", index=records.index, dtype=object)
    result = result.mask(spf, "spf_only").mask(dkim, "dkim_only").mask(dkim & spf, "both")
    return records.assign(result=result, dkim_aligned=dkim, spf_aligned=spf)


def _outcomes(records: pd.DataFrame) -> pd.Series[str]:
    return records["disposition"].map(_OUTCOME).astype(object).fillna("unstated")


def _states(records: pd.DataFrame, column: str) -> pd.Series[str]:
    """The state (`STATES`) of `dkim` or `spf` for each record."""
    pairs = zip(records[f"{column}_aligned"], records[column], strict=True)
    states = ["aligned" if aligned else _state(results) for aligned, results in pairs]
    return pd.Series(states, index=records.index, name=column, dtype=object)


def _state(results: Iterable[dict[str, Any]] | None) -> str:
    found = {str(r["result"] or "none").lower() for r in results} if results is not None else set()
    if "pass" in found:
        return "other_domain"
    return "fail" if found - {"none"} else "none"


def _shares(records: pd.DataFrame, key: str) -> pd.DataFrame:
    """Indexed by `key`: messages, failing, delivered (failing ones), pass_share."""
    passing = _aligned(records["dkim_aligned"]) | _aligned(records["spf_aligned"])
    failing = records["messages"].mask(passing, 0)
    delivered = failing.where(_outcomes(records) == "delivered", 0)
    rows = records.assign(failing=failing, delivered=delivered)
    table = rows.groupby(key)[["messages", "failing", "delivered"]].sum()
    some = table["messages"].where(table["messages"] > 0)
    return table.assign(pass_share=(table["messages"] - table["failing"]) / some)


def _spread(
    rows: pd.DataFrame, keys: str | list[str], column: str, values: tuple[str, ...]
) -> pd.DataFrame:
    """Messages by `keys` (the index) and by each of `values` of `column` (the columns)."""
    keys = [keys] if isinstance(keys, str) else keys
    sums = rows.groupby([*keys, column], dropna=False)["messages"].sum().unstack(column)
    return sums.reindex(columns=list(values)).fillna(0).astype("int64")


def _commonest(rows: pd.DataFrame, keys: list[str], column: str) -> pd.Series[str]:
    """The value of `column` with the most messages, indexed by `keys`."""
    sums = rows.groupby([*keys, column], dropna=False)["messages"].sum().reset_index()
    sums = sums.sort_values(["messages", column], ascending=[False, True])
    commonest: pd.Series[str] = sums.groupby(keys, dropna=False)[column].first()
    return commonest


@cache
def _network(address: str | None) -> str | None:
    """The network of an address: what changes hands together is seen together."""
    try:
        ip = ipaddress.ip_address(str(address))
    except ValueError:
        return address
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))
